import type { ClusterContext } from "../../broker/hooks.ts";
import type { Logger } from "../../broker/logger.ts";
import type { Link } from "./link.ts";
import { decodeEntry, type QueueEntry } from "./queue_entry.ts";

/** How many messages are read from a queue at a time. */
const PAGE = 100;

/** How long to wait before a queue that could not be read is read again, in milliseconds. */
const PAUSE_AFTER_FAILURE = 1000;

/** A message on its way from the queue to the client. */
export interface Arrived {
  /** Its number in the queue; 0 until it is known. */
  number: number;
  /** How much room it takes in the queue, in bytes. */
  readonly size: number;
  /** Settles when its number is known. */
  numbered: Promise<void> | undefined;
  /** 0 until it is sent. */
  packetId: number;
  /** Whether the client has answered with PUBREC. */
  released: boolean;
}

/** What is stored of a message that is in flight. */
export function stateOf({ packetId, released }: Arrived): string {
  return `${packetId} ${released ? 1 : 0}`;
}

/** What {@linkcode Arrivals} are given. */
export interface ArrivalsOptions {
  readonly clientId: string;
  readonly link: Link;
  readonly cluster: ClusterContext;
  readonly logger: Logger;
  readonly queueKey: string;
  readonly sessionKey: string;
}

/**
 * Hands the messages of a session's queue over to the broker, each one once and in the order of their numbers, however they
 * come: from here, from other nodes, twice, or not at all. What is missing is read from the queue.
 */
export class Arrivals {
  /** The number up to which all have been handed over. */
  delivered = 0;
  /** By the numbers that the broker knows them by. */
  readonly messages = new Map<number, Arrived>();
  readonly #options: ArrivalsOptions;
  /** Numbers of messages that the broker has sent by itself and need not be handed over. */
  readonly #own = new Set<number>();
  /** Those that are being appended, so that their numbers are not known. */
  readonly #appending = new Set<Arrived>();
  #isOpen = false;
  #isBehind = false;
  #reading: Promise<void> | undefined;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  /** Whether messages are handed over. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The client is there: hands over what has come, and what is to come. */
  open(): void {
    if (this.#isOpen) return;
    this.#isOpen = true;
    if (this.#isBehind) this.catchUp();
  }

  /** The client is gone: all that was on its way comes back from the queue, when the session is claimed again. */
  close(): void {
    this.#isOpen = false;
    this.messages.clear();
    this.#own.clear();
  }

  /** A message has come that takes so many bytes in the queue. */
  take(number: number, size: number, entryOf: () => QueueEntry): void {
    if (!this.#isOpen) {
      this.#isBehind = true;
      return;
    }
    this.#passOwn();
    if (number <= this.delivered) return;
    if (number > this.delivered + 1) return this.catchUp();
    this.#deliver(number, size, entryOf());
  }

  /** A message is being appended that the broker has sent by itself. */
  appending(id: number, arrived: Arrived): void {
    this.#appending.add(arrived);
    this.messages.set(id, arrived);
  }

  /** It has got its number; 0 if it has not been appended. */
  appended(arrived: Arrived, number: number): void {
    if (!this.#appending.delete(arrived)) return;
    arrived.number = number;
    arrived.numbered = undefined;
    if (number > this.delivered) this.#own.add(number);
    this.#passOwn();
  }

  /** Reads what may have been missed. */
  catchUp(): void {
    this.#isBehind = true;
    if (!this.#isOpen) return;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
      if (this.#isBehind && this.#isOpen && this.#options.link.isConnected) this.catchUp();
    });
  }

  async #read(): Promise<void> {
    const { link, sessionKey, logger, clientId } = this.#options;
    while (this.#isBehind && this.#isOpen && link.isConnected) {
      this.#isBehind = false;
      try {
        const last = Number(await link.redis.hget(sessionKey, "last"));
        await this.#readPages();
        // Not in the queue is what was dropped, or is done.
        if (this.#isOpen && !this.#isBehind) this.delivered = Math.max(this.delivered, last);
      } catch (error) {
        this.#isBehind = true;
        await this.#pause();
        if (link.isConnected) logger.warn("the queue of {clientId} cannot be read: {error}", { clientId, error });
      }
    }
  }

  /** Waits before the queue is read again, but not for a connection that is lost: it is read when there is one. */
  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PAUSE_AFTER_FAILURE);
    Deno.unrefTimer(timer);
    await this.#options.link.whileConnected(promise).catch(() => {});
    clearTimeout(timer);
  }

  async #readPages(): Promise<void> {
    for (;;) {
      const page = await readQueue(this.#options.link, this.#options.queueKey, this.delivered + 1, PAGE);
      if (!this.#isOpen) return;
      // One of these may be among what was read: it is looked for when its number is known.
      if (this.#appending.size > 0) {
        await Promise.all([...this.#appending].map(({ numbered }) => numbered));
        continue;
      }
      for (const [number, entry] of page) {
        this.#passOwn();
        if (this.#own.delete(number)) this.delivered = number;
        else if (number > this.delivered) this.#deliver(number, entry.length, decodeEntry(entry));
      }
      if (page.length < PAGE) return;
    }
  }

  #passOwn(): void {
    while (this.#own.delete(this.delivered + 1)) this.delivered += 1;
  }

  #deliver(number: number, size: number, { isAdmitted, ...message }: QueueEntry): void {
    const { cluster, clientId } = this.#options;
    this.delivered = number;
    const id = cluster.nextOutgoingId();
    this.messages.set(id, { number, size, numbered: undefined, packetId: 0, released: false });
    cluster.deliverQueued(clientId, { ...message, id, packetId: 0, released: false }, isAdmitted);
  }
}

/** Reads a part of a queue: at most so many messages from a number on. */
export async function readQueue(
  link: Link,
  queueKey: string,
  from: number,
  count: number,
): Promise<[number: number, entry: Uint8Array][]> {
  const entries = await link.call("XRANGE", queueKey, `${from}-0`, "+", "COUNT", count);
  return (entries as [id: Uint8Array, fields: Uint8Array[]][]).map((
    [id, [, entry]],
  ) => [parseInt(new TextDecoder().decode(id)), entry]);
}
