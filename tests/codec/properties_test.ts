import assert from "node:assert/strict";
import { decode } from "../../codec/mod.ts";
import { assertRefused, binary, packetBytes, text, variableByteInteger } from "./packet_bytes.ts";
import { type PacketKind, packetKinds, propertiesOf, withProperty } from "./packet_kinds.ts";
import { propertyTable } from "./property_table.ts";

function kindNamed(name: string): PacketKind {
  const kind = packetKinds.find((kind) => kind.name === name);
  assert(kind);
  return kind;
}

for (const { identifier, name, key, packets, bytes, value } of propertyTable) {
  Deno.test(`[5.0 table 2-4] ${name} is read in ${packets.join(", ")}`, () => {
    for (const kind of packets.map(kindNamed)) {
      const decoded = propertiesOf(kind, decode(withProperty(kind, identifier, bytes), 5));
      assert.deepEqual(decoded?.[key], value, kind.name);
    }
  });

  if (packets.length < packetKinds.length) {
    Deno.test(`[5.0 table 2-4] ${name} is malformed anywhere else`, () => {
      for (const kind of packetKinds.filter((kind) => !packets.includes(kind.name))) {
        assertRefused(withProperty(kind, identifier, bytes), 5, 0x81, /property 0x[0-9a-f]{2} is not allowed in /);
      }
    });
  }

  if (name !== "User Property") {
    Deno.test(`${name} is a protocol error when it is there twice`, () => {
      for (const kind of packets.map(kindNamed)) {
        if (name === "Subscription Identifier" && kind.name === "PUBLISH") continue;
        assertRefused(withProperty(kind, identifier, bytes, identifier, bytes), 5, 0x82, /is there twice/);
      }
    });
  }
}

Deno.test("a property identifier that the specification does not define is malformed", () => {
  const defined = propertyTable.map(({ identifier }) => identifier);
  for (let identifier = 0; identifier < 300; identifier++) {
    if (defined.includes(identifier)) continue;
    const bytes = kindNamed("PUBLISH").build(variableByteInteger(identifier), 0);
    assertRefused(bytes, 5, 0x81, /property 0x[0-9a-f]{2,3} is not allowed in PUBLISH/);
  }
});

Deno.test("properties that are not there are absent", () => {
  for (const kind of packetKinds.filter(({ name }) => name !== "AUTH")) {
    assert.equal(propertiesOf(kind, decode(kind.build(), 5)), undefined, kind.name);
  }
});

Deno.test("User Property is there as often as it was sent, in that order, with equal names too", () => {
  const pairs = [["b", "1"], ["a", "2"], ["b", "1"], ["", ""]];
  for (const kind of packetKinds) {
    const bytes = pairs.flatMap(([key, value], index) => [...(index ? [0x26] : []), ...text(key), ...text(value)]);
    assert.deepEqual(propertiesOf(kind, decode(withProperty(kind, 0x26, bytes), 5))?.userProperties, pairs, kind.name);
  }
});

Deno.test("a PUBLISH has as many Subscription Identifiers as were sent, in that order", () => {
  const bytes = kindNamed("PUBLISH").build(0x0b, 3, 0x0b, variableByteInteger(268_435_455), 0x0b, 1, 0x0b, 3);
  const packet = decode(bytes, 5);
  assert(packet.type === "publish");
  assert.deepEqual(packet.properties?.subscriptionIdentifiers, [3, 268_435_455, 1, 3]);
});

for (const { identifier, name, packets } of propertyTable.filter(({ bytes }) => bytes.length === 1)) {
  Deno.test(`${name} is a protocol error when it is neither 0 nor 1`, () => {
    for (const kind of packets.map(kindNamed)) {
      assertRefused(withProperty(kind, identifier, 2), 5, 0x82, /is 2; it must be 0 or 1/);
      assertRefused(withProperty(kind, identifier, 255), 5, 0x82, /is 255; it must be 0 or 1/);
    }
  });
}

Deno.test("Receive Maximum 0 is a protocol error", () => {
  for (const kind of ["CONNECT", "CONNACK"].map(kindNamed)) {
    assertRefused(withProperty(kind, 0x21, [0, 0]), 5, 0x82, /receiveMaximum is 0/);
  }
});

Deno.test("Maximum Packet Size 0 is a protocol error", () => {
  for (const kind of ["CONNECT", "CONNACK"].map(kindNamed)) {
    assertRefused(withProperty(kind, 0x27, [0, 0, 0, 0]), 5, 0x82, /maximumPacketSize is 0/);
  }
});

Deno.test("Subscription Identifier 0 is a protocol error", () => {
  for (const kind of ["PUBLISH", "SUBSCRIBE"].map(kindNamed)) {
    assertRefused(withProperty(kind, 0x0b, 0), 5, 0x82, /subscriptionIdentifiers is 0/);
  }
});

Deno.test("[5.0 MQTT-3.3.2-8] Topic Alias 0 is refused with 0x94", () => {
  assertRefused(withProperty(kindNamed("PUBLISH"), 0x23, [0, 0]), 5, 0x94, /topicAlias is 0/);
});

Deno.test("[5.0 MQTT-3.3.2-14] a Response Topic with a wildcard is malformed", () => {
  for (const kind of ["PUBLISH", "Will Properties"].map(kindNamed)) {
    for (const topic of ["a/+", "a/#", "#", "a+b", ""]) {
      assertRefused(withProperty(kind, 0x08, text(topic)), 5, 0x81, /responseTopic ".*" is not a topic name/);
    }
  }
});

Deno.test("authentication data without an authentication method in a CONNECT is a protocol error", () => {
  assertRefused(kindNamed("CONNECT").build(0x16, binary(1)), 5, 0x82, /authentication data without/);
});

Deno.test("a property that crosses the property length is malformed", () => {
  // Each is followed by enough bytes of the packet for the property to be read there.
  assertRefused(packetBytes(0x30, text("t"), 1, [0x01, 0x01]), 5, 0x81, /crosses the property length/);
  assertRefused(packetBytes(0x30, text("t"), 4, [0x02, 0, 0, 0, 1]), 5, 0x81, /crosses the property length/);
  assertRefused(packetBytes(0x30, text("t"), 2, [0x0b, 0x80, 0x01]), 5, 0x81, /crosses the property length/);
  assertRefused(packetBytes(0x30, text("t"), 3, [0x03, ...text("x")]), 5, 0x81, /crosses the property length/);
  assertRefused(packetBytes(0x30, text("t"), 4, [0x26, ...text("k"), ...text("v")]), 5, 0x81, /crosses/);
});

Deno.test("a property length that goes beyond the packet is malformed", () => {
  assertRefused(packetBytes(0x30, text("t"), 3, [0x01, 0x01]), 5, 0x81, /property length of 3, but only 2 bytes/);
  const huge = variableByteInteger(268_435_455);
  assertRefused(packetBytes(0x30, text("t"), huge, [0x01, 0x01]), 5, 0x81, /property length of 268435455/);
});

Deno.test("[5.0 MQTT-1.5.5-1] a property length that is not encoded in the fewest bytes is malformed", () => {
  for (const length of [[0x80, 0x00], [0x82, 0x00], [0x82, 0x80, 0x00], [0x82, 0x80, 0x80, 0x00]]) {
    assertRefused(packetBytes(0x30, text("t"), length, [0x01, 0x01]), 5, 0x81, /property length.* fewest bytes/);
  }
});

Deno.test("a property length of five bytes is malformed", () => {
  const length = [0x82, 0x80, 0x80, 0x80, 0x00];
  assertRefused(packetBytes(0x30, text("t"), length, [0x01, 0x01]), 5, 0x81, /property length.* more than four bytes/);
});

Deno.test("[5.0 MQTT-1.5.5-1] a Subscription Identifier that is not encoded in the fewest bytes is malformed", () => {
  for (const kind of ["PUBLISH", "SUBSCRIBE"].map(kindNamed)) {
    assertRefused(withProperty(kind, 0x0b, [0x81, 0x00]), 5, 0x81, /fewest bytes/);
    assertRefused(withProperty(kind, 0x0b, [0xff, 0x80, 0x80, 0x00]), 5, 0x81, /fewest bytes/);
  }
});

Deno.test("a Subscription Identifier of five bytes is malformed", () => {
  for (const kind of ["PUBLISH", "SUBSCRIBE"].map(kindNamed)) {
    assertRefused(withProperty(kind, 0x0b, [0x80, 0x80, 0x80, 0x80, 0x01]), 5, 0x81, /more than four bytes/);
  }
});

Deno.test("[5.0 MQTT-1.5.5-1] a property identifier that is not encoded in the fewest bytes is malformed", () => {
  assertRefused(kindNamed("PUBLISH").build([0x81, 0x00], 1), 5, 0x81, /property identifier.* fewest bytes/);
});

Deno.test("binary properties are copies, which stay when the read buffer is used again", () => {
  const bytes = withProperty(kindNamed("PUBLISH"), 0x09, binary(1, 2, 3));
  const packet = decode(bytes, 5);
  bytes.fill(0);
  assert(packet.type === "publish");
  assert.deepEqual(packet.properties?.correlationData, new Uint8Array([1, 2, 3]));
});
