import { protocolError } from "./errors.ts";
import { PacketType } from "./packet.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { type Properties, propertySet, readProperties, writeProperties } from "./properties.ts";
import { allowsReason } from "./reason_code.ts";

/**
 * The properties of {@linkcode AuthPacket}. Source: MQTT 5.0 section 3.15.2.2.
 *
 * @example
 * ```ts
 * import { type AuthProperties, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * const properties: AuthProperties = {
 *   authenticationMethod: "SCRAM-SHA-256",
 *   authenticationData: new TextEncoder().encode("r=fyko3rfc,s=W22ZaJ0S,i=4096"),
 * };
 * encode({ type: "auth", reasonCode: ReasonCode.ContinueAuthentication, properties }, 5);
 * ```
 */
export type AuthProperties = Pick<
  Properties,
  "authenticationMethod" | "authenticationData" | "reasonString" | "userProperties"
>;

/**
 * AUTH: a step of an enhanced authentication; MQTT 5 only. Source: MQTT 5.0 section 3.15.
 *
 * @example
 * ```ts
 * import { type AuthPacket, encode, ReasonCode } from "@hookmq/broker/codec";
 *
 * const authenticateAgain: AuthPacket = {
 *   type: "auth",
 *   reasonCode: ReasonCode.Reauthenticate,
 *   properties: { authenticationMethod: "token", authenticationData: new TextEncoder().encode("a newer token") },
 * };
 * encode(authenticateAgain, 5);
 * ```
 */
export interface AuthPacket {
  /** Which kind of packet this is. */
  type: "auth";
  /** 0x00 success, 0x18 continue authentication, 0x19 re-authenticate. */
  reasonCode: number;
  /** The authentication method must be among them, unless the packet is empty. */
  properties?: AuthProperties;
}

const authProperties = propertySet(
  "AUTH",
  "authenticationMethod",
  "authenticationData",
  "reasonString",
  "userProperties",
);

export function readAuth(reader: PacketReader): AuthPacket {
  const packet: AuthPacket = { type: "auth", reasonCode: 0 };
  if (reader.remaining > 0) {
    packet.reasonCode = reader.byte("authenticate reason code");
    if (!allowsReason("auth", packet.reasonCode)) {
      throw protocolError(`AUTH has the reason code ${packet.reasonCode}, which it may not carry`);
    }
    const properties = readProperties<AuthProperties>(reader, authProperties);
    if (properties?.authenticationMethod === undefined) throw protocolError("AUTH has no authentication method");
    packet.properties = properties;
  }
  reader.expectEnd("AUTH");
  return packet;
}

export function encodeAuth(packet: AuthPacket): Uint8Array<ArrayBuffer> {
  const writer = new PacketWriter();
  if (packet.reasonCode !== 0 || packet.properties !== undefined) {
    writer.byte(packet.reasonCode);
    writeProperties(writer, packet.properties, authProperties);
  }
  return writer.packet(PacketType.Auth << 4);
}
