import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { MaybePromise } from "../../broker/maybe_promise.ts";
import { ReasonCodeError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import { hasPassword, isCostly, type PasswordHash } from "./password_hash.ts";
import type { Users } from "./users.ts";
import { VerificationQueue } from "./verification_queue.ts";

/** How a {@linkcode Verifier} works. */
export interface VerifierOptions {
  /** How many hashes are computed at one time. */
  concurrency: number;
  /** How many logins may wait for that. */
  maximumWaiting: number;
  /** Whether a password that was right is recognised the next time without computing its hash. */
  rememberLogins: boolean;
}

/** Says whether a password is that of a user. */
export class Verifier {
  readonly #users: Users;
  readonly #rememberLogins: boolean;
  readonly #queue: VerificationQueue;
  /** For a hash the keyed code of the password that has it; it goes when the hash goes, so it is never out of date. */
  readonly #remembered = new WeakMap<PasswordHash, Uint8Array>();
  readonly #key = randomBytes(32);
  #hashes = 0;

  constructor(users: Users, { concurrency, maximumWaiting, rememberLogins }: VerifierOptions) {
    this.#users = users;
    this.#rememberLogins = rememberLogins;
    this.#queue = new VerificationQueue(concurrency, maximumWaiting);
  }

  /** How many costly hashes have been computed, and how many logins are being worked on and wait for it. */
  get figures(): { hashes: number; hashing: number; waiting: number } {
    return { hashes: this.#hashes, hashing: this.#queue.running, waiting: this.#queue.waiting };
  }

  /**
   * Whether this is the password of this user. An unknown user costs as much as one who exists.
   *
   * @param assertMayTry Called when the turn of a login that had to wait has come; it is not looked at if this throws.
   * @throws {ReasonCodeError} 0x89 if too many are waiting.
   */
  verify(username: string, password: Uint8Array, assertMayTry: () => void): MaybePromise<boolean> {
    // Made also for a user who exists: both ways take the same time.
    const decoy = this.#users.decoy(username);
    const hash = this.#users.find(username) ?? decoy;
    if (hash === undefined) return false;
    if (!isCostly(hash)) return hasPassword(hash, password);
    if (this.#remembers(hash, password)) return true;
    if (this.#queue.full) throw new ReasonCodeError(ReasonCode.ServerBusy, "too many clients log in at this moment");
    return this.#queue.run(async () => {
      assertMayTry();
      // Another client may have logged in as the same user in the meantime.
      if (!this.#remembers(hash, password)) {
        this.#hashes += 1;
        if (!await hasPassword(hash, password)) return false;
        if (this.#rememberLogins) this.#remembered.set(hash, this.#code(hash, password));
      }
      // The user may have been removed, or have got another password, while this was under way.
      return this.#users.find(username) === hash;
    });
  }

  /** Refuses the logins that wait, and resolves when no hash is being computed any more. */
  giveUp(): Promise<void> {
    return this.#queue.giveUp(new ReasonCodeError(ReasonCode.ServerUnavailable, "logins are not possible any more"));
  }

  #remembers(hash: PasswordHash, password: Uint8Array): boolean {
    const code = this.#code(hash, password);
    const remembered = this.#remembered.get(hash);
    return remembered !== undefined && timingSafeEqual(remembered, code);
  }

  #code(hash: PasswordHash, password: Uint8Array): Uint8Array {
    return createHmac("sha256", this.#key).update(hash.salt).update(password).digest();
  }
}
