import { malformed, PacketError } from "./errors.ts";
import { ReasonCode } from "./reason_code.ts";

/** How much is set aside at first for a packet that is spread over several chunks, in bytes. */
const FIRST_ALLOCATION = 4096;

const noBytes = new Uint8Array(0);

/**
 * Cuts a stream of bytes, which arrives in chunks of any size, into packets.
 *
 * A packet that lies within one chunk is handed out where it is, without a copy; one that is spread over several is
 * put together in a buffer that grows with what has arrived, never with what a header promises.
 *
 * @example
 * ```ts
 * import { decode, Framer } from "@hookmq/broker/codec";
 *
 * const framer = new Framer();
 * for (const chunk of [new Uint8Array([0xc0]), new Uint8Array([0x00, 0xc0, 0x00])]) {
 *   framer.push(chunk);
 *   while (framer.next()) console.log(decode(framer.packet(), 5)); // { type: "pingreq" }, twice
 * }
 * ```
 */
export class Framer {
  /** The largest packet that is accepted, in bytes including the fixed header. */
  maximumPacketSize: number;

  /** Holds the current packet in `[start, end)`, until the next call of `next` or `push`. */
  bytes: Uint8Array = noBytes;
  /** Where the current packet begins in `bytes`. */
  start = 0;
  /** Where the current packet's variable header begins in `bytes`. */
  bodyStart = 0;
  /** Where the current packet ends in `bytes`. */
  end = 0;
  /** Whether `bytes` stays as it is when the next packet is looked at: it was put together for this one alone. */
  isOwn = false;

  #chunk: Uint8Array = noBytes;
  #position = 0;
  /** The beginning of a packet whose rest has not arrived yet: `#partial[0, #partialLength)`. */
  #partial: Uint8Array = noBytes;
  #partialLength = 0;

  /** A framer that accepts packets of up to `maximumPacketSize` bytes; by default of any size that MQTT knows. */
  constructor(maximumPacketSize = Infinity) {
    this.maximumPacketSize = maximumPacketSize;
  }

  /** Hands over the next chunk, after `next` has returned false. The bytes must stay as they are until it does so again. */
  push(chunk: Uint8Array): void {
    this.#chunk = chunk;
    this.#position = 0;
  }

  /**
   * Goes to the next packet. False if it has not arrived completely.
   *
   * @throws {PacketError} 0x81 if the remaining length is malformed, 0x95 if the packet is too large.
   */
  next(): boolean {
    if (this.#partialLength > 0) return this.#nextFromPartial();
    const chunk = this.#chunk;
    const start = this.#position;
    const bodyStart = this.#readFixedHeader(chunk, start, chunk.length);
    if (bodyStart === 0 || this.end > chunk.length) {
      if (start < chunk.length) this.#keep(chunk.subarray(start), bodyStart === 0 ? undefined : this.end - start);
      this.#chunk = this.bytes = noBytes;
      this.#position = 0;
      return false;
    }
    this.bytes = chunk;
    this.isOwn = false;
    this.start = start;
    this.bodyStart = bodyStart;
    this.#position = this.end;
    return true;
  }

  /** The current packet as one array, a view. */
  packet(): Uint8Array {
    return this.bytes.subarray(this.start, this.end);
  }

  /** Whether the stream so far ends inside a packet. */
  get incomplete(): boolean {
    return this.#partialLength > 0 || this.#position < this.#chunk.length;
  }

  /**
   * Reads the fixed header at `start`: sets `end` to where its packet ends and returns where its variable header
   * begins, or 0 if the header itself is not complete.
   */
  #readFixedHeader(bytes: Uint8Array, start: number, available: number): number {
    let remainingLength = 0;
    for (let index = 0; index < 4; index++) {
      const offset = start + 1 + index;
      if (offset >= available) return 0;
      const byte = bytes[offset];
      remainingLength |= (byte & 0x7f) << (7 * index);
      if (byte < 0x80) {
        // [MQTT-1.5.5-1]
        if (byte === 0 && index > 0) throw malformed("remaining length is not encoded in the fewest bytes");
        this.end = offset + 1 + remainingLength;
        if (this.end - start > this.maximumPacketSize) {
          throw new PacketError(
            ReasonCode.PacketTooLarge,
            `packet of ${this.end - start} bytes; at most ${this.maximumPacketSize} are accepted`,
          );
        }
        return offset + 1;
      }
    }
    throw malformed("remaining length has more than four bytes");
  }

  #nextFromPartial(): boolean {
    let bodyStart = this.#readFixedHeader(this.#partial, 0, this.#partialLength);
    while (bodyStart === 0) {
      if (this.#position === this.#chunk.length) return false;
      this.#keep(this.#chunk.subarray(this.#position, this.#position + 1));
      bodyStart = this.#readFixedHeader(this.#partial, 0, this.#partialLength);
    }
    const missing = this.end - this.#partialLength;
    this.#keep(this.#chunk.subarray(this.#position, this.#position + missing), this.end);
    if (this.#partialLength < this.end) return false;
    this.bytes = this.#partial;
    this.start = 0;
    this.bodyStart = bodyStart;
    this.#partialLength = 0;
    // Only a small buffer is worth keeping for the next packet that is spread.
    this.isOwn = this.#partial.length > FIRST_ALLOCATION;
    if (this.isOwn) this.#partial = noBytes;
    return true;
  }

  /** Moves bytes of the chunk behind what is there of the current packet, which has `size` bytes if that is known. */
  #keep(part: Uint8Array, size = Infinity): void {
    this.#position += part.length;
    const length = this.#partialLength + part.length;
    if (length > this.#partial.length) {
      // Never what a header promises, only what goes with what has arrived.
      const roomy = length < FIRST_ALLOCATION ? FIRST_ALLOCATION : 2 * length;
      const larger = new Uint8Array(Math.min(size, roomy));
      larger.set(this.#partial.subarray(0, this.#partialLength));
      this.#partial = larger;
    }
    this.#partial.set(part, this.#partialLength);
    this.#partialLength = length;
  }
}
