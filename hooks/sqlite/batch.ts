import { ByteCollector, pieceOf } from "./byte_collector.ts";
import { isLasting, type Operation, type SessionOperation, type Slice } from "./operations.ts";

/** Changes that wait to be written together, and whoever waits for that. */
export class Batch {
  /** In the order in which they are made; `undefined` where one has turned out to be needless. */
  readonly operations: (Operation | undefined)[] = [];
  readonly #written = Promise.withResolvers<void>();
  #lasting: Promise<void> | undefined;
  #successor: Batch | undefined;
  readonly #pieces = new ByteCollector();

  constructor() {
    // Not every change has somebody who waits for it.
    this.written.catch(() => {});
  }

  /** What the slices in the changes are slices of. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#pieces.bytes;
  }

  /** Adds a change and says where it stands. */
  add(operation: Operation): number {
    return this.operations.push(operation) - 1;
  }

  /** Adds bytes that a change refers to. */
  slice(data: Uint8Array): Slice {
    return this.#pieces.add(data);
  }

  /** Settles when the batch has been written; rejects if it could not be. */
  get written(): Promise<void> {
    return this.#written.promise;
  }

  /** Settles when its lasting changes have been written, with it or with a later batch. Never rejects. */
  get lasting(): Promise<void> {
    return this.#lasting ??= this.written.catch(() => this.#successor!.lasting);
  }

  /** It has been written. */
  succeed(): void {
    this.#written.resolve();
  }

  /** It could not be written. Its lasting changes go into `successor`, the others are refused with `error`. */
  fail(error: Error, successor: Batch): void {
    // Of a session only the last state is kept: clients that come and go meanwhile must not fill the memory.
    const sessions = new Set<string>();
    const kept: Operation[] = [];
    for (const operation of this.operations.toReversed()) {
      if (operation === undefined || !isLasting(operation)) continue;
      if (operation[0] !== "updateSession") {
        kept.push(operation);
      } else if (!sessions.has(operation[1])) {
        sessions.add(operation[1]);
        kept.push(this.#moved(operation, successor));
      }
    }
    successor.operations.push(...kept.reverse());
    this.#successor = successor;
    this.#written.reject(error);
  }

  #moved(operation: SessionOperation, successor: Batch): SessionOperation {
    const [name, clientId, protocolLevel, username, expiryInterval, disconnectedAt, will, willDelay] = operation;
    const moved = will && successor.slice(pieceOf(this.bytes, will));
    return [name, clientId, protocolLevel, username, expiryInterval, disconnectedAt, moved, willDelay];
  }
}
