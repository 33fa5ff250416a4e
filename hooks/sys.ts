/**
 * Publishes what the broker holds and does on the topics that mosquitto has made customary, below `$SYS/broker`:
 *
 * | Topic                                      | Value                                                             |
 * | ------------------------------------------ | ----------------------------------------------------------------- |
 * | `version`                                  | e.g. `HookMQ 0.1.0`                                               |
 * | `uptime`                                   | seconds since the broker was made, e.g. `17 seconds`              |
 * | `clients/connected`, `clients/active`      | clients that are connected                                        |
 * | `clients/disconnected`, `clients/inactive` | sessions whose client is not connected                            |
 * | `clients/total`                            | sessions, of connected clients and of others                      |
 * | `clients/maximum`                          | the most clients that were connected at the same time             |
 * | `clients/expired`                          | sessions that ended since their expiry interval had passed        |
 * | `messages/received`, `messages/sent`       | packets of any kind from and to clients                           |
 * | `publish/messages/received`, `…/sent`      | PUBLISH packets from and to clients                               |
 * | `publish/messages/dropped`                 | messages that did not reach a client                              |
 * | `publish/bytes/received`, `…/sent`         | bytes of payload in PUBLISH packets from and to clients           |
 * | `bytes/received`, `bytes/sent`             | bytes from and to clients                                         |
 * | `store/messages/count`, `messages/stored`  | retained messages, and those that wait for a client               |
 * | `store/messages/bytes`                     | memory that the messages take that wait for a client, in bytes    |
 * | `retained messages/count`                  | topics with a retained message; these here are among them         |
 * | `subscriptions/count`                      | subscriptions of all sessions and of the embedding program        |
 * | `shared_subscriptions/count`               | those of them that are shared; each member of a group counts      |
 * | `heap/current`, `heap/maximum`             | memory that JavaScript objects use, in bytes                      |
 * | `load/bytes/received/…`, `…/sent/…`        | bytes a minute, averaged over the last `1min`, `5min` and `15min` |
 * | `load/messages/received/…`, `…/sent/…`     | packets of any kind a minute                                      |
 * | `load/publish/received/…`, `…/sent/…`      | PUBLISH packets a minute                                          |
 * | `load/publish/dropped/…`                   | messages that did not reach a client, a minute                    |
 * | `load/connections/…`                       | CONNECT packets from clients a minute                             |
 * | `load/sockets/…`                           | connections that were accepted, a minute                          |
 *
 * Averages are exponentially weighted as mosquitto's are, begin at 0 and have two decimal places.
 *
 * @module
 */
import type { Broker } from "../broker/broker.ts";
import type { Hook } from "../broker/hooks.ts";
import type { Logger } from "../broker/logger.ts";
import { isTopicName } from "../codec/topic.ts";
import packageFile from "../deno.json" with { type: "json" };
import { BrokerMeter, type BrokerMetrics } from "./sys/broker_meter.ts";
import { LoadAverage, type LoadAverages } from "./sys/load_average.ts";
import { sysTopics } from "./sys/topics.ts";

export type { BrokerMetrics, LoadAverages };

/** The longest time that the runtime's timers can wait, in seconds. */
const LONGEST_INTERVAL = 2_147_483;

/**
 * Options of {@linkcode sysHook}.
 *
 * @example
 * ```ts
 * import { sysHook, type SysOptions } from "@hookmq/broker/hooks";
 *
 * const onceAMinute: SysOptions = { interval: 60, version: "kitchen broker", topicPrefix: "$SYS/kitchen" };
 * sysHook(onceAMinute);
 * ```
 */
export interface SysOptions {
  /**
   * Time between two publications, in seconds, from 0.1 on. Default 10. With 0 the topics are published once, when the
   * hook is added.
   */
  interval?: number;
  /** What `version` says. Default: `HookMQ` and its version. */
  version?: string;
  /**
   * What all topics begin with: a topic name, without a `/` at its end. Default `"$SYS/broker"`. Topics that do not begin
   * with `$` are matched by `#`, and clients can publish to any that are not below `$SYS`.
   */
  topicPrefix?: string;
}

/**
 * All that {@linkcode sysHook} knows.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { sysHook, type SysMetrics } from "@hookmq/broker/hooks";
 *
 * function summary({ clientsConnected, load, version }: SysMetrics): string {
 *   return `${version}: ${clientsConnected} clients, ${load.publishReceived.oneMinute} messages a minute`;
 * }
 * const sys = sysHook({ interval: 0, version: "my broker" });
 * await using broker = new Broker();
 * await broker.use(sys);
 * console.log(summary(sys.metrics())); // my broker: 0 clients, 0 messages a minute
 * ```
 */
export interface SysMetrics extends BrokerMetrics {
  /** As in the options. */
  version: string;
  /** How fast figures grow, per minute, as of the last publication. */
  load: SysLoad;
}

/**
 * How fast a broker's figures grow, per minute, averaged over three times.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { sysHook, type SysLoad } from "@hookmq/broker/hooks";
 *
 * const sys = sysHook({ interval: 60 });
 * await using broker = new Broker();
 * await broker.use(sys);
 * const { bytesReceived, bytesSent }: SysLoad = sys.metrics().load;
 * console.log(`${bytesReceived.oneMinute + bytesSent.oneMinute} bytes a minute`); // 0 bytes a minute
 * ```
 */
export interface SysLoad {
  /** Bytes from clients. */
  bytesReceived: LoadAverages;
  /** Bytes to clients. */
  bytesSent: LoadAverages;
  /** Packets of any kind from clients. */
  packetsReceived: LoadAverages;
  /** Packets of any kind to clients. */
  packetsSent: LoadAverages;
  /** PUBLISH packets from clients. */
  publishReceived: LoadAverages;
  /** PUBLISH packets to clients. */
  publishSent: LoadAverages;
  /** Messages that did not reach a client. */
  publishDropped: LoadAverages;
  /** CONNECT packets from clients. */
  connectsReceived: LoadAverages;
  /** Connections that were accepted. */
  connectionsAccepted: LoadAverages;
}

/** The figures that have load averages. */
const loadFigures = [
  "bytesReceived",
  "bytesSent",
  "packetsReceived",
  "packetsSent",
  "publishReceived",
  "publishSent",
  "publishDropped",
  "connectsReceived",
  "connectionsAccepted",
] as const satisfies readonly (keyof SysLoad)[];

/**
 * What {@linkcode sysHook} returns.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type SysHook, sysHook } from "@hookmq/broker/hooks";
 *
 * const sys: SysHook = sysHook();
 * await using broker = new Broker();
 * await broker.use(sys);
 * sys.incrementSubscriptions(3);
 * console.log(sys.metrics().subscriptions); // 3
 * ```
 */
export interface SysHook extends Hook {
  /** All figures, as of now. @throws {Error} If the hook has not been added to a broker yet. */
  metrics(): SysMetrics;
  /**
   * Adds subscriptions that the broker does not know to those that are reported, e.g. those of other nodes.
   *
   * @param count How many. Default 1.
   */
  incrementSubscriptions(count?: number): void;
  /**
   * Takes back what `incrementSubscriptions` has added, and no more than that.
   *
   * @param count How many. Default 1.
   */
  decrementSubscriptions(count?: number): void;
}

/**
 * Publishes the broker's figures on `$SYS/broker/…`, as retained messages of QoS 0: at once when it is added, then after
 * every interval those that have changed. When it is removed, it removes them. Clients find them with a subscription to
 * `$SYS/#`; `#` alone does not match them.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { sysHook } from "@hookmq/broker/hooks";
 *
 * await using broker = new Broker();
 * const sys = sysHook({ interval: 60 });
 * await broker.use(sys);
 * console.log(`${sys.metrics().clientsConnected} clients are connected`);
 * ```
 *
 * @throws {RangeError} If `interval` is out of its range, or `topicPrefix` is no topic name.
 */
export function sysHook(
  { interval = 10, version = `HookMQ ${packageFile.version}`, topicPrefix = "$SYS/broker" }: SysOptions = {},
): SysHook {
  assertInterval(interval);
  assertTopicPrefix(topicPrefix);
  let publication: Publication | undefined;
  let meter: BrokerMeter | undefined;
  let loads: Record<keyof SysLoad, LoadAverage>;
  let updatedAt: number;
  let timer: ReturnType<typeof setInterval> | undefined;
  let otherSubscriptions = 0;

  return {
    id: "sys",
    async init({ broker, logger }) {
      publication = new Publication(broker, logger, topicPrefix);
      meter = new BrokerMeter(broker);
      const figures = meter.read();
      loads = mapFigures((figure) => new LoadAverage(figures[figure]));
      updatedAt = performance.now();
      await publication.publish(sysMetrics(figures));
      if (interval === 0) return;
      timer = setInterval(update, interval * 1000);
      // Having something to report is no reason for a program to go on.
      Deno.unrefTimer(timer);
    },
    async stop() {
      clearInterval(timer);
      await publication?.withdraw();
    },
    metrics,
    incrementSubscriptions(count = 1) {
      otherSubscriptions += count;
    },
    decrementSubscriptions(count = 1) {
      otherSubscriptions = Math.max(0, otherSubscriptions - count);
    },
  };

  function metrics(): SysMetrics {
    if (meter === undefined) throw new Error("the hook sys has not been added to a broker");
    return sysMetrics(meter.read());
  }

  function sysMetrics(figures: BrokerMetrics): SysMetrics {
    return {
      version,
      ...figures,
      subscriptions: figures.subscriptions + otherSubscriptions,
      load: mapFigures((figure) => ({ ...loads[figure].averages })),
    };
  }

  function update(): void {
    const figures = meter!.read();
    const now = performance.now();
    for (const figure of loadFigures) loads[figure].update(figures[figure], (now - updatedAt) / 1000);
    updatedAt = now;
    void publication!.publish(sysMetrics(figures));
  }
}

/** Keeps the topics of one broker up to date. */
class Publication {
  readonly #broker: Broker;
  readonly #logger: Logger;
  readonly #topicPrefix: string;
  /** What was published last, by the topic. */
  readonly #published = new Map<string, string>();
  #busy = false;

  constructor(broker: Broker, logger: Logger, topicPrefix: string) {
    this.#broker = broker;
    this.#logger = logger;
    this.#topicPrefix = topicPrefix;
  }

  /** Publishes what has changed, unless a store still has to do with the last time. Never rejects. */
  async publish(metrics: SysMetrics): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    const errors: unknown[] = [];
    // All at once, so that a subscriber gets them in one piece.
    await Promise.all(
      [...sysTopics(metrics)].map(([topic, payload]) =>
        this.#publishIfChanged(topic, payload).catch((error) => errors.push(error))
      ),
    );
    this.#busy = false;
    // What came too late, when the broker had begun to close, nobody misses.
    if (errors.length === 0 || this.#broker.closed) return;
    this.#logger.warn("cannot publish {count} of the topics below {topicPrefix}: {error}", {
      count: errors.length,
      topicPrefix: this.#topicPrefix,
      error: errors[0],
    });
  }

  /** Removes the retained messages. A broker that closes takes nothing any more, and needs no tidying. */
  async withdraw(): Promise<void> {
    const topics = [...this.#published.keys()];
    await Promise.allSettled(
      topics.map((topic) => this.#broker.publish(`${this.#topicPrefix}/${topic}`, "", { retain: true })),
    );
  }

  async #publishIfChanged(topic: string, payload: string): Promise<void> {
    if (this.#published.get(topic) === payload) return;
    this.#published.set(topic, payload);
    try {
      await this.#broker.publish(`${this.#topicPrefix}/${topic}`, payload, { retain: true });
    } catch (error) {
      this.#published.delete(topic);
      throw error;
    }
  }
}

function mapFigures<V>(value: (figure: keyof SysLoad) => V): Record<keyof SysLoad, V> {
  return Object.fromEntries(loadFigures.map((figure) => [figure, value(figure)])) as ReturnType<typeof mapFigures<V>>;
}

function assertInterval(interval: number): void {
  const isNumber = typeof interval === "number";
  if (isNumber && (interval === 0 || (interval >= 0.1 && interval <= LONGEST_INTERVAL))) return;
  throw new RangeError(`interval is ${interval}; it must be 0, or a number of seconds from 0.1 to ${LONGEST_INTERVAL}`);
}

function assertTopicPrefix(topicPrefix: string): void {
  if (isTopicName(topicPrefix) && !topicPrefix.endsWith("/")) return;
  throw new RangeError(
    `topicPrefix is ${JSON.stringify(topicPrefix)}; it must be a topic name without a "/" at its end`,
  );
}
