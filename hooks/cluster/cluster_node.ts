import packageFile from "../../deno.json" with { type: "json" };
import type { HookContext, HookHealth } from "../../broker/hooks.ts";
import type { MaybePromise } from "../../broker/maybe_promise.ts";
import type { Qos, Will } from "../../codec/mod.ts";
import { Channel } from "./channel.ts";
import { Fanout } from "./fanout.ts";
import { Fences } from "./fences.ts";
import { Inbox } from "./inbox.ts";
import { Link, type LinkOptions } from "./link.ts";
import { NodeKeys } from "./node_keys.ts";
import { Nodes } from "./nodes.ts";
import type { RedisClient } from "./options.ts";
import { OwnRoutes } from "./own_routes.ts";
import { type Heartbeat, type NodeWatcher, Registry } from "./registry.ts";
import { RetainedMessages } from "./retained.ts";
import { SessionKeys } from "./session_keys.ts";
import { ClusterSessions } from "./sessions.ts";
import { Writer } from "./writer.ts";

/** When the broker closes, Redis is given so long to say that it is there, in milliseconds. */
const LAST_ANSWER = 1500;

/** Each of the things that are done then may take so long. */
const LAST_WRITES = 3000;

/**
 * How a node of a cluster is.
 *
 * @example
 * ```ts
 * import type { ClusterHealth } from "@hookmq/broker/hooks";
 *
 * function describe({ ok, reason, nodes, pending }: ClusterHealth): string {
 *   return ok ? `${nodes.length} nodes` : `${reason}; ${pending.changes} changes wait`;
 * }
 * const state = { isConnected: true, pending: { changes: 0, bytes: 0 }, nodes: ["broker-1", "broker-2"], dropped: 0 };
 * console.log(describe({ ok: true, ...state })); // 2 nodes
 * ```
 */
export interface ClusterHealth extends HookHealth {
  /** Whether Redis can be reached. */
  readonly isConnected: boolean;
  /** Since when it cannot, in milliseconds since 1970. */
  readonly disconnectedAt?: number;
  /** What waits to be written to Redis. */
  readonly pending: { readonly changes: number; readonly bytes: number };
  /** The ids of the nodes that are alive, as far as this one knows; itself included. */
  readonly nodes: readonly string[];
  /** How many messages have not been forwarded, since their node was away or did not read fast enough. */
  readonly dropped: number;
}

/** What a {@linkcode ClusterNode} is given. */
export interface ClusterNodeOptions {
  readonly link: Omit<LinkOptions, "logger">;
  readonly keyPrefix: string;
  readonly nodeId: string;
  /** Whether messages go from node to node. */
  readonly forwards: boolean;
  /** In milliseconds. */
  readonly heartbeatInterval: number;
  /** In milliseconds. */
  readonly nodeTtl: number;
}

/** One broker as a node of a cluster: all parts of it, wired. */
export class ClusterNode {
  readonly retained: RetainedMessages;
  readonly sessions: ClusterSessions;
  readonly #options: ClusterNodeOptions;
  readonly #context: HookContext;
  readonly #link: Link;
  readonly #writer: Writer;
  readonly #fanout: Fanout;
  readonly #inbox: Inbox;
  readonly #routes: OwnRoutes;
  readonly #nodes: Nodes;
  readonly #fences: Fences;
  readonly #registry: Registry;
  readonly #keys: NodeKeys;
  readonly #incarnation = crypto.randomUUID();
  /** What all nodes are told, and what only this one is. */
  readonly #events: Channel;
  readonly #channel: Channel;
  /** Whether the broker asks us about sessions. */
  #isRunning = false;
  #disconnectedAt: number | undefined;
  #messagesBefore = { count: 0, at: Date.now() };

  constructor(options: ClusterNodeOptions, context: HookContext) {
    const { nodeId, keyPrefix, heartbeatInterval, nodeTtl } = options;
    const { logger, cluster } = context;
    const incarnation = this.#incarnation;
    this.#options = options;
    this.#context = context;
    const link = this.#link = new Link({ ...options.link, logger });
    const writer = this.#writer = new Writer(link, { logger });
    const keys = this.#keys = new NodeKeys(keyPrefix);
    const events = this.#events = new Channel(keys.events, logger);
    const channel = this.#channel = new Channel(keys.fanout(nodeId), logger);
    const fanout = this.#fanout = new Fanout({ link, writer, keys, nodeId, incarnation, cluster, logger }, channel);
    const inbox = this.#inbox = new Inbox({ link, keys, nodeId, cluster, logger }, channel);
    this.#routes = new OwnRoutes({ link, writer, keys, nodeId, incarnation });
    const nodes = this.#nodes = new Nodes({ link, keys, cluster, fanout, inbox, logger }, events);
    const others = () => nodes.alive();
    const hasHeard = (nodeId: string, incarnation: string) => this.#hasHeard(nodeId, incarnation);
    this.#fences = new Fences({ link, writer, keys, nodeId, incarnation, others, hasHeard }, events, channel);
    this.retained = new RetainedMessages({ link, writer, keys, incarnation, cluster, logger }, events);
    this.sessions = new ClusterSessions({
      link,
      writer,
      keys: new SessionKeys(keyPrefix),
      nodeKeys: keys,
      nodeId,
      incarnation,
      cluster,
      logger,
      fanout,
      events,
      channel,
      limits: {
        messages: context.limits.queueMessages,
        bytes: context.limits.queueBytes,
        dropsOldest: context.queuePolicy === "drop-oldest",
      },
      placesKnown: () => this.#fences.known(),
      publishWill: (will) => this.#publishWill(will),
    });
    const describe = () => this.#describe();
    const watcher = this.#watcher();
    this.#registry = new Registry(
      { link, keys, nodeId, incarnation, heartbeatInterval, nodeTtl, describe, watcher, logger },
      events,
    );
    link.onDisconnected(() => this.#disconnectedAt = Date.now());
    link.onReady(() => this.#disconnectedAt = undefined);
  }

  /** The connection that commands go by. */
  get client(): RedisClient {
    return this.#link.redis;
  }

  /**
   * Joins the cluster. Settles when all is known that the others have.
   *
   * @throws {Error} As a rejection: if Redis cannot be used, or another broker has the node id.
   */
  async start(): Promise<void> {
    const { nodeId } = this.#options;
    await this.#link.subscribe(this.#keys.events, (data) => this.#events.receive(data));
    await this.#link.subscribe(this.#keys.fanout(nodeId), (data) => this.#channel.receive(data));
    this.#link.onConnected(() => this.#synchronise());
    try {
      await this.#link.connect();
    } catch (error) {
      await this.#registry.stop();
      throw error;
    }
    this.#isRunning = true;
    this.#registry.start();
    this.#inbox.start();
  }

  /** Leaves the cluster, when all is written that waits; without Redis at once, since nothing more can be done. */
  async stop(): Promise<void> {
    this.#isRunning = false;
    this.#fences.stop();
    const ended = Promise.all([this.#registry.stop(), this.#inbox.stop()]);
    if (await this.#link.answers(LAST_ANSWER)) {
      await withDeadline(ended);
      await withDeadline(this.#link.whileConnected(this.#writer.written()));
      await withDeadline(this.#registry.leave());
    }
    this.#writer.close();
    await this.#link.close();
    await withDeadline(ended);
  }

  health(): ClusterHealth {
    const { entries, bytes } = this.#writer.pending;
    const reason = this.#registry.conflict ?? this.#link.failure ?? this.#writer.failure;
    return {
      ok: reason === undefined,
      // Who has a durable session is refused here, and let in at the other nodes, if it is a cluster.
      ...(reason !== undefined && { reason, ready: !this.#options.forwards }),
      isConnected: this.#link.isConnected,
      ...(this.#disconnectedAt !== undefined && { disconnectedAt: this.#disconnectedAt }),
      pending: { changes: entries, bytes },
      nodes: this.#registry.alive(),
      dropped: this.#fanout.dropped,
    };
  }

  /** The ids of the nodes that are alive. */
  alive(): string[] {
    return this.#registry.alive();
  }

  routeChanged(topicFilter: string, maximumQos: Qos, members: number): void {
    this.#routes.change(topicFilter, maximumQos, members);
  }

  /** Settles when the other nodes know all that has been written before. */
  routesKnown(): Promise<void> | undefined {
    return this.#fences.known();
  }

  /** After every connection: makes this node known, and learns what it may have missed. */
  async #synchronise(): Promise<void> {
    const lost = await this.#registry.register();
    if (!this.#isRunning) await this.sessions.restore((session) => this.#context.restoreSession(session));
    else if (lost !== "everything") await this.sessions.reconcile();
    // Those that have come meanwhile are read when they are found.
    await this.#nodes.reload();
    await this.#registry.look();
    await this.sessions.reload();
    await this.retained.load({ isEmptied: false });
  }

  /** What a node has announced is known here when its routes are read, if we know the node at all. */
  #hasHeard(nodeId: string, incarnation: string): MaybePromise<void> {
    if (!this.#options.forwards) return;
    if (this.#nodes.has(nodeId, incarnation)) return this.#nodes.loading(nodeId);
    return this.#registry.look().then(() => this.#nodes.loading(nodeId));
  }

  #watcher(): NodeWatcher {
    const { forwards } = this.#options;
    return {
      appeared: async (nodeId, incarnation, isAlive) => {
        if (forwards) await this.#nodes.appeared(nodeId, incarnation, isAlive);
      },
      turned: (nodeId, isAlive) => this.#nodes.turned(nodeId, isAlive),
      gone: (nodeId) => this.#nodes.gone(nodeId),
      atLeast: (nodeId, routesVersion) => this.#nodes.atLeast(nodeId, routesVersion),
      adopt: async (nodeId) => {
        if (this.#isRunning) await this.sessions.adopt(nodeId);
      },
      check: async () => {
        this.#fanout.check();
        await this.sessions.check();
        await this.retained.checkRound();
      },
      forgotten: async (lost) => {
        this.#routes.changeAll();
        this.#inbox.reset();
        if (lost !== "everything") return;
        await this.sessions.upload();
        await this.retained.load({ isEmptied: true });
      },
    };
  }

  #publishWill({ topic, payload, qos, retain, properties }: Will): void {
    const { willDelayInterval: _delay, ...rest } = properties ?? {};
    this.#context.broker.publish(topic, payload, { qos, retain, properties: rest }).catch((error) => {
      this.#context.logger.error("a will on {topic} cannot be published: {error}", { topic, error });
    });
  }

  #describe(): Heartbeat {
    const { startedAt, clients, sessions, messagesReceived } = this.#context.broker.stats();
    const now = Date.now();
    const { count, at } = this.#messagesBefore;
    this.#messagesBefore = { count: messagesReceived, at: now };
    return {
      incarnation: this.#incarnation,
      version: packageFile.version,
      startedAt,
      clients,
      sessions,
      messagesPerSecond: now === at ? 0 : Math.round((messagesReceived - count) * 1000 / (now - at)),
      routesVersion: this.#routes.version,
    };
  }
}

/** Waits for what must not keep the broker from closing. */
async function withDeadline(work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, LAST_WRITES);
  await Promise.race([work.catch(() => {}), promise]);
  clearTimeout(timer);
}
