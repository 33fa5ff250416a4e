const SMALLEST = 4096;
const CLASSES = 11;

/**
 * Buffers that one connection has done with and the next one needs: sizes are powers of two from 4 KiB to 4 MiB, and
 * larger ones are not kept. A buffer from here holds old bytes; whoever takes one hands on only what it has written.
 */
export class BufferPool {
  readonly #free: Uint8Array<ArrayBuffer>[][] = Array.from({ length: CLASSES }, () => []);
  readonly #capacity: number;
  #held = 0;

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

  /** Gives a buffer back. The caller must not touch it again. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    const index = classOf(buffer.length);
    if (index >= CLASSES || SMALLEST << index !== buffer.length || this.#held + buffer.length > this.#capacity) return;
    this.#free[index].push(buffer);
    this.#held += buffer.length;
  }
}

function classOf(size: number): number {
  return size <= SMALLEST ? 0 : 32 - Math.clz32((size - 1) >>> 12);
}
