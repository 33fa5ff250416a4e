import type { BufferPool } from "./buffer_pool.ts";
import type { Loan } from "./loan.ts";
import type { Transport } from "./transport.ts";

/** The first buffer of a connection that has something to say, in bytes. */
const FIRST_BUFFER = 4096;
/** A collecting buffer grows up to this; what comes then starts another one. */
const LARGEST_BUFFER = 256 * 1024;

interface Segment {
  readonly bytes: Uint8Array;
  /** The buffer to give back when they are written. */
  readonly pooled: Uint8Array<ArrayBuffer> | undefined;
  /** To be released when they are written. */
  readonly loan: Loan | undefined;
}

const noBytes = new Uint8Array(0);
const noSegments: readonly Segment[] = [];

/** What becomes of what was collected. */
export interface OutboundEvents {
  /** So many bytes have been written. */
  onWritten(bytes: number): void;
  /** Writing has failed; nothing is written any more. */
  onWriteError(error: Error): void;
}

/** What a connection has to write: collected while a write is under way, then written at once. */
export class Outbound {
  /** Holds what `reserve` has set aside. */
  buffer: Uint8Array<ArrayBuffer> = noBytes;
  #length = 0;
  /** Full buffers, and payloads of their own, that go out before `buffer`. */
  #segments: readonly Segment[] = noSegments;
  /** Bytes that are not handed over to the transport yet. */
  pending = 0;

  readonly #transport: Transport;
  readonly #pool: BufferPool;
  readonly #events: OutboundEvents;
  #writing: Promise<void> | undefined;

  constructor(transport: Transport, pool: BufferPool, events: OutboundEvents) {
    this.#transport = transport;
    this.#pool = pool;
    this.#events = events;
  }

  /** Sets `size` bytes aside at the end of `buffer` and returns where they begin. The caller fills them in at once. */
  reserve(size: number): number {
    const offset = this.#length;
    const length = offset + size;
    this.pending += size;
    if (length > this.buffer.length) return this.#reserveElsewhere(size);
    this.#length = length;
    return offset;
  }

  /** Adds a copy of these bytes. */
  write(bytes: Uint8Array): void {
    const offset = this.reserve(bytes.length);
    this.buffer.set(bytes, offset);
  }

  /**
   * Adds these bytes themselves: they must not change before the loan is released, or never if there is none. For what is
   * too large to be worth a copy.
   */
  writeShared(bytes: Uint8Array, loan: Loan | undefined): void {
    this.#seal();
    this.#add({ bytes, pooled: undefined, loan });
    this.pending += bytes.length;
  }

  /** Writes what has been collected, unless a write is under way, which then goes on with it. */
  flush(): void {
    if (this.#writing !== undefined || this.pending === 0) return;
    this.#writing = this.#writeAll();
  }

  /** Resolves when everything is written, or cannot be. */
  async flushed(): Promise<void> {
    this.flush();
    await this.#writing;
  }

  #reserveElsewhere(size: number): number {
    const grown = 2 * this.buffer.length;
    if (this.#length + size <= LARGEST_BUFFER) {
      const larger = this.#pool.take(Math.max(this.#length + size, grown, FIRST_BUFFER));
      if (this.buffer.length > 0) {
        larger.set(this.buffer.subarray(0, this.#length));
        this.#pool.give(this.buffer);
      }
      this.buffer = larger;
    } else {
      this.#seal();
      this.buffer = this.#pool.take(Math.max(size, Math.min(grown, LARGEST_BUFFER)));
    }
    const offset = this.#length;
    this.#length += size;
    return offset;
  }

  #seal(): void {
    if (this.#length > 0) {
      this.#add({ bytes: this.buffer.subarray(0, this.#length), pooled: this.buffer, loan: undefined });
      this.buffer = noBytes;
      this.#length = 0;
    }
  }

  #add(segment: Segment): void {
    if (this.#segments === noSegments) this.#segments = [segment];
    else (this.#segments as Segment[]).push(segment);
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.pending > 0) {
        this.#seal();
        const segments = this.#segments;
        this.#segments = noSegments;
        for (const { bytes, pooled, loan } of segments) {
          let written = await this.#transport.write(bytes);
          while (written < bytes.length) written += await this.#transport.write(bytes.subarray(written));
          if (pooled !== undefined) this.#pool.give(pooled);
          loan?.release();
          this.pending -= bytes.length;
          this.#events.onWritten(bytes.length);
        }
      }
    } catch (error) {
      this.#events.onWriteError(error as Error);
      return; // `#writing` stays set: whatever is added from now on has nowhere to go.
    }
    this.#writing = undefined;
  }
}
