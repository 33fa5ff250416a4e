/**
 * Rate limits: how much each client may publish.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { rateLimitHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * await broker.use(rateLimitHook({ publishRate: 100, byteRate: 1_000_000, onExceed: "delay" }));
 * ```
 *
 * @module
 */
import type { ClientInfo, Hook } from "../broker/hooks.ts";
import { ReasonCodeError } from "../codec/errors.ts";
import type { PublishPacket } from "../codec/publish.ts";
import { ReasonCode } from "../codec/reason_code.ts";

/**
 * Options of {@linkcode rateLimitHook}; `publishRate` or `byteRate` must be there.
 *
 * @example
 * ```ts
 * import { rateLimitHook, type RateLimitOptions } from "@hookmq/broker/hooks";
 *
 * const tenAMinute: RateLimitOptions = { publishRate: 10, interval: 60, scope: "username", onExceed: "disconnect" };
 * rateLimitHook(tenAMinute);
 * ```
 */
export interface RateLimitOptions {
  /** Messages per `interval`, more than 0. Default: any number. */
  publishRate?: number;
  /** Bytes per `interval`, more than 0: payload, topic name and properties of the messages. Default: any number. */
  byteRate?: number;
  /** What the rates are per, in seconds, more than 0. Default 1. */
  interval?: number;
  /** Messages that may come at once after a pause, at least 1. Default 2 x `publishRate`, but at least 1. */
  burstSize?: number;
  /**
   * Bytes that may come at once after a pause, more than 0. A larger message passes when the whole burst is there, and
   * what it takes beyond that is missing from what follows. Default 2 x `byteRate`.
   */
  byteBurst?: number;
  /**
   * What happens to a message over the limit. Default `"drop"`.
   *
   * - `"drop"`: it is refused with 0x97 (quota exceeded), which an MQTT 5 client learns at QoS 1 and 2; for older clients
   *   the broker's `refusedPublish` option holds.
   * - `"delay"`: it waits until it is within the limit, and everything that the client sends meanwhile waits in the network,
   *   its PINGREQ too: a client that is far over the limit may take the connection for dead.
   * - `"disconnect"`: its client is disconnected with 0x96 (message rate too high).
   */
  onExceed?: "drop" | "delay" | "disconnect";
  /**
   * Who shares one limit: the connections of one client id, of one user, or from one address. Clients without a user name,
   * or an address, have a limit each. Default `"clientId"`.
   */
  scope?: "clientId" | "username" | "remoteAddress";
  /** A clock for tests, in milliseconds, which never goes back. Default: that of `performance.now`. */
  now?: () => number;
}

/**
 * How many messages were over the limit, by what happened to them.
 *
 * @example
 * ```ts
 * import { type RateLimitCounters, rateLimitHook } from "@hookmq/broker/hooks";
 *
 * const { dropped, delayed, disconnected }: RateLimitCounters = rateLimitHook({ publishRate: 100 }).counters();
 * console.log(dropped + delayed + disconnected); // 0
 * ```
 */
export interface RateLimitCounters {
  /** Refused, or lost since their client was gone before their time had come. */
  dropped: number;
  /** Held back. */
  delayed: number;
  /** The reason for a disconnection. */
  disconnected: number;
}

/**
 * What {@linkcode rateLimitHook} returns.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type RateLimitHook, rateLimitHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const rateLimit: RateLimitHook = rateLimitHook({ publishRate: 100, onExceed: "delay" });
 * await broker.use(rateLimit);
 * console.log(`${rateLimit.counters().delayed} messages had to wait`); // 0 messages had to wait
 * ```
 */
export interface RateLimitHook extends Hook {
  /** What has happened since the hook was made. */
  counters(): RateLimitCounters;
}

/** A rate and a burst, both as the time that they take, in milliseconds. */
interface Limit {
  readonly perUnit: number;
  readonly burst: number;
}

const unlimited: Limit = { perUnit: 0, burst: 0 };

/**
 * A client's token buckets. Each is kept as the time when it will be full again if nothing more comes: nothing has to be
 * refilled, and one whose time has passed is as good as a new one.
 */
interface Buckets {
  messagesFullAt: number;
  bytesFullAt: number;
}

/** Less than this, in milliseconds, is an error of rounding. */
const ROUNDING = 0.001;
/** The longest that the runtime's timers can wait, in milliseconds. */
const LONGEST_DELAY = 2 ** 31 - 1;
/** How many buckets that are not full are remembered, of clients that are connected or not; then the oldest are forgotten. */
const MOST_BUCKETS = 100_000;
/** With fewer buckets than this it is not worth looking for full ones. */
const FEW_BUCKETS = 1000;

/**
 * Limits how fast each client publishes, by token buckets: a client may always publish at the rate, and after a pause a
 * burst at once. A client that connects again goes on with the bucket that it had. Wills are not counted.
 *
 * Add it before other hooks that decide about messages: what they have refused already is not counted.
 *
 * @example How much was too much
 * ```ts
 * import { rateLimitHook } from "@hookmq/broker/hooks";
 *
 * const rateLimit = rateLimitHook({ publishRate: 600, interval: 60, burstSize: 50, scope: "username" });
 * console.log(rateLimit.counters()); // { dropped: 0, delayed: 0, disconnected: 0 }
 * ```
 *
 * @throws {RangeError} If an option has a value that it cannot have, or if there is no rate.
 */
export function rateLimitHook(options: RateLimitOptions): RateLimitHook {
  const { interval = 1, onExceed = "drop", scope = "clientId", now: clock = () => performance.now() } = options;
  oneOf("onExceed", onExceed, ["drop", "delay", "disconnect"]);
  oneOf("scope", scope, ["clientId", "username", "remoteAddress"]);
  if (options.publishRate === undefined && options.byteRate === undefined) {
    throw new RangeError("publishRate and byteRate are both missing");
  }
  const messages = limit("publishRate", options.publishRate, "burstSize", options.burstSize, interval, 1);
  const bytes = limit("byteRate", options.byteRate, "byteBurst", options.byteBurst, interval, Number.MIN_VALUE);

  const quotaExceeded = new ReasonCodeError(ReasonCode.QuotaExceeded, "over the rate limit");
  const rateTooHigh = new ReasonCodeError(ReasonCode.MessageRateTooHigh, "over the rate limit");
  const counters: RateLimitCounters = { dropped: 0, delayed: 0, disconnected: 0 };
  const known = new Map<string, Buckets>();
  let sweepAt = FEW_BUCKETS;
  /** How to end the waiting of each client that does. */
  const waiting = new Map<ClientInfo, (error?: Error) => void>();
  let turnTime: number | undefined;

  /** The time, looked up once a turn of the event loop: that costs more than all the rest. */
  function currentTime(): number {
    if (turnTime !== undefined) return turnTime;
    queueMicrotask(() => turnTime = undefined);
    return turnTime = clock();
  }

  function bucketsOf(client: ClientInfo, now: number): Buckets {
    // U+0000 keeps it apart from names that clients can have.
    const key = client[scope] ?? `\0${client.clientId}`;
    let buckets = known.get(key);
    if (buckets === undefined) {
      if (known.size >= sweepAt) sweep(now);
      known.set(key, buckets = { messagesFullAt: now, bytesFullAt: now });
    }
    return buckets;
  }

  /** Forgets what makes no difference, and the oldest half of what does if it is too much. */
  function sweep(now: number): void {
    for (const [key, { messagesFullAt, bytesFullAt }] of known) {
      if (messagesFullAt <= now && bytesFullAt <= now) known.delete(key);
    }
    for (const key of known.keys()) {
      if (known.size <= MOST_BUCKETS / 2) break;
      known.delete(key);
    }
    sweepAt = Math.max(FEW_BUCKETS, 2 * known.size);
  }

  /** Refuses the message if its client is gone before its time has come: a new connection must not be a way around it. */
  function delay(client: ClientInfo, milliseconds: number, giveBack: () => void): Promise<void> {
    counters.delayed += 1;
    return new Promise((resolve, reject) => {
      const settle = (error?: Error) => {
        clearTimeout(timer);
        waiting.delete(client);
        if (error === undefined) return resolve();
        giveBack();
        counters.dropped += 1;
        reject(error);
      };
      const timer = setTimeout(settle, Math.min(milliseconds, LONGEST_DELAY));
      waiting.set(client, settle);
    });
  }

  return {
    id: "rate-limit",
    onPublish(client, packet) {
      const now = currentTime();
      const buckets = bucketsOf(client, now);
      const messageTime = messages.perUnit;
      const byteTime = bytes.perUnit * sizeOf(packet);
      const wait = Math.max(
        waitFor(messages, buckets.messagesFullAt, messageTime, now),
        waitFor(bytes, buckets.bytesFullAt, byteTime, now),
      );
      const exceeds = wait > ROUNDING;
      if (exceeds && onExceed === "drop") {
        counters.dropped += 1;
        throw quotaExceeded;
      }
      if (exceeds && onExceed === "disconnect") {
        counters.disconnected += 1;
        throw rateTooHigh;
      }
      buckets.messagesFullAt = Math.max(buckets.messagesFullAt, now) + messageTime;
      buckets.bytesFullAt = Math.max(buckets.bytesFullAt, now) + byteTime;
      if (!exceeds) return;
      return delay(client, wait, () => {
        buckets.messagesFullAt -= messageTime;
        buckets.bytesFullAt -= byteTime;
      });
    },
    onDisconnect: (client) => waiting.get(client)?.(quotaExceeded),
    stop() {
      for (const settle of waiting.values()) settle();
    },
    counters: () => ({ ...counters }),
  };
}

/** How long until what takes `time` is within the limit, in milliseconds; 0 or less if it is. */
function waitFor({ burst }: Limit, fullAt: number, time: number, now: number): number {
  return Math.max(0, fullAt - now) + Math.min(time, burst) - burst;
}

/** Roughly the bytes of a message; text counts by its characters. */
function sizeOf({ topic, payload, properties }: PublishPacket): number {
  let size = topic.length + payload.length;
  if (properties === undefined) return size;
  const { responseTopic, contentType, correlationData, userProperties } = properties;
  size += (responseTopic?.length ?? 0) + (contentType?.length ?? 0) + (correlationData?.length ?? 0);
  for (const [name, value] of userProperties ?? []) size += name.length + value.length;
  return size;
}

function limit(
  rateName: string,
  rate: number | undefined,
  burstName: string,
  burst: number | undefined,
  interval: number,
  leastBurst: number,
): Limit {
  atLeast("interval", interval, Number.MIN_VALUE);
  if (rate === undefined) {
    if (burst !== undefined) throw new RangeError(`${burstName} is ${burst}, but ${rateName} is missing`);
    return unlimited;
  }
  atLeast(rateName, rate, Number.MIN_VALUE);
  const size = burst ?? Math.max(leastBurst, 2 * rate);
  atLeast(burstName, size, leastBurst);
  const perUnit = interval * 1000 / rate;
  return { perUnit, burst: size * perUnit };
}

function atLeast(name: string, value: number, least: number): void {
  if (Number.isFinite(value) && value >= least) return;
  const range = least === Number.MIN_VALUE ? "more than 0" : `at least ${least}`;
  throw new RangeError(`${name} is ${value}; it must be a number that is ${range}`);
}

function oneOf(name: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) throw new RangeError(`${name} is ${value}; it must be one of ${allowed.join(", ")}`);
}
