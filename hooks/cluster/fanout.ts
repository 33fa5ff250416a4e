import { encode } from "@msgpack/msgpack";
import type { ClusterContext, RemoteMessage } from "../../broker/hooks.ts";
import type { Logger } from "../../broker/logger.ts";
import type { MaybePromise } from "../../broker/maybe_promise.ts";
import type { Channel } from "./channel.ts";
import type { RedisCommand } from "./command.ts";
import { FrameBuilder, MOST_MESSAGES } from "./frames.ts";
import type { Link } from "./link.ts";
import type { NodeKeys } from "./node_keys.ts";
import { marginsFor, publishInPlace } from "./publish.ts";
import { Window } from "./window.ts";
import type { Change, Writer } from "./writer.ts";

/** A frame that is so large, in bytes, takes no more messages. */
const FRAME_SIZE = 256 * 1024;

/**
 * So many bytes at QoS 0 may be on their way to a node: what comes above is dropped. Redis cuts off a subscriber for whom
 * 8 MB wait.
 */
const PUBLISH_WINDOW = 4 * 1024 * 1024;

/** When so many bytes at QoS 1 and 2 are on their way to a node, publishers wait for their acknowledgements. */
const INBOX_WINDOW = 8 * 1024 * 1024;

/** So many bytes are kept for a node that is dead and may come back. */
const DEAD_INBOX = 64 * 1024 * 1024;

/** How often it is said that messages are dropped, at most, in milliseconds. */
const COMPLAINT_INTERVAL = 60_000;

/** What a node says of the frames that it has read: `number` is the last one. */
export type ReadReport = [type: typeof READ, nodeId: string, incarnation: string, way: Way, number: number];
export const READ = "read";

/** How a frame goes to a node: by its channel or by its inbox. */
export type Way = "channel" | "inbox";

/** What a {@linkcode Fanout} is given. */
export interface FanoutOptions {
  readonly link: Link;
  readonly writer: Writer;
  readonly keys: NodeKeys;
  readonly nodeId: string;
  readonly incarnation: string;
  readonly cluster: Pick<ClusterContext, "countDropped">;
  readonly logger: Logger;
}

/**
 * Sends messages to other nodes, all of a turn of the event loop in one frame for each node: at QoS 0 by the node's channel,
 * which forgets what is not read at once, at QoS 1 and 2 by its inbox, which does not.
 */
export class Fanout {
  /** How many messages have not been sent, since their node was away or did not read fast enough. */
  dropped = 0;
  /** What tells the message that was let in last: it goes to all nodes that get it, or to none. */
  admitted: object | undefined;
  readonly #options: FanoutOptions;
  readonly #outlets = new Map<string, Outlet>();
  #lastNumber = 0;
  #toFlush: Outlet[] = [];

  /** @param channel Our own, on which others say what they have read. */
  constructor(options: FanoutOptions, channel: Channel) {
    this.#options = options;
    channel.on(READ, (fields) => this.#read(fields as ReadReport));
    options.link.onDisconnected(() => {
      for (const outlet of this.#outlets.values()) outlet.clear();
    });
  }

  /** The way to a node. */
  to(nodeId: string): Outlet {
    let outlet = this.#outlets.get(nodeId);
    if (outlet === undefined) this.#outlets.set(nodeId, outlet = new Outlet(nodeId, this, this.#options));
    return outlet;
  }

  /** A node is gone for good. */
  remove(nodeId: string): void {
    this.#outlets.get(nodeId)?.clear();
    this.#outlets.delete(nodeId);
  }

  /** Looks for nodes that seem not to read, since what they have said about it was lost. */
  check(): void {
    for (const outlet of this.#outlets.values()) outlet.check();
  }

  /** Has an outlet flushed behind everything that is done in this turn of the event loop. */
  flushSoon(outlet: Outlet): void {
    this.#toFlush.push(outlet);
    if (this.#toFlush.length === 1) queueMicrotask(() => this.#flush());
  }

  nextNumber(): number {
    return ++this.#lastNumber;
  }

  #flush(): void {
    const outlets = this.#toFlush;
    this.#toFlush = [];
    for (const outlet of outlets) outlet.flush();
  }

  #read([, nodeId, incarnation, way, number]: ReadReport): void {
    if (incarnation === this.#options.incarnation) this.#outlets.get(nodeId)?.read(way, number);
  }
}

/** The way to one node. */
export class Outlet {
  readonly #nodeId: string;
  readonly #fanout: Fanout;
  readonly #options: FanoutOptions;
  readonly #channel: string;
  /** What is published at the end of this turn. */
  readonly #published: FrameBuilder;
  readonly #publishWindow = new Window(PUBLISH_WINDOW);
  readonly #appended = new FrameBuilder();
  readonly #inboxWindow = new Window(INBOX_WINDOW);
  /** The frame that is being filled with what is in `#appended`. */
  #frame: InboxFrame | undefined;
  /** What is waited for while the inbox's window is full, and for whose sake. */
  #held: { written: Promise<void>; read: Promise<void> } | undefined;
  #isAlive = true;
  #complainedAt = -Infinity;

  constructor(nodeId: string, fanout: Fanout, options: FanoutOptions) {
    this.#nodeId = nodeId;
    this.#fanout = fanout;
    this.#options = options;
    this.#channel = options.keys.fanout(nodeId);
    this.#published = new FrameBuilder(marginsFor(this.#channel));
  }

  /** Whether the node's heart beats. */
  get isAlive(): boolean {
    return this.#isAlive;
  }

  set isAlive(isAlive: boolean) {
    this.#isAlive = isAlive;
    // Nobody waits for the dead.
    if (!isAlive) this.#inboxWindow.release();
  }

  /**
   * Sends a message: to the durable session of `clientId`, to a member of the group that chose the node, or to all other
   * subscribers there. At QoS 1 and 2 it settles when the message is in the node's inbox.
   *
   * @throws {ReasonCodeError} As a rejection: 0x97 if too much waits for Redis.
   */
  send(message: RemoteMessage, clientId?: string): MaybePromise<void> {
    return message.qos === 0 ? this.#publish(message, clientId) : this.#append(message, clientId);
  }

  /** Publishes what has been collected. */
  flush(): void {
    if (this.#published.count === 0) return;
    const number = this.#fanout.nextNumber();
    this.#publishWindow.sent(number, this.#published.size);
    const frame = this.#finish(this.#published, number);
    // A message at QoS 0 that is lost with the connection is lost.
    publishInPlace(this.#options.link, this.#channel, frame).then(() => this.#published.reuse(frame), () => {});
  }

  /** The node has read so far. */
  read(way: Way, number: number): void {
    (way === "inbox" ? this.#inboxWindow : this.#publishWindow).read(number);
  }

  check(): void {
    this.#publishWindow.check();
    if (this.#isAlive) this.#inboxWindow.check();
  }

  /** What has been sent is not waited for any more. */
  clear(): void {
    this.#publishWindow.clear();
    this.#inboxWindow.clear();
  }

  #publish(message: RemoteMessage, clientId: string | undefined): void {
    if (!this.#isAlive || !this.#options.link.isConnected) return this.#drop("it cannot be reached");
    if (this.#publishWindow.isFull) return this.#drop("it does not read as fast as messages are published");
    if (!hasRoom(this.#published, message)) this.flush();
    add(this.#published, message, clientId);
    if (this.#published.count === 1) this.#fanout.flushSoon(this);
  }

  #append(message: RemoteMessage, clientId: string | undefined): MaybePromise<void> {
    const { writer } = this.#options;
    const isAdmitted = message.isPublished || message.identity === this.#fanout.admitted || !writer.refuses;
    if (!isAdmitted) return Promise.reject(writer.refusal());
    this.#fanout.admitted = message.identity;
    if (!this.#isAlive && this.#inboxWindow.bytes > DEAD_INBOX) return this.#drop("it is dead");
    const frame = this.#openFrame(message);
    add(this.#appended, message, clientId);
    const written = writer.addLasting(frame, message.publish.length);
    return this.#isAlive && this.#inboxWindow.isFull ? this.#hold(written) : written;
  }

  /** The frame that has room for a message, and is not on its way yet. */
  #openFrame(message: RemoteMessage): InboxFrame {
    const { writer, keys } = this.#options;
    const open = this.#frame;
    if (open !== undefined && writer.holds(open) && hasRoom(this.#appended, message)) return open;
    open?.close();
    return this.#frame = new InboxFrame(keys.inbox(this.#nodeId), () => this.#finishAppended());
  }

  #finishAppended(): Uint8Array {
    this.#frame = undefined;
    const number = this.#fanout.nextNumber();
    this.#inboxWindow.sent(number, this.#appended.size);
    const frame = this.#finish(this.#appended, number);
    // It may wait for long, and should not do so in memory that is larger than itself.
    const bytes = frame.slice();
    this.#appended.reuse(frame);
    return bytes;
  }

  #finish(builder: FrameBuilder, number: number): Uint8Array<ArrayBuffer> {
    const { nodeId, incarnation } = this.#options;
    return builder.finish({ nodeId, incarnation, number, sentAt: Date.now() });
  }

  /** Settles when the message is written and the node has read enough of what was written before. */
  #hold(written: Promise<void>): Promise<void> {
    if (this.#held?.written !== written) {
      this.#held = { written, read: written.then(() => this.#inboxWindow.room()) };
    }
    return this.#held.read;
  }

  #drop(reason: string): void {
    this.#fanout.dropped += 1;
    this.#options.cluster.countDropped(1);
    const now = Date.now();
    if (now - this.#complainedAt < COMPLAINT_INTERVAL) return;
    this.#complainedAt = now;
    this.#options.logger.warn("messages to node {node} are dropped: {reason}", { node: this.#nodeId, reason });
  }
}

/** QoS 1 and 2 messages for one node, which grow in number until they are sent. */
class InboxFrame implements Change {
  readonly #key: string;
  readonly #finish: () => Uint8Array;
  #bytes: Uint8Array | undefined;

  constructor(key: string, finish: () => Uint8Array) {
    this.#key = key;
    this.#finish = finish;
  }

  /** It takes no more. */
  close(): Uint8Array {
    return this.#bytes ??= this.#finish();
  }

  commands(): RedisCommand[] {
    return [["XADD", this.#key, "*", "frame", this.close()]];
  }
}

function hasRoom(builder: FrameBuilder, { publish }: RemoteMessage): boolean {
  return builder.count === 0 || (builder.size + publish.length <= FRAME_SIZE && builder.count < MOST_MESSAGES);
}

function add(builder: FrameBuilder, message: RemoteMessage, clientId: string | undefined): void {
  const { shareFilter } = message;
  if (clientId !== undefined) {
    builder.addForSession(message, { clientId, retain: message.retain, identifiers: message.identifiers });
  } else if (shareFilter !== undefined) builder.addForGroup(message, shareFilter);
  else builder.addForAll(message);
}

/** What a node says of the frames that have come from another one. */
export function readReport(nodeId: string, incarnation: string, way: Way, number: number): Uint8Array {
  const report: ReadReport = [READ, nodeId, incarnation, way, number];
  return encode(report);
}
