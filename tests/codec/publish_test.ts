import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, encode, type ProtocolLevel, type PublishPacket } from "../../codec/mod.ts";
import { decodeTopicName, encodePublishFrame, PublishHeader, readPublishHeader } from "../../codec/publish.ts";
import { arbitraryPacket } from "./arbitrary_packets.ts";
import { assertRefused, levels, packetBytes, properties, text } from "./packet_bytes.ts";

function noProperties(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

for (const level of levels) {
  const statement = level === 5 ? "5.0" : "3.1.1";

  Deno.test(`[${statement} MQTT-3.3.1-4] at level ${level}, QoS 3 is malformed`, () => {
    for (const firstByte of [0x36, 0x37, 0x3e, 0x3f]) {
      const bytes = packetBytes(firstByte, text("t"), [0, 1], noProperties(level));
      assertRefused(bytes, level, 0x81, /QoS is 3/);
    }
  });

  Deno.test(`[${statement} MQTT-3.3.1-2] at level ${level}, DUP at QoS 0 is malformed`, () => {
    for (const firstByte of [0x38, 0x39]) {
      assertRefused(packetBytes(firstByte, text("t"), noProperties(level)), level, 0x81, /DUP is set at QoS 0/);
    }
  });

  Deno.test(
    `[${level === 5 ? "5.0 MQTT-2.2.1-3" : "3.1.1 MQTT-2.3.1-1"}] at level ${level}, packet identifier 0 is malformed`,
    () => {
      for (const firstByte of [0x32, 0x34]) {
        const bytes = packetBytes(firstByte, text("t"), [0, 0], noProperties(level));
        assertRefused(bytes, level, 0x81, /packet identifier is 0/);
      }
    },
  );

  Deno.test(`[${statement} MQTT-3.3.2-2] at level ${level}, a topic name with a wildcard is malformed`, () => {
    for (const topic of ["+", "#", "a/+", "a/#", "a+b", "a#b"]) {
      assertRefused(packetBytes(0x30, text(topic), noProperties(level)), level, 0x81, /".*" is not a topic name/);
    }
  });

  Deno.test(`[${statement} MQTT-4.7.3-1] at level ${level}, an empty topic name is a protocol error`, () => {
    const bytes = packetBytes(0x30, text(""), noProperties(level));
    assertRefused(bytes, level, 0x82, /neither a topic name nor a topic alias/);
  });

  Deno.test(`at level ${level}, the flags, the packet identifier and the payload are read`, () => {
    const bytes = packetBytes(0x3d, text("a/b"), [1, 2], noProperties(level), [7, 8, 9]);
    assert.deepEqual(decode(bytes, level), {
      type: "publish",
      topic: "a/b",
      payload: new Uint8Array([7, 8, 9]),
      qos: 2,
      retain: true,
      dup: true,
      packetId: 0x0102,
    });
  });

  Deno.test(`[${statement} section 3.3.3] at level ${level}, a payload may be empty`, () => {
    const packet = decode(packetBytes(0x30, text("t"), noProperties(level)), level);
    assert(packet.type === "publish");
    assert.equal(packet.payload.length, 0);
  });

  Deno.test(`at level ${level}, a PUBLISH that ends inside its topic name is malformed`, () => {
    for (const body of [[], [0], [0, 2, 0x61], [0xff, 0xff]]) {
      assertRefused(packetBytes(0x30, body), level, 0x81, /packet ends inside topic name/);
    }
  });

  Deno.test(`at level ${level}, a PUBLISH that ends inside its packet identifier is malformed`, () => {
    for (const body of [text("t"), [...text("t"), 0]]) {
      assertRefused(packetBytes(0x32, body), level, 0x81, /packet ends inside packet identifier/);
    }
  });

  Deno.test(`at level ${level}, readPublishHeader says where the parts of a packet lie`, () => {
    fc.assert(
      fc.property(arbitraryPublish(level), fc.uint8Array({ maxLength: 10 }), (packet, before) => {
        const encoded = encode(packet, level);
        const bytes = new Uint8Array([...before, ...encoded]);
        const start = before.length;
        const bodyStart = start + encoded.findIndex((byte, index) => index > 0 && byte < 0x80) + 1;
        const header = new PublishHeader();
        readPublishHeader(header, bytes, start, bodyStart, bytes.length, level);
        assert.equal(new TextDecoder("utf-8", { ignoreBOM: true }).decode(topicOf(header, bytes)), packet.topic);
        assert.deepEqual(bytes.subarray(header.payloadStart), packet.payload);
        assert.deepEqual(
          [header.qos, header.dup, header.retain, header.packetId, header.properties],
          [packet.qos, packet.dup, packet.retain, packet.packetId ?? 0, packet.properties],
        );
      }),
      { numRuns: 300 },
    );
  });

  Deno.test(`at level ${level}, encodePublishFrame says where a sender overwrites what differs by receiver`, () => {
    fc.assert(
      fc.property(arbitraryPublish(level), (packet) => {
        const topic = new TextEncoder().encode(packet.topic);
        const { packetId = 0, properties } = packet;
        const frame = encodePublishFrame({ ...packet, topic, packetId, properties }, level);
        assert.deepEqual(frame.bytes, encode(packet, level));
        assert.deepEqual(frame.bytes.subarray(frame.payloadStart), packet.payload);
        assert.equal(twoBytesAt(frame.bytes, frame.packetIdOffset), packet.packetId);
        assert.equal(twoBytesAt(frame.bytes, frame.topicAliasOffset), properties?.topicAlias);
      }),
      { numRuns: 300 },
    );
  });
}

function arbitraryPublish(level: ProtocolLevel): fc.Arbitrary<PublishPacket> {
  return arbitraryPacket(level).filter((packet): packet is PublishPacket => packet.type === "publish");
}

function topicOf(header: PublishHeader, bytes: Uint8Array): Uint8Array {
  return bytes.subarray(header.topicStart, header.topicEnd);
}

function twoBytesAt(bytes: Uint8Array, offset: number): number | undefined {
  return offset === -1 ? undefined : bytes[offset] * 256 + bytes[offset + 1];
}

Deno.test("the topic alias is found behind a property length of any size", () => {
  // The topic alias takes three bytes, an empty content type three and every further byte one.
  for (const propertyLength of [6, 127, 128, 129, 16_382, 16_383, 16_384, 16_385]) {
    const frame = encodePublishFrame({
      topic: new Uint8Array(0),
      payload: new Uint8Array([1]),
      qos: 0,
      retain: false,
      dup: false,
      packetId: 0,
      properties: { contentType: "x".repeat(propertyLength - 6), topicAlias: 0x1234 },
    }, 5);
    assert.equal(twoBytesAt(frame.bytes, frame.topicAliasOffset), 0x1234, `property length ${propertyLength}`);
  }
});

Deno.test("readPublishHeader leaves nothing of the packet before", () => {
  const header = new PublishHeader();
  const first = packetBytes(0x3d, text("first"), [0, 1], properties(0x01, 1), 9);
  readPublishHeader(header, first, 0, 2, first.length, 5);
  const second = packetBytes(0x30, text("b"), properties());
  readPublishHeader(header, second, 0, 2, second.length, 5);
  assert.deepEqual(
    { ...header },
    {
      dup: false,
      qos: 0,
      retain: false,
      topicStart: 4,
      topicEnd: 5,
      packetId: 0,
      properties: undefined,
      payloadStart: 6,
    },
  );
});

Deno.test("decodeTopicName refuses what is no topic name", () => {
  const bytes = new TextEncoder().encode("a/+");
  assert.throws(() => decodeTopicName(bytes, 0, 3), { name: "PacketError", reasonCode: 0x81 });
  assert.equal(decodeTopicName(bytes, 0, 1), "a");
});

Deno.test("at level 5, an empty topic name with a topic alias is read", () => {
  const packet = decode(packetBytes(0x30, text(""), properties(0x23, [0, 1])), 5);
  assert(packet.type === "publish");
  assert.deepEqual([packet.topic, packet.properties], ["", { topicAlias: 1 }]);
});

Deno.test("at level 5, an empty topic name with other properties but no topic alias is a protocol error", () => {
  assertRefused(packetBytes(0x30, text(""), properties(0x01, 1)), 5, 0x82, /neither a topic name nor a topic alias/);
});

Deno.test("at level 5, a PUBLISH without a property length is malformed", () => {
  assertRefused(packetBytes(0x30, text("t")), 5, 0x81, /packet ends inside property length/);
  assertRefused(packetBytes(0x32, text("t"), [0, 1]), 5, 0x81, /packet ends inside property length/);
});

Deno.test("a topic name may begin with $, hold spaces and empty levels, and be a single slash", () => {
  for (const topic of ["$SYS/x", "a b", "/", "//", "a//b", "/a/"]) {
    const packet = decode(packetBytes(0x30, text(topic), properties()), 5);
    assert(packet.type === "publish");
    assert.equal(packet.topic, topic);
  }
});
