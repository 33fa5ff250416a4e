/**
 * What the broker lets its clients use. Every limit has a default that suits a machine with a gigabyte of memory.
 * They are whole numbers from 1 on unless they say otherwise, and those that nothing else bounds may be `Infinity`.
 *
 * @example
 * ```ts
 * import { Broker, type Limits } from "@hookmq/broker";
 *
 * const small: Partial<Limits> = { connections: 500, connectionsPerAddress: 20, packetSize: 65_536 };
 * await using broker = new Broker({ limits: small });
 * ```
 */
export interface Limits {
  /** Connections at one time; one more is closed at once. Default 100,000. */
  connections: number;
  /** Connections at one time from one remote address. Default: no limit of its own. */
  connectionsPerAddress: number;
  /** Time from the connection to the end of CONNECT and authentication, in seconds. Default 10; from 1 to 86,400. */
  connectTimeout: number;
  /** Largest packet accepted, in bytes with its fixed header. Default 16,777,216 (16 MiB); 64 to 268,435,460. */
  packetSize: number;
  /** Longest client identifier, in bytes of UTF-8. Default 1,024. */
  clientIdLength: number;
  /** Longest topic name or filter, in bytes of UTF-8. Default 65,535, the protocol's own. */
  topicLength: number;
  /** Most levels (`/`-separated parts) of a topic name or filter. Default 200. */
  topicLevels: number;
  /** Subscriptions of one session. Default 10,000. */
  subscriptions: number;
  /**
   * QoS 1 and 2 messages from one client that are not acknowledged yet: the broker's Receive Maximum. Default 1,024; at
   * most 65,535.
   */
  receiveMaximum: number;
  /**
   * QoS 1 and 2 messages to one client that are not acknowledged yet; a client can ask for less. Default 1,024; at most
   * 65,535.
   */
  inflight: number;
  /** Messages that wait for one client. Default 10,000; 0 for none. */
  queueMessages: number;
  /** Bytes of messages that wait for one client. Default 67,108,864 (64 MiB); 0 for none. */
  queueBytes: number;
  /**
   * Bytes that wait to be written to one connection; past it QoS 0 messages are dropped and others wait in the session's
   * queue. Default 4,194,304 (4 MiB).
   */
  outboundBytes: number;
  /**
   * Highest topic alias that a client may use, and that is used towards a client. Default 256; 0 switches them off; at
   * most 65,535.
   */
  topicAliasMaximum: number;
  /** User properties in one packet. Default 1,000; 0 for none. */
  userProperties: number;
  /** Topics with a retained message; a new one is refused past it. Default 1,000,000; 0 for none. */
  retainedMessages: number;
}

/**
 * The limits of a broker that is told nothing else.
 *
 * @example
 * ```ts
 * import { Broker, defaultLimits } from "@hookmq/broker";
 *
 * await using broker = new Broker({ limits: { queueMessages: defaultLimits.queueMessages * 2 } });
 * ```
 */
export const defaultLimits: Readonly<Limits> = {
  connections: 100_000,
  connectionsPerAddress: Infinity,
  connectTimeout: 10,
  packetSize: 16 * 1024 * 1024,
  clientIdLength: 1024,
  topicLength: 65_535,
  topicLevels: 200,
  subscriptions: 10_000,
  receiveMaximum: 1024,
  inflight: 1024,
  queueMessages: 10_000,
  queueBytes: 64 * 1024 * 1024,
  outboundBytes: 4 * 1024 * 1024,
  topicAliasMaximum: 256,
  userProperties: 1000,
  retainedMessages: 1_000_000,
};

/** The least and the most that a limit may be, where that is not 1 and infinity. */
const ranges: Partial<Record<keyof Limits, readonly [least: number, most: number]>> = {
  connectTimeout: [1, 86_400],
  packetSize: [64, 268_435_460],
  topicLength: [1, 65_535],
  receiveMaximum: [1, 65_535],
  inflight: [1, 65_535],
  topicAliasMaximum: [0, 65_535],
  queueMessages: [0, Infinity],
  queueBytes: [0, Infinity],
  userProperties: [0, Infinity],
  retainedMessages: [0, Infinity],
};

/**
 * The default limits with some of them changed.
 *
 * @throws {RangeError} If a limit does not exist or is out of its range.
 */
export function resolveLimits(changes: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(defaultLimits, name)) throw new RangeError(`limits.${name} does not exist`);
    const [least, most] = ranges[name as keyof Limits] ?? [1, Infinity];
    const isTime = name === "connectTimeout";
    const isOfItsKind = Number.isInteger(value) || value === Infinity || (isTime && typeof value === "number");
    if (!(isOfItsKind && value >= least && value <= most)) {
      const kind = isTime ? "number of seconds" : "whole number";
      throw new RangeError(`limits.${name} is ${value}; it must be a ${kind} from ${least} to ${most}`);
    }
  }
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  return { ...defaultLimits, ...given };
}
