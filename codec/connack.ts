import { malformed, protocolError } from "./errors.ts";
import { PacketType, type ProtocolLevel } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { allowsReason } from "./reason_code.ts";

/**
 * The properties of {@linkcode ConnackPacket}. Source: MQTT 5.0 section 3.2.2.3.
 *
 * @example
 * ```ts
 * import { type ConnackProperties, encode } from "@hookmq/broker/codec";
 *
 * const properties: ConnackProperties = { assignedClientIdentifier: "auto-7f3a", serverKeepAlive: 60, maximumQos: 1 };
 * encode({ type: "connack", sessionPresent: false, reasonCode: 0, properties }, 5);
 * ```
 */
export type ConnackProperties = Pick<
  Properties,
  | "sessionExpiryInterval"
  | "receiveMaximum"
  | "maximumQos"
  | "retainAvailable"
  | "maximumPacketSize"
  | "assignedClientIdentifier"
  | "topicAliasMaximum"
  | "reasonString"
  | "userProperties"
  | "wildcardSubscriptionAvailable"
  | "subscriptionIdentifiersAvailable"
  | "sharedSubscriptionAvailable"
  | "serverKeepAlive"
  | "responseInformation"
  | "serverReference"
  | "authenticationMethod"
  | "authenticationData"
>;

/**
 * CONNACK: the server answers a CONNECT. Source: MQTT 5.0 section 3.2.
 *
 * @example
 * ```ts
 * import { type ConnackPacket, connectReturnCode, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * const refusal: ConnackPacket = { type: "connack", sessionPresent: false, reasonCode: ReasonCode.NotAuthorized };
 * encode(refusal, 5);
 * // Before MQTT 5 the same has another number, if any.
 * const returnCode = connectReturnCode(refusal.reasonCode);
 * if (returnCode !== undefined) encode({ ...refusal, reasonCode: returnCode }, 4);
 * ```
 */
export interface ConnackPacket {
  /** Which kind of packet this is. */
  type: "connack";
  /** Whether the server had a session for this client. */
  sessionPresent: boolean;
  /** A connect reason code at level 5; a return code from 0 to 5 at levels 3 and 4. */
  reasonCode: number;
  /** MQTT 5 only. */
  properties?: ConnackProperties;
}

const connackProperties = propertySet(
  "CONNACK",
  "sessionExpiryInterval",
  "receiveMaximum",
  "maximumQos",
  "retainAvailable",
  "maximumPacketSize",
  "assignedClientIdentifier",
  "topicAliasMaximum",
  "reasonString",
  "userProperties",
  "wildcardSubscriptionAvailable",
  "subscriptionIdentifiersAvailable",
  "sharedSubscriptionAvailable",
  "serverKeepAlive",
  "responseInformation",
  "serverReference",
  "authenticationMethod",
  "authenticationData",
);

export function readConnack(reader: PacketReader, level: ProtocolLevel): ConnackPacket {
  const flags = reader.byte("connect acknowledge flags");
  if (flags > 1) throw malformed(`connect acknowledge flags are 0x${flags.toString(16)}`); // [MQTT-3.2.2-1]
  const reasonCode = reader.byte("connect reason code");
  if (level === 5 ? !allowsReason("connack", reasonCode) : reasonCode > 5) {
    throw protocolError(`CONNACK has the reason code ${reasonCode}, which it may not carry`);
  }
  // [MQTT-3.2.2-6]
  if (flags === 1 && reasonCode !== 0) throw protocolError("CONNACK says session present, and that it refuses");
  const packet: ConnackPacket = { type: "connack", sessionPresent: flags === 1, reasonCode };
  if (level === 5) {
    const properties = readProperties<ConnackProperties>(reader, connackProperties);
    if (properties !== undefined) packet.properties = properties;
  }
  reader.expectEnd("CONNACK");
  return packet;
}

export function encodeConnack(packet: ConnackPacket, level: ProtocolLevel): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  writer.byte(packet.sessionPresent ? 1 : 0);
  writer.byte(packet.reasonCode);
  if (level === 5) writeProperties(writer, packet.properties, connackProperties);
  return writer.packet(PacketType.Connack << 4);
}
