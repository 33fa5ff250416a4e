import { executable } from "./executable.ts";
import { outputOf } from "./output_of.ts";
import type { Certificate } from "./setup.ts";

/**
 * Makes a certificate for 127.0.0.1 that is its own authority, in this directory.
 *
 * @throws {Error} If there is no `openssl`, or it fails.
 */
export async function makeCertificate(directory: string): Promise<Certificate> {
  const program = executable("openssl");
  if (program === undefined) throw new Error("TLS needs a certificate, and openssl is not installed here");
  const files = { certificateFile: `${directory}/certificate.pem`, keyFile: `${directory}/key.pem` };
  await outputOf(program, [
    ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"],
    ...["-keyout", files.keyFile, "-out", files.certificateFile, "-subj", "/CN=127.0.0.1"],
    ...["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
  ]);
  return files;
}
