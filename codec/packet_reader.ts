import { malformed } from "./errors.ts";
import { decodeUtf8 } from "./utf8.ts";

/** Reads the fields of one packet from front to back; every read past its end is a PacketError. */
export class PacketReader {
  readonly bytes: Uint8Array;
  position: number;
  readonly end: number;

  constructor(bytes: Uint8Array, position: number, end: number) {
    this.bytes = bytes;
    this.position = position;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.position;
  }

  byte(field: string): number {
    return this.bytes[this.#take(1, field)];
  }

  twoByteInteger(field: string): number {
    const start = this.#take(2, field);
    return (this.bytes[start] << 8) | this.bytes[start + 1];
  }

  fourByteInteger(field: string): number {
    const start = this.#take(4, field);
    const { bytes } = this;
    return ((bytes[start] << 24) | (bytes[start + 1] << 16) | (bytes[start + 2] << 8) | bytes[start + 3]) >>> 0;
  }

  variableByteInteger(field: string): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.byte(field);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        // [MQTT-1.5.5-1]
        if (byte === 0 && shift > 0) throw malformed(`${field} is not encoded in the fewest bytes`);
        return value;
      }
    }
    throw malformed(`${field} is a Variable Byte Integer of more than four bytes`);
  }

  string(field: string): string {
    const length = this.twoByteInteger(field);
    const start = this.#take(length, field);
    return decodeUtf8(this.bytes, start, start + length);
  }

  /** Binary Data, as bytes of their own: they stay valid when the read buffer is used again. */
  binary(field: string): Uint8Array<ArrayBuffer> {
    const length = this.twoByteInteger(field);
    const start = this.#take(length, field);
    return this.bytes.slice(start, start + length);
  }

  /** @throws {PacketError} 0x81 if anything is left. */
  expectEnd(packet: string): void {
    if (this.position !== this.end) throw malformed(`${packet} has ${this.remaining} bytes behind its end`);
  }

  #take(length: number, field: string): number {
    const start = this.position;
    if (start + length > this.end) throw malformed(`packet ends inside ${field}`);
    this.position = start + length;
    return start;
  }
}
