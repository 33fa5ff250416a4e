import { decode } from "@msgpack/msgpack";
import type { ClusterContext } from "../../broker/hooks.ts";
import type { Logger } from "../../broker/logger.ts";
import { isPromise, type MaybePromise, recover } from "../../broker/maybe_promise.ts";
import type { Channel } from "./channel.ts";
import { readReport, type Way } from "./fanout.ts";
import { FRAME, Frame } from "./frames.ts";
import type { Link } from "./link.ts";
import type { NodeKeys } from "./node_keys.ts";
import { publishNow } from "./publish.ts";

/** So many frames are read from the inbox at a time. */
const FRAMES_AT_A_TIME = 8;

/** How long to wait for frames, in milliseconds, while there are some to be removed, and while there are none. */
const BUSY_WAIT = 200;
const IDLE_WAIT = 2000;

/** How long to wait before the next attempt when the inbox cannot be read, in milliseconds. */
const PAUSE_AFTER_FAILURE = 200;

/** Frames that have been read are removed when so much time has passed since the last were, in milliseconds. */
const TRIM_INTERVAL = 1000;

/** Or when they have so many bytes. */
const TRIM_SIZE = 4 * 1024 * 1024;

/** After so many bytes the event loop turns, so that the clients here can be written to, and acknowledge what they have. */
const TURN_SIZE = 64 * 1024;

/** After so many bytes a sender is told that they have been read. */
const REPORT_SIZE = 512 * 1024;

/** So many frames of a sender are remembered: more than a batch that is sent again can hold. */
const REMEMBERED_FRAMES = 4096;

/** What an {@linkcode Inbox} is given. */
export interface InboxOptions {
  readonly link: Link;
  readonly keys: NodeKeys;
  readonly nodeId: string;
  readonly cluster: ClusterContext;
  readonly logger: Logger;
}

/** Delivers what other nodes send: frames on our channel, and frames in our inbox. */
export class Inbox {
  readonly #options: InboxOptions;
  readonly #senders = new Map<string, Sender>();
  /** The last entry that has been read from the stream. */
  #lastId = "0-0";
  #reading: Promise<void> | undefined;
  #isStopped = false;
  /** What has been read and is still in the stream. */
  #readBytes = 0;
  #trimmedAt = 0;
  #endPause: (() => void) | undefined;

  /** @param channel Ours, on which frames come at QoS 0. */
  constructor(options: InboxOptions, channel: Channel) {
    this.#options = options;
    channel.on(FRAME, (fields) => {
      const frame = new Frame(fields);
      const delivered = this.#deliver(frame);
      if (isPromise(delivered)) delivered.catch(() => {});
      this.#report(frame, "channel");
    });
  }

  /** Reads the inbox from now on, as often as Redis is there. */
  start(): void {
    this.#reading = this.#readAll();
  }

  /** Begins the inbox anew: Redis has forgotten it. */
  reset(): void {
    this.#lastId = "0-0";
  }

  /** A node's life is over: nothing of it will come again. */
  forget(incarnation: string): void {
    this.#senders.delete(incarnation);
  }

  /** Reads no more. What has been read is delivered. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#endPause?.();
    const { blocking } = this.#options.link;
    // It waits for frames that nobody will read.
    if (blocking.status === "ready") blocking.disconnect();
    await this.#reading;
  }

  async #readAll(): Promise<void> {
    const { link, logger } = this.#options;
    while (!this.#isStopped) {
      try {
        if (link.isConnected) await this.#read();
        else await this.#pause();
      } catch (error) {
        if (this.#isStopped) return;
        if (link.isConnected) logger.warn("the inbox cannot be read: {error}", { error });
        await this.#pause();
      }
    }
  }

  async #read(): Promise<void> {
    const { link, keys, nodeId } = this.#options;
    const key = keys.inbox(nodeId);
    const wait = this.#readBytes > 0 ? BUSY_WAIT : IDLE_WAIT;
    const args = ["COUNT", FRAMES_AT_A_TIME, "BLOCK", wait, "STREAMS", key, this.#lastId] as const;
    const reply = await link.blocking.xreadBuffer(...args);
    const entries = reply === null ? [] : (reply as [Uint8Array, [Uint8Array, Uint8Array[]][]][])[0][1];
    let bytesInTurn = 0;
    for (const [id, [, bytes]] of entries) {
      this.#lastId = new TextDecoder().decode(id);
      this.#readBytes += bytes.length;
      bytesInTurn += bytes.length;
      const delivered = recover(() => this.#receive(bytes), (error) => this.#logUseless(error));
      if (isPromise(delivered)) await delivered;
      if (bytesInTurn < TURN_SIZE) continue;
      bytesInTurn = 0;
      await new Promise((resolve) => setTimeout(resolve));
    }
    if (this.#readBytes > TRIM_SIZE || (this.#readBytes > 0 && Date.now() - this.#trimmedAt > TRIM_INTERVAL)) {
      this.#trim(key);
    }
  }

  #receive(bytes: Uint8Array): MaybePromise<void> {
    const frame = new Frame(decode(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)));
    if (this.#senderOf(frame).hasSent(frame.number)) return;
    const delivered = this.#deliver(frame);
    this.#report(frame, "inbox");
    return delivered;
  }

  /** Settles when all of a frame is stored where it has to be. A run that cannot be delivered keeps no other back. */
  #deliver(frame: Frame): MaybePromise<void> {
    const { cluster } = this.#options;
    const pending: Promise<void>[] = [];
    frame.forEachRun((packets, forwarded) => {
      const delivered = recover(() => cluster.deliverForwarded(packets, forwarded), (error) => this.#logUseless(error));
      if (isPromise(delivered)) pending.push(delivered);
    });
    if (pending.length > 0) return Promise.all(pending).then(() => {});
  }

  /** Says now and then how much has been read, so that the sender knows how much it may send. */
  #report(frame: Frame, way: Way): void {
    const { link, keys, nodeId } = this.#options;
    const sender = this.#senderOf(frame);
    sender.unreported[way] += frame.size;
    if (sender.unreported[way] < REPORT_SIZE || !link.isConnected) return;
    sender.unreported[way] = 0;
    const report = readReport(nodeId, frame.incarnation, way, frame.number);
    publishNow(link, keys.fanout(frame.nodeId), report);
  }

  #senderOf({ incarnation }: Frame): Sender {
    let sender = this.#senders.get(incarnation);
    if (sender === undefined) this.#senders.set(incarnation, sender = new Sender());
    return sender;
  }

  /** Removes from the stream what has been read. If that fails, it is removed the next time. */
  #trim(key: string): void {
    const [milliseconds, sequence] = this.#lastId.split("-");
    this.#readBytes = 0;
    this.#trimmedAt = Date.now();
    this.#options.link.call("XTRIM", key, "MINID", `${milliseconds}-${BigInt(sequence) + 1n}`).catch(() => {});
  }

  #logUseless(error: unknown): void {
    this.#options.logger.error("a message from another node cannot be delivered: {error}", { error });
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PAUSE_AFTER_FAILURE);
    this.#endPause = resolve;
    await promise;
    clearTimeout(timer);
    this.#endPause = undefined;
  }
}

/** What is known of one life of a node that sends. */
class Sender {
  /** How many bytes have been read that it has not been told of. */
  readonly unreported: Record<Way, number> = { channel: 0, inbox: 0 };
  readonly #numbers = new Set<number>();

  /** Whether a frame has come before: a batch whose answer was lost is sent again. */
  hasSent(number: number): boolean {
    if (this.#numbers.has(number)) return true;
    this.#numbers.add(number);
    if (this.#numbers.size > REMEMBERED_FRAMES) this.#numbers.delete(this.#numbers.values().next().value!);
    return false;
  }
}
