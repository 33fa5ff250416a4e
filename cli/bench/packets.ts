import { reasonName } from "../../codec/reason_code.ts";
import { refusal } from "../refusal.ts";

/** The protocol level byte of CONNECT: 4 is MQTT 3.1.1, 5 is MQTT 5.0. */
export type ProtocolLevel = 4 | 5;

/** A quality of service. */
export type QoS = 0 | 1 | 2;

/** Fixed header bytes of the packets that the load generator reads and writes after its handshakes. */
export const Header = {
  connack: 0x20,
  puback: 0x40,
  pubrec: 0x50,
  pubrel: 0x62,
  pubcomp: 0x70,
  suback: 0x90,
  unsuback: 0xb0,
  disconnect: 0xe0,
} as const;

/** Bytes at the start of every payload: when the message was sent, by which publisher, and its number among theirs. */
export const stampSize = 16;

/** What a CONNECT says of its client. */
export interface ClientIdentity {
  clientId: string;
  level: ProtocolLevel;
  username?: string;
  password?: string;
  /** Whether the session outlives the connection. Default false. */
  persistent?: boolean;
}

/** A CONNECT that asks for no keep alive. */
export function connectPacket({ clientId, level, username, password, persistent }: ClientIdentity): Uint8Array {
  const flags = (persistent ? 0 : 0x02) | (username === undefined ? 0 : 0x80) | (password === undefined ? 0 : 0x40);
  const keepAlive = [0, 0];
  // Session Expiry Interval: for ever.
  const expiry = level === 5 && persistent ? bytes(5, 0x11, 0xff, 0xff, 0xff, 0xff) : properties(level);
  const credentials = [username, password].filter((value) => value !== undefined).map(text);
  return packet(0x10, text("MQTT"), bytes(level, flags, ...keepAlive), expiry, text(clientId), ...credentials);
}

/** A DISCONNECT with which a client says goodbye. */
export const disconnectPacket: Uint8Array = bytes(0xe0, 0);

/** A SUBSCRIBE to topic filters. */
export function subscribePacket(packetId: number, filters: string[], qos: QoS, level: ProtocolLevel): Uint8Array {
  const subscriptions = filters.flatMap((filter) => [text(filter), bytes(qos)]);
  return packet(0x82, bytes(packetId >> 8, packetId & 0xff), properties(level), ...subscriptions);
}

/** An UNSUBSCRIBE from topic filters. */
export function unsubscribePacket(packetId: number, filters: string[], level: ProtocolLevel): Uint8Array {
  return packet(0xa2, bytes(packetId >> 8, packetId & 0xff), properties(level), ...filters.map(text));
}

/** A PUBLISH, and where in it the parts are that differ from message to message. */
export interface PublishTemplate {
  packet: Uint8Array;
  topicOffset: number;
  /** Of the packet identifier's high byte; meaningless at QoS 0. */
  packetIdOffset: number;
  payloadOffset: number;
}

/** What {@linkcode publishTemplate} makes a PUBLISH of. */
export interface PublishOptions {
  topic: string;
  /** At least {@linkcode stampSize}. */
  payloadSize: number;
  qos: QoS;
  level: ProtocolLevel;
  /** Whether it has properties, as MQTT 5.0 allows them. Default false. */
  withProperties?: boolean;
  /** Whether it is to be retained. Default false. */
  retain?: boolean;
}

/**
 * A PUBLISH with a payload of zeros. What a broker delivers of it to a subscriber of the same level and QoS has the same
 * size and the same fixed header.
 */
export function publishTemplate(options: PublishOptions): PublishTemplate {
  const { topic, payloadSize, qos, level, withProperties, retain } = options;
  const packetId = qos === 0 ? bytes() : bytes(0, 0);
  const variableHeaderEnd = withProperties ? messageProperties() : properties(level);
  const header = 0x30 | (qos << 1) | (retain ? 1 : 0);
  const whole = packet(header, text(topic), packetId, variableHeaderEnd, new Uint8Array(payloadSize));
  const payloadOffset = whole.length - payloadSize;
  const packetIdOffset = payloadOffset - variableHeaderEnd.length - packetId.length;
  return { packet: whole, payloadOffset, packetIdOffset, topicOffset: bodyOffset(whole) + 2 };
}

/** Why a broker said no, or undefined where the packet is a CONNACK that accepts. */
export function connackRefusal(packet: Uint8Array): string | undefined {
  if (packet[0] !== Header.connack) return `answered CONNECT with packet type ${packet[0] >> 4}`;
  const reasonCode = packet[bodyOffset(packet) + 1];
  return reasonCode === 0 ? undefined : `refused the connection: ${refusal(reasonCode)}`;
}

/** The Receive Maximum that an MQTT 5.0 CONNACK states, 65,535 where it states none. */
export function connackReceiveMaximum(packet: Uint8Array): number {
  const propertyLength = variableByteInteger(packet, bodyOffset(packet) + 2);
  const end = propertyLength.end + propertyLength.value;
  let offset = propertyLength.end;
  while (offset < end) {
    const identifier = packet[offset];
    const value = offset + 1;
    if (identifier === 0x21) return twoByteInteger(packet, value);
    offset = propertyEnd(packet, identifier, value);
  }
  return 65_535;
}

/** Why a broker did not grant the QoS to all filters, or undefined where the packet is a SUBACK that does. */
export function subackRefusal(packet: Uint8Array, filters: number, qos: QoS): string | undefined {
  if (packet[0] !== Header.suback) return `answered SUBSCRIBE with packet type ${packet[0] >> 4}`;
  const other = packet.subarray(packet.length - filters).find((granted) => granted !== qos);
  if (other === undefined) return undefined;
  if (other >= 0x80) return `refused the subscription: ${refusal(other)}`;
  return `granted QoS ${other} to a subscription at QoS ${qos}`;
}

/** Why a broker did not end the subscriptions, or undefined where the packet is an UNSUBACK. */
export function unsubackRefusal(packet: Uint8Array): string | undefined {
  return packet[0] === Header.unsuback ? undefined : `answered UNSUBSCRIBE with packet type ${packet[0] >> 4}`;
}

/** What is wrong with a packet that nobody waits for: the broker says goodbye, or it does not keep to the protocol. */
export function unexpectedPacket(receiver: string, buffer: Uint8Array, offset: number): Error {
  if (buffer[offset] === Header.disconnect) {
    const reasonCode = buffer[offset + 1] === 0 ? 0 : buffer[offset + 2];
    return new Error(`the broker closed a connection: ${reasonName(reasonCode)}`);
  }
  const found = [...buffer.subarray(offset, offset + 4)].map((byte) => byte.toString(16).padStart(2, "0"));
  return new Error(`${receiver} did not expect a packet that starts with ${found.join(" ")}`);
}

/** Size in bytes of the packet at the start of `received`, or undefined where its fixed header is incomplete. */
export function packetSize(received: Uint8Array): number | undefined {
  const lastLengthByte = received.subarray(1, 5).findIndex((byte) => byte < 0x80);
  if (lastLengthByte === -1) return undefined;
  const remainingLength = variableByteInteger(received, 1);
  return remainingLength.end + remainingLength.value;
}

export function twoByteInteger(buffer: Uint8Array, offset: number): number {
  return (buffer[offset] << 8) | buffer[offset + 1];
}

function packet(header: number, ...parts: Uint8Array[]): Uint8Array {
  let remainingLength = parts.reduce((sum, part) => sum + part.length, 0);
  const fixedHeader = [header];
  do {
    const more = remainingLength > 127;
    fixedHeader.push((remainingLength & 0x7f) | (more ? 0x80 : 0));
    remainingLength >>= 7;
  } while (remainingLength > 0);

  const whole = new Uint8Array(fixedHeader.length + parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of [bytes(...fixedHeader), ...parts]) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

function text(value: string): Uint8Array {
  const encoded = new TextEncoder().encode(value);
  return bytes(encoded.length >> 8, encoded.length & 0xff, ...encoded);
}

/** No properties: a zero length in MQTT 5.0, nothing at all before. */
function properties(level: ProtocolLevel): Uint8Array {
  return level === 5 ? bytes(0) : bytes();
}

/** The properties that a message in MQTT 5.0 might have, behind their length. */
function messageProperties(): Uint8Array {
  const parts = [
    bytes(0x02, 0, 0, 0x0e, 0x10), // Message Expiry Interval: an hour
    bytes(0x03),
    text("application/octet-stream"), // Content Type
    bytes(0x08),
    text("bench/answers"), // Response Topic
    bytes(0x09),
    text("correlation"), // Correlation Data
    bytes(0x26),
    text("trace-id"),
    text("4bf92f3577b34da6"), // User Property
  ];
  return bytes(parts.reduce((sum, part) => sum + part.length, 0), ...parts.flatMap((part) => [...part]));
}

function bodyOffset(packet: Uint8Array): number {
  return variableByteInteger(packet, 1).end;
}

function variableByteInteger(buffer: Uint8Array, offset: number): { value: number; end: number } {
  let value = 0;
  let shift = 0;
  for (;;) {
    const byte = buffer[offset++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return { value, end: offset };
    shift += 7;
  }
}

/** Where the CONNACK property ends whose value starts at `offset`. */
function propertyEnd(packet: Uint8Array, identifier: number, offset: number): number {
  switch (identifier) {
    case 0x24: // Maximum QoS
    case 0x25: // Retain Available
    case 0x28: // Wildcard Subscription Available
    case 0x29: // Subscription Identifiers Available
    case 0x2a: // Shared Subscription Available
      return offset + 1;
    case 0x13: // Server Keep Alive
    case 0x22: // Topic Alias Maximum
      return offset + 2;
    case 0x11: // Session Expiry Interval
    case 0x27: // Maximum Packet Size
      return offset + 4;
    case 0x26: { // User Property: two strings
      const nameEnd = offset + 2 + twoByteInteger(packet, offset);
      return nameEnd + 2 + twoByteInteger(packet, nameEnd);
    }
    default: // all others are one string or one piece of binary data
      return offset + 2 + twoByteInteger(packet, offset);
  }
}
