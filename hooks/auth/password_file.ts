import { parsePasswordHash, type PasswordHash } from "./password_hash.ts";

/** A user of a password file. */
export interface PasswordFileEntry {
  /** The number of its line, from 1. */
  readonly line: number;
  /** The hash as it is written there. */
  readonly text: string;
  readonly hash: PasswordHash;
}

/**
 * Reads the text of a password file: a line `user:hash` for each user, empty lines, and comments, which begin with `#`.
 *
 * @param name What errors call the file.
 * @throws {Error} If a line is something else, or a user is there twice. The message names the file and the line and
 * quotes nothing: it could be a password that stands in the wrong place.
 */
export function parsePasswordFile(text: string, name: string): Map<string, PasswordFileEntry> {
  const entries = new Map<string, PasswordFileEntry>();
  for (const [index, content] of text.split("\n").entries()) {
    const line = index + 1;
    if (content.trim() === "" || content.startsWith("#")) continue;
    const fault = (what: string) => new Error(`${name}:${line}: ${what}`);
    const colon = content.indexOf(":");
    if (colon === -1) throw fault("there is no colon; a line is written as user:hash");
    const username = content.slice(0, colon).trim();
    if (username === "") throw fault("there is no user name before the colon");
    const earlier = entries.get(username);
    if (earlier !== undefined) throw fault(`this user is in line ${earlier.line} already`);
    const text = content.slice(colon + 1).trim();
    try {
      entries.set(username, { line, text, hash: parsePasswordHash(text) });
    } catch (error) {
      throw fault((error as Error).message);
    }
  }
  return entries;
}

/**
 * Reads a password file.
 *
 * @throws {Error} If it cannot be read or is malformed; the message names the file.
 */
export async function readPasswordFile(path: string | URL): Promise<string> {
  const bytes = await Deno.readFile(path).catch((error) => {
    throw new Error(`cannot read ${path}: ${reasonOf(error)}`);
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${path}: it is not UTF-8 text`);
  }
}

function reasonOf(error: Error): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file; hookmq passwd -c makes one";
  if (error instanceof Deno.errors.PermissionDenied) return "permission denied";
  return error.message;
}
