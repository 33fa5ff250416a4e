import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { TlsContext } from "../../broker/listeners/tls_context.ts";
import { parsePasswordFile, readPasswordFile } from "../../hooks/auth/password_file.ts";
import type { Path } from "./option.ts";
import type { Problem } from "./problem.ts";
import type { Config } from "./schema.ts";
import { isPem, readTextFile } from "./text_file.ts";

/** What is wrong with the files that a configuration names: certificates, their keys, and the password file. */
export async function faultsOfFiles({ listeners, hooks }: Config): Promise<Problem[]> {
  const problems: Problem[] = [];
  const attempt = async <T>(path: Path, read: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      problems.push({ path, message: (error as Error).message });
      return undefined;
    }
  };
  for (const [index, listener] of listeners.entries()) {
    if (listener.transport !== "tls" && listener.transport !== "wss") continue;
    const { clientCertificateAuthority: authority } = listener;
    const path = ["listeners", index];
    const before = problems.length;
    const certificate = await attempt([...path, "certificate"], () => readCertificate(listener.certificate));
    await attempt([...path, "key"], () => readKey(listener.key, certificate));
    if (authority !== undefined) {
      await attempt([...path, "clientCertificateAuthority"], () => readCertificate(authority));
    }
    // Each file may be what it should be, and the listener not be able to use them all the same.
    if (problems.length === before) await attempt(path, () => TlsContext.load(listener));
  }
  for (const name of ["redis", "cluster"] as const) {
    const { certificateAuthority: authority, certificate: given, key } = hooks[name]?.tls ?? {};
    const path = ["hooks", name, "tls"];
    if (authority !== undefined) {
      await attempt([...path, "certificateAuthority"], () => readCertificate(authority));
    }
    const certificate = given && await attempt([...path, "certificate"], () => readCertificate(given));
    if (key !== undefined) await attempt([...path, "key"], () => readKey(key, certificate || undefined));
  }
  const passwordFile = hooks.auth?.passwordFile;
  if (passwordFile !== undefined) {
    await attempt(["hooks", "auth", "passwordFile"], async () => {
      parsePasswordFile(await readPasswordFile(passwordFile), passwordFile);
    });
  }
  return problems;
}

async function readCertificate(given: string): Promise<X509Certificate> {
  const text = await readPem(given);
  try {
    return new X509Certificate(text);
  } catch {
    throw new Error(`${named(given)} holds no certificate in PEM form`);
  }
}

async function readKey(given: string, certificate: X509Certificate | undefined): Promise<void> {
  const text = await readPem(given);
  if (text.includes("ENCRYPTED")) throw new Error(`${named(given)} is encrypted: take the password off the key`);
  const key = parseKey(text);
  if (key === undefined) throw new Error(`${named(given)} holds no private key in PEM form`);
  if (certificate?.checkPrivateKey(key) === false) throw new Error(`${named(given)} is not the key of the certificate`);
}

function parseKey(text: string): KeyObject | undefined {
  try {
    return createPrivateKey(text);
  } catch {
    return undefined;
  }
}

function readPem(given: string): string | Promise<string> {
  return isPem(given) ? given : readTextFile(given);
}

/** As errors call it. */
function named(given: string): string {
  return isPem(given) ? "the text" : given;
}
