import assert from "node:assert/strict";
import { decode, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, binary, connectBytes, packetBytes, properties, text } from "./packet_bytes.ts";

/** A packet with everything that its type can have, and the lengths at which its first bytes are a packet, too. */
interface RichPacket {
  name: string;
  level: ProtocolLevel;
  packet: Uint8Array;
  /** Remaining lengths. */
  alsoCompleteAt?: number[];
}

const userProperty = [0x26, ...text("key"), ...text("value")];
const reasonString = [0x1f, ...text("why")];

const willProperties = properties(
  [0x18, 0, 0, 0, 1],
  [0x01, 1],
  [0x02, 0, 0, 0, 2],
  [0x03, ...text("text/plain")],
  [0x08, ...text("response")],
  [0x09, ...binary(1, 2)],
  userProperty,
);

const richPackets: RichPacket[] = [
  {
    name: "CONNECT",
    level: 5,
    packet: connectBytes({
      flags: 0xee,
      properties: properties(
        [0x11, 0, 0, 0, 10],
        [0x21, 0, 1],
        [0x27, 0, 0, 1, 0],
        [0x22, 0, 5],
        [0x19, 1],
        [0x17, 0],
        userProperty,
        [0x15, ...text("method")],
        [0x16, ...binary(1, 2, 3)],
      ),
      clientId: text("client"),
      rest: [willProperties, text("will"), binary(1, 2), text("user"), binary(3)],
    }),
  },
  {
    name: "CONNECT",
    level: 4,
    packet: connectBytes({ level: 4, flags: 0xee, rest: [text("will"), binary(1, 2), text("user"), binary(3)] }),
  },
  {
    name: "CONNECT",
    level: 3,
    packet: connectBytes({
      name: text("MQIsdp"),
      level: 3,
      flags: 0xee,
      rest: [text("will"), binary(1, 2), text("user"), binary(3)],
    }),
    // Without user name and password, which may be missing although they are announced.
    alsoCompleteAt: [25, 31],
  },
  {
    name: "CONNACK",
    level: 5,
    packet: packetBytes(
      0x20,
      [1, 0],
      properties(
        [0x11, 0, 0, 0, 10],
        [0x21, 0, 1],
        [0x24, 1],
        [0x25, 1],
        [0x27, 0, 0, 1, 0],
        [0x12, ...text("assigned")],
        [0x22, 0, 5],
        reasonString,
        userProperty,
        [0x28, 1],
        [0x29, 1],
        [0x2a, 1],
        [0x13, 0, 60],
        [0x1a, ...text("information")],
        [0x1c, ...text("server")],
        [0x15, ...text("method")],
        [0x16, ...binary(1, 2, 3)],
      ),
    ),
  },
  { name: "CONNACK", level: 4, packet: packetBytes(0x20, 1, 0) },
  {
    name: "PUBLISH",
    level: 5,
    packet: packetBytes(
      0x35,
      text("a/b"),
      [0, 1],
      properties(
        [0x01, 1],
        [0x02, 0, 0, 0, 2],
        [0x23, 0, 1],
        [0x08, ...text("response")],
        [0x09, ...binary(1, 2)],
        userProperty,
        [0x0b, 0x80, 0x01],
        [0x0b, 0xff, 0xff, 0xff, 0x7f],
        [0x03, ...text("text/plain")],
      ),
    ),
  },
  { name: "PUBLISH", level: 4, packet: packetBytes(0x35, text("a/b"), [0, 1]) },
  ...([["PUBACK", 0x40], ["PUBREC", 0x50], ["PUBREL", 0x62], ["PUBCOMP", 0x70]] as const).flatMap(
    ([name, firstByte]): RichPacket[] => [
      {
        name,
        level: 5,
        packet: packetBytes(firstByte, [0, 1], 0, properties(reasonString, userProperty)),
        alsoCompleteAt: [2, 3],
      },
      { name, level: 4, packet: packetBytes(firstByte, [0, 1]) },
    ],
  ),
  {
    name: "SUBSCRIBE",
    level: 5,
    packet: packetBytes(0x82, [0, 1], properties([0x0b, 0x80, 0x01], userProperty), text("$share/g/a/+"), 0x2a),
  },
  { name: "SUBSCRIBE", level: 4, packet: packetBytes(0x82, [0, 1], text("a/#"), 1) },
  { name: "SUBACK", level: 5, packet: packetBytes(0x90, [0, 1], properties(reasonString, userProperty), 2) },
  { name: "SUBACK", level: 4, packet: packetBytes(0x90, [0, 1], 2) },
  { name: "UNSUBSCRIBE", level: 5, packet: packetBytes(0xa2, [0, 1], properties(userProperty), text("a/#")) },
  { name: "UNSUBSCRIBE", level: 4, packet: packetBytes(0xa2, [0, 1], text("a/#")) },
  { name: "UNSUBACK", level: 5, packet: packetBytes(0xb0, [0, 1], properties(reasonString, userProperty), 0) },
  { name: "UNSUBACK", level: 4, packet: packetBytes(0xb0, [0, 1]) },
  {
    name: "DISCONNECT",
    level: 5,
    packet: packetBytes(
      0xe0,
      0x9c,
      properties([0x11, 0, 0, 0, 0], reasonString, userProperty, [0x1c, ...text("server")]),
    ),
    alsoCompleteAt: [0, 1],
  },
  {
    name: "AUTH",
    level: 5,
    packet: packetBytes(
      0xf0,
      0x18,
      properties([0x15, ...text("method")], [0x16, ...binary(1, 2)], reasonString, userProperty),
    ),
    alsoCompleteAt: [0],
  },
];

for (const { name, level, packet, alsoCompleteAt = [] } of richPackets) {
  Deno.test(`at level ${level}, ${name} that ends too early is malformed, wherever it ends`, () => {
    assert.equal(decode(packet, level).type, name.toLowerCase());
    const body = packet.subarray(packet.findIndex((byte, index) => index > 0 && byte < 0x80) + 1);
    for (let length = 0; length < body.length; length++) {
      const cut = packetBytes(packet[0], body.subarray(0, length));
      if (alsoCompleteAt.includes(length)) assert.equal(decode(cut, level).type, name.toLowerCase());
      else assertRefused(cut, level, name.endsWith("SUBSCRIBE") ? lastFieldMissing(cut, level) : 0x81, /./);
    }
  });

  Deno.test(`at level ${level}, ${name} of which only a part is there is malformed`, () => {
    for (let length = 0; length < packet.length; length++) {
      assertRefused(packet.subarray(0, length), level, 0x81, /packet is not complete/);
    }
  });
}

/** A SUBSCRIBE or UNSUBSCRIBE without any topic filter is not malformed, but a protocol error. */
function lastFieldMissing(cut: Uint8Array, level: ProtocolLevel): number {
  const body = cut.subarray(2);
  const fieldsEnd = level === 5 ? 3 + (body[2] ?? 0) : 2;
  return body.length === fieldsEnd ? 0x82 : 0x81;
}
