import assert from "node:assert/strict";
import { type ProtocolLevel, ReasonCode } from "../../codec/mod.ts";
import { binary, packetBytes, properties, text, variableByteInteger } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

/** A string in a client's packet. */
interface StringField {
  name: string;
  /** Statements about this very string: of 5.0, and of 3.1.1 unless there it is not. */
  ids: { "5.0": string[]; "3.1.1"?: string[] };
  /** A packet that has these bytes as that string. */
  packet(bytes: number[], level: ProtocolLevel): Uint8Array;
}

/** In MQTT 5, an empty set of properties. */
function none(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

/** A CONNECT with these connect flags, and with what follows the keep alive. */
function connect(level: ProtocolLevel, flags: number, ...rest: number[][]): Uint8Array {
  return packetBytes(0x10, text("MQTT"), level, flags, [0, 60], ...rest);
}

/** A CONNECT with these properties of its will. */
function connectWithWill(willProperties: number[]): Uint8Array {
  return connect(5, 0x06, none(5), text("a"), willProperties, text("t"), binary(1));
}

const stringsOfAllVersions: StringField[] = [
  {
    name: "the client identifier",
    ids: { "5.0": ["MQTT-3.1.3-4"], "3.1.1": ["MQTT-3.1.3-4"] },
    packet: (bytes, level) => connect(level, 0x02, none(level), binary(bytes)),
  },
  {
    name: "the will topic",
    ids: { "5.0": ["MQTT-3.1.3-11"], "3.1.1": ["MQTT-3.1.3-10"] },
    packet: (bytes, level) => connect(level, 0x06, none(level), text("a"), none(level), binary(bytes), binary(1)),
  },
  {
    name: "the user name",
    ids: { "5.0": ["MQTT-3.1.3-12"], "3.1.1": ["MQTT-3.1.3-11"] },
    packet: (bytes, level) => connect(level, 0x82, none(level), text("a"), binary(bytes)),
  },
  {
    name: "a topic name",
    ids: { "5.0": ["MQTT-3.3.2-1"], "3.1.1": ["MQTT-3.3.2-1"] },
    packet: (bytes, level) => packetBytes(0x30, binary(bytes), none(level), 1, 2),
  },
  {
    name: "a topic filter of SUBSCRIBE",
    ids: { "5.0": ["MQTT-3.8.3-1"], "3.1.1": ["MQTT-3.8.3-1"] },
    packet: (bytes, level) => packetBytes(0x82, [0, 1], none(level), binary(bytes), 0),
  },
  {
    name: "a topic filter of UNSUBSCRIBE",
    ids: { "5.0": ["MQTT-3.10.3-1"], "3.1.1": ["MQTT-3.10.3-1"] },
    packet: (bytes, level) => packetBytes(0xa2, [0, 1], none(level), binary(bytes)),
  },
];

const pair = { "5.0": ["MQTT-1.5.7-1"] };

const stringsOfProperties: StringField[] = [
  {
    name: "an authentication method",
    ids: { "5.0": [] },
    packet: (bytes) => connect(5, 0x02, properties(0x15, binary(bytes)), text("a")),
  },
  {
    name: "a content type",
    ids: { "5.0": [] },
    packet: (bytes) => packetBytes(0x30, text("a"), properties(0x03, binary(bytes))),
  },
  {
    name: "a response topic",
    ids: { "5.0": [] },
    packet: (bytes) => packetBytes(0x30, text("a"), properties(0x08, binary(bytes))),
  },
  {
    name: "a will's content type",
    ids: { "5.0": [] },
    packet: (bytes) => connectWithWill(properties(0x03, binary(bytes))),
  },
  {
    name: "a will's response topic",
    ids: { "5.0": [] },
    packet: (bytes) => connectWithWill(properties(0x08, binary(bytes))),
  },
  {
    name: "a reason string",
    ids: { "5.0": [] },
    packet: (bytes) => packetBytes(0xe0, 0, properties(0x1f, binary(bytes))),
  },
  {
    name: "the name of CONNECT's user property",
    ids: pair,
    packet: (bytes) => connect(5, 0x02, properties(0x26, binary(bytes), text("b")), text("a")),
  },
  {
    name: "the value of CONNECT's user property",
    ids: pair,
    packet: (bytes) => connect(5, 0x02, properties(0x26, text("b"), binary(bytes)), text("a")),
  },
  {
    name: "the name of a will's user property",
    ids: pair,
    packet: (bytes) => connectWithWill(properties(0x26, binary(bytes), text("b"))),
  },
  {
    name: "the value of a will's user property",
    ids: pair,
    packet: (bytes) => connectWithWill(properties(0x26, text("b"), binary(bytes))),
  },
  {
    name: "the name of PUBLISH's user property",
    ids: pair,
    packet: (bytes) => packetBytes(0x30, text("a"), properties(0x26, binary(bytes), text("b"))),
  },
  {
    name: "the value of PUBLISH's user property",
    ids: pair,
    packet: (bytes) => packetBytes(0x30, text("a"), properties(0x26, text("b"), binary(bytes))),
  },
];

const strings = [...stringsOfAllVersions, ...stringsOfProperties];

const illFormed: number[][] = [
  [0x61, 0xff], // a byte that no UTF-8 has
  [0x80, 0x61], // a continuation byte alone
  [0x61, 0xe2, 0x82], // cut off
  [0xc0, 0xaf], // not the shortest encoding
  [0xed, 0xa0, 0x80], // U+D800
  [0xed, 0xbf, 0xbf], // U+DFFF
  [0xf4, 0x90, 0x80, 0x80], // above U+10FFFF
];

/** How the name of a test about a string begins. */
function brackets({ ids }: StringField, idOf5: string, idOf311: string): string {
  const of5 = `[5.0 ${[idOf5, ...ids["5.0"]].join(" ")}]`;
  return ids["3.1.1"] === undefined ? of5 : `${of5} [3.1.1 ${[idOf311, ...ids["3.1.1"]].join(" ")}]`;
}

/** Sends a malformed packet, of a client that is connected unless it is a CONNECT itself; expects to be turned out. */
async function expectMalformed(broker: ConformanceBroker, level: ProtocolLevel, packet: Uint8Array): Promise<void> {
  if (packet[0] === 0x10) {
    const client = await broker.open();
    await client.sendBytes(packet);
    await expectRefused(client, ReasonCode.MalformedPacket);
  } else {
    const client = await broker.connect({ level });
    await client.sendBytes(packet);
    await expectDisconnected(client, ReasonCode.MalformedPacket);
  }
}

for (const field of strings) {
  // "The character data in a UTF-8 Encoded String MUST be well-formed UTF-8 … In particular, the character data MUST
  // NOT include encodings of code points between U+D800 and U+DFFF." "Both strings MUST comply with the requirements
  // for UTF-8 Encoded Strings." "The ClientID MUST be a UTF-8 Encoded String." (and so on for each string)
  conformance(
    `${
      brackets(field, "MQTT-1.5.4-1", "MQTT-1.5.3-1")
    } ${field.name} that is not well-formed UTF-8 ends the connection`,
    async (broker, level) => {
      for (const bytes of illFormed) await expectMalformed(broker, level, field.packet(bytes, level));
    },
  );

  // "A UTF-8 Encoded String MUST NOT include an encoding of the null character U+0000."
  conformance(
    `${brackets(field, "MQTT-1.5.4-2", "MQTT-1.5.3-2")} ${field.name} with U+0000 in it ends the connection`,
    async (broker, level) => {
      await expectMalformed(broker, level, field.packet([0x61, 0x00, 0x62], level));
    },
  );
}

// "The character data in a UTF-8 Encoded String MUST be well-formed UTF-8 as defined by the Unicode specification"
conformance(
  "[5.0 MQTT-1.5.4-1] [3.1.1 MQTT-1.5.3-1] every well-formed string is taken, and sent on as it came",
  async (broker) => {
    const longest = "é".repeat(32767) + "a";
    const topics = ["A𪛔", "\u{ffff}", "\u{10ffff}", "\ud7ff\ue000", "\u0001\u007f\u0080", " ", longest];
    const client = await broker.connect();
    for (const topic of topics) {
      await client.subscribe(topic);
      await client.send(publishPacket({ topic, payload: "a" }));
      assert.equal((await client.expect("publish")).topic, topic);
      await client.unsubscribe(topic);
    }
  },
);

// "A UTF-8 encoded sequence 0xEF 0xBB 0xBF is always interpreted as U+FEFF … and MUST NOT be skipped over or stripped
// off"
conformance(
  "[5.0 MQTT-1.5.4-3] [3.1.1 MQTT-1.5.3-3] U+FEFF in front of a topic stays there, and makes it another one",
  async (broker, level) => {
    const topic = broker.unique("t");
    const marked = [0xef, 0xbb, 0xbf, ...new TextEncoder().encode(topic)];
    const ofMarked = await broker.connect();
    await ofMarked.sendBytes(packetBytes(0x82, [0, 1], none(level), binary(marked), 0));
    await ofMarked.expect("suback");
    const ofPlain = await broker.connect();
    await ofPlain.subscribe(topic);
    const publisher = await broker.connect();
    const message = packetBytes(0x30, binary(marked), none(level), 0x61);
    await publisher.sendBytes(message);
    await publisher.publish({ topic });
    await ofMarked.expectBytes(message);
    await ofMarked.expectNothing();
    assert.equal((await ofPlain.expect("publish")).topic, topic);
    await ofPlain.expectNothing();
  },
);

// "A UTF-8 encoded sequence 0xEF 0xBB 0xBF is always interpreted as U+FEFF … and MUST NOT be skipped over or stripped
// off"
conformance(
  "[5.0 MQTT-1.5.4-3] [3.1.1 MQTT-1.5.3-3] client ids that differ in U+FEFF alone are two",
  async (broker) => {
    const clientId = broker.unique("id");
    const plain = await broker.connect({ clientId });
    const marked = await broker.connect({ clientId: `\ufeff${clientId}` });
    await plain.expectNothing();
    await marked.expectNothing();
  },
);

const boundaries = [127, 128, 16_383, 16_384, 2_097_151, 2_097_152];

// "The encoded value MUST use the minimum number of bytes necessary to represent the value."
conformance(
  "[5.0 MQTT-1.5.5-1] [3.1.1] a packet's remaining length has the fewest bytes, at each of their boundaries",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic);
    const publisher = await broker.connect();
    for (const remainingLength of boundaries) {
      const header = [...text(topic), ...none(level)];
      const packet = new Uint8Array([
        0x30,
        ...variableByteInteger(remainingLength),
        ...header,
        ...new Uint8Array(remainingLength - header.length).fill(0x61),
      ]);
      await publisher.sendBytes(packet);
      await subscriber.expectBytes(packet);
    }
  },
);

// "The encoded value MUST use the minimum number of bytes necessary to represent the value."
conformance(
  "[5.0 MQTT-1.5.5-1] a property length and a subscription identifier have the fewest bytes, at each of their boundaries",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    for (const subscriptionIdentifier of [1, ...boundaries, 268_435_455]) {
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic, { properties: { subscriptionIdentifiers: [subscriptionIdentifier] } });
      for (const length of [100, 200, 20_000]) {
        const userProperty = [0x26, ...text("a"), ...text("b".repeat(length))];
        await publisher.sendBytes(packetBytes(0x30, text(topic), properties(userProperty)));
        const identifier = [0x0b, ...variableByteInteger(subscriptionIdentifier)];
        const packet = await subscriber.expect("publish");
        assert.deepEqual(packet.properties?.subscriptionIdentifiers, [subscriptionIdentifier]);
        await publisher.sendBytes(packetBytes(0x30, text(topic), properties(userProperty)));
        await subscriber.expectBytes(packetBytes(0x30, text(topic), properties(userProperty, identifier)));
      }
      await subscriber.close();
    }
  },
);

// "The encoded value MUST use the minimum number of bytes necessary to represent the value."
conformance("[5.0 MQTT-1.5.5-1] an integer with more bytes than it needs is malformed", async (broker, level) => {
  const packets = [
    new Uint8Array([0xc0, 0x80, 0x00]),
    new Uint8Array([0x30, 0x84, 0x00, ...text("a"), 0x00]),
    packetBytes(0x30, text("a"), 0x80, 0x00),
    packetBytes(0x82, [0, 1], properties(0x0b, 0x81, 0x00), text("a"), 0),
  ];
  for (const packet of packets) await expectMalformed(broker, level, packet);
});

// "The maximum number of bytes in the Variable Byte Integer field is four."
conformance("[5.0] [3.1.1] [3.1] a remaining length of five bytes is malformed", async (broker, level) => {
  await expectMalformed(broker, level, new Uint8Array([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]));
});

// "Two Byte Integer data values are 16-bit unsigned integers in big-endian order"
conformance("[5.0] [3.1.1] [3.1] a packet identifier comes back byte for byte", async (broker, level) => {
  const client = await broker.connect();
  await client.sendBytes(packetBytes(0x82, [0x12, 0x34], none(level), text(broker.unique("t")), 0));
  await client.expectBytes(packetBytes(0x90, [0x12, 0x34], none(level), 0));
});

// "Four Byte Integer data values are 32-bit unsigned integers in big-endian order"
conformance("[5.0] a message expiry interval goes on byte for byte", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  const packet = packetBytes(0x30, text(topic), properties(0x02, 0xfe, 0xdc, 0xba, 0x98));
  await client.sendBytes(packet);
  await client.expectBytes(packet);
});

// "Binary Data is represented by a Two Byte Integer length … followed by that number of bytes. Thus, the length of
// Binary Data is limited to the range of 0 to 65,535 Bytes."
conformance("[5.0] correlation data of any length goes on byte for byte", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  for (const length of [0, 1, 255, 256, 65_535]) {
    const data = Uint8Array.from({ length }, (_, index) => index);
    const packet = packetBytes(0x30, text(topic), properties(0x09, binary(data)));
    await client.sendBytes(packet);
    await client.expectBytes(packet);
  }
});
