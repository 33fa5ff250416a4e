import { malformed, PacketError, protocolError, quote } from "./errors.ts";
import { PacketType, type ProtocolLevel, type Qos } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { ReasonCode } from "./reason_code.ts";
import { isTopicName } from "./topic.ts";

/**
 * The properties of {@linkcode ConnectPacket}. Source: MQTT 5.0 section 3.1.2.11.
 *
 * @example
 * ```ts
 * import { type ConnectProperties, encode } from "@hookmq/broker/codec";
 *
 * const properties: ConnectProperties = { sessionExpiryInterval: 3600, receiveMaximum: 20 };
 * encode({ type: "connect", protocolLevel: 5, clientId: "phone", cleanStart: false, keepAlive: 60, properties }, 5);
 * ```
 */
export type ConnectProperties = Pick<
  Properties,
  | "sessionExpiryInterval"
  | "receiveMaximum"
  | "maximumPacketSize"
  | "topicAliasMaximum"
  | "requestResponseInformation"
  | "requestProblemInformation"
  | "userProperties"
  | "authenticationMethod"
  | "authenticationData"
>;

/**
 * The properties of {@linkcode Will}. Source: MQTT 5.0 section 3.1.3.2.
 *
 * @example
 * ```ts
 * import type { Will, WillProperties } from "@hookmq/broker/codec";
 *
 * // Who is back within half a minute is not reported.
 * const properties: WillProperties = { willDelayInterval: 30, payloadFormatIndicator: 1 };
 * const payload = new TextEncoder().encode("offline");
 * const will: Will = { topic: "phone/state", payload, qos: 1, retain: true, properties };
 * console.log(will.topic);
 * ```
 */
export type WillProperties = Pick<
  Properties,
  | "willDelayInterval"
  | "payloadFormatIndicator"
  | "messageExpiryInterval"
  | "contentType"
  | "responseTopic"
  | "correlationData"
  | "userProperties"
>;

/**
 * The message that the server publishes when the client is gone without saying goodbye. Source: MQTT 5.0 section
 * 3.1.2.5.
 *
 * @example
 * ```ts
 * import { encode, type Will } from "@hookmq/broker/codec";
 *
 * const will: Will = { topic: "phone/state", payload: new TextEncoder().encode("offline"), qos: 1, retain: true };
 * encode({ type: "connect", protocolLevel: 4, clientId: "phone", cleanStart: true, keepAlive: 60, will }, 4);
 * ```
 */
export interface Will {
  /** Where it is published. */
  topic: string;
  /** 65,535 bytes at most. */
  payload: Uint8Array;
  /** At which QoS it is published. */
  qos: Qos;
  /** Whether it is published as a retained message. */
  retain: boolean;
  /** MQTT 5 only. */
  properties?: WillProperties;
}

/**
 * CONNECT: a client asks for a connection. Source: MQTT 5.0 section 3.1.
 *
 * @example
 * ```ts
 * import { type ConnectPacket, encode } from "@hookmq/broker/codec";
 *
 * const connect: ConnectPacket = {
 *   type: "connect",
 *   protocolLevel: 5,
 *   clientId: "phone",
 *   cleanStart: true,
 *   keepAlive: 60,
 *   username: "alice",
 *   password: new TextEncoder().encode("correct horse battery staple"),
 * };
 * encode(connect, connect.protocolLevel);
 * ```
 */
export interface ConnectPacket {
  /** Which kind of packet this is. */
  type: "connect";
  /** Which version of MQTT the client speaks. */
  protocolLevel: ProtocolLevel;
  /** Empty if the server is to choose one. */
  clientId: string;
  /** Whether an existing session is thrown away; called "clean session" before MQTT 5. */
  cleanStart: boolean;
  /** In seconds, 0 to 65,535; 0 switches the mechanism off. */
  keepAlive: number;
  /** 65,535 bytes at most in UTF-8. */
  username?: string;
  /** Any bytes, 65,535 at most. Before MQTT 5 only together with a user name. */
  password?: Uint8Array;
  /** Published for the client when its connection ends without a DISCONNECT. */
  will?: Will;
  /** MQTT 5 only. */
  properties?: ConnectProperties;
}

const connectProperties = propertySet(
  "CONNECT",
  "sessionExpiryInterval",
  "receiveMaximum",
  "maximumPacketSize",
  "topicAliasMaximum",
  "requestResponseInformation",
  "requestProblemInformation",
  "userProperties",
  "authenticationMethod",
  "authenticationData",
);

const willProperties = propertySet(
  "a will",
  "willDelayInterval",
  "payloadFormatIndicator",
  "messageExpiryInterval",
  "contentType",
  "responseTopic",
  "correlationData",
  "userProperties",
);

export function readConnect(reader: PacketReader): ConnectPacket {
  const protocolLevel = readProtocolLevel(reader);
  const flags = reader.byte("connect flags");
  if (flags & 0x01) throw malformed("CONNECT has its reserved flag set"); // [MQTT-3.1.2-3]
  const keepAlive = reader.twoByteInteger("keep alive");
  const packet: ConnectPacket = {
    type: "connect",
    protocolLevel,
    clientId: "",
    cleanStart: (flags & 0x02) !== 0,
    keepAlive,
  };
  if (protocolLevel === 5) {
    const properties = readProperties<ConnectProperties>(reader, connectProperties);
    if (properties?.authenticationData !== undefined && properties.authenticationMethod === undefined) {
      throw protocolError("CONNECT has authentication data without an authentication method");
    }
    if (properties !== undefined) packet.properties = properties;
  }
  packet.clientId = reader.string("client identifier");
  const will = readWill(reader, flags, protocolLevel);
  if (will !== undefined) packet.will = will;
  // In MQTT 3.1 the remaining length takes precedence over these two flags.
  const isThere = () => protocolLevel > 3 || reader.remaining > 0;
  if (flags & 0x80 && isThere()) packet.username = reader.string("user name");
  if (flags & 0x40 && isThere()) {
    if (protocolLevel < 5 && !(flags & 0x80)) throw malformed("CONNECT has a password without a user name");
    packet.password = reader.binary("password");
  }
  reader.expectEnd("CONNECT");
  return packet;
}

/** Protocol name and protocol level: `"MQIsdp"` goes with 3, `"MQTT"` with 4 and 5. */
function readProtocolLevel(reader: PacketReader): ProtocolLevel {
  const name = reader.string("protocol name");
  const level = reader.byte("protocol level");
  if (name === "MQTT" ? level === 4 || level === 5 : name === "MQIsdp" && level === 3) return level as ProtocolLevel;
  throw new PacketError(
    ReasonCode.UnsupportedProtocolVersion,
    `protocol ${quote(name)} level ${level} is not supported`,
  );
}

function readWill(reader: PacketReader, flags: number, protocolLevel: ProtocolLevel): Will | undefined {
  const qos = (flags >> 3) & 0x03;
  const retain = (flags & 0x20) !== 0;
  if (!(flags & 0x04)) {
    if (qos !== 0 || retain) throw malformed("CONNECT has a will QoS or will retain without a will");
    return undefined;
  }
  if (qos === 3) throw malformed("will QoS is 3");
  const properties = protocolLevel === 5 ? readProperties<WillProperties>(reader, willProperties) : undefined;
  const topic = reader.string("will topic");
  if (!isTopicName(topic)) throw malformed(`will topic ${quote(topic)} is not a topic name`);
  const will: Will = { topic, payload: reader.binary("will payload"), qos: qos as Qos, retain };
  if (properties !== undefined) will.properties = properties;
  return will;
}

export function encodeConnect(packet: ConnectPacket): Uint8Array<ArrayBuffer> {
  const { protocolLevel, will, username, password } = packet;
  const writer = new PacketWriter();
  writer.string(protocolLevel === 3 ? "MQIsdp" : "MQTT");
  writer.byte(protocolLevel);
  writer.byte(
    (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40) | willFlags(will) |
      (packet.cleanStart ? 0x02 : 0),
  );
  writer.twoByteInteger(packet.keepAlive, "keep alive");
  if (protocolLevel === 5) writeProperties(writer, packet.properties, connectProperties);
  writer.string(packet.clientId);
  if (will !== undefined) {
    if (protocolLevel === 5) writeProperties(writer, will.properties, willProperties);
    writer.string(will.topic);
    writer.binary(will.payload, "will payload");
  }
  if (username !== undefined) writer.string(username);
  if (password !== undefined) writer.binary(password, "password");
  return writer.packet(PacketType.Connect << 4);
}

function willFlags(will: Will | undefined): number {
  if (will === undefined) return 0;
  return 0x04 | (will.qos << 3) | (will.retain ? 0x20 : 0);
}
