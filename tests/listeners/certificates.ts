/** A certificate and its private key, as PEM text. */
export interface Identity {
  certificate: string;
  key: string;
}

/** What to write into a certificate. */
export interface CertificateOptions {
  /** Whether it was valid long ago, and only then. Default false. */
  expired?: boolean;
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", "new.key"];

const CONFIGURATION = `
[ca]
default_ca = authority
[authority]
certificate = authority.pem
private_key = authority.key
database = index
new_certs_dir = .
default_md = sha256
policy = policy
copy_extensions = copy
rand_serial = yes
[policy]
commonName = supplied
`;

/** A new authority, which nobody trusts who has not been told to. */
export function createAuthority(): Promise<Identity> {
  return createSelfSigned(NEW_KEY);
}

/** A certificate that has signed itself, with a key that is too small to be used. */
export function createWeakIdentity(): Promise<Identity> {
  return createSelfSigned(["-newkey", "rsa:512", "-noenc", "-keyout", "new.key"]);
}

function createSelfSigned(newKey: string[]): Promise<Identity> {
  return inNewDirectory(async (directory) => {
    await openssl(directory, ["req", "-x509", ...newKey, "-out", "new.pem", "-subj", "/CN=Authority for tests"]);
    return await read(directory);
  });
}

/** A new certificate from this authority; it serves for `127.0.0.1` and `localhost`, and as a client's. */
export function issueCertificate(
  authority: Identity,
  commonName: string,
  { expired = false }: CertificateOptions = {},
): Promise<Identity> {
  const extensions = ["subjectAltName=IP:127.0.0.1,DNS:localhost", "basicConstraints=CA:FALSE"];
  const [from, until] = expired ? ["20010101000000Z", "20010102000000Z"] : ["20010101000000Z", "21010101000000Z"];
  return inNewDirectory(async (directory) => {
    await Promise.all([
      Deno.writeTextFile(`${directory}/authority.pem`, authority.certificate),
      Deno.writeTextFile(`${directory}/authority.key`, authority.key),
      Deno.writeTextFile(`${directory}/configuration`, CONFIGURATION),
      Deno.writeTextFile(`${directory}/index`, ""),
    ]);
    const added = extensions.flatMap((extension) => ["-addext", extension]);
    await openssl(directory, [
      "req",
      "-new",
      "-utf8",
      ...NEW_KEY,
      "-out",
      "request",
      "-subj",
      `/CN=${commonName}`,
      ...added,
    ]);
    const validity = ["-startdate", from, "-enddate", until];
    const files = ["-config", "configuration", "-in", "request", "-out", "new.pem"];
    await openssl(directory, ["ca", "-batch", "-notext", ...files, ...validity]);
    return await read(directory);
  });
}

async function inNewDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = await Deno.makeTempDir();
  try {
    return await use(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function read(directory: string): Promise<Identity> {
  const [certificate, key] = await Promise.all(
    ["new.pem", "new.key"].map((name) => Deno.readTextFile(`${directory}/${name}`)),
  );
  return { certificate, key };
}

async function openssl(cwd: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", { args, cwd }).output();
  if (!success) throw new Error(`openssl ${args.join(" ")} failed: ${new TextDecoder().decode(stderr)}`);
}
