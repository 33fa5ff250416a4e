const SMALLEST = 512;
const CLASSES = 14;
/** Buffers of quiet connections, in bytes, and how many of them lie in one ArrayBuffer. */
export const QUIET_BUFFER = 64;
const QUIET_BUFFERS = 16;

/**
 * Buffers that one connection has done with and the next one needs: sizes are powers of two from 512 bytes to 4 MiB, and
 * larger ones are not kept. A buffer from here holds old bytes; whoever takes one hands on only what it has written.
 */
export class BufferPool {
  readonly #free: Uint8Array<ArrayBuffer>[][] = Array.from({ length: CLASSES }, () => []);
  readonly #capacity: number;
  #held = 0;
  #quiet = new Uint8Array(0);

  /** A pool that keeps at most `capacity` bytes. */
  constructor(capacity = 16 * 1024 * 1024) {
    this.#capacity = capacity;
  }

  /** A buffer of at least this size. */
  take(size: number): Uint8Array<ArrayBuffer> {
    const index = classOf(size);
    const buffer = this.#free[index]?.pop();
    if (buffer === undefined) return new Uint8Array(index < CLASSES ? SMALLEST << index : size);
    this.#held -= buffer.length;
    return buffer;
  }

  /**
   * A buffer of `QUIET_BUFFER` bytes for a connection that is quiet now: it is not given back. A few of them share an
   * ArrayBuffer, which costs more than the bytes in it; not many, since the last one keeps the memory of all.
   */
  takeQuiet(): Uint8Array<ArrayBuffer> {
    if (this.#quiet.length === 0) this.#quiet = new Uint8Array(QUIET_BUFFERS * QUIET_BUFFER);
    const buffer = this.#quiet.subarray(0, QUIET_BUFFER);
    this.#quiet = this.#quiet.subarray(QUIET_BUFFER);
    return buffer;
  }

  /** Gives a buffer back. The caller must not touch it again. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    const index = classOf(buffer.length);
    if (index >= CLASSES || SMALLEST << index !== buffer.length || this.#held + buffer.length > this.#capacity) return;
    this.#free[index].push(buffer);
    this.#held += buffer.length;
  }
}

function classOf(size: number): number {
  return size <= SMALLEST ? 0 : 32 - Math.clz32((size - 1) >>> 9);
}
