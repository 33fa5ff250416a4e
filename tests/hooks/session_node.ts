import { decode } from "@msgpack/msgpack";
import type { QueuedMessage, RestoredSession, StoredOutgoing, StoredSession } from "../../broker/hooks.ts";
import type { Qos, Will } from "../../codec/mod.ts";
import { Channel } from "../../hooks/cluster/channel.ts";
import { Link } from "../../hooks/cluster/link.ts";
import { NodeKeys } from "../../hooks/cluster/node_keys.ts";
import type { QueueLimits } from "../../hooks/cluster/queue_append.ts";
import { SessionKeys } from "../../hooks/cluster/session_keys.ts";
import { ClusterSessions } from "../../hooks/cluster/sessions.ts";
import { Writer } from "../../hooks/cluster/writer.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import type { RedisCluster } from "../support/redis_cluster.ts";
import type { RedisServer } from "../support/redis_server.ts";
import { RecordingCluster } from "./recording_cluster.ts";

/** How a {@linkcode SessionNode} is. */
export interface SessionNodeOptions {
  limits?: Partial<QueueLimits>;
  /** Where Redis is for this node, instead of where it is: behind a proxy. */
  addr?: string;
  /** So many changes may wait for Redis. */
  maximumEntries?: number;
}

/** The part of a node that looks after sessions, on a real Redis, with the broker's side played by the test. */
export class SessionNode implements AsyncDisposable {
  readonly nodeId: string;
  readonly link: Link;
  readonly writer: Writer;
  readonly cluster = new RecordingCluster();
  readonly sessions: ClusterSessions;
  readonly logger = new RecordingLogger();
  /** What was sent at QoS 0 to the clients of other nodes. */
  readonly forwarded: { nodeId: string; clientId: string | undefined }[] = [];
  /** The wills of dead nodes' clients that were published. */
  readonly wills: Will[] = [];
  /** Whether nothing reaches it that is sent to it, or to all. */
  isDeaf = false;
  /** How much has not reached it. */
  missed = 0;
  /** What was sent to it, or to all: of which kind. */
  readonly heard: string[] = [];
  /** Whether Redis has lost all when the connection is back. */
  isEmptied = false;
  readonly #incarnation = crypto.randomUUID();
  readonly #keys: NodeKeys;
  readonly #events: Channel;
  readonly #channel: Channel;

  private constructor(
    redis: RedisServer | RedisCluster,
    nodeId: string,
    { limits, addr, maximumEntries }: SessionNodeOptions,
  ) {
    const { logger, cluster } = this;
    this.nodeId = nodeId;
    const link = this.link = new Link(
      "masters" in redis ? { addrs: redis.masters.map(({ url }) => url), logger } : { addr: addr ?? redis.url, logger },
    );
    const writer = this.writer = new Writer(link, { logger, maximumEntries });
    const nodeKeys = this.#keys = new NodeKeys("mqtt:");
    this.#events = new Channel(nodeKeys.events, logger);
    this.#channel = new Channel(nodeKeys.fanout(nodeId), logger);
    const fanout = {
      to: (nodeId: string) => ({
        send: (_message: unknown, clientId?: string) => void this.forwarded.push({ nodeId, clientId }),
      }),
    };
    this.sessions = new ClusterSessions({
      link,
      writer,
      keys: new SessionKeys("mqtt:"),
      nodeKeys,
      nodeId,
      incarnation: this.#incarnation,
      cluster,
      logger,
      // The rest of it is not used.
      fanout: fanout as never,
      events: this.#events,
      channel: this.#channel,
      placesKnown: () => undefined,
      publishWill: (will) => this.wills.push(will),
      limits: { messages: 1000, bytes: 1_000_000, dropsOldest: true, ...limits },
    });
  }

  static async start(
    redis: RedisServer | RedisCluster,
    nodeId: string,
    options: SessionNodeOptions = {},
  ): Promise<SessionNode> {
    const node = new SessionNode(redis, nodeId, options);
    const { link, sessions } = node;
    await link.subscribe(node.#keys.events, (data) => node.#hear(node.#events, data));
    await link.subscribe(node.#keys.fanout(nodeId), (data) => node.#hear(node.#channel, data));
    let isFirst = true;
    link.onConnected(async () => {
      await link.call("HSET", node.#keys.nodes, nodeId, "incarnation");
      if (isFirst) await sessions.restore((session) => node.cluster.adoptSession(session));
      else if (node.isEmptied) await sessions.upload();
      else await sessions.reconcile();
      isFirst = false;
      await sessions.reload();
    });
    await link.connect();
    return node;
  }

  /** The node counts as alive from now on. */
  async beat(): Promise<void> {
    await this.link.call("SET", this.#keys.node(this.nodeId), JSON.stringify({ incarnation: this.#incarnation }));
  }

  /** A client connects, and its session is this node's. Returns what is stored of it. */
  async connect(clientId: string, options: ConnectOptions = {}): Promise<RestoredSession | undefined> {
    const restored = await this.claim(clientId, options);
    const { cleanStart = false, isDurable = true } = options;
    if (cleanStart && restored !== undefined) {
      this.sessions.hook.removeSession(clientId);
      this.sessions.hook.onSessionEnded(clientId);
    }
    if (isDurable) await this.store(clientId, { will: options.will });
    return restored;
  }

  /** A client's session is claimed, and nothing more. */
  async claim(
    clientId: string,
    { cleanStart = false, isDurable = true, will }: ConnectOptions = {},
  ): Promise<RestoredSession | undefined> {
    return await this.sessions.hook.claimSession({
      clientId,
      protocolLevel: 5,
      username: undefined,
      remoteAddress: undefined,
      certificateName: undefined,
      cleanStart,
      keepAlive: 0,
      connectedAt: Date.now(),
    }, { isDurable, will });
  }

  /** A durable session is stored; without `disconnectedAt` its client is connected. */
  async store(clientId: string, changes: Partial<StoredSession> = {}): Promise<void> {
    await this.sessions.hook.storeSession({
      clientId,
      protocolLevel: 5,
      username: undefined,
      expiryInterval: 3600,
      disconnectedAt: undefined,
      will: undefined,
      ...changes,
    });
  }

  /** The connection of a client with a durable session ends. */
  disconnect(clientId: string): Promise<void> {
    return this.store(clientId, { disconnectedAt: Date.now() });
  }

  async subscribe(clientId: string, ...topicFilters: string[]): Promise<void> {
    const subscriptions = topicFilters.map((topicFilter) => (
      { topicFilter, qos: 2 as const, noLocal: false, retainAsPublished: false, identifiers: undefined }
    ));
    await this.sessions.hook.storeSubscriptions(clientId, subscriptions);
  }

  /** Puts a message into a session's queue; settles when it is there. */
  async queue(clientId: string, payload: string, options: QueueOptions = {}): Promise<void> {
    await this.sessions.hook.queueOutgoing(clientId, queued(payload, options));
  }

  /** The message that came for a client with this payload, as it is sent with a packet identifier. */
  sent(payload: string, packetId: number): StoredOutgoing {
    const found = this.cluster.delivered.find(({ outgoing }) => text(outgoing) === payload);
    if (found === undefined) throw new Error(`no message "${payload}" has come`);
    return { ...found.outgoing, packetId };
  }

  #hear(channel: Channel, data: Uint8Array): void {
    if (this.isDeaf) this.missed += 1;
    else channel.receive(data);
    this.heard.push((decode(data) as string[])[0]);
  }

  /** Ends as if the process had been killed: nothing is said to anybody. */
  async kill(): Promise<void> {
    this.writer.close();
    await this.link.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

export interface ConnectOptions {
  cleanStart?: boolean;
  isDurable?: boolean;
  will?: Will;
}

export interface QueueOptions {
  qos?: Qos;
  publisherId?: string;
  isPublished?: boolean;
  passedOnBy?: string;
}

export function queued(
  payload: string,
  { qos = 1, publisherId, isPublished = false, passedOnBy }: QueueOptions = {},
): QueuedMessage {
  return {
    message: {
      packet: {
        type: "publish",
        topic: "a/b",
        payload: new TextEncoder().encode(payload),
        qos,
        retain: false,
        dup: false,
      },
      receivedAt: Date.now(),
    },
    qos,
    retain: false,
    identifiers: undefined,
    shareFilter: undefined,
    publisherId,
    isAdmitted: true,
    isPublished,
    passedOnBy,
  };
}

/** A message's payload. */
export function text({ message }: StoredOutgoing): string {
  return new TextDecoder().decode(message.packet.payload);
}
