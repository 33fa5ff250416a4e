import { Buffer } from "node:buffer";
import { createHash, pbkdf2, randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";
import { type MaybePromise, then } from "../../broker/maybe_promise.ts";

/** What can be written of a password: a salt, the digest of both, and how it was computed. */
export type PasswordHash = Pbkdf2Hash | ScryptHash | Sha512Hash;

interface SaltedDigest {
  readonly salt: Uint8Array;
  readonly digest: Uint8Array;
}

/** `$7$101$…`, PBKDF2 with HMAC-SHA512: what mosquitto_passwd writes. */
interface Pbkdf2Hash extends SaltedDigest {
  readonly form: "pbkdf2";
  readonly iterations: number;
}

/** `$scrypt$ln=15,r=8,p=1$…`, RFC 7914: the form that passlib and other programs write. */
interface ScryptHash extends SaltedDigest {
  readonly form: "scrypt";
  /** The base-2 logarithm of N. */
  readonly logarithmicCost: number;
  readonly blockSize: number;
  readonly parallelization: number;
}

/** `$6$…`, one SHA-512 of password and salt: what mosquitto_passwd wrote before its version 2. */
interface Sha512Hash extends SaltedDigest {
  readonly form: "sha512";
}

/**
 * How {@linkcode hashPassword} hashes.
 *
 * @example
 * ```ts
 * import { type HashOptions, hashPassword } from "@hookmq/broker/hooks";
 *
 * const forMosquittoAsWell: HashOptions = { form: "pbkdf2", cost: 10_000 };
 * console.log(await hashPassword("correct horse battery staple", forMosquittoAsWell)); // $7$10000$…
 * ```
 */
export interface HashOptions {
  /**
   * `"scrypt"` (RFC 7914) needs memory as well as time, which makes guessing dear; `"pbkdf2"` (PBKDF2-HMAC-SHA512) is
   * read by mosquitto, too. Default `"scrypt"`.
   */
  form?: "scrypt" | "pbkdf2";
  /**
   * How much work a login, and a guess, is. For scrypt the base-2 logarithm of its N, 1 to 20: each step doubles time
   * and memory, which is 2^cost KiB; default 15 (32 MiB and about 0.1 s). For pbkdf2 the iterations, 1 to 10,000,000;
   * default 100,000 (about 0.1 s).
   */
  cost?: number;
}

/** The least and the most that a hash may ask for, and what {@linkcode hashPassword} does unless told otherwise. */
export const costs = {
  scrypt: { least: 1, most: 20, usual: 15 },
  pbkdf2: { least: 1, most: 10_000_000, usual: 100_000 },
} as const;

const SHA512_BYTES = 64;
const SCRYPT_BYTES = 32;
const SALT_BYTES = 16;
/** Mosquitto 2.0 refuses salts of any other length. */
const MOSQUITTO_SALT_BYTES = 12;
/** What one scrypt may use, in bytes: a typing error in a file shall not take the machine down. */
const MOST_SCRYPT_MEMORY = 1024 ** 3;

const deriveWithPbkdf2 = promisify(pbkdf2);
const deriveWithScrypt = promisify(
  (password: Uint8Array, salt: Uint8Array, length: number, options: object, callback: DigestCallback) =>
    scrypt(password, salt, length, options, callback),
);

type DigestCallback = (error: Error | null, digest: Buffer) => void;

/** Whether a text claims to be a hash of some form, be it one of ours or not: `$`, a name, `$`. */
export function looksLikeHash(text: string): boolean {
  return /^\$[\w-]+\$/.test(text);
}

/**
 * Reads a hash.
 *
 * @throws {RangeError} If it is none of the forms, or malformed. The message says what is wrong and quotes nothing: it
 * could be a password that stands in the wrong place.
 */
export function parsePasswordHash(text: string): PasswordHash {
  const [before, form, ...fields] = text.split("$");
  if (before === "") {
    switch (form) {
      case "7":
        return parsePbkdf2(fields);
      case "scrypt":
        return parseScrypt(fields);
      case "6":
        return parseSha512(fields);
    }
  }
  throw new RangeError("not a hash that begins with $scrypt$, $7$ or $6$");
}

function parsePbkdf2(fields: string[]): PasswordHash {
  const [iterations, salt, digest] = expectFields(fields, 3, "$7$<iterations>$<salt>$<hash>");
  return {
    form: "pbkdf2",
    iterations: wholeNumber("the number of iterations", iterations, costs.pbkdf2.least, costs.pbkdf2.most),
    salt: base64("the salt", salt, 1, 1024),
    digest: base64("the hash", digest, SHA512_BYTES, SHA512_BYTES),
  };
}

function parseScrypt(fields: string[]): PasswordHash {
  const [parameters, salt, digest] = expectFields(fields, 3, "$scrypt$ln=<log2 N>,r=<r>,p=<p>$<salt>$<hash>");
  const [, ln, r, p] = parameters.match(/^ln=(\d+),r=(\d+),p=(\d+)$/) ?? [];
  if (p === undefined) throw new RangeError("the parameters of scrypt are not written as ln=<log2 N>,r=<r>,p=<p>");
  const logarithmicCost = wholeNumber("ln", ln, costs.scrypt.least, costs.scrypt.most);
  const blockSize = wholeNumber("r", r, 1, 1024);
  if (scryptMemory(logarithmicCost, blockSize) > MOST_SCRYPT_MEMORY) {
    throw new RangeError("ln and r ask for more than 1 GiB of memory");
  }
  return {
    form: "scrypt",
    logarithmicCost,
    blockSize,
    parallelization: wholeNumber("p", p, 1, 64),
    salt: base64("the salt", padded(salt), 1, 1024),
    digest: base64("the hash", padded(digest), 16, 64),
  };
}

function parseSha512(fields: string[]): PasswordHash {
  const [salt, digest] = expectFields(fields, 2, "$6$<salt>$<hash>, mosquitto's and not that of crypt(3)");
  return {
    form: "sha512",
    salt: base64("the salt", salt, 1, 1024),
    digest: base64("the hash", digest, SHA512_BYTES, SHA512_BYTES),
  };
}

function expectFields(fields: string[], count: number, form: string): string[] {
  if (fields.length === count) return fields;
  throw new RangeError(`a hash with this beginning is written as ${form}`);
}

function wholeNumber(name: string, text: string, least: number, most: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= least && number <= most) return number;
  throw new RangeError(`${name} is not a whole number from ${least} to ${most}`);
}

function base64(name: string, text: string, least: number, most: number): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  // Buffer skips what is no base64, but what it has read does not become the same text again then.
  if (bytes.toString("base64") !== text) throw new RangeError(`${name} is not base64`);
  if (bytes.length >= least && bytes.length <= most) return bytes;
  throw new RangeError(`${name} is ${bytes.length} bytes long, not ${least === most ? least : `${least} to ${most}`}`);
}

/** With the `=` at its end that scrypt's form leaves away. */
function padded(text: string): string {
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}

/** A hash as it stands in a password file. */
function formatPasswordHash(hash: PasswordHash): string {
  const salt = Buffer.from(hash.salt).toString("base64");
  const digest = Buffer.from(hash.digest).toString("base64");
  switch (hash.form) {
    case "pbkdf2":
      return `$7$${hash.iterations}$${salt}$${digest}`;
    case "scrypt": {
      const parameters = `ln=${hash.logarithmicCost},r=${hash.blockSize},p=${hash.parallelization}`;
      return `$scrypt$${parameters}$${salt.replaceAll("=", "")}$${digest.replaceAll("=", "")}`;
    }
    case "sha512":
      return `$6$${salt}$${digest}`;
  }
}

/**
 * Hashes a password, for `credentials` or a password file. Two calls never give the same hash.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { authHook, hashPassword } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const hash = await hashPassword("correct horse battery staple", { cost: 14 });
 * console.log(hash); // "$scrypt$ln=14,r=8,p=1$…"
 * await broker.use(authHook({ credentials: { alice: hash } }));
 * ```
 *
 * @param password Bytes, or a text that is taken as UTF-8.
 * @throws {RangeError} If the password is empty, or an option has a value that it cannot have.
 */
export async function hashPassword(
  password: string | Uint8Array,
  { form = "scrypt", cost = costs[form]?.usual }: HashOptions = {},
): Promise<string> {
  if (!Object.hasOwn(costs, form)) throw new RangeError(`form is ${JSON.stringify(form)}; it must be scrypt or pbkdf2`);
  const { least, most } = costs[form];
  if (!Number.isInteger(cost) || cost < least || cost > most) {
    throw new RangeError(`cost is ${cost}; for ${form} it must be a whole number from ${least} to ${most}`);
  }
  if (password.length === 0) throw new RangeError("the password is empty");
  const salt = randomBytes(form === "scrypt" ? SALT_BYTES : MOSQUITTO_SALT_BYTES);
  const recipe: PasswordHash = form === "scrypt"
    ? { form, logarithmicCost: cost, blockSize: 8, parallelization: 1, salt, digest: new Uint8Array(SCRYPT_BYTES) }
    : { form, iterations: cost, salt, digest: new Uint8Array(SHA512_BYTES) };
  return formatPasswordHash({ ...recipe, digest: await computeDigest(recipe, Buffer.from(password)) });
}

/** A hash of a password that is kept in memory only, where one SHA-512 is enough. */
export function hashInMemory(password: string): PasswordHash {
  const salt = randomBytes(SALT_BYTES);
  return { form: "sha512", salt, digest: sha512(salt, Buffer.from(password)) };
}

/** A hash that takes as long to compute as another one, and that no password has. */
export function decoyOf(hash: PasswordHash): PasswordHash {
  return { ...hash, salt: randomBytes(hash.salt.length), digest: randomBytes(hash.digest.length) };
}

/** Whether computing a hash is so much work that it is not done on the event loop. */
export function isCostly(hash: PasswordHash): boolean {
  return hash.form !== "sha512";
}

/** Whether a password has this hash. Where that is much work it is done in the runtime's thread pool. */
export function hasPassword(hash: PasswordHash, password: Uint8Array): MaybePromise<boolean> {
  // HMAC, below PBKDF2 and scrypt, fills its key up with zero bytes: with some behind it a password has the same digest.
  const isPadded = isCostly(hash) && password.at(-1) === 0;
  return then(computeDigest(hash, password), (digest) => timingSafeEqual(digest, hash.digest) && !isPadded);
}

function computeDigest(hash: PasswordHash, password: Uint8Array): MaybePromise<Uint8Array> {
  const { salt, digest: { length } } = hash;
  switch (hash.form) {
    case "pbkdf2":
      return deriveWithPbkdf2(password, salt, hash.iterations, length, "sha512");
    case "scrypt": {
      const { logarithmicCost, blockSize: r, parallelization: p } = hash;
      const maxmem = 2 * scryptMemory(logarithmicCost, r) + 256 * r * p;
      return deriveWithScrypt(password, salt, length, { N: 2 ** logarithmicCost, r, p, maxmem });
    }
    case "sha512":
      return sha512(salt, password);
  }
}

function sha512(salt: Uint8Array, password: Uint8Array): Uint8Array {
  return createHash("sha512").update(password).update(salt).digest();
}

/** In bytes. */
function scryptMemory(logarithmicCost: number, blockSize: number): number {
  return 128 * blockSize * 2 ** logarithmicCost;
}
