import { createHmac, randomBytes } from "node:crypto";
import type { PasswordFileEntry } from "./password_file.ts";
import { decoyOf, type PasswordHash } from "./password_hash.ts";

/** The users of a hook and their hashes: those of the password file, and over them what the program has said itself. */
export class Users {
  /** A user that the program has removed has no hash: the password file does not bring it back. */
  readonly #ofProgram = new Map<string, PasswordHash | undefined>();
  #ofFile: ReadonlyMap<string, PasswordFileEntry> = new Map();
  #all: PasswordHash[] | undefined;
  readonly #key = randomBytes(32);

  find(username: string): PasswordHash | undefined {
    return this.#ofProgram.has(username) ? this.#ofProgram.get(username) : this.#ofFile.get(username)?.hash;
  }

  set(username: string, hash: PasswordHash): void {
    this.#ofProgram.set(username, hash);
    this.#all = undefined;
  }

  /** Returns whether the user was there. */
  remove(username: string): boolean {
    const found = this.find(username) !== undefined;
    if (this.#ofFile.has(username)) this.#ofProgram.set(username, undefined);
    else this.#ofProgram.delete(username);
    this.#all = undefined;
    return found;
  }

  /** Takes what a password file holds in place of what it held before. The same hashes stay the same objects. */
  replaceFile(entries: ReadonlyMap<string, PasswordFileEntry>): void {
    this.#ofFile = new Map(
      Array.from(entries, ([username, entry]) => {
        const earlier = this.#ofFile.get(username);
        return [username, earlier?.text === entry.text ? earlier : entry];
      }),
    );
    this.#all = undefined;
  }

  /**
   * A hash that no password has, and that costs as much as that of some user, always the same one for the same name:
   * what an unknown user is checked against, so that nobody can tell from the time that an answer takes whether there
   * is a user of that name, even if hashes cost differently. `undefined` if there are no users.
   */
  decoy(username: string): PasswordHash | undefined {
    const all = this.#all ??= this.#hashes();
    const number = createHmac("sha256", this.#key).update(username).digest().readUInt32BE();
    return all.length === 0 ? undefined : decoyOf(all[number % all.length]);
  }

  #hashes(): PasswordHash[] {
    const usernames = new Set([...this.#ofFile.keys(), ...this.#ofProgram.keys()]);
    return [...usernames].flatMap((username) => this.find(username) ?? []);
  }
}
