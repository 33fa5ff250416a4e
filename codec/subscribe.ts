import { readPacketId, writePacketId } from "./acknowledgement.ts";
import { malformed, protocolError, quote } from "./errors.ts";
import { PacketType, type ProtocolLevel, type Qos } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { isTopicFilter, parseSharedFilter } from "./topic.ts";

/**
 * The properties of {@linkcode SubscribePacket}. Source: MQTT 5.0 section 3.8.2.1.
 *
 * @example
 * ```ts
 * import { encode, type SubscribeProperties } from "@hookmq/broker/codec";
 *
 * // Messages for this subscription will say that they are for number 7.
 * const properties: SubscribeProperties = { subscriptionIdentifiers: [7] };
 * const all = { topicFilter: "#", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
 * encode({ type: "subscribe", packetId: 1, subscriptions: [all], properties }, 5);
 * ```
 */
export type SubscribeProperties = Pick<Properties, "subscriptionIdentifiers" | "userProperties">;

/**
 * What a client asks for with one topic filter. Source: MQTT 5.0 section 3.8.3.1.
 *
 * @example
 * ```ts
 * import { Broker, type SubscriptionRequest } from "@hookmq/broker";
 *
 * // Nobody gets more than QoS 1 here.
 * function lowered(request: SubscriptionRequest): SubscriptionRequest {
 *   return request.qos === 2 ? { ...request, qos: 1 } : request;
 * }
 * await using broker = new Broker();
 * await broker.use({ id: "lower-qos", onSubscribe: (_client, subscriptions) => subscriptions.map(lowered) });
 * ```
 */
export interface SubscriptionRequest {
  /** May hold the wildcards `+` and `#`, and may be a shared subscription's `$share/{group}/{filter}`. */
  topicFilter: string;
  /** The highest QoS at which the client wants its messages. */
  qos: Qos;
  /** Whether messages that the client itself publishes are left out; false before MQTT 5. */
  noLocal: boolean;
  /** Whether messages keep the retain flag that they were published with; false before MQTT 5. */
  retainAsPublished: boolean;
  /** When retained messages are sent: 0 always, 1 if the subscription is new, 2 never; 0 before MQTT 5. */
  retainHandling: 0 | 1 | 2;
}

/**
 * SUBSCRIBE: a client asks for messages. Source: MQTT 5.0 section 3.8.
 *
 * @example
 * ```ts
 * import { encode, type SubscribePacket } from "@hookmq/broker/codec";
 *
 * const packet: SubscribePacket = {
 *   type: "subscribe",
 *   packetId: 1,
 *   subscriptions: [
 *     { topicFilter: "kitchen/+", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 },
 *     { topicFilter: "$share/workers/jobs/#", qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0 },
 *   ],
 * };
 * encode(packet, 5);
 * ```
 */
export interface SubscribePacket {
  /** Which kind of packet this is. */
  type: "subscribe";
  /** 1 to 65,535. */
  packetId: number;
  /** At least one. */
  subscriptions: SubscriptionRequest[];
  /** MQTT 5 only. */
  properties?: SubscribeProperties;
}

const subscribeProperties = propertySet("SUBSCRIBE", "subscriptionIdentifiers", "userProperties");

export function readSubscribe(reader: PacketReader, level: ProtocolLevel): SubscribePacket {
  const packet: SubscribePacket = { type: "subscribe", packetId: readPacketId(reader), subscriptions: [] };
  if (level === 5) {
    const properties = readProperties<SubscribeProperties>(reader, subscribeProperties);
    if ((properties?.subscriptionIdentifiers?.length ?? 0) > 1) {
      throw protocolError("subscriptionIdentifier is there twice");
    }
    if (properties !== undefined) packet.properties = properties;
  }
  if (reader.remaining === 0) throw protocolError("SUBSCRIBE has no topic filter"); // [MQTT-3.8.3-2]
  while (reader.remaining > 0) packet.subscriptions.push(readSubscription(reader, level));
  return packet;
}

function readSubscription(reader: PacketReader, level: ProtocolLevel): SubscriptionRequest {
  const topicFilter = readTopicFilter(reader);
  const options = reader.byte("subscription options");
  if (options & (level === 5 ? 0xc0 : 0xfc)) throw malformed("subscription options have a reserved bit set"); // [MQTT-3.8.3-5]
  const qos = options & 0x03;
  const retainHandling = (options >> 4) & 0x03;
  const noLocal = (options & 0x04) !== 0;
  if (qos === 3) throw (level === 5 ? protocolError : malformed)("the requested QoS is 3");
  if (retainHandling === 3) throw protocolError("retain handling is 3");
  // [MQTT-3.8.3-4]
  if (noLocal && parseSharedFilter(topicFilter) !== undefined) throw protocolError("no local on a shared subscription");
  return {
    topicFilter,
    qos: qos as Qos,
    noLocal,
    retainAsPublished: (options & 0x08) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

/** @throws {PacketError} 0x81 if the filter is not well-formed; 0x8F is for one that is, but is not accepted. */
export function readTopicFilter(reader: PacketReader): string {
  const topicFilter = reader.string("topic filter");
  if (!isTopicFilter(topicFilter)) throw malformed(`${quote(topicFilter)} is not a topic filter`);
  return topicFilter;
}

export function encodeSubscribe(packet: SubscribePacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  writePacketId(writer, packet.packetId);
  if (level === 5) writeProperties(writer, packet.properties, subscribeProperties);
  for (const { topicFilter, qos, noLocal, retainAsPublished, retainHandling } of packet.subscriptions) {
    writer.string(topicFilter);
    writer.byte(
      level === 5 ? qos | (noLocal ? 0x04 : 0) | (retainAsPublished ? 0x08 : 0) | (retainHandling << 4) : qos,
    );
  }
  return writer.packet((PacketType.Subscribe << 4) | 0x02);
}
