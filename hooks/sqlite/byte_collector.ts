import type { Slice } from "./operations.ts";

/** Puts pieces of bytes one behind the other, so that they travel between the threads as one. */
export class ByteCollector {
  #bytes = new Uint8Array(4096);
  #length = 0;

  /** All that was added; valid until something else is. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Adds a piece, and says where it lies. */
  add(data: Uint8Array): Slice {
    const offset = this.#length;
    this.#length += data.length;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, offset));
      this.#bytes = larger;
    }
    this.#bytes.set(data, offset);
    return [offset, data.length];
  }
}

/** The piece that was added. */
export function pieceOf(bytes: Uint8Array, [offset, length]: Slice): Uint8Array {
  return bytes.subarray(offset, offset + length);
}
