import { Fifo } from "../../broker/fifo.ts";

/** A window that nothing has come out of for so long, although it is full, is opened: a report was lost. In milliseconds. */
const LONGEST_SILENCE = 3000;

/** What has been sent to a node and not been read there yet, as far as we know. */
export class Window {
  readonly #limit: number;
  readonly #frames = new Fifo<{ number: number; bytes: number }>();
  #bytes = 0;
  #changedAt = 0;
  #room = Promise.withResolvers<void>();

  /** A window for so many bytes. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** How many bytes are on their way. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether nothing more should be sent. */
  get isFull(): boolean {
    return this.#bytes >= this.#limit;
  }

  /** Settles when it is not full any more. */
  room(): Promise<void> | undefined {
    return this.isFull ? this.#room.promise : undefined;
  }

  /** A frame has been sent. */
  sent(number: number, bytes: number): void {
    this.#frames.push({ number, bytes });
    this.#bytes += bytes;
    this.#changedAt = Date.now();
  }

  /** All frames up to this number have been read, or will never be. */
  read(number: number): void {
    while (this.#frames.length > 0 && this.#frames.peek()!.number <= number) this.#bytes -= this.#frames.shift()!.bytes;
    this.#changedAt = Date.now();
    if (!this.isFull) this.release();
  }

  /** Nothing is on its way any more. */
  clear(): void {
    this.read(Infinity);
  }

  /** Opens the window if nothing has come out of it for long. */
  check(): void {
    if (this.isFull && Date.now() - this.#changedAt > LONGEST_SILENCE) this.clear();
  }

  /** Whoever waits for room need not wait any more. */
  release(): void {
    this.#room.resolve();
    this.#room = Promise.withResolvers();
  }
}
