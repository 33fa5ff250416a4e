import assert from "node:assert/strict";
import { decode, type Packet, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, binary, type Bytes, connectBytes, packetBytes, properties, text } from "./packet_bytes.ts";
import { type PacketKind, packetKinds, propertiesOf, withProperty } from "./packet_kinds.ts";

/** A place in a packet that holds a UTF-8 Encoded String. */
interface StringField {
  name: string;
  build(string: number[]): Uint8Array;
  read(packet: Packet): string | undefined;
}

const connectFields: StringField[] = [
  {
    name: "the client identifier",
    build: (clientId) => connectBytes({ clientId }),
    read: (packet) => packet.type === "connect" ? packet.clientId : undefined,
  },
  {
    name: "the will topic",
    build: (topic) => connectBytes({ flags: 0x06, rest: [properties(), topic, binary()] }),
    read: (packet) => packet.type === "connect" ? packet.will?.topic : undefined,
  },
  {
    name: "the user name",
    build: (username) => connectBytes({ flags: 0x82, rest: [username] }),
    read: (packet) => packet.type === "connect" ? packet.username : undefined,
  },
];

const topicFields: StringField[] = [
  {
    name: "the topic name",
    build: (topic) => packetBytes(0x30, topic, properties()),
    read: (packet) => packet.type === "publish" ? packet.topic : undefined,
  },
  {
    name: "the topic filter of a SUBSCRIBE",
    build: (filter) => packetBytes(0x82, [0, 1], properties(), filter, 0),
    read: (packet) => packet.type === "subscribe" ? packet.subscriptions[0].topicFilter : undefined,
  },
  {
    name: "the topic filter of an UNSUBSCRIBE",
    build: (filter) => packetBytes(0xa2, [0, 1], properties(), filter),
    read: (packet) => packet.type === "unsubscribe" ? packet.topicFilters[0] : undefined,
  },
];

function propertyField(
  name: string,
  kindName: string,
  identifier: number,
  key:
    | "contentType"
    | "responseTopic"
    | "assignedClientIdentifier"
    | "authenticationMethod"
    | "responseInformation"
    | "serverReference"
    | "reasonString",
): StringField {
  const kind = kindNamed(kindName);
  return {
    name,
    build: (string) => withProperty(kind, identifier, string),
    read: (packet) => propertiesOf(kind, packet)?.[key],
  };
}

const propertyFields: StringField[] = [
  propertyField("the content type", "PUBLISH", 0x03, "contentType"),
  propertyField("the content type of a will", "Will Properties", 0x03, "contentType"),
  propertyField("the response topic", "PUBLISH", 0x08, "responseTopic"),
  propertyField("the assigned client identifier", "CONNACK", 0x12, "assignedClientIdentifier"),
  propertyField("the authentication method", "CONNECT", 0x15, "authenticationMethod"),
  propertyField("the response information", "CONNACK", 0x1a, "responseInformation"),
  propertyField("the server reference", "DISCONNECT", 0x1c, "serverReference"),
  propertyField("the reason string", "PUBACK", 0x1f, "reasonString"),
  {
    name: "the name of a user property",
    build: (string) => withProperty(kindNamed("PUBLISH"), 0x26, string, text("v")),
    read: (packet) => propertiesOf(kindNamed("PUBLISH"), packet)?.userProperties?.[0][0],
  },
  {
    name: "the value of a user property",
    build: (string) => withProperty(kindNamed("PUBLISH"), 0x26, text("k"), string),
    read: (packet) => propertiesOf(kindNamed("PUBLISH"), packet)?.userProperties?.[0][1],
  },
];

function kindNamed(name: string): PacketKind {
  const kind = packetKinds.find((kind) => kind.name === name);
  assert(kind);
  return kind;
}

for (const { name, build, read } of [...connectFields, ...topicFields, ...propertyFields]) {
  Deno.test(`[5.0 MQTT-1.5.4-1] ill-formed UTF-8 in ${name} is malformed`, () => {
    assertRefused(build(binary(0x61, 0xff)), 5, 0x81, /not well-formed UTF-8/);
  });

  Deno.test(`[5.0 MQTT-1.5.4-2] U+0000 in ${name} is malformed`, () => {
    assertRefused(build(text("a\0b")), 5, 0x81, /U\+0000/);
    assertRefused(build(text("\0")), 5, 0x81, /U\+0000/);
    assertRefused(build(text("ä\0")), 5, 0x81, /U\+0000/);
  });

  Deno.test(`[5.0 MQTT-1.5.4-3] a byte order mark in ${name} is kept`, () => {
    for (const string of ["\ufeffa", "a\ufeff", "\ufeff"]) assert.equal(read(decode(build(text(string)), 5)), string);
  });
}

Deno.test("ill-formed UTF-8 in the protocol name is malformed", () => {
  assertRefused(connectBytes({ name: binary(0x4d, 0xff) }), 5, 0x81, /not well-formed UTF-8/);
});

/** What RFC 3629 forbids. */
const illFormed: [what: string, ...bytes: number[]][] = [
  ["a continuation byte on its own", 0x80],
  ["a two-byte sequence without its second byte", 0xc3],
  ["a three-byte sequence without its third byte", 0xe2, 0x82],
  ["a four-byte sequence without its fourth byte", 0xf0, 0xaa, 0x9b],
  ["a sequence that is broken off by ASCII", 0xe2, 0x82, 0x61],
  ["an overlong encoding of U+0000", 0xc0, 0x80],
  ["an overlong encoding of '/' in two bytes", 0xc0, 0xaf],
  ["an overlong encoding of U+007F in two bytes", 0xc1, 0xbf],
  ["an overlong encoding of '/' in three bytes", 0xe0, 0x80, 0xaf],
  ["an overlong encoding of U+07FF in three bytes", 0xe0, 0x9f, 0xbf],
  ["an overlong encoding of '/' in four bytes", 0xf0, 0x80, 0x80, 0xaf],
  ["an overlong encoding of U+FFFF in four bytes", 0xf0, 0x8f, 0xbf, 0xbf],
  ["the surrogate U+D800", 0xed, 0xa0, 0x80],
  ["the surrogate U+DFFF", 0xed, 0xbf, 0xbf],
  ["a pair of encoded surrogates", 0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80],
  ["a code point above U+10FFFF", 0xf4, 0x90, 0x80, 0x80],
  ["the byte 0xF5", 0xf5, 0x80, 0x80, 0x80],
  ["a five-byte sequence", 0xf8, 0x88, 0x80, 0x80, 0x80],
  ["the byte 0xFE", 0xfe],
  ["the byte 0xFF", 0xff],
];

function publishTo(level: ProtocolLevel, ...topic: Bytes[]): Uint8Array {
  return packetBytes(0x30, binary(...topic), level === 5 ? properties() : []);
}

for (const [what, ...bytes] of illFormed) {
  Deno.test(`[5.0 MQTT-1.5.4-1] ${what} is malformed, in a short string and in a long one`, () => {
    const ascii = new Uint8Array(100).fill(0x61);
    assertRefused(publishTo(5, bytes), 5, 0x81, /not well-formed UTF-8/);
    assertRefused(publishTo(5, 0x61, bytes), 5, 0x81, /not well-formed UTF-8/);
    assertRefused(publishTo(5, ascii, bytes), 5, 0x81, /not well-formed UTF-8/);
    assertRefused(publishTo(5, bytes, ascii), 5, 0x81, /not well-formed UTF-8/);
  });
}

Deno.test("[3.1.1 MQTT-1.5.3-1] ill-formed UTF-8 is malformed before MQTT 5, too", () => {
  for (const [, ...bytes] of illFormed) assertRefused(publishTo(4, bytes), 4, 0x81, /not well-formed UTF-8/);
});

Deno.test("[3.1.1 MQTT-1.5.3-2] U+0000 is malformed before MQTT 5, too", () => {
  assertRefused(publishTo(4, 0x61, 0x00), 4, 0x81, /U\+0000/);
});

Deno.test("[3.1.1 MQTT-1.5.3-3] a byte order mark is kept before MQTT 5, too", () => {
  const packet = decode(publishTo(4, 0xef, 0xbb, 0xbf, 0x61), 4);
  assert(packet.type === "publish");
  assert.equal(packet.topic, "\ufeffa");
});

Deno.test("U+0000 is malformed in a long string, too", () => {
  assertRefused(publishTo(5, new Uint8Array(100).fill(0x61), 0), 5, 0x81, /U\+0000/);
});

Deno.test("the first and the last code point of every length of encoding are read", () => {
  const codePoints = [0x01, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff];
  for (const codePoint of codePoints) {
    const topic = String.fromCodePoint(codePoint);
    const packet = decode(publishTo(5, new TextEncoder().encode(topic)), 5);
    assert(packet.type === "publish");
    assert.equal(packet.topic, topic);
  }
});

Deno.test("strings of every length around the border between short and long are read", () => {
  for (let length = 1; length < 70; length++) {
    const topic = "abcdefghij".repeat(7).slice(0, length);
    const packet = decode(publishTo(5, new TextEncoder().encode(topic)), 5);
    assert(packet.type === "publish");
    assert.equal(packet.topic, topic);
  }
});

Deno.test("a string of 65,535 bytes is read", () => {
  const packet = decode(publishTo(5, new Uint8Array(65_535).fill(0x61)), 5);
  assert(packet.type === "publish");
  assert.equal(packet.topic, "a".repeat(65_535));
});

Deno.test("after an ill-formed string, a well-formed one is read as ever", () => {
  assertRefused(publishTo(5, 0xe2, 0x82), 5, 0x81, /not well-formed UTF-8/);
  const packet = decode(publishTo(5, new TextEncoder().encode("ä")), 5);
  assert(packet.type === "publish");
  assert.equal(packet.topic, "ä");
});

Deno.test("payloads and binary data may hold any bytes", () => {
  const bytes = new Uint8Array([0x00, 0xff, 0xc0, 0x80]);
  const publish = decode(packetBytes(0x30, text("t"), properties(0x09, binary(bytes)), bytes), 5);
  assert(publish.type === "publish");
  assert.deepEqual([publish.payload, publish.properties?.correlationData], [bytes, bytes]);
  const connect = decode(
    connectBytes({ flags: 0x46, rest: [properties(), text("t"), binary(bytes), binary(bytes)] }),
    5,
  );
  assert(connect.type === "connect");
  assert.deepEqual([connect.will?.payload, connect.password], [bytes, bytes]);
});
