/**
 * Writes what clients do to a log.
 *
 * | Bit of `level` | What is logged                                                                                   | As    |
 * | -------------- | ------------------------------------------------------------------------------------------------ | ----- |
 * | `connection`   | a client is connected: address, user name, protocol level, keep alive, clean start                | info  |
 * |                | it said goodbye, vanished, was taken over, was disconnected by the operator, the broker shuts down | info  |
 * |                | it was disconnected for what it did, e.g. a malformed packet or a quota that it exceeded          | warn  |
 * | `subscribe`    | the topic filters that it subscribes to, and unsubscribes from                                    | info  |
 * | `publish`      | a message, also a will: topic, QoS, retain flag, size                                             | debug |
 * |                | a message that does not reach a client, and why                                                   | warn  |
 * | `session`      | a session is new, resumed, or over                                                                | info  |
 *
 * A payload is never logged, only its size in bytes, and a password never at all. Whatever a client has chosen itself
 * (its client identifier, user name, topics and topic filters) is escaped, so that it can neither begin a line of its own
 * nor colour or turn around what stands beside it.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";
import { escapeForLog } from "../broker/escape_for_log.ts";
import type { Hook } from "../broker/hooks.ts";
import type { Logger } from "../broker/logger.ts";
import { ReasonCodeError } from "../codec/errors.ts";
import type { PublishPacket } from "../codec/publish.ts";
import { ReasonCode } from "../codec/reason_code.ts";

/**
 * What {@linkcode loggerHook} can log, as bits that are put together with `|`.
 *
 * @example
 * ```ts
 * import { loggerHook, LogLevel } from "@hookmq/broker/hooks";
 *
 * loggerHook({ level: LogLevel.connection | LogLevel.subscribe });
 * ```
 */
export const LogLevel = {
  /** Clients that connect and disconnect. */
  connection: 1,
  /** Subscriptions that are asked for and given up. */
  subscribe: 2,
  /** Every message that a client publishes, and every one that does not reach a client. Costs throughput. */
  publish: 4,
  /** Sessions that begin, go on and end. */
  session: 8,
  /** All of the above. */
  all: 15,
} as const;

/**
 * The name of a bit of {@linkcode LogLevel}.
 *
 * @example
 * ```ts
 * import { loggerHook, type LogLevelName } from "@hookmq/broker/hooks";
 *
 * const level: LogLevelName[] = ["connection", "session"];
 * loggerHook({ level });
 * ```
 */
export type LogLevelName = keyof typeof LogLevel;

/**
 * Options of {@linkcode loggerHook}.
 *
 * @example
 * ```ts
 * import { loggerHook, type LoggerOptions, LogLevel } from "@hookmq/broker/hooks";
 *
 * const options: LoggerOptions = {
 *   logger: { debug: () => {}, info: console.info, warn: console.warn, error: console.error },
 *   level: LogLevel.all,
 * };
 * loggerHook(options);
 * ```
 */
export interface LoggerOptions {
  /**
   * Where to write: anything with `debug`, `info`, `warn` and `error`, which get a message with names in braces and an
   * object with the properties of these names. Default: LogTape's logger of the category `["hookmq", "clients"]`.
   */
  logger?: Logger;
  /**
   * What to write: bits of {@linkcode LogLevel}, e.g. `LogLevel.connection | LogLevel.session`, or a list of their names,
   * e.g. `["connection", "session"]`. Default: everything but `publish`.
   */
  level?: number | readonly LogLevelName[];
}

/** Writes a record at one severity. */
type Write = (severity: keyof Logger, message: string, properties: Record<string, unknown>) => void;

const EVERYTHING_BUT_PUBLISH = LogLevel.all & ~LogLevel.publish;

/** How many topic filters of one packet are written out. */
const SHOWN_FILTERS = 10;

/** Ends of a connection by which a client has done nothing wrong, or which are not told apart from those. */
const harmless: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.UnspecifiedError,
  ReasonCode.ServerShuttingDown,
  ReasonCode.KeepAliveTimeout,
  ReasonCode.SessionTakenOver,
  ReasonCode.AdministrativeAction,
]);

/**
 * Logs what clients do, in structured records. What is logged, and how severely, stands at the head of this module.
 *
 * It sees what the hooks before it have let through: added first it logs the subscriptions and messages that clients ask
 * for, added last those that they get. It never refuses anything, also if the logger fails.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { loggerHook, LogLevel } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * await broker.use(loggerHook({ level: LogLevel.connection | LogLevel.session }));
 * ```
 *
 * @throws {RangeError} If `level` has bits or names that do not exist.
 * @throws {TypeError} If `logger` lacks a method.
 */
export function loggerHook(
  { logger = getLogger(["hookmq", "clients"]), level = EVERYTHING_BUT_PUBLISH }: LoggerOptions = {},
): Hook {
  assertLogger(logger);
  const bits = levelBits(level);
  let fallback: Logger | undefined;
  const write: Write = (severity, message, properties) => {
    try {
      logger[severity](message, properties);
    } catch (error) {
      fallback?.error("the logger of hook logger failed: {error}", { error });
    }
  };
  return {
    id: "logger",
    init(context) {
      fallback = context.logger;
    },
    ...(bits & LogLevel.connection ? connectionEvents(write) : {}),
    ...(bits & LogLevel.subscribe ? subscribeEvents(write) : {}),
    ...(bits & LogLevel.publish ? publishEvents(write) : {}),
    ...(bits & LogLevel.session ? sessionEvents(write) : {}),
  };
}

function connectionEvents(write: Write): Partial<Hook> {
  return {
    onConnected({ clientId, remoteAddress, username, protocolLevel, keepAlive, cleanStart }) {
      write("info", "{clientId} connected from {remoteAddress}", {
        clientId: escapeForLog(clientId),
        remoteAddress: escapeForLog(remoteAddress ?? "unknown"),
        username: username === undefined ? undefined : escapeForLog(username),
        protocolLevel,
        keepAlive,
        cleanStart,
      });
    },
    onDisconnect({ clientId, remoteAddress }, error) {
      const reasonCode = error instanceof ReasonCodeError ? error.reasonCode : undefined;
      const severity = reasonCode === undefined || harmless.has(reasonCode) ? "info" : "warn";
      write(severity, "{clientId} from {remoteAddress} is gone: {reason}", {
        clientId: escapeForLog(clientId),
        remoteAddress: escapeForLog(remoteAddress ?? "unknown"),
        reason: error === undefined ? "it said goodbye" : escapeForLog(error.message),
        reasonCode,
      });
    },
  };
}

function subscribeEvents(write: Write): Partial<Hook> {
  return {
    onSubscribe({ clientId }, subscriptions) {
      write("info", "{clientId} subscribes to {topicFilters}", {
        clientId: escapeForLog(clientId),
        topicFilters: listForLog(subscriptions.map(({ topicFilter, qos }) => `${topicFilter} (QoS ${qos})`)),
      });
      return subscriptions;
    },
    onUnsubscribe({ clientId }, topicFilters) {
      write("info", "{clientId} unsubscribes from {topicFilters}", {
        clientId: escapeForLog(clientId),
        topicFilters: listForLog(topicFilters),
      });
    },
  };
}

function publishEvents(write: Write): Partial<Hook> {
  return {
    onPublish({ clientId }, packet) {
      write("debug", "{clientId} publishes {bytes} bytes on {topic}", {
        clientId: escapeForLog(clientId),
        ...describe(packet),
      });
    },
    onWillPublish(clientId, will) {
      write("debug", "the will of {clientId} is published: {bytes} bytes on {topic}", {
        clientId: escapeForLog(clientId),
        ...describe(will),
      });
    },
    onMessageDropped(clientId, packet, reason) {
      write("warn", "a message on {topic} does not reach {clientId}: {reason}", {
        clientId: escapeForLog(clientId),
        reason,
        ...describe(packet),
      });
    },
  };
}

function sessionEvents(write: Write): Partial<Hook> {
  return {
    onSessionCreated({ clientId }) {
      write("info", "{clientId} has a new session", { clientId: escapeForLog(clientId) });
    },
    onSessionResumed({ clientId }) {
      write("info", "{clientId} has its session back", { clientId: escapeForLog(clientId) });
    },
    onSessionEnded(clientId) {
      write("info", "the session of {clientId} is over", { clientId: escapeForLog(clientId) });
    },
  };
}

function describe({ topic, qos, retain, payload }: PublishPacket): Record<string, unknown> {
  return { topic: escapeForLog(topic), qos, retain, bytes: payload.length };
}

/** One text, since a list would be spread over several lines by some formatters. */
function listForLog(texts: readonly string[]): string {
  const shown = texts.slice(0, SHOWN_FILTERS).map(escapeForLog).join(", ");
  const more = texts.length - SHOWN_FILTERS;
  return more > 0 ? `${shown} and ${more} more` : shown;
}

function levelBits(level: number | readonly LogLevelName[]): number {
  if (typeof level !== "number") return level.reduce((bits, name) => bits | bitOf(name), 0);
  if (Number.isInteger(level) && level >= 0 && level <= LogLevel.all) return level;
  throw new RangeError(`level is ${level}; it must be put together from the bits of LogLevel, 0 to ${LogLevel.all}`);
}

function bitOf(name: LogLevelName): number {
  if (Object.hasOwn(LogLevel, name)) return LogLevel[name];
  throw new RangeError(`level has ${JSON.stringify(name)}; there are ${Object.keys(LogLevel).join(", ")}`);
}

function assertLogger(logger: Logger): void {
  for (const method of ["debug", "info", "warn", "error"] as const) {
    if (typeof logger[method] !== "function") throw new TypeError(`logger has no method "${method}"`);
  }
}
