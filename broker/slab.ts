const SLAB_SIZE = 16 * 1024;
/** Larger pieces get memory of their own: they would waste too much of a slab. */
const LARGEST = 2048;

/**
 * Copies small pieces of bytes next to each other into larger allocations: an ArrayBuffer of its own for each would cost
 * more than everything else that is done with a message.
 */
export class Slab {
  #bytes = new Uint8Array(0);
  #used = 0;

  /** A copy that stays as it is. */
  copy(source: Uint8Array): Uint8Array {
    const { length } = source;
    if (length > LARGEST) return source.slice();
    if (this.#used + length > this.#bytes.length) {
      this.#bytes = new Uint8Array(SLAB_SIZE);
      this.#used = 0;
    }
    const copy = this.#bytes.subarray(this.#used, this.#used + length);
    copy.set(source);
    this.#used += length;
    return copy;
  }
}
