/**
 * Who may connect: users with passwords, from the program or from a password file, or whatever a function decides.
 *
 * **Answers.** A wrong password and an unknown user get the same answer: 0x86, and 4 before MQTT 5. A client without a
 * user name and password gets 0x87, before MQTT 5 5; who is held back after too many failures gets 0x9F, and who comes
 * while too many others wait gets 0x89, before MQTT 5 both 3 ("server unavailable"), since all of them may come again.
 *
 * **Time.** Passwords are compared in constant time. An unknown user costs as much as one of the known ones, always the
 * same one for the same name. So if all hashes were made alike, as is usual, every login costs that; if some are dearer
 * than others, or are plain text (one SHA-512), it takes a different time for different users, but does not show which
 * names exist.
 *
 * **Hashing** happens in the runtime's thread pool, a few logins at one time; the others wait for their turn. A
 * password that was right is recognised when the client comes back without computing its hash again: kept in memory is
 * an HMAC-SHA256 of it under a random key that is the process's own. Who can read the process's memory could try
 * passwords against that faster than against a slow hash; they could as well read the passwords of those who log in.
 * `rememberLogins: false` keeps nothing.
 *
 * **Guessing** is slowed down by address. Failures of one user name from one address, and those of an address with any
 * user names, are counted apart: a device with an outdated password holds back itself, but not the others behind the
 * same router, and only a whole flood of failures holds back an address, with the default limits for 30 seconds at
 * most. A login that succeeds clears its user name at its address. Addresses of IPv6 are counted by their first 64
 * bits; clients without a known address, such as those of a Unix socket, are counted together. At most 10,000 addresses
 * and as many user names are remembered. What the limits do not prevent is guessing from many addresses at once; only
 * good passwords do.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { authHook, hashPassword } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const auth = authHook({ credentials: { alice: "correct horse battery staple" } });
 * await broker.use(auth);
 * auth.addUser("bob", await hashPassword("another secret"));
 * auth.removeUser("alice");
 * ```
 *
 * @module
 */

import type { Broker } from "../broker/broker.ts";
import type { ClientInfo, Hook } from "../broker/hooks.ts";
import { defaultLogger, type Logger } from "../broker/logger.ts";
import { type MaybePromise, recover, then } from "../broker/maybe_promise.ts";
import type { ConnectPacket } from "../codec/connect.ts";
import { ReasonCodeError } from "../codec/errors.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import { FileWatcher } from "./auth/file_watcher.ts";
import { type HeldBack, LoginLimits } from "./auth/login_limits.ts";
import { parsePasswordFile, readPasswordFile } from "./auth/password_file.ts";
import { hashInMemory, looksLikeHash, parsePasswordHash, type PasswordHash } from "./auth/password_hash.ts";
import { Users } from "./auth/users.ts";
import { type Login, Verifier } from "./auth/verifier.ts";

/**
 * Decides about a login: only `true` lets the client in. `username` is undefined if an MQTT 5 client gives a password
 * alone, `password` if it gives none; the packet has the password's bytes, should they be no UTF-8 text.
 *
 * Throw a `ReasonCodeError` to refuse with another reason code than 0x86; 0x86 and 0x87 count as failed logins, others
 * do not. Any other error is logged and refuses with 0x80, so it may not hold the password.
 *
 * @example
 * ```ts
 * import { authHook, type Validator } from "@hookmq/broker/hooks";
 *
 * const hasToken: Validator = (client, username, password) =>
 *   username === client.clientId && password === `token of ${username}`;
 * authHook({ validator: hasToken });
 * ```
 */
export type Validator = (
  client: ClientInfo,
  username: string | undefined,
  password: string | undefined,
  packet: ConnectPacket,
) => MaybePromise<boolean>;

/**
 * Options of {@linkcode authHook}; `credentials`, `passwordFile` or `validator` is required.
 *
 * @example
 * ```ts
 * import { authHook, type AuthOptions } from "@hookmq/broker/hooks";
 *
 * const options: AuthOptions = {
 *   credentials: { alice: "correct horse battery staple" },
 *   allowAnonymous: true,
 *   maximumFailures: 3,
 *   maximumBackoff: 300,
 * };
 * authHook(options);
 * ```
 */
export interface AuthOptions {
  /**
   * Users and their passwords, in plain text or as a hash: `$scrypt$…` as {@linkcode hashPassword} makes it, or `$7$…`
   * or `$6$…` as mosquitto_passwd does. A plain text may not be empty, nor begin like a hash (`$`, letters or digits,
   * `$`).
   */
  credentials?: Record<string, string>;
  /**
   * A file with a line `user:hash` for each user, as `hookmq passwd` and mosquitto_passwd write it. It may be given
   * besides `credentials`, which come first.
   */
  passwordFile?: string | URL;
  /** Decides about every login; `credentials` and `passwordFile` are ignored then. Default: none. */
  validator?: Validator;
  /** Whether clients with neither a user name nor a password are let in, without asking anything. Default false. */
  allowAnonymous?: boolean;
  /**
   * How often to look whether the password file has changed, in seconds; a change is in force when the file has then
   * rested for as long. 0 never looks: only `reload` reads it again. Default 1.
   */
  reloadInterval?: number;
  /**
   * How many hashes are computed at one time. Each occupies a processor, and with scrypt its memory, 32 MiB as `hookmq
   * passwd` writes it. Default: the processors less one, but 1 to 4.
   */
  concurrency?: number;
  /** How many logins may wait for their hash to be computed; one more is refused with 0x89. Default 1,000. */
  maximumWaiting?: number;
  /** Whether a password that was right is recognised the next time without computing its hash. Default true. */
  rememberLogins?: boolean;
  /**
   * After how many failed logins with one user name from one address, within a `failureWindow`, more of them are held
   * back. Default 5; `Infinity` for never.
   */
  maximumFailures?: number;
  /**
   * After how many failed logins from one address, with any user names, within a `failureWindow`, all more of them are
   * held back. Default 50; `Infinity` for never.
   */
  maximumFailuresPerAddress?: number;
  /** In how many seconds that many failures are forgiven, evenly, but not while logins are held back. Default 60. */
  failureWindow?: number;
  /** For how many seconds logins are held back first; each further failure doubles it. Default 1. */
  backoff?: number;
  /** The longest that logins are held back, in seconds. Default 30. */
  maximumBackoff?: number;
}

/**
 * Options of {@linkcode AuthHook.removeUser}.
 *
 * @example
 * ```ts
 * import { authHook, type RemoveUserOptions } from "@hookmq/broker/hooks";
 *
 * const auth = authHook({ credentials: { alice: "correct horse battery staple" } });
 * const mayStay: RemoveUserOptions = { disconnect: false };
 * console.log(auth.removeUser("alice", mayStay)); // true
 * ```
 */
export interface RemoveUserOptions {
  /** Whether clients that are connected as the user are disconnected, with 0x87. Default true. */
  disconnect?: boolean;
}

/**
 * What an {@linkcode AuthHook} has done, and does at this moment.
 *
 * @example
 * ```ts
 * import { authHook, type AuthStats } from "@hookmq/broker/hooks";
 *
 * const auth = authHook({ credentials: { alice: "correct horse battery staple" } });
 * const { accepted, failed, heldBack }: AuthStats = auth.stats();
 * console.log(`${accepted} logins, ${failed} failures, ${heldBack} held back`); // 0 logins, 0 failures, 0 held back
 * ```
 */
export interface AuthStats {
  /** Logins that succeeded, those of anonymous clients not counted. */
  accepted: number;
  /** Logins that failed: wrong user name or password. */
  failed: number;
  /** Logins that were refused without a look at them, after too many failures. */
  heldBack: number;
  /** Logins that were refused because too many were waiting. */
  busy: number;
  /** Hashes that were computed; plain text and `$6$` are not counted. */
  hashes: number;
  /** Hashes that are being computed. */
  hashing: number;
  /** Logins that wait for their hash to be computed. */
  waiting: number;
}

/**
 * What {@linkcode authHook} returns.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type AuthHook, authHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const auth: AuthHook = authHook({ credentials: {} });
 * await broker.use(auth);
 * auth.addUser("alice", "correct horse battery staple");
 * ```
 */
export interface AuthHook extends Hook {
  /**
   * Adds a user, or gives one another password; clients that are connected as this user stay. The password file is not
   * changed, but what it says of this user does not count any more.
   *
   * @param password Plain text or a hash, as in `credentials`.
   * @throws {RangeError} If the user name or the password is empty, or the hash is malformed.
   * @throws {Error} If there is a validator.
   */
  addUser(username: string, password: string): void;
  /**
   * Removes a user, also one of the password file, until it is added again or the program ends. The file itself is not
   * changed. Clients that are connected as this user are disconnected unless told otherwise.
   *
   * @returns Whether there was such a user.
   * @throws {Error} If there is a validator.
   */
  removeUser(username: string, options?: RemoveUserOptions): boolean;
  /**
   * Reads the password file again. Users that are in it no longer are disconnected. If it cannot be read or is
   * malformed, this is logged and the users stay as they are.
   *
   * @returns Whether the users are those of the file now.
   */
  reload(): Promise<boolean>;
  /** What it has done, and does at this moment. */
  stats(): AuthStats;
}

/** The longest time that an option can be. */
const MOST_SECONDS = 1_000_000;

/** How much of what a client has sent is written to the log, in UTF-16 code units. */
const LOGGED_LENGTH = 64;

/**
 * Lets clients in only with a user name and the right password. What it answers, what it costs, and how it slows down
 * guessing stands at the head of this module.
 *
 * An MQTT 5 client that names an authentication method and has neither user name nor password is left to the hook that
 * knows the method (`onAuthenticate`); without one the broker refuses it. If it has a user name, the password has to be
 * right as well.
 *
 * @example A password file, made with `hookmq passwd -c users.txt alice`
 * ```ts ignore
 * import { Broker } from "@hookmq/broker";
 * import { authHook } from "@hookmq/broker/hooks";
 *
 * const broker = new Broker();
 * await broker.use(authHook({ passwordFile: "users.txt" }));
 * await broker.listen();
 * ```
 *
 * @example A decision of one's own
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { authHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * await broker.use(authHook({
 *   validator: (client, username, password) => username === client.clientId && password === `token of ${username}`,
 * }));
 * ```
 *
 * @throws {RangeError} If an option has a value that it cannot have. No message shows a password.
 * @throws {TypeError} If there is neither `credentials` nor `passwordFile` nor `validator`.
 */
export function authHook(options: AuthOptions): AuthHook {
  const { validator, passwordFile, allowAnonymous, reloadInterval, ...settings } = resolveOptions(options);
  const users = new Users();
  const verifier = new Verifier(users, settings);
  const limits = new LoginLimits(settings);
  const counters = { accepted: 0, failed: 0, heldBack: 0 };
  /** As which of the users a client has been let in. */
  const usernames = new WeakMap<ClientInfo, string>();
  const connected = new Set<ClientInfo>();
  let broker: Broker | undefined;
  let logger: Logger = defaultLogger();
  let watcher: FileWatcher | undefined;
  let reloading = Promise.resolve(true);

  if (validator === undefined) {
    for (const [username, password] of Object.entries(options.credentials ?? {})) {
      users.set(username, hashOf(username, password, `credentials[${JSON.stringify(username)}]`));
    }
  }

  function loginOf(client: ClientInfo): Login {
    const keys = limits.keysOf(client);
    return {
      assertMayTry() {
        if (!limits.holdsBack(keys)) return;
        counters.heldBack += 1;
        throw new ReasonCodeError(ReasonCode.ConnectionRateExceeded, "too many failed logins; try again later");
      },
      settle(right, error) {
        if (!right) {
          counters.failed += 1;
          logFailure(client, limits.failed(keys));
          throw error ?? new ReasonCodeError(ReasonCode.BadUserNameOrPassword, "wrong user name or password");
        }
        counters.accepted += 1;
        limits.succeeded(keys);
        if (validator === undefined) usernames.set(client, client.username!);
      },
    };
  }

  function logFailure({ clientId, username, remoteAddress }: ClientInfo, heldBack: HeldBack): void {
    const who = { clientId: shortened(clientId), username: shortened(username), remoteAddress };
    logger.info("{clientId} from {remoteAddress} failed to log in as {username}", who);
    if (heldBack.address > 0) {
      const seconds = heldBack.address / 1000;
      logger.warn("logins from {remoteAddress} are refused for {seconds} s: too many failed", {
        remoteAddress,
        seconds,
      });
    } else if (heldBack.user > 0) {
      const seconds = heldBack.user / 1000;
      logger.warn("logins as {username} from {remoteAddress} are refused for {seconds} s: too many failed", {
        ...who,
        seconds,
      });
    }
  }

  async function load(): Promise<void> {
    users.replaceFile(parsePasswordFile(await readPasswordFile(passwordFile!), String(passwordFile)));
  }

  async function loadAgain(): Promise<boolean> {
    if (passwordFile === undefined) return true;
    const before = new Set([...connected].filter(isUser));
    try {
      await load();
    } catch (error) {
      logger.error("the users stay as they are: {reason}", { reason: (error as Error).message });
      return false;
    }
    logger.info("the users are those of {passwordFile} now", { passwordFile: String(passwordFile) });
    for (const client of [...connected]) {
      if (before.has(client) && !isUser(client)) disconnect(client);
    }
    return true;
  }

  /** One after the other, so that what was read first does not come into force last. */
  function reload(): Promise<boolean> {
    return reloading = reloading.then(loadAgain);
  }

  function isUser(client: ClientInfo): boolean {
    return users.find(usernames.get(client)!) !== undefined;
  }

  function disconnect({ clientId }: ClientInfo): void {
    broker?.disconnect(clientId, ReasonCode.NotAuthorized, "the user has been removed");
  }

  function assertUsers(): void {
    if (validator !== undefined) throw new Error("there are no users: the validator decides about every login");
  }

  return {
    id: "auth",

    async init(context) {
      ({ broker, logger } = context);
      if (passwordFile === undefined) return;
      if (reloadInterval > 0) {
        watcher = new FileWatcher(passwordFile, reloadInterval, reload);
        // Before the file is read, so that no change is missed.
        await watcher.start();
      }
      try {
        await load();
      } catch (error) {
        await watcher?.stop();
        throw error;
      }
    },

    async stop() {
      await watcher?.stop();
      await reloading;
      await verifier.giveUp();
    },

    onConnect(client, packet) {
      if (packet.username === undefined && packet.password === undefined) {
        if (allowAnonymous || packet.properties?.authenticationMethod !== undefined) return;
        throw new ReasonCodeError(ReasonCode.NotAuthorized, "a user name and a password are required");
      }
      const login = loginOf(client);
      login.assertMayTry();
      if (validator !== undefined) return validate(validator, client, packet, login);
      if (packet.username === undefined) return login.settle(false);
      return verifier.verify(packet.username, packet.password ?? new Uint8Array(), login);
    },

    onConnected(client) {
      if (!usernames.has(client)) return;
      connected.add(client);
      // The user may have been removed since the password was found to be right.
      if (!isUser(client)) disconnect(client);
    },

    onDisconnect(client) {
      connected.delete(client);
      // Another hook may take so long that `onConnected` comes after this.
      usernames.delete(client);
    },

    addUser(username, password) {
      assertUsers();
      users.set(username, hashOf(username, password, `the password of ${JSON.stringify(username)}`));
    },

    removeUser(username, options) {
      assertUsers();
      const found = users.remove(username);
      if (options?.disconnect ?? true) {
        for (const client of [...connected].filter((client) => usernames.get(client) === username)) disconnect(client);
      }
      return found;
    },

    reload,

    stats: () => ({ ...counters, ...verifier.figures }),
  };
}

function isWrongLogin(reasonCode: ReasonCode): boolean {
  return reasonCode === ReasonCode.BadUserNameOrPassword || reasonCode === ReasonCode.NotAuthorized;
}

/** Asks a validator. Of its errors, those that say that the login itself is wrong count as a failure. */
function validate(
  validator: Validator,
  client: ClientInfo,
  packet: ConnectPacket,
  login: Login,
): MaybePromise<void> {
  const password = packet.password === undefined
    ? undefined
    : new TextDecoder("utf-8", { ignoreBOM: true }).decode(packet.password);
  const answer = recover(() => validator(client, packet.username, password, packet), (error) => {
    if (error instanceof ReasonCodeError && isWrongLogin(error.reasonCode)) login.settle(false, error);
    throw error;
  });
  return then(answer, (right) => login.settle(right === true));
}

/** @throws {RangeError} If user name or password cannot be used. The message does not show the password. */
function hashOf(username: string, password: string, where: string): PasswordHash {
  if (username === "") throw new RangeError("a user name is empty");
  if (typeof password !== "string") throw new RangeError(`${where} is no text`);
  if (password === "") throw new RangeError(`${where} is empty`);
  if (!looksLikeHash(password)) return hashInMemory(password);
  try {
    return parsePasswordHash(password);
  } catch (error) {
    throw new RangeError(`${where} looks like a hash: ${(error as Error).message}`);
  }
}

/** With every default filled in, and times in milliseconds. */
function resolveOptions(options: AuthOptions) {
  const { credentials, passwordFile, validator } = options;
  if (credentials === undefined && passwordFile === undefined && validator === undefined) {
    throw new TypeError("there is nobody who could log in: give credentials, passwordFile or validator");
  }
  if (validator !== undefined && typeof validator !== "function") throw new RangeError("validator is no function");
  const processors = navigator.hardwareConcurrency;
  return {
    validator,
    passwordFile: validator === undefined ? passwordFile : undefined,
    allowAnonymous: options.allowAnonymous ?? false,
    reloadInterval: milliseconds("reloadInterval", options.reloadInterval ?? 1, 0),
    concurrency: wholeNumber("concurrency", options.concurrency ?? Math.min(Math.max(processors - 1, 1), 4), 1, 256),
    maximumWaiting: wholeNumber("maximumWaiting", options.maximumWaiting ?? 1000, 0, Infinity),
    rememberLogins: options.rememberLogins ?? true,
    maximumPerUser: wholeNumber("maximumFailures", options.maximumFailures ?? 5, 1, Infinity),
    maximumPerAddress: wholeNumber("maximumFailuresPerAddress", options.maximumFailuresPerAddress ?? 50, 1, Infinity),
    window: milliseconds("failureWindow", options.failureWindow ?? 60, 0.001),
    backoff: milliseconds("backoff", options.backoff ?? 1, 0.001),
    maximumBackoff: milliseconds("maximumBackoff", options.maximumBackoff ?? 30, 0.001),
  };
}

function wholeNumber(name: string, value: number, least: number, most: number): number {
  if ((Number.isInteger(value) || value === Infinity) && value >= least && value <= most) return value;
  throw new RangeError(`${name} is ${value}; it must be a whole number from ${least} to ${most}`);
}

function milliseconds(name: string, seconds: number, least: number): number {
  if (typeof seconds === "number" && seconds >= least && seconds <= MOST_SECONDS) return seconds * 1000;
  throw new RangeError(`${name} is ${seconds}; it must be a number of seconds from ${least} to ${MOST_SECONDS}`);
}

function shortened(text: string | undefined): string | undefined {
  return text !== undefined && text.length > LOGGED_LENGTH ? `${text.slice(0, LOGGED_LENGTH)}…` : text;
}
