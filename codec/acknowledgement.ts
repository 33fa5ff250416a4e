import { malformed, protocolError } from "./errors.ts";
import { PacketType, type ProtocolLevel } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { allowsReason } from "./reason_code.ts";

/**
 * The properties of {@linkcode AcknowledgementPacket}. Source: MQTT 5.0 sections 3.4.2.2, 3.5.2.2, 3.6.2.2 and 3.7.2.2.
 *
 * @example
 * ```ts
 * import { type AcknowledgementProperties, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * const properties: AcknowledgementProperties = { reasonString: "the disk is full" };
 * encode({ type: "puback", packetId: 7, reasonCode: ReasonCode.QuotaExceeded, properties }, 5);
 * ```
 */
export type AcknowledgementProperties = Pick<Properties, "reasonString" | "userProperties">;

/**
 * The packets of the QoS 1 and QoS 2 handshakes that answer a PUBLISH, PUBREC or PUBREL.
 *
 * @example
 * ```ts
 * import type { AcknowledgementType } from "@hookmq/broker/codec";
 *
 * const answers: Partial<Record<AcknowledgementType, AcknowledgementType>> = { pubrec: "pubrel", pubrel: "pubcomp" };
 * console.log(answers.pubrec); // pubrel
 * ```
 */
export type AcknowledgementType = "puback" | "pubrec" | "pubrel" | "pubcomp";

/**
 * PUBACK, PUBREC, PUBREL or PUBCOMP: a step of a QoS 1 or QoS 2 handshake.
 * Source: MQTT 5.0 sections 3.4 to 3.7.
 *
 * @example
 * ```ts
 * import { type AcknowledgementPacket, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * const refusal: AcknowledgementPacket = { type: "puback", packetId: 7, reasonCode: ReasonCode.NotAuthorized };
 * console.log(encode(refusal, 5)); // Uint8Array [0x40, 0x03, 0x00, 0x07, 0x87]
 * console.log(encode(refusal, 4)); // Uint8Array [0x40, 0x02, 0x00, 0x07]: it cannot say so
 * ```
 */
export interface AcknowledgementPacket {
  /** Which kind of packet this is. */
  type: AcknowledgementType;
  /** The packet identifier of the PUBLISH that it is about, 1 to 65,535. */
  packetId: number;
  /** 0 at levels 3 and 4, which have no reason codes. */
  reasonCode: number;
  /** MQTT 5 only. */
  properties?: AcknowledgementProperties;
}

const headers: Readonly<Record<AcknowledgementType, number>> = {
  puback: PacketType.Puback << 4,
  pubrec: PacketType.Pubrec << 4,
  pubrel: (PacketType.Pubrel << 4) | 0x02,
  pubcomp: PacketType.Pubcomp << 4,
};

const acknowledgementProperties: Readonly<Record<AcknowledgementType, ReturnType<typeof propertySet>>> = {
  puback: propertySet("PUBACK", "reasonString", "userProperties"),
  pubrec: propertySet("PUBREC", "reasonString", "userProperties"),
  pubrel: propertySet("PUBREL", "reasonString", "userProperties"),
  pubcomp: propertySet("PUBCOMP", "reasonString", "userProperties"),
};

export function readAcknowledgement(
  reader: PacketReader,
  level: ProtocolLevel,
  type: AcknowledgementType,
): AcknowledgementPacket {
  const packetId = readPacketId(reader);
  const packet: AcknowledgementPacket = { type, packetId, reasonCode: 0 };
  // The reason code can be left out when it is 0x00, the property length when there are no properties.
  if (level === 5 && reader.remaining > 0) {
    packet.reasonCode = reader.byte("reason code");
    if (!allowsReason(type, packet.reasonCode)) {
      throw protocolError(`${type.toUpperCase()} has the reason code ${packet.reasonCode}, which it may not carry`);
    }
    if (reader.remaining > 0) {
      const properties = readProperties<AcknowledgementProperties>(reader, acknowledgementProperties[type]);
      if (properties !== undefined) packet.properties = properties;
    }
  }
  reader.expectEnd(type.toUpperCase());
  return packet;
}

/** The packet identifier in front of many packets' variable headers; 0 is not one. */
export function readPacketId(reader: PacketReader): number {
  const packetId = reader.twoByteInteger("packet identifier");
  if (packetId === 0) throw malformed("packet identifier is 0");
  return packetId;
}

export function writePacketId(writer: PacketWriter, packetId: number): void {
  if (packetId === 0) throw new RangeError("packet identifier is 0; it must be from 1 to 65,535");
  writer.twoByteInteger(packetId, "packet identifier");
}

export function encodeAcknowledgement(packet: AcknowledgementPacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  writePacketId(writer, packet.packetId);
  if (level === 5 && (packet.reasonCode !== 0 || packet.properties !== undefined)) {
    writer.byte(packet.reasonCode);
    if (packet.properties !== undefined) {
      writeProperties(writer, packet.properties, acknowledgementProperties[packet.type]);
    }
  }
  return writer.packet(headers[packet.type]);
}
