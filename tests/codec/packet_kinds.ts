/** Everything that carries properties: a plain packet of every kind, at level 5, with properties as the test likes. */

import type { Packet, Properties } from "../../codec/mod.ts";
import { binary, type Bytes, connectBytes, packetBytes, properties, text } from "./packet_bytes.ts";

/** A packet with properties, or the will within a CONNECT. */
export interface PacketKind {
  /** As table 2-4 of the specification calls it. */
  name: string;
  type: Packet["type"];
  build(...propertyBytes: Bytes[]): Uint8Array<ArrayBuffer>;
}

/** Source: MQTT 5.0 section 2.2.2. */
export const packetKinds: readonly PacketKind[] = [
  {
    name: "CONNECT",
    type: "connect",
    build: (...bytes) => connectBytes({ properties: properties(...bytes) }),
  },
  {
    name: "Will Properties",
    type: "connect",
    build: (...bytes) => connectBytes({ flags: 0x06, rest: [properties(...bytes), text("t"), binary(1)] }),
  },
  { name: "CONNACK", type: "connack", build: (...bytes) => packetBytes(0x20, 0, 0, properties(...bytes)) },
  {
    name: "PUBLISH",
    type: "publish",
    build: (...bytes) => packetBytes(0x32, text("t"), [0, 1], properties(...bytes)),
  },
  { name: "PUBACK", type: "puback", build: (...bytes) => packetBytes(0x40, [0, 1], 0, properties(...bytes)) },
  { name: "PUBREC", type: "pubrec", build: (...bytes) => packetBytes(0x50, [0, 1], 0, properties(...bytes)) },
  { name: "PUBREL", type: "pubrel", build: (...bytes) => packetBytes(0x62, [0, 1], 0, properties(...bytes)) },
  { name: "PUBCOMP", type: "pubcomp", build: (...bytes) => packetBytes(0x70, [0, 1], 0, properties(...bytes)) },
  {
    name: "SUBSCRIBE",
    type: "subscribe",
    build: (...bytes) => packetBytes(0x82, [0, 1], properties(...bytes), text("t"), 0),
  },
  { name: "SUBACK", type: "suback", build: (...bytes) => packetBytes(0x90, [0, 1], properties(...bytes), 0) },
  {
    name: "UNSUBSCRIBE",
    type: "unsubscribe",
    build: (...bytes) => packetBytes(0xa2, [0, 1], properties(...bytes), text("t")),
  },
  { name: "UNSUBACK", type: "unsuback", build: (...bytes) => packetBytes(0xb0, [0, 1], properties(...bytes), 0) },
  { name: "DISCONNECT", type: "disconnect", build: (...bytes) => packetBytes(0xe0, 0, properties(...bytes)) },
  { name: "AUTH", type: "auth", build: (...bytes) => packetBytes(0xf0, 0x18, properties(...bytes)) },
];

/** A plain packet of this kind with one property, and with what that kind or that property cannot do without. */
export function withProperty(kind: PacketKind, identifier: number, ...value: Bytes[]): Uint8Array<ArrayBuffer> {
  const needsMethod = kind.name === "AUTH" ? identifier !== 0x15 : kind.name === "CONNECT" && identifier === 0x16;
  return kind.build(needsMethod ? [0x15, ...text("m")] : [], identifier, ...value);
}

/** The properties of a decoded packet of this kind. */
export function propertiesOf(kind: PacketKind, packet: Packet): Properties | undefined {
  if (kind.name === "Will Properties" && packet.type === "connect") return packet.will?.properties;
  return "properties" in packet ? packet.properties : undefined;
}
