import { readPacketId, writePacketId } from "./acknowledgement.ts";
import { malformed, protocolError } from "./errors.ts";
import { PacketType, type ProtocolLevel } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { allowsReason, ReasonCode } from "./reason_code.ts";

/**
 * The properties of {@linkcode SubackPacket}. Source: MQTT 5.0 section 3.9.2.1.
 *
 * @example
 * ```ts
 * import { encode, ReasonCode, type SubackProperties } from "@hookmq/broker/codec";
 *
 * const properties: SubackProperties = { reasonString: "only home/# is yours" };
 * encode({ type: "suback", packetId: 1, reasonCodes: [ReasonCode.NotAuthorized], properties }, 5);
 * ```
 */
export type SubackProperties = Pick<Properties, "reasonString" | "userProperties">;

/**
 * SUBACK: the server answers a SUBSCRIBE. Source: MQTT 5.0 section 3.9.
 *
 * @example
 * ```ts
 * import { encode, ReasonCode, type SubackPacket } from "@hookmq/broker/codec";
 *
 * const reasonCodes = [ReasonCode.GrantedQos1, ReasonCode.NotAuthorized];
 * const answer: SubackPacket = { type: "suback", packetId: 1, reasonCodes };
 * console.log(encode(answer, 5)); // Uint8Array [0x90, 0x05, 0x00, 0x01, 0x00, 0x01, 0x87]
 * console.log(encode(answer, 4)); // Uint8Array [0x90, 0x04, 0x00, 0x01, 0x01, 0x80]: it has only one refusal
 * ```
 */
export interface SubackPacket {
  /** Which kind of packet this is. */
  type: "suback";
  /** The packet identifier of the SUBSCRIBE. */
  packetId: number;
  /** One for each topic filter, in their order: the granted QoS, or 0x80 and above if it was refused. */
  reasonCodes: number[];
  /** MQTT 5 only. */
  properties?: SubackProperties;
}

const subackProperties = propertySet("SUBACK", "reasonString", "userProperties");

export function readSuback(reader: PacketReader, level: ProtocolLevel): SubackPacket {
  const packet: SubackPacket = { type: "suback", packetId: readPacketId(reader), reasonCodes: [] };
  if (level === 5) {
    const properties = readProperties<SubackProperties>(reader, subackProperties);
    if (properties !== undefined) packet.properties = properties;
  }
  if (reader.remaining === 0) throw malformed("SUBACK has no reason code");
  while (reader.remaining > 0) {
    const reasonCode = reader.byte("reason code");
    if (level === 5 ? !allowsReason("suback", reasonCode) : reasonCode > 2 && reasonCode !== 0x80) {
      throw protocolError(`SUBACK has the reason code ${reasonCode}, which it may not carry`);
    }
    packet.reasonCodes.push(reasonCode);
  }
  return packet;
}

export function encodeSuback(packet: SubackPacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  writePacketId(writer, packet.packetId);
  if (level === 5) writeProperties(writer, packet.properties, subackProperties);
  for (const reasonCode of packet.reasonCodes) {
    // 0x80 is the only refusal that levels 3 and 4 have.
    writer.byte(level === 5 ? reasonCode : Math.min(reasonCode, ReasonCode.UnspecifiedError));
  }
  return writer.packet(PacketType.Suback << 4);
}
