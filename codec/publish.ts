import { malformed, protocolError, quote } from "./errors.ts";
import { PacketType, type ProtocolLevel, type Qos } from "./packet.ts";
import { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, type PropertySet, propertySet, readProperties, writeProperties } from "./properties.ts";
import { isTopicName } from "./topic.ts";
import { decodeUtf8, encodeUtf8 } from "./utf8.ts";
import { variableByteIntegerLength, writeVariableByteInteger } from "./variable_byte_integer.ts";

/**
 * The properties of {@linkcode PublishPacket}. Source: MQTT 5.0 section 3.3.2.3.
 *
 * @example
 * ```ts
 * import { Broker, type PublishProperties } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const properties: PublishProperties = { contentType: "application/json", messageExpiryInterval: 60 };
 * await broker.publish("kitchen/state", JSON.stringify({ temperature: 21.5 }), { properties });
 * ```
 */
export type PublishProperties = Pick<
  Properties,
  | "payloadFormatIndicator"
  | "messageExpiryInterval"
  | "topicAlias"
  | "responseTopic"
  | "correlationData"
  | "userProperties"
  | "subscriptionIdentifiers"
  | "contentType"
>;

/**
 * PUBLISH: a message. Source: MQTT 5.0 section 3.3.
 *
 * @example
 * ```ts
 * import { decode, encode, type PublishPacket } from "@hookmq/broker/codec";
 *
 * const packet: PublishPacket = {
 *   type: "publish",
 *   topic: "kitchen/temperature",
 *   payload: new TextEncoder().encode("21.5"),
 *   qos: 1,
 *   retain: false,
 *   dup: false,
 *   packetId: 7,
 * };
 * const received = decode(encode(packet, 5), 5);
 * if (received.type === "publish") console.log(new TextDecoder().decode(received.payload)); // 21.5
 * ```
 */
export interface PublishPacket {
  /** Which kind of packet this is. */
  type: "publish";
  /** Empty only together with a topic alias. */
  topic: string;
  /** May be a view into a buffer that is used again: whoever keeps it beyond the call that handed it over copies it. */
  payload: Uint8Array;
  /** Quality of service; a packet to a client has the lower one of the message and the subscription. */
  qos: Qos;
  /** From a client: keep this as the topic's last value. To a client: this was kept. */
  retain: boolean;
  /** Whether this may be a second attempt at sending it. */
  dup: boolean;
  /** 1 to 65,535 at QoS 1 and 2; absent at QoS 0. */
  packetId?: number;
  /** MQTT 5 only. */
  properties?: PublishProperties;
}

const publishProperties: PropertySet = propertySet(
  "PUBLISH",
  "payloadFormatIndicator",
  "messageExpiryInterval",
  "topicAlias",
  "responseTopic",
  "correlationData",
  "userProperties",
  "subscriptionIdentifiers",
  "contentType",
);

/** Properties that take more bytes are read anew for each message. */
const LONGEST_REMEMBERED = 512;

const noBytes = new Uint8Array(0);

/**
 * Where the parts of an encoded PUBLISH lie. {@linkcode readPublishHeader} fills it in without allocating anything
 * for a packet that has no properties, so that a broker can route by the topic's bytes alone.
 */
export class PublishHeader {
  dup = false;
  qos: Qos = 0;
  retain = false;
  /** The topic name is `bytes[topicStart, topicEnd)`; its UTF-8 is not checked yet. */
  topicStart = 0;
  topicEnd = 0;
  /** 0 at QoS 0. */
  packetId = 0;
  properties: PublishProperties | undefined = undefined;
  /** The payload is everything from here to the end of the packet. */
  payloadStart = 0;
  readonly #lastProperties = new LastProperties();

  /** Reads the properties that begin at `offset`. Returns where they end. They are to be left as they are. */
  readProperties(bytes: Uint8Array, offset: number, end: number): number {
    if (offset < end && bytes[offset] === 0) {
      this.properties = undefined;
      return offset + 1;
    }
    const last = this.#lastProperties;
    if (!last.areAt(bytes, offset, end)) {
      const reader = new PacketReader(bytes, offset, end);
      last.remember(bytes, offset, readProperties<PublishProperties>(reader, publishProperties), reader.position);
    }
    this.properties = last.properties;
    return offset + last.length;
  }
}

/** The properties that were read last: one message's are often the next one's as well, byte for byte. */
class LastProperties {
  properties: PublishProperties | undefined = undefined;
  /** How many bytes they take, those of the property length included. */
  length = 0;
  #bytes = noBytes;

  areAt(bytes: Uint8Array, offset: number, end: number): boolean {
    const { length } = this;
    if (length === 0 || length > this.#bytes.length || offset + length > end) return false;
    for (let index = 0; index < length; index++) {
      if (this.#bytes[index] !== bytes[offset + index]) return false;
    }
    return true;
  }

  remember(bytes: Uint8Array, start: number, properties: PublishProperties | undefined, end: number): void {
    this.properties = properties;
    this.length = end - start;
    if (this.length > LONGEST_REMEMBERED) return;
    if (this.#bytes.length === 0) this.#bytes = new Uint8Array(LONGEST_REMEMBERED);
    for (let index = 0; index < this.length; index++) this.#bytes[index] = bytes[start + index];
  }
}

/**
 * Reads everything in front of a PUBLISH's payload into `header`.
 *
 * @param bytes Holds the packet in `[start, end)`; its variable header begins at `bodyStart`.
 * @throws {PacketError} 0x81 or 0x82 if the packet is malformed or contradicts itself.
 */
export function readPublishHeader(
  header: PublishHeader,
  bytes: Uint8Array,
  start: number,
  bodyStart: number,
  end: number,
  level: ProtocolLevel,
): void {
  const flags = bytes[start];
  const qos = (flags >> 1) & 0x03;
  if (qos === 3) throw malformed("QoS is 3"); // [MQTT-3.3.1-4]
  header.qos = qos as Qos;
  header.dup = (flags & 0x08) !== 0;
  header.retain = (flags & 0x01) !== 0;
  if (header.dup && qos === 0) throw malformed("DUP is set at QoS 0"); // [MQTT-3.3.1-2]
  if (bodyStart + 2 > end) throw malformed("packet ends inside topic name");
  let offset = bodyStart + 2 + ((bytes[bodyStart] << 8) | bytes[bodyStart + 1]);
  if (offset > end) throw malformed("packet ends inside topic name");
  header.topicStart = bodyStart + 2;
  header.topicEnd = offset;
  header.packetId = 0;
  if (qos > 0) {
    if (offset + 2 > end) throw malformed("packet ends inside packet identifier");
    header.packetId = (bytes[offset] << 8) | bytes[offset + 1];
    if (header.packetId === 0) throw malformed("packet identifier is 0");
    offset += 2;
  }
  if (level === 5) offset = header.readProperties(bytes, offset, end);
  else header.properties = undefined;
  if (header.topicStart === header.topicEnd && header.properties?.topicAlias === undefined) {
    throw protocolError("PUBLISH has neither a topic name nor a topic alias");
  }
  header.payloadStart = offset;
}

/**
 * The topic name in `bytes[start, end)`.
 *
 * @throws {PacketError} 0x81 if it is not UTF-8, or not a topic name.
 */
export function decodeTopicName(bytes: Uint8Array, start: number, end: number): string {
  const topic = decodeUtf8(bytes, start, end);
  // [MQTT-3.3.2-2] Not 0x90: that is for a topic name which is well-formed, but not accepted.
  if (!isTopicName(topic)) throw malformed(`${quote(topic)} is not a topic name`);
  return topic;
}

export function readPublish(
  bytes: Uint8Array,
  start: number,
  bodyStart: number,
  end: number,
  level: ProtocolLevel,
): PublishPacket {
  const header = new PublishHeader();
  readPublishHeader(header, bytes, start, bodyStart, end, level);
  const { topicStart, topicEnd, packetId, properties } = header;
  const packet: PublishPacket = {
    type: "publish",
    topic: topicStart === topicEnd ? "" : decodeTopicName(bytes, topicStart, topicEnd),
    payload: bytes.subarray(header.payloadStart, end),
    qos: header.qos,
    retain: header.retain,
    dup: header.dup,
  };
  if (packetId !== 0) packet.packetId = packetId;
  if (properties !== undefined) packet.properties = properties;
  return packet;
}

/** What {@linkcode encodePublishFrame} encodes: a PUBLISH whose topic name is encoded already. */
export interface PublishFrameFields {
  /** The topic name in UTF-8; empty where a topic alias stands for it. */
  topic: Uint8Array;
  payload: Uint8Array;
  qos: Qos;
  retain: boolean;
  dup: boolean;
  packetId: number;
  properties: PublishProperties | undefined;
}

/** An encoded PUBLISH and where the fields lie that differ from one receiver to the next. */
export interface PublishFrame {
  bytes: Uint8Array;
  /** Where the two bytes of the packet identifier are; -1 at QoS 0. */
  packetIdOffset: number;
  /** Where the two bytes of the topic alias are; -1 if there is none. */
  topicAliasOffset: number;
  /** Where the payload begins. */
  payloadStart: number;
}

/**
 * Encodes a PUBLISH and says where the fields lie that a sender of many copies overwrites in each.
 *
 * @throws {RangeError} If a field has a value that MQTT cannot carry.
 */
export function encodePublishFrame(fields: PublishFrameFields, level: ProtocolLevel): PublishFrame {
  const { topic, payload, qos, properties } = fields;
  const propertyBytes = level === 5 ? encodeProperties(properties) : new Uint8Array(0);
  const remainingLength = 2 + topic.length + (qos > 0 ? 2 : 0) + propertyBytes.length + payload.length;
  const bytes = new Uint8Array(1 + variableByteIntegerLength(remainingLength) + remainingLength);
  bytes[0] = (PacketType.Publish << 4) | (fields.dup ? 0x08 : 0) | (qos << 1) | (fields.retain ? 0x01 : 0);
  let offset = writeVariableByteInteger(bytes, 1, remainingLength);
  bytes[offset++] = topic.length >>> 8;
  bytes[offset++] = topic.length;
  bytes.set(topic, offset);
  offset += topic.length;
  let packetIdOffset = -1;
  if (qos > 0) {
    packetIdOffset = offset;
    bytes[offset++] = fields.packetId >>> 8;
    bytes[offset++] = fields.packetId;
  }
  bytes.set(propertyBytes, offset);
  offset += propertyBytes.length;
  bytes.set(payload, offset);
  // The property length ends with its first byte below 0x80; behind it comes the topic alias's identifier.
  const topicAliasOffset = level === 5 && properties?.topicAlias !== undefined
    ? offset - propertyBytes.length + propertyBytes.findIndex((byte) => byte < 0x80) + 2
    : -1;
  return { bytes, packetIdOffset, topicAliasOffset, payloadStart: offset };
}

/** The properties with their length in front. The topic alias comes first, so that its place is known. */
function encodeProperties(properties: PublishProperties | undefined): Uint8Array {
  const writer = new PacketWriter();
  const { topicAlias } = properties ?? {};
  writeProperties(writer, topicAlias === undefined ? properties : { topicAlias, ...properties }, publishProperties);
  return writer.body();
}

export function encodePublish(packet: PublishPacket, level: ProtocolLevel): Uint8Array {
  const { topic, packetId = 0, properties } = packet;
  const aliased = topic === "" && level === 5 && properties?.topicAlias !== undefined;
  if (!aliased && !isTopicName(topic)) throw new RangeError(`topic ${quote(topic)} is not a topic name`);
  if (packet.qos > 0 && !(Number.isInteger(packetId) && packetId > 0 && packetId <= 0xffff)) {
    throw new RangeError(`packet identifier is ${packetId}; it must be from 1 to 65,535 at QoS ${packet.qos}`);
  }
  return encodePublishFrame({ ...packet, topic: encodeUtf8(topic), packetId, properties }, level).bytes;
}
