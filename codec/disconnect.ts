import { protocolError } from "./errors.ts";
import { PacketType, type ProtocolLevel } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { allowsReason } from "./reason_code.ts";

/**
 * The properties of {@linkcode DisconnectPacket}. Source: MQTT 5.0 section 3.14.2.2.
 *
 * @example
 * ```ts
 * import { type DisconnectProperties, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * const properties: DisconnectProperties = { serverReference: "broker2.example.org:1883" };
 * encode({ type: "disconnect", reasonCode: ReasonCode.UseAnotherServer, properties }, 5);
 * ```
 */
export type DisconnectProperties = Pick<
  Properties,
  "sessionExpiryInterval" | "reasonString" | "userProperties" | "serverReference"
>;

/**
 * DISCONNECT: the last packet of a connection. Source: MQTT 5.0 section 3.14.
 *
 * @example
 * ```ts
 * import { type DisconnectPacket, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * // A client that goes, and has its will published nevertheless.
 * const goodbye: DisconnectPacket = { type: "disconnect", reasonCode: ReasonCode.DisconnectWithWillMessage };
 * console.log(encode(goodbye, 5)); // Uint8Array [0xe0, 0x01, 0x04]
 * ```
 */
export interface DisconnectPacket {
  /** Which kind of packet this is. */
  type: "disconnect";
  /** 0 at levels 3 and 4, which have no reason codes. */
  reasonCode: number;
  /** MQTT 5 only. */
  properties?: DisconnectProperties;
}

const disconnectProperties = propertySet(
  "DISCONNECT",
  "sessionExpiryInterval",
  "reasonString",
  "userProperties",
  "serverReference",
);

export function readDisconnect(reader: PacketReader, level: ProtocolLevel): DisconnectPacket {
  const packet: DisconnectPacket = { type: "disconnect", reasonCode: 0 };
  if (level === 5 && reader.remaining > 0) {
    packet.reasonCode = reader.byte("disconnect reason code");
    if (!allowsReason("disconnect", packet.reasonCode)) {
      throw protocolError(`DISCONNECT has the reason code ${packet.reasonCode}, which it may not carry`);
    }
    if (reader.remaining > 0) {
      const properties = readProperties<DisconnectProperties>(reader, disconnectProperties);
      if (properties !== undefined) packet.properties = properties;
    }
  }
  reader.expectEnd("DISCONNECT");
  return packet;
}

export function encodeDisconnect(packet: DisconnectPacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  if (level === 5 && (packet.reasonCode !== 0 || packet.properties !== undefined)) {
    writer.byte(packet.reasonCode);
    if (packet.properties !== undefined) writeProperties(writer, packet.properties, disconnectProperties);
  }
  return writer.packet(PacketType.Disconnect << 4);
}
