import { encodeUtf8 } from "./utf8.ts";
import { variableByteIntegerLength, writeVariableByteInteger } from "./variable_byte_integer.ts";

/** Writes the fields of one packet from front to back into a buffer that grows as needed. */
export class PacketWriter {
  #bytes = new Uint8Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    const offset = this.#grow(1);
    this.#bytes[offset] = value;
  }

  twoByteInteger(value: number, field: string): void {
    assertInteger(value, 0xffff, field);
    const offset = this.#grow(2);
    this.#bytes[offset] = value >>> 8;
    this.#bytes[offset + 1] = value;
  }

  fourByteInteger(value: number, field: string): void {
    assertInteger(value, 0xffff_ffff, field);
    const offset = this.#grow(4);
    this.#bytes[offset] = value >>> 24;
    this.#bytes[offset + 1] = value >>> 16;
    this.#bytes[offset + 2] = value >>> 8;
    this.#bytes[offset + 3] = value;
  }

  variableByteInteger(value: number): void {
    const offset = this.#grow(variableByteIntegerLength(value));
    writeVariableByteInteger(this.#bytes, offset, value);
  }

  string(text: string): void {
    this.binary(encodeUtf8(text), "string");
  }

  binary(data: Uint8Array, field: string): void {
    this.twoByteInteger(data.length, `length of ${field}`);
    this.raw(data);
  }

  raw(data: Uint8Array): void {
    const offset = this.#grow(data.length);
    this.#bytes.set(data, offset);
  }

  /** What has been written, as a view that the next write may invalidate. */
  body(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  /** What has been written, behind a fixed header with this first byte. */
  packet(header: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(1 + variableByteIntegerLength(this.#length) + this.#length);
    bytes[0] = header;
    const offset = writeVariableByteInteger(bytes, 1, this.#length);
    bytes.set(this.body(), offset);
    return bytes;
  }

  #grow(by: number): number {
    const offset = this.#length;
    this.#length += by;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#bytes.length));
      larger.set(this.#bytes.subarray(0, offset));
      this.#bytes = larger;
    }
    return offset;
  }
}

function assertInteger(value: number, maximum: number, field: string): void {
  if (!Number.isInteger(value) || value < 0 || value > maximum) {
    throw new RangeError(`${field} is ${value}; it must be a whole number from 0 to ${maximum}`);
  }
}
