import type { StoredMessage } from "../../broker/hooks.ts";
import type { Operation } from "./operations.ts";

/** Where changes are collected until they are written; see `Writer.current`. */
interface Collector {
  readonly operations: (Operation | undefined)[];
  add(operation: Operation): number;
}

interface Entry {
  readonly id: number;
  readonly message: StoredMessage;
  /** How many sessions it is on its way to. */
  references: number;
}

/** Which messages are in the database: each once, for as long as it is on its way to a session. */
export class MessageTable {
  readonly #byMessage = new Map<StoredMessage, Entry>();
  readonly #byOutgoing = new Map<number, Entry>();
  /** Where messages stand in the batch that is being collected, so that they can be taken back from there. */
  #collected = new Map<Entry, number>();
  #collector: Collector | undefined;
  #lastId = 0;

  /** How many messages there are. */
  get size(): number {
    return this.#byMessage.size;
  }

  /** The message that is on its way, and stored, under this number. */
  messageOf(outgoingId: number): StoredMessage | undefined {
    return this.#byOutgoing.get(outgoingId)?.message;
  }

  /** Whether a message on its way is stored under this number. */
  holds(outgoingId: number): boolean {
    return this.#byOutgoing.has(outgoingId);
  }

  /** The number of a message; one that is not stored yet is added by `add`. */
  take(outgoingId: number, message: StoredMessage, collector: Collector, add: (id: number) => number): number {
    const known = this.#byOutgoing.get(outgoingId) ?? this.#byMessage.get(message);
    if (known !== undefined) {
      if (!this.#byOutgoing.has(outgoingId)) known.references += 1;
      this.#byOutgoing.set(outgoingId, known);
      return known.id;
    }
    const id = ++this.#lastId;
    const entry = { id, message, references: 1 };
    this.#positionsIn(collector).set(entry, add(id));
    this.#byMessage.set(message, entry);
    this.#byOutgoing.set(outgoingId, entry);
    return id;
  }

  /** A message on its way has got another number. */
  move(from: number, outgoingId: number): void {
    this.#byOutgoing.set(outgoingId, this.#byOutgoing.get(from)!);
    this.#byOutgoing.delete(from);
  }

  /** A message is not on its way any more; the last time its bytes go as well. */
  release(outgoingId: number, collector: Collector): void {
    const entry = this.#byOutgoing.get(outgoingId)!;
    if (!this.#forget(outgoingId, entry)) return;
    const position = this.#positionsIn(collector).get(entry);
    if (position !== undefined) collector.operations[position] = undefined;
    else collector.add(["removeMessage", entry.id]);
  }

  /** A message on its way has not been stored. */
  refused(outgoingId: number): void {
    const entry = this.#byOutgoing.get(outgoingId);
    if (entry !== undefined) this.#forget(outgoingId, entry);
  }

  /** A message on its way that was stored before the process started. */
  restore(outgoingId: number, messageId: number, message: StoredMessage): void {
    this.#lastId = Math.max(this.#lastId, messageId);
    const entry = this.#byMessage.get(message) ?? { id: messageId, message, references: 0 };
    entry.references += 1;
    this.#byMessage.set(message, entry);
    this.#byOutgoing.set(outgoingId, entry);
  }

  /** What is said of another batch than the one that was collected so far is forgotten: that one is on its way. */
  #positionsIn(collector: Collector): Map<Entry, number> {
    if (this.#collector !== collector) {
      this.#collector = collector;
      this.#collected = new Map();
    }
    return this.#collected;
  }

  /** Returns whether that was the last reference. */
  #forget(outgoingId: number, entry: Entry): boolean {
    this.#byOutgoing.delete(outgoingId);
    entry.references -= 1;
    if (entry.references > 0) return false;
    this.#byMessage.delete(entry.message);
    return true;
  }
}
