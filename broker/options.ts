import type { Qos } from "../codec/packet.ts";
import type { ClientInfo } from "./hooks.ts";
import { type Limits, resolveLimits } from "./limits.ts";
import { defaultLogger, type Logger } from "./logger.ts";

/**
 * What happens to a QoS 1 or 2 message for a client whose queue is full: the oldest waiting message is dropped for it, or
 * it is dropped itself, and with `"disconnect"` the client, if connected, is disconnected with 0x97 as well.
 *
 * @example
 * ```ts
 * import { Broker, type QueuePolicy } from "@hookmq/broker";
 *
 * const queuePolicy: QueuePolicy = "drop-new";
 * await using broker = new Broker({ queuePolicy, limits: { queueMessages: 1000 } });
 * ```
 */
export type QueuePolicy = "drop-oldest" | "drop-new" | "disconnect";

/**
 * How a broker is to behave; everything has a default.
 *
 * @example
 * ```ts
 * import { Broker, type BrokerOptions } from "@hookmq/broker";
 *
 * const options: BrokerOptions = {
 *   limits: { packetSize: 65_536 },
 *   queuePolicy: "disconnect",
 *   maximumSessionExpiry: 7 * 86_400,
 *   responseInformation: ({ clientId }) => `responses/${clientId}/`,
 * };
 * await using broker = new Broker(options);
 * ```
 */
export interface BrokerOptions {
  /** What clients may use. */
  limits?: Partial<Limits>;
  /** What happens when a client's queue is full. Default `"drop-oldest"`. */
  queuePolicy?: QueuePolicy;
  /**
   * Longest keep alive, in seconds, from 1 to 65,535; an MQTT 5 client that asks for more, or for none, is told this
   * one. Default: any.
   */
  maximumKeepAlive?: number;
  /** Longest time that a session outlives its connection, in seconds, from 0 on. Default: for ever. */
  maximumSessionExpiry?: number;
  /** Highest QoS that clients may publish with. Default 2. */
  maximumQos?: Qos;
  /** Whether clients may publish retained messages. Default true. */
  retainAvailable?: boolean;
  /** Whether filters may hold wildcards. Default true. */
  wildcardSubscriptionAvailable?: boolean;
  /** Whether subscriptions may have identifiers. Default true. */
  subscriptionIdentifiersAvailable?: boolean;
  /** Whether subscriptions may be shared. Default true. */
  sharedSubscriptionAvailable?: boolean;
  /**
   * What an MQTT 3.1 or 3.1.1 client sees when a hook refuses its message, since those versions have no word for it: an
   * acknowledgement as if nothing had happened, or a closed connection. Default `"acknowledge"`.
   */
  refusedPublish?: "acknowledge" | "disconnect";
  /** What a client that asks for response information gets, e.g. a prefix for its response topics. Default: nothing. */
  responseInformation?: (client: ClientInfo) => string | undefined;
  /** Where the broker writes what an operator should know. Default: LogTape's logger `["hookmq"]`. */
  logger?: Logger;
}

/** The options of a broker with every default filled in. */
export type ResolvedOptions = Required<Omit<BrokerOptions, "limits" | "responseInformation">> & {
  readonly limits: Limits;
  readonly responseInformation: ((client: ClientInfo) => string | undefined) | undefined;
};

/** @throws {RangeError} If an option has a value that it cannot have. */
export function resolveOptions(options: BrokerOptions): ResolvedOptions {
  const { queuePolicy = "drop-oldest", refusedPublish = "acknowledge", maximumQos = 2 } = options;
  oneOf("queuePolicy", queuePolicy, ["drop-oldest", "drop-new", "disconnect"]);
  oneOf("refusedPublish", refusedPublish, ["acknowledge", "disconnect"]);
  oneOf("maximumQos", maximumQos, [0, 1, 2]);
  return {
    limits: resolveLimits(options.limits),
    queuePolicy,
    refusedPublish,
    maximumQos,
    maximumKeepAlive: wholeSeconds("maximumKeepAlive", options.maximumKeepAlive ?? 0xffff, 1, 0xffff),
    maximumSessionExpiry: wholeSeconds(
      "maximumSessionExpiry",
      options.maximumSessionExpiry ?? 0xffff_ffff,
      0,
      0xffff_ffff,
    ),
    retainAvailable: options.retainAvailable ?? true,
    wildcardSubscriptionAvailable: options.wildcardSubscriptionAvailable ?? true,
    subscriptionIdentifiersAvailable: options.subscriptionIdentifiersAvailable ?? true,
    sharedSubscriptionAvailable: options.sharedSubscriptionAvailable ?? true,
    responseInformation: options.responseInformation,
    logger: options.logger ?? defaultLogger(),
  };
}

function oneOf<T>(name: string, value: T, allowed: readonly T[]): void {
  if (!allowed.includes(value)) throw new RangeError(`${name} is ${value}; it must be one of ${allowed.join(", ")}`);
}

function wholeSeconds(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`${name} is ${value}; it must be a whole number of seconds from ${least} to ${most}`);
}
