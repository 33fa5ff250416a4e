/** Packets put together byte by byte, also those that the encoder refuses to make, and the check that decoding refuses them. */

import assert from "node:assert/strict";
import { decode, type Packet, PacketError, type ProtocolLevel, reasonName } from "../../codec/mod.ts";

/** Every protocol level. */
export const levels: readonly ProtocolLevel[] = [3, 4, 5];

/** A byte, or several of them. */
export type Bytes = number | Iterable<number>;

function concatenate(parts: readonly Bytes[]): number[] {
  return parts.flatMap((part) => typeof part === "number" ? [part] : [...part]);
}

/** A packet: its first byte, the remaining length that fits, and what follows. */
export function packetBytes(firstByte: number, ...body: Bytes[]): Uint8Array<ArrayBuffer> {
  const bytes = concatenate(body);
  return new Uint8Array([firstByte, ...variableByteInteger(bytes.length), ...bytes]);
}

/** The algorithm of MQTT 5.0 section 1.5.5. */
export function variableByteInteger(value: number): number[] {
  const bytes: number[] = [];
  do {
    const rest = Math.floor(value / 128);
    bytes.push(value % 128 + (rest > 0 ? 128 : 0));
    value = rest;
  } while (value > 0);
  return bytes;
}

/** Binary Data, or a string whose bytes need not be UTF-8: two bytes of length, then the bytes. */
export function binary(...data: Bytes[]): number[] {
  const bytes = concatenate(data);
  return [bytes.length >> 8, bytes.length & 0xff, ...bytes];
}

/** A UTF-8 Encoded String. */
export function text(value: string): number[] {
  return binary(new TextEncoder().encode(value));
}

/** Properties with their length in front. */
export function properties(...parts: Bytes[]): number[] {
  const bytes = concatenate(parts);
  return [...variableByteInteger(bytes.length), ...bytes];
}

/** Parts of a CONNECT; what is left out is as in a plain CONNECT of client "a". */
export interface ConnectParts {
  name?: number[];
  level?: number;
  flags?: number;
  properties?: number[];
  clientId?: number[];
  /** What follows the client identifier. */
  rest?: Bytes[];
}

/** A CONNECT with clean start and a keep alive of 10 seconds. */
export function connectBytes(parts: ConnectParts = {}): Uint8Array<ArrayBuffer> {
  const { name = text("MQTT"), level = 5, flags = 0x02, clientId = text("a"), rest = [] } = parts;
  const propertyBytes = level === 5 ? parts.properties ?? properties() : [];
  return packetBytes(0x10, name, level, flags, [0, 10], propertyBytes, clientId, ...rest);
}

/** Asserts that `decode` refuses a packet with this reason code and a message that says why. */
export function assertRefused(packet: Uint8Array, level: ProtocolLevel, reasonCode: number, message: RegExp): void {
  let decoded: Packet;
  try {
    decoded = decode(packet, level);
  } catch (error) {
    assert(error instanceof PacketError, `not a PacketError: ${error}`);
    assert.match(error.message, message);
    assert.equal(reasonName(error.reasonCode), reasonName(reasonCode));
    return;
  }
  assert.fail(`decoded as ${JSON.stringify(decoded)}`);
}
