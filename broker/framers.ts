import { Framer } from "../codec/framer.ts";

/** More than are in use at a time, where a packet is mostly there as a whole. */
const LARGEST_STOCK = 16;

/** The framers of a broker's connections. One is only needed from the first byte of a packet to its last. */
export class Framers {
  readonly #maximumPacketSize: number;
  readonly #free: Framer[] = [];

  constructor(maximumPacketSize: number) {
    this.#maximumPacketSize = maximumPacketSize;
  }

  take(): Framer {
    return this.#free.pop() ?? new Framer(this.#maximumPacketSize);
  }

  /** Takes back a framer that holds nothing any more. */
  give(framer: Framer): void {
    if (this.#free.length < LARGEST_STOCK) this.#free.push(framer);
  }
}
