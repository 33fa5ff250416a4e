import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { type MaybePromise, then } from "../../broker/maybe_promise.ts";
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

/** What is done about one login. */
export interface Login {
  /** Throws if it is to be refused without a look at it. */
  assertMayTry(): void;
  /** Takes note of whether the password is right. Throws if it is not: this error, or one that says so. */
  settle(right: boolean, error?: Error): void;
}

/** Finds out whether a password is that of a user. */
export class Verifier {
  readonly #users: Users;
  readonly #rememberLogins: boolean;
  readonly #queue: VerificationQueue;
  /** For a hash the keyed code of the password that has it; it goes when the hash goes, so it is never out of date. */
  readonly #remembered = new WeakMap<PasswordHash, Uint8Array>();
  readonly #key = randomBytes(32);
  #hashes = 0;
  #busy = 0;

  constructor(users: Users, { concurrency, maximumWaiting, rememberLogins }: VerifierOptions) {
    this.#users = users;
    this.#rememberLogins = rememberLogins;
    this.#queue = new VerificationQueue(concurrency, maximumWaiting);
  }

  /** As in `AuthStats`. */
  get figures(): { busy: number; hashes: number; hashing: number; waiting: number } {
    return { busy: this.#busy, hashes: this.#hashes, hashing: this.#queue.running, waiting: this.#queue.waiting };
  }

  /**
   * Settles a login as this user. One that has to wait for its turn is settled before the next one is looked at, unless
   * it may not be tried any more by then. An unknown user costs as much as one who exists.
   *
   * @throws {ReasonCodeError} 0x89 if too many are waiting; also what `login` throws.
   */
  verify(username: string, password: Uint8Array, login: Login): MaybePromise<void> {
    // Made also for a user who exists: both ways take the same time.
    const decoy = this.#users.decoy(username);
    const hash = this.#users.find(username) ?? decoy;
    if (hash === undefined) return login.settle(false);
    if (!isCostly(hash)) return then(hasPassword(hash, password), (right) => login.settle(right));
    if (this.#remembers(hash, password)) return login.settle(true);
    if (this.#queue.full) {
      this.#busy += 1;
      throw new ReasonCodeError(ReasonCode.ServerBusy, "too many clients log in at this moment");
    }
    return this.#queue.run(async () => {
      login.assertMayTry();
      const right = await this.#hasPassword(hash, password);
      // The user may have been removed, or have got another password, while this was under way.
      login.settle(right && this.#users.find(username) === hash);
    });
  }

  /** Refuses the logins that wait, and resolves when no hash is being computed any more. */
  giveUp(): Promise<void> {
    return this.#queue.giveUp(new ReasonCodeError(ReasonCode.ServerUnavailable, "logins are not possible any more"));
  }

  async #hasPassword(hash: PasswordHash, password: Uint8Array): Promise<boolean> {
    // Another client may have logged in as the same user while this one waited.
    if (this.#remembers(hash, password)) return true;
    this.#hashes += 1;
    const right = await hasPassword(hash, password);
    if (right && this.#rememberLogins) this.#remembered.set(hash, this.#code(hash, password));
    return right;
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
