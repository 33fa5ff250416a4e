import { readPacketId, writePacketId } from "./acknowledgement.ts";
import { protocolError } from "./errors.ts";
import { PacketType, type ProtocolLevel } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { readTopicFilter } from "./subscribe.ts";

/**
 * The properties of {@linkcode UnsubscribePacket}. Source: MQTT 5.0 section 3.10.2.1.
 *
 * @example
 * ```ts
 * import { encode, type UnsubscribeProperties } from "@hookmq/broker/codec";
 *
 * const properties: UnsubscribeProperties = { userProperties: [["trace", "7f3a"]] };
 * encode({ type: "unsubscribe", packetId: 2, topicFilters: ["kitchen/+"], properties }, 5);
 * ```
 */
export type UnsubscribeProperties = Pick<Properties, "userProperties">;

/**
 * UNSUBSCRIBE: a client gives subscriptions up. Source: MQTT 5.0 section 3.10.
 *
 * @example
 * ```ts
 * import { encode, type UnsubscribePacket } from "@hookmq/broker/codec";
 *
 * // A shared subscription is given up by the whole filter that it was made with.
 * const packet: UnsubscribePacket = { type: "unsubscribe", packetId: 2, topicFilters: ["$share/workers/jobs/#"] };
 * encode(packet, 5);
 * ```
 */
export interface UnsubscribePacket {
  /** Which kind of packet this is. */
  type: "unsubscribe";
  /** 1 to 65,535. */
  packetId: number;
  /** At least one. */
  topicFilters: string[];
  /** MQTT 5 only. */
  properties?: UnsubscribeProperties;
}

const unsubscribeProperties = propertySet("UNSUBSCRIBE", "userProperties");

export function readUnsubscribe(reader: PacketReader, level: ProtocolLevel): UnsubscribePacket {
  const packet: UnsubscribePacket = { type: "unsubscribe", packetId: readPacketId(reader), topicFilters: [] };
  if (level === 5) {
    const properties = readProperties<UnsubscribeProperties>(reader, unsubscribeProperties);
    if (properties !== undefined) packet.properties = properties;
  }
  if (reader.remaining === 0) throw protocolError("UNSUBSCRIBE has no topic filter"); // [MQTT-3.10.3-2]
  while (reader.remaining > 0) packet.topicFilters.push(readTopicFilter(reader));
  return packet;
}

export function encodeUnsubscribe(packet: UnsubscribePacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  writePacketId(writer, packet.packetId);
  if (level === 5) writeProperties(writer, packet.properties, unsubscribeProperties);
  for (const topicFilter of packet.topicFilters) writer.string(topicFilter);
  return writer.packet((PacketType.Unsubscribe << 4) | 0x02);
}
