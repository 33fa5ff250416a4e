import { PacketType } from "./packet.ts";

/**
 * PINGREQ: a client shows that it is alive. Source: MQTT 5.0 section 3.12.
 *
 * @example
 * ```ts
 * import { encode, type PingreqPacket } from "@hookmq/broker/codec";
 *
 * const stillHere: PingreqPacket = { type: "pingreq" };
 * console.log(encode(stillHere, 5)); // Uint8Array [0xc0, 0x00]
 * ```
 */
export interface PingreqPacket {
  /** Which kind of packet this is. */
  type: "pingreq";
}

/**
 * PINGRESP: the server answers a PINGREQ. Source: MQTT 5.0 section 3.13.
 *
 * @example
 * ```ts
 * import { encode, type PingrespPacket } from "@hookmq/broker/codec";
 *
 * const soAmI: PingrespPacket = { type: "pingresp" };
 * console.log(encode(soAmI, 5)); // Uint8Array [0xd0, 0x00]
 * ```
 */
export interface PingrespPacket {
  /** Which kind of packet this is. */
  type: "pingresp";
}

export function encodePingreq(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([PacketType.Pingreq << 4, 0]);
}

export function encodePingresp(): Uint8Array<ArrayBuffer> {
  return new Uint8Array([PacketType.Pingresp << 4, 0]);
}
