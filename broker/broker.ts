import { ReasonCode } from "../codec/reason_code.ts";
import type { PublishProperties } from "../codec/publish.ts";
import type { Qos } from "../codec/packet.ts";
import { isTopicFilter } from "../codec/topic.ts";
import { BrokerContext, type Counters } from "./broker_context.ts";
import { Client } from "./client.ts";
import type { Hook, HookHealth, StoredMessage } from "./hooks.ts";
import type { ListenContext, Listener, NetworkAddress, Peer, UnixAddress } from "./listener.ts";
import { listenTcp, type TcpListenOptions } from "./listeners/tcp.ts";
import { listenTls, type TlsListenOptions } from "./listeners/tls.ts";
import { listenUnix, type UnixListenOptions } from "./listeners/unix.ts";
import {
  listenWebSocket,
  type SecureWebSocketListenOptions,
  type WebSocketListenOptions,
} from "./listeners/web_socket.ts";
import { LocalSubscriber, type MessageHandler } from "./local_subscriber.ts";
import { isPromise, type MaybePromise, then } from "./maybe_promise.ts";
import { Message } from "./message.ts";
import { type BrokerOptions, resolveOptions } from "./options.ts";
import { type Duplex, type Transport, transportOf } from "./transport.ts";

/**
 * What goes with a message that the embedding program publishes.
 *
 * @example
 * ```ts
 * import { Broker, type PublishOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const lastKnown: PublishOptions = { qos: 1, retain: true };
 * await broker.publish("kitchen/temperature", "21.5", lastKnown);
 * console.log(broker.stats().retainedMessages); // 1
 * ```
 */
export interface PublishOptions {
  /** At which QoS it is published: the highest that a subscriber can get it at. Default 0. */
  qos?: Qos;
  /** Whether it becomes the topic's retained message. Default false. */
  retain?: boolean;
  /** What MQTT 5 subscribers are told besides. Default: nothing. */
  properties?: PublishProperties;
}

/**
 * How the embedding program subscribes.
 *
 * @example
 * ```ts
 * import { Broker, type SubscribeOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * await broker.publish("kitchen/light", "off", { retain: true });
 * const onlyNew: SubscribeOptions = { retained: false };
 * using _changes = await broker.subscribe("+/light", ({ topic }) => console.log(topic), onlyNew);
 * await broker.publish("hall/light", "on"); // hall/light
 * ```
 */
export interface SubscribeOptions {
  /** Whether the retained messages that match are delivered first. Default true. */
  retained?: boolean;
}

/**
 * A subscription of the embedding program; ended by `unsubscribe` or at the end of its `using` block.
 *
 * @example
 * ```ts
 * import { Broker, type LocalSubscription } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const subscription: LocalSubscription = await broker.subscribe("kitchen/#", ({ topic }) => console.log(topic));
 * await broker.publish("kitchen/light", "on"); // kitchen/light
 * subscription.unsubscribe();
 * ```
 */
export interface LocalSubscription extends Disposable {
  /** The filter that it was made with. */
  readonly topicFilter: string;
  /** Ends the subscription. */
  unsubscribe(): void;
}

/**
 * Where and how to listen on the network.
 *
 * @example
 * ```ts
 * import { Broker, type NetworkListenOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const places: NetworkListenOptions[] = [{ port: 0 }, { transport: "ws", port: 0, path: "/mqtt" }];
 * for (const place of places) await broker.listen(place);
 * console.log(broker.listeners.map(({ url }) => url)); // e.g. ["mqtt://127.0.0.1:40123", "ws://127.0.0.1:40124/mqtt"]
 * ```
 */
export type NetworkListenOptions =
  | TcpListenOptions
  | TlsListenOptions
  | WebSocketListenOptions
  | SecureWebSocketListenOptions;

/**
 * How a broker is.
 *
 * @example
 * ```ts
 * import { Broker, type BrokerHealth } from "@hookmq/broker";
 *
 * // What is wrong, a line for each hook.
 * function complaints({ hooks }: BrokerHealth): string[] {
 *   return Object.entries(hooks).filter(([, { ok }]) => !ok).map(([id, { reason }]) => `${id}: ${reason}`);
 * }
 * await using broker = new Broker();
 * await broker.use({ id: "upstream", health: () => ({ ok: false, reason: "it does not answer" }) });
 * console.log(complaints(broker.health())); // ["upstream: it does not answer"]
 * ```
 */
export interface BrokerHealth {
  /** Whether every hook works as it should, as far as they can tell. */
  readonly ok: boolean;
  /** What the hooks say that can tell, by their ids. */
  readonly hooks: Readonly<Record<string, HookHealth>>;
}

/**
 * What a broker holds and has done.
 *
 * @example
 * ```ts
 * import { Broker, type BrokerStats } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const { clients, sessions, messagesReceived }: BrokerStats = broker.stats();
 * console.log(`${clients} of ${sessions} clients are here; ${messagesReceived} messages so far`);
 * ```
 */
export interface BrokerStats extends Readonly<Counters> {
  /** Connections that are open, also those that have not become a client yet. */
  connections: number;
  /** Clients that are connected. */
  clients: number;
  /** Sessions, of connected clients and of others. */
  sessions: number;
  /** Subscriptions of all sessions and of the embedding program. */
  subscriptions: number;
  /** How many of those are shared; each member of a group counts. */
  sharedSubscriptions: number;
  /** Topics with a retained message. */
  retainedMessages: number;
  /** Messages that wait in the sessions' queues. */
  queuedMessages: number;
  /** How much memory those take, in bytes; one that waits in several counts in each. */
  queuedBytes: number;
  /** The most clients that were connected at the same time. */
  clientsMaximum: number;
  /** When the broker was made, in milliseconds since 1970. */
  startedAt: number;
}

/**
 * An MQTT 3.1, 3.1.1 and 5.0 broker. It does nothing until it is told to listen, or given a connection to serve.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 *
 * await using broker = new Broker({ limits: { packetSize: 65_536 } });
 * const listener = await broker.listen({ port: 0 });
 * console.log(`listening on port ${listener.address.port}`);
 * using _subscription = await broker.subscribe("sensors/#", ({ topic, payload }) => {
 *   console.log(topic, new TextDecoder().decode(payload));
 * });
 * await broker.publish("sensors/kitchen", "21.5", { retain: true });
 * ```
 */
export class Broker implements AsyncDisposable {
  readonly #context: BrokerContext;
  readonly #startedAt = Date.now();
  readonly #listeners = new Set<Listener>();
  /** Hooks whose `init` has not settled yet, by their ids. */
  readonly #adding = new Map<string, Promise<void>>();
  #publishing: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  /**
   * A broker with these options.
   *
   * @throws {RangeError} If an option has a value that it cannot have.
   */
  constructor(options: BrokerOptions = {}) {
    this.#context = new BrokerContext(resolveOptions(options));
  }

  /**
   * Adds a hook behind those that are there. It is asked from then on, when its `init` has settled.
   *
   * @throws {TypeError} If a hook with the same id is there already, or being added. Errors of `init` are passed on.
   */
  async use(hook: Hook): Promise<this> {
    this.#assertOpen();
    const { id } = hook;
    if (this.#adding.has(id) || this.#context.hooks.find(id) !== undefined) {
      throw new TypeError(`there is a hook with the id "${id}" already`);
    }
    const added = this.#add(hook).finally(() => this.#adding.delete(id));
    this.#adding.set(id, added);
    await added;
    return this;
  }

  /** Removes a hook, or the one with this id, and stops it. Returns whether it was there. */
  async remove(hook: Hook | string): Promise<boolean> {
    const { hooks } = this.#context;
    const found = hooks.find(typeof hook === "string" ? hook : hook.id);
    if (found === undefined) return false;
    hooks.remove(found);
    this.#context.routes.hooksChanged();
    await found.stop?.();
    return true;
  }

  /**
   * Accepts connections: on 127.0.0.1:1883 over TCP, unless told otherwise.
   *
   * @throws {Error} If the port cannot be had, or a certificate cannot be used; the message says why and what to do.
   *
   * @example TLS and WebSocket besides TCP
   * ```ts ignore
   * import { Broker } from "@hookmq/broker";
   *
   * const broker = new Broker();
   * await broker.listen();
   * await broker.listen({ transport: "tls", hostname: "0.0.0.0", certificate: "server.pem", key: "server.key" });
   * await broker.listen({ transport: "ws", port: 8083, origins: ["https://dashboard.example.org"] });
   * ```
   */
  listen(options: UnixListenOptions): Promise<Listener<UnixAddress>>;
  /** Accepts connections on the network. */
  listen(options?: NetworkListenOptions): Promise<Listener<NetworkAddress>>;
  /** Accepts connections. */
  listen(options: NetworkListenOptions | UnixListenOptions): Promise<Listener>;
  async listen(options: NetworkListenOptions | UnixListenOptions = {}): Promise<Listener> {
    this.#assertOpen();
    const listener = await this.#open(options);
    const tracked = {
      ...listener,
      close: () => {
        if (this.#listeners.delete(tracked)) listener.close();
      },
    };
    this.#listeners.add(tracked);
    return tracked;
  }

  /** What listens, in the order in which it was opened. */
  get listeners(): readonly Listener[] {
    return [...this.#listeners];
  }

  /**
   * Speaks MQTT with a peer over anything that bytes go in and out of, until the connection is over. Never rejects.
   *
   * @example Two ends of a connection in memory
   * ```ts
   * import { Broker } from "@hookmq/broker";
   *
   * await using broker = new Broker();
   * const toBroker = new TransformStream<Uint8Array, Uint8Array>();
   * const toClient = new TransformStream<Uint8Array, Uint8Array>();
   * const served = broker.serve({ readable: toBroker.readable, writable: toClient.writable });
   * // A client reads from toClient.readable, writes to toBroker.writable and closes that in the end.
   * await toBroker.writable.close();
   * await served;
   * ```
   */
  serve(duplex: Duplex, peer: Peer = {}): Promise<void> {
    return this.#accept(transportOf(duplex, this.#context.pool), peer)?.closed ?? Promise.resolve();
  }

  /**
   * Publishes a message. Hooks that authorise or change what clients publish are not asked. Settles when the message is
   * stored and delivered as far as hooks are concerned; subscribers may get it later.
   *
   * @param payload Bytes, or a text that is sent as UTF-8.
   * @throws {PacketError} If the topic is no topic name, or beyond the limits.
   * @throws {RangeError} If a property has a value that MQTT cannot carry.
   */
  async publish(topic: string, payload: string | Uint8Array, options: PublishOptions = {}): Promise<void> {
    this.#assertOpen();
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const { qos = 0, retain = false, properties } = options;
    const message = Message.from(this.#context.topics.named(topic), { payload: bytes, qos, retain, properties });
    // One after the other, so that they keep their order also when a hook takes its time.
    const published = then(this.#publishing, () => this.#deliver(message));
    if (isPromise(published)) this.#publishing = published.catch(() => {});
    await published;
  }

  /**
   * Calls `handler` with every message that matches a filter, from clients and from `publish`.
   *
   * @param topicFilter May hold wildcards, and may be a shared subscription's `$share/{group}/{filter}`.
   * @throws {RangeError} If it is no topic filter.
   */
  async subscribe(
    topicFilter: string,
    handler: MessageHandler,
    { retained = true }: SubscribeOptions = {},
  ): Promise<LocalSubscription> {
    this.#assertOpen();
    if (!isTopicFilter(topicFilter)) throw new RangeError(`${JSON.stringify(topicFilter)} is not a topic filter`);
    const { subscriptions, logger, retained: store } = this.#context;
    const subscriber = new LocalSubscriber(handler, logger);
    const subscription = {
      subscriber,
      topicFilter,
      qos: 2 as const,
      noLocal: false,
      retainAsPublished: true,
      identifiers: undefined,
    };
    const { routes } = this.#context;
    subscriptions.add(subscription);
    routes.add(subscription);
    await this.#context.routesKnown();
    if (retained && !topicFilter.startsWith("$share/")) {
      for (const { message, current } of await store.match(topicFilter)) {
        if (current()) subscriber.deliver(message, subscription);
      }
    }
    const unsubscribe = () => {
      if (subscriptions.remove(subscriber, topicFilter)) routes.remove(subscription);
    };
    return { topicFilter, unsubscribe, [Symbol.dispose]: unsubscribe };
  }

  /**
   * Disconnects a client; an MQTT 5 client is told why. Its will is published as if the connection had failed.
   *
   * @param reasonCode Default 0x98, administrative action.
   * @param serverReference Where it should go instead, with 0x9C or 0x9D.
   * @returns Whether it was connected.
   */
  disconnect(
    clientId: string,
    reasonCode: ReasonCode = ReasonCode.AdministrativeAction,
    reason = "disconnected by the operator",
    serverReference?: string,
  ): boolean {
    const client = this.#context.sessions.get(clientId)?.client;
    client?.disconnect(reasonCode, reason, serverReference);
    return client !== undefined;
  }

  /** What the broker holds and has done, as of now. */
  stats(): BrokerStats {
    const { counters, connections, sessions, subscriptions, retained, cluster } = this.#context;
    let queuedMessages = 0;
    let queuedBytes = 0;
    for (const session of sessions) {
      queuedMessages += session.queued;
      queuedBytes += session.queuedBytes;
    }
    return {
      ...counters,
      connections: connections.size,
      clients: sessions.connected,
      sessions: sessions.size,
      subscriptions: subscriptions.size - cluster.subscriptions,
      sharedSubscriptions: subscriptions.shared - cluster.sharedSubscriptions,
      retainedMessages: retained.size,
      queuedMessages,
      queuedBytes,
      clientsMaximum: sessions.clientsMaximum,
      startedAt: this.#startedAt,
    };
  }

  /** How the broker is, as of now: asks every hook that can tell. One that fails to answer is not well. */
  health(): BrokerHealth {
    const health = this.#context.hooks.all.filter((hook) => hook.health !== undefined).map(askForHealth);
    return { ok: health.every(([, { ok }]) => ok), hooks: Object.fromEntries(health) };
  }

  /** Whether it is closed, or closing: it takes nothing any more. */
  get closed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * Accepts nothing more, tells MQTT 5 clients that the server shuts down (0x8B), closes all connections and stops the
   * hooks, the last one first; one whose `init` has not settled is waited for. Calling it again waits for the same end.
   */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes the broker at the end of an `await using` block. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #add(hook: Hook): Promise<void> {
    const { hooks, logger, limits, options, sessions, retained, topics, cluster, routes } = this.#context;
    this.#assertOneQueue(hook);
    const messages = new Map<StoredMessage, Message>();
    const messageOf = (stored: StoredMessage) => {
      const known = messages.get(stored);
      if (known !== undefined) return known;
      const message = Message.restored(topics.named(stored.packet.topic), stored);
      messages.set(stored, message);
      return message;
    };
    await hook.init?.({
      broker: this,
      logger,
      limits,
      queuePolicy: options.queuePolicy,
      cluster,
      restoreSession: (session) => sessions.restore(session, messageOf),
      restoreRetained: (packet, receivedAt) => {
        retained.restore(
          Message.from(topics.named(packet.topic), { ...packet, retain: true }, undefined, { receivedAt }),
        );
      },
    });
    messages.clear();
    if (this.closed) await this.#stop(hook);
    this.#assertOpen();
    hooks.add(hook);
    routes.hooksChanged();
    sessions.storeAll();
    sessions.awaitRestored();
  }

  /** A session's messages come from one queue; another store would hold them as well, and both would bring them. */
  #assertOneQueue(hook: Hook): void {
    const { storeOutgoing, queueOutgoing } = this.#context.hooks.on;
    const other = hook.queueOutgoing !== undefined ? storeOutgoing[0] : queueOutgoing[0];
    if (other === undefined || hook.storeOutgoing === undefined) return;
    throw new TypeError(`hook "${hook.id}" cannot store sessions: hook "${other.id}" does, and brings their messages`);
  }

  /** Stops a hook at the end; nobody is there any more who could do something about its failure. */
  async #stop(hook: Hook): Promise<void> {
    try {
      await hook.stop?.();
    } catch (error) {
      this.#context.logger.error("hook {hook} failed to stop: {error}", { hook: hook.id, error });
    }
  }

  #open(options: NetworkListenOptions | UnixListenOptions): Listener | Promise<Listener> {
    const { pool, limits, logger, connections } = this.#context;
    const context: ListenContext = {
      pool,
      limits,
      logger,
      accept: (transport, peer) => void this.#accept(transport, peer),
      mayOpen: (remoteAddress) => connections.mayOpen(remoteAddress),
    };
    switch (options.transport) {
      case "unix":
        return listenUnix(options, context);
      case "tls":
        return listenTls(options, context);
      case "ws":
      case "wss":
        return listenWebSocket(options, context);
      default:
        return listenTcp(options, context);
    }
  }

  /** `undefined` if the connection is refused. */
  #accept(transport: Transport, peer: Peer): Client | undefined {
    const { counters, connections, logger } = this.#context;
    const { remoteAddress } = peer;
    if (this.closed || !connections.mayOpen(remoteAddress)) {
      counters.connectionsRefused += 1;
      const reason = this.#closing === undefined ? "there are too many" : "the broker is closed";
      logger.warn("a connection from {remoteAddress} is refused: {reason}", { remoteAddress, reason });
      transport.close();
      return undefined;
    }
    counters.connectionsAccepted += 1;
    const client = new Client(transport, this.#context, peer);
    connections.add(client);
    client.run();
    return client;
  }

  #deliver(message: Message): MaybePromise<void> {
    const { retained, router } = this.#context;
    const stored = message.retain ? retained.store(message) : undefined;
    return then(stored, () => then(router.route(message), () => message.finishPublishing()));
  }

  async #close(): Promise<void> {
    this.#context.closing = true;
    const { connections, hooks, timers, eventLoop } = this.#context;
    for (const listener of this.#listeners) listener.close();
    // The timers that end what does not end by itself keep no program alive; this one does, until they have.
    const alive = setInterval(() => {}, 1000);
    await Promise.all([...connections].map((client) => client.shutDown())).finally(() => clearInterval(alive));
    timers.clear();
    eventLoop.stop();
    // Whoever adds a hook now is told, and the hook stopped, when its init has settled.
    await Promise.allSettled(this.#adding.values());
    for (const hook of hooks.all.toReversed()) await this.#stop(hook);
    // A claim that was under way has given its session back, which waits for its client now.
    timers.clear();
  }

  #assertOpen(): void {
    if (this.closed) throw new Error("the broker is closed");
  }
}

function askForHealth(hook: Hook): [id: string, health: HookHealth] {
  try {
    return [hook.id, hook.health!()];
  } catch (error) {
    return [hook.id, { ok: false, reason: String(error) }];
  }
}
