import type { ClusterContext, Forwarded, RemoteMessage } from "../../broker/hooks.ts";
import { isPromise, type MaybePromise } from "../../broker/maybe_promise.ts";
import { decode, encode, Framer, type PublishPacket, type Qos } from "../../codec/mod.ts";
import { Channel } from "../../hooks/cluster/channel.ts";
import { Fanout } from "../../hooks/cluster/fanout.ts";
import { Inbox } from "../../hooks/cluster/inbox.ts";
import { Link } from "../../hooks/cluster/link.ts";
import { NodeKeys } from "../../hooks/cluster/node_keys.ts";
import { Writer } from "../../hooks/cluster/writer.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import type { RedisServer } from "../support/redis_server.ts";

/** A message as the broker hands it to somebody at another node. */
export function remoteMessage(payload: string, changes: Partial<RemoteMessage> = {}): RemoteMessage {
  const qos: Qos = changes.qos ?? 0;
  const packet = { type: "publish", topic: "t", retain: false, dup: false } as const;
  const bytes = new TextEncoder().encode(payload);
  return {
    publish: encode({ ...packet, payload: bytes, qos, ...(qos > 0 && { packetId: 1 }) }, 5),
    identity: {},
    qos,
    retain: false,
    identifiers: undefined,
    shareFilter: undefined,
    publisherId: undefined,
    isPublished: false,
    passedOnBy: undefined,
    stored: () => ({ packet: { ...packet, payload: bytes, qos }, receivedAt: 0 }),
    ...changes,
  };
}

/** The part of a node that sends messages to others and gets theirs, without a broker. */
export class ForwardingNode implements AsyncDisposable {
  readonly logger = new RecordingLogger();
  /** The payloads that came, in their order. */
  readonly received: string[] = [];
  readonly forwarded: Forwarded[] = [];
  /** Called with each message that comes. */
  onReceived: (payload: string) => MaybePromise<void> = () => {};
  readonly link: Link;
  readonly writer: Writer;
  readonly fanout: Fanout;
  /** How many messages its broker was told that they were dropped. */
  dropped = 0;
  readonly #inbox: Inbox;
  readonly #channel: Channel;
  readonly #channelName: string;

  private constructor(redis: RedisServer, nodeId: string, maximumEntries?: number) {
    const { logger } = this;
    const keys = new NodeKeys("mqtt:");
    const link = this.link = new Link({ addr: redis.url, logger });
    const writer = this.writer = new Writer(link, { logger, maximumEntries });
    const channel = this.#channel = new Channel(keys.fanout(nodeId), logger);
    this.#channelName = keys.fanout(nodeId);
    const incarnation = crypto.randomUUID();
    const cluster = {
      deliverForwarded: (packets: Uint8Array, forwarded: Forwarded) => this.#receive(packets, forwarded),
      countDropped: (count: number) => void (this.dropped += count),
    } as ClusterContext;
    this.fanout = new Fanout({ link, writer, keys, nodeId, incarnation, cluster, logger }, channel);
    this.#inbox = new Inbox({ link, keys, nodeId, cluster, logger }, channel);
  }

  static async start(
    redis: RedisServer,
    nodeId: string,
    { reads = true, maximumEntries }: { reads?: boolean; maximumEntries?: number } = {},
  ): Promise<ForwardingNode> {
    const node = new ForwardingNode(redis, nodeId, maximumEntries);
    if (reads) await node.link.subscribe(node.#channelName, (data) => node.#channel.receive(data));
    await node.link.connect();
    if (reads) node.#inbox.start();
    return node;
  }

  #receive(packets: Uint8Array, forwarded: Forwarded): MaybePromise<void> {
    const framer = new Framer();
    const pending: Promise<void>[] = [];
    framer.push(packets);
    while (framer.next()) {
      const payload = new TextDecoder().decode((decode(framer.packet(), 5) as PublishPacket).payload);
      this.received.push(payload);
      this.forwarded.push(forwarded);
      const delivered = this.onReceived(payload);
      if (isPromise(delivered)) pending.push(delivered);
    }
    if (pending.length > 0) return Promise.all(pending).then(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inbox.stop();
    this.writer.close();
    await this.link.close();
  }
}
