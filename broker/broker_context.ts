import { PublishHeader, type PublishPacket } from "../codec/publish.ts";
import { BufferPool } from "./buffer_pool.ts";
import type { Connection, ConnectionContext } from "./connection.ts";
import { Cluster } from "./cluster.ts";
import { Connections } from "./connections.ts";
import { EventLoop } from "./event_loop.ts";
import { Framers } from "./framers.ts";
import { escapingLogger } from "./escaping_logger.ts";
import { type DropReason, HookChain } from "./hooks.ts";
import type { Limits } from "./limits.ts";
import type { Logger } from "./logger.ts";
import { forEachInTurn, type MaybePromise, recover } from "./maybe_promise.ts";
import type { Message } from "./message.ts";
import type { ResolvedOptions } from "./options.ts";
import { Retained } from "./retained.ts";
import { Router } from "./router.ts";
import { Routes } from "./routes.ts";
import { Sessions } from "./sessions.ts";
import { Slab } from "./slab.ts";
import { TimerWheel } from "./timer_wheel.ts";
import { Storage } from "./storage.ts";
import { SubscriptionTree } from "./topics/subscription_tree.ts";
import { TopicCache } from "./topics/topic_cache.ts";

/**
 * What has happened since the broker was made.
 *
 * @example
 * ```ts
 * import { Broker, type Counters } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const before: Counters = broker.stats();
 * // A while later:
 * console.log(`${broker.stats().messagesReceived - before.messagesReceived} messages came meanwhile`);
 * ```
 */
export interface Counters {
  /** Packets of any kind from clients. */
  packetsReceived: number;
  /** Packets of any kind to clients. */
  packetsSent: number;
  /** PUBLISH packets from clients. */
  messagesReceived: number;
  /** PUBLISH packets to clients. */
  messagesSent: number;
  /** Bytes of payload in PUBLISH packets from clients. */
  payloadBytesReceived: number;
  /** Bytes of payload in PUBLISH packets to clients. */
  payloadBytesSent: number;
  /** Messages that did not reach a client; see {@linkcode DropReason}. */
  messagesDropped: number;
  /** Bytes from clients. */
  bytesReceived: number;
  /** Bytes to clients. */
  bytesSent: number;
  /** Connections that were accepted, whether or not they became a client. */
  connectionsAccepted: number;
  /** Connections that were closed at once, since a limit was reached. */
  connectionsRefused: number;
  /** CONNECT packets that were decoded, whatever became of them. */
  connectsReceived: number;
  /** Sessions that ended since their expiry interval had passed. */
  sessionsExpired: number;
}

/** The parts of one broker, as they know each other. Nothing here is shared between brokers. */
export class BrokerContext implements ConnectionContext {
  readonly options: ResolvedOptions;
  readonly limits: Limits;
  readonly logger: Logger;
  readonly timers: TimerWheel;
  readonly topics: TopicCache;
  readonly hooks = new HookChain();
  readonly pool = new BufferPool();
  readonly framers: Framers;
  readonly slab = new Slab();
  readonly eventLoop = new EventLoop();
  readonly subscriptions = new SubscriptionTree();
  readonly retained = new Retained(this);
  readonly router = new Router(this);
  readonly sessions = new Sessions(this);
  readonly routes = new Routes(this);
  readonly cluster = new Cluster(this);
  readonly storage: Storage;
  readonly connections: Connections;
  /** Filled in by every PUBLISH that arrives, and read before anything else can happen. */
  readonly publishHeader = new PublishHeader();
  readonly counters: Counters = {
    packetsReceived: 0,
    packetsSent: 0,
    messagesReceived: 0,
    messagesSent: 0,
    payloadBytesReceived: 0,
    payloadBytesSent: 0,
    messagesDropped: 0,
    bytesReceived: 0,
    bytesSent: 0,
    connectionsAccepted: 0,
    connectionsRefused: 0,
    connectsReceived: 0,
    sessionsExpired: 0,
  };
  /** Whether the broker is shutting down: what happens to connections then is no clients' doing. */
  closing = false;

  #toFlush: Connection[] = [];

  constructor(options: ResolvedOptions) {
    this.options = options;
    this.limits = options.limits;
    this.logger = escapingLogger(options.logger);
    this.connections = new Connections(options.limits);
    this.framers = new Framers(options.limits.packetSize);
    this.storage = new Storage(this.hooks, this.logger);
    this.timers = new TimerWheel(this.logger);
    this.topics = new TopicCache(options.limits);
  }

  flushSoon(connection: Connection): void {
    this.#toFlush.push(connection);
    // Behind every read that this turn of the event loop has completed: they all share the writes.
    if (this.#toFlush.length === 1) queueMicrotask(() => this.#flush());
  }

  /** Counts a message that will not reach a client, and tells the hooks. */
  dropped(clientId: string, message: Message, reason: DropReason): void {
    this.counters.messagesDropped += 1;
    this.tellDropped(clientId, () => message.toPacket(), reason);
  }

  /** Tells the hooks of a message that will not reach a client and is counted already. */
  tellDropped(clientId: string, packetOf: () => PublishPacket, reason: DropReason): void {
    for (const hook of this.hooks.on.onMessageDropped) {
      this.observe(hook.id, "onMessageDropped", () => hook.onMessageDropped(clientId, packetOf(), reason));
    }
  }

  /** Settles when other brokers know the subscriptions here. */
  routesKnown(): MaybePromise<void> {
    const { routesKnown } = this.hooks.on;
    return forEachInTurn(routesKnown, (hook) => this.observe(hook.id, "routesKnown", () => hook.routesKnown()));
  }

  /** Calls a hook that only observes: what goes wrong is logged. */
  observe(hook: string, event: string, call: () => MaybePromise<void>): MaybePromise<void> {
    return recover(
      call,
      (error) => this.logger.error("{event} of hook {hook} failed: {error}", { event, hook, error }),
    );
  }

  #flush(): void {
    const connections = this.#toFlush;
    this.#toFlush = [];
    for (const connection of connections) {
      connection.flushRequested = false;
      connection.outbound.flush();
    }
  }
}
