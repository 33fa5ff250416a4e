import { readPacketId, writePacketId } from "./acknowledgement.ts";
import { malformed, protocolError } from "./errors.ts";
import { PacketType, type ProtocolLevel } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { allowsReason } from "./reason_code.ts";

/**
 * The properties of {@linkcode UnsubackPacket}. Source: MQTT 5.0 section 3.11.2.1.
 *
 * @example
 * ```ts
 * import { encode, ReasonCode, type UnsubackProperties } from "@hookmq/broker/codec";
 *
 * const properties: UnsubackProperties = { reasonString: "there was no such subscription" };
 * encode({ type: "unsuback", packetId: 2, reasonCodes: [ReasonCode.NoSubscriptionExisted], properties }, 5);
 * ```
 */
export type UnsubackProperties = Pick<Properties, "reasonString" | "userProperties">;

/**
 * UNSUBACK: the server answers an UNSUBSCRIBE. Source: MQTT 5.0 section 3.11.
 *
 * @example
 * ```ts
 * import { encode, ReasonCode, type UnsubackPacket } from "@hookmq/broker/codec";
 *
 * const reasonCodes = [ReasonCode.Success, ReasonCode.NoSubscriptionExisted];
 * const answer: UnsubackPacket = { type: "unsuback", packetId: 2, reasonCodes };
 * console.log(encode(answer, 5)); // Uint8Array [0xb0, 0x05, 0x00, 0x02, 0x00, 0x00, 0x11]
 * console.log(encode(answer, 4)); // Uint8Array [0xb0, 0x02, 0x00, 0x02]
 * ```
 */
export interface UnsubackPacket {
  /** Which kind of packet this is. */
  type: "unsuback";
  /** The packet identifier of the UNSUBSCRIBE. */
  packetId: number;
  /** One for each topic filter, in their order; empty at levels 3 and 4, whose UNSUBACK has none. */
  reasonCodes: number[];
  /** MQTT 5 only. */
  properties?: UnsubackProperties;
}

const unsubackProperties = propertySet("UNSUBACK", "reasonString", "userProperties");

export function readUnsuback(reader: PacketReader, level: ProtocolLevel): UnsubackPacket {
  const packet: UnsubackPacket = { type: "unsuback", packetId: readPacketId(reader), reasonCodes: [] };
  if (level === 5) {
    const properties = readProperties<UnsubackProperties>(reader, unsubackProperties);
    if (properties !== undefined) packet.properties = properties;
    if (reader.remaining === 0) throw malformed("UNSUBACK has no reason code");
    while (reader.remaining > 0) {
      const reasonCode = reader.byte("reason code");
      if (!allowsReason("unsuback", reasonCode)) {
        throw protocolError(`UNSUBACK has the reason code ${reasonCode}, which it may not carry`);
      }
      packet.reasonCodes.push(reasonCode);
    }
  }
  reader.expectEnd("UNSUBACK");
  return packet;
}

export function encodeUnsuback(packet: UnsubackPacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  writePacketId(writer, packet.packetId);
  if (level === 5) {
    writeProperties(writer, packet.properties, unsubackProperties);
    for (const reasonCode of packet.reasonCodes) writer.byte(reasonCode);
  }
  return writer.packet(PacketType.Unsuback << 4);
}
