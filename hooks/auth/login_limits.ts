import { createHash } from "node:crypto";
import type { ClientInfo } from "../../broker/hooks.ts";
import { ReasonCodeError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import { addressGroup } from "./address_group.ts";
import { FailureLimiter, type FailureLimits } from "./failure_limiter.ts";

/** The limits of one user name from one address, and those of an address with any user names; times in milliseconds. */
export interface LoginLimitsOptions extends Omit<FailureLimits, "maximum"> {
  maximumPerUser: number;
  maximumPerAddress: number;
}

/** What a login is counted under. */
export interface LoginKeys {
  readonly user: string;
  readonly address: string;
}

/** For how long nobody may try again, in milliseconds; 0 where they may. */
export interface HeldBack {
  /** Under this user name, from this address. */
  user: number;
  /** From this address at all. */
  address: number;
}

/**
 * Slows down who guesses passwords. A user name from an address has its own account, so that one client with a wrong
 * password does not keep out the others behind the same address, and so that who can log in as one user gets no
 * more guesses at another one thereby.
 */
export class LoginLimits {
  readonly #users: FailureLimiter;
  readonly #addresses: FailureLimiter;

  constructor({ maximumPerUser, maximumPerAddress, window, backoff, maximumBackoff }: LoginLimitsOptions) {
    const times = { window, backoff, maximumBackoff };
    this.#users = new FailureLimiter({ maximum: maximumPerUser, ...times });
    this.#addresses = new FailureLimiter({ maximum: maximumPerAddress, ...times });
  }

  keysOf({ remoteAddress, username = "" }: ClientInfo): LoginKeys {
    const address = addressGroup(remoteAddress);
    // Of fixed length: clients would otherwise choose how much memory a key takes.
    return { address, user: createHash("sha256").update(`${address}\0${username}`).digest("base64") };
  }

  /** @throws {ReasonCodeError} 0x9F while logins are held back. */
  assertMayTry({ user, address }: LoginKeys): void {
    if (!this.#users.holdsBack(user) && !this.#addresses.holdsBack(address)) return;
    throw new ReasonCodeError(ReasonCode.ConnectionRateExceeded, "too many failed logins; try again later");
  }

  failed({ user, address }: LoginKeys): HeldBack {
    return { user: this.#users.fail(user), address: this.#addresses.fail(address) };
  }

  /** Forgives what failed under this user name; the address keeps its account. */
  succeeded({ user }: LoginKeys): void {
    this.#users.forget(user);
  }
}
