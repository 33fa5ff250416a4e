import { Fifo } from "./fifo.ts";
import type { OutgoingMessage } from "./session.ts";
import type { Subscription } from "./topics/subscription_tree.ts";

/** The retained messages for a new subscription. */
export interface RetainedReplay {
  readonly subscription: Subscription;
  /** Those that it still has to be sent: looked up as they can be. */
  outgoing: IteratorObject<OutgoingMessage>;
}

/** What waits for one client, in the order in which it goes out. */
export class Backlog {
  /** What was in flight when the last connection ended, and has to be sent again before anything else. */
  readonly unsent = new Fifo<OutgoingMessage>();
  /** Retained messages for new subscriptions. Not counted against the limits: they are kept anyway. */
  readonly retained = new Fifo<RetainedReplay>();
  /** Messages that came while the client was away, or had enough. */
  readonly queue = new Fifo<OutgoingMessage>();
  /** How much memory the queue takes, in bytes. */
  queueBytes = 0;
  /** How many messages in it expire. */
  #expiring = 0;
  #sweptAt = -Infinity;

  get empty(): boolean {
    return this.queue.length === 0 && this.unsent.length === 0 && this.retained.length === 0;
  }

  enqueue(outgoing: OutgoingMessage): void {
    this.queue.push(outgoing);
    this.queueBytes += outgoing.message.size;
    if (outgoing.message.expires) this.#expiring += 1;
  }

  dequeue(): OutgoingMessage | undefined {
    const outgoing = this.queue.shift();
    if (outgoing !== undefined) this.#taken(outgoing);
    return outgoing;
  }

  /** Takes what has expired out of the queue, and returns that; not more than once a second, since it looks at everything. */
  sweep(now: number): OutgoingMessage[] {
    if (this.#expiring === 0 || now - this.#sweptAt < 1000) return [];
    this.#sweptAt = now;
    return this.retainQueued(({ message }) => !message.expired);
  }

  /** Takes everything out of the queue for which `keep` is false, and returns that. */
  retainQueued(keep: (outgoing: OutgoingMessage) => boolean): OutgoingMessage[] {
    const removed = this.queue.retain(keep);
    for (const outgoing of removed) this.#taken(outgoing);
    return removed;
  }

  /** Everything that waits in the queue or for a new subscription. */
  waiting(): OutgoingMessage[] {
    const replays = [...this.retained].map((replay) => {
      const rest = [...replay.outgoing];
      replay.outgoing = rest.values();
      return rest;
    });
    return [...this.queue, ...replays.flat()];
  }

  /** Takes everything out of what waits for new subscriptions for which `keep` is false. */
  filterRetained(keep: (outgoing: OutgoingMessage) => boolean): void {
    for (const replay of this.retained) replay.outgoing = replay.outgoing.filter(keep);
  }

  /** What goes out next. */
  next(): OutgoingMessage | undefined {
    return this.unsent.shift() ?? this.#nextRetained() ?? this.dequeue();
  }

  #taken({ message }: OutgoingMessage): void {
    this.queueBytes -= message.size;
    if (message.expires) this.#expiring -= 1;
  }

  #nextRetained(): OutgoingMessage | undefined {
    for (let replay = this.retained.peek(); replay !== undefined; replay = this.retained.peek()) {
      const next = replay.outgoing.next();
      if (!next.done) return next.value;
      this.retained.shift();
    }
    return undefined;
  }
}
