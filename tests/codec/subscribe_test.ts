import assert from "node:assert/strict";
import { decode, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, type Bytes, levels, packetBytes, properties, text } from "./packet_bytes.ts";

function subscribe(level: ProtocolLevel, ...payload: Bytes[]): Uint8Array {
  return packetBytes(0x82, [0, 1], level === 5 ? properties() : [], ...payload);
}

for (const level of levels) {
  Deno.test(
    `[${
      level === 5 ? "5.0 MQTT-3.8.3-2" : "3.1.1 MQTT-3.8.3-3"
    }] at level ${level}, a SUBSCRIBE without a topic filter is a protocol error`,
    () => {
      assertRefused(subscribe(level), level, 0x82, /SUBSCRIBE has no topic filter/);
    },
  );

  Deno.test(
    `[${level === 5 ? "5.0 MQTT-2.2.1-3" : "3.1.1 MQTT-2.3.1-1"}] at level ${level}, packet identifier 0 is malformed`,
    () => {
      const bytes = packetBytes(0x82, [0, 0], level === 5 ? properties() : [], text("t"), 0);
      assertRefused(bytes, level, 0x81, /packet identifier is 0/);
    },
  );

  Deno.test(`at level ${level}, a topic filter without subscription options is malformed`, () => {
    assertRefused(subscribe(level, text("t")), level, 0x81, /packet ends inside subscription options/);
    assertRefused(subscribe(level, text("t"), 0, text("u")), level, 0x81, /packet ends inside subscription options/);
  });

  Deno.test(
    `[${level === 5 ? "5.0" : "3.1.1"} MQTT-4.7.3-1] at level ${level}, an empty topic filter is malformed`,
    () => {
      assertRefused(subscribe(level, text(""), 0), level, 0x81, /"" is not a topic filter/);
    },
  );

  Deno.test(
    `[${level === 5 ? "5.0" : "3.1.1"} MQTT-4.7.1-2] at level ${level}, a wildcard in the wrong place is malformed`,
    () => {
      for (const filter of ["a/#/b", "#/", "a#", "a/b#", "##", "a+", "+a", "a/+b/c", "++"]) {
        assertRefused(subscribe(level, text(filter), 0), level, 0x81, /is not a topic filter/);
      }
    },
  );

  Deno.test(`at level ${level}, every filter is read with its QoS, in their order`, () => {
    const packet = decode(subscribe(level, text("a/+"), 0, text("#"), 1, text("a/+"), 2), level);
    assert(packet.type === "subscribe");
    assert.deepEqual(
      packet.subscriptions.map(({ topicFilter, qos }) => [topicFilter, qos]),
      [["a/+", 0], ["#", 1], ["a/+", 2]],
    );
  });
}

for (const level of [3, 4] as ProtocolLevel[]) {
  Deno.test(`[3.1.1 MQTT-3-8.3-4] at level ${level}, QoS 3 is malformed`, () => {
    assertRefused(subscribe(level, text("t"), 3), level, 0x81, /QoS is 3/);
  });

  Deno.test(`[3.1.1 MQTT-3-8.3-4] at level ${level}, the upper six bits of the requested QoS are malformed`, () => {
    for (const options of [0x04, 0x08, 0x10, 0x20, 0x40, 0x80]) {
      assertRefused(subscribe(level, text("t"), options), level, 0x81, /reserved bit/);
    }
  });
}

Deno.test("at level 5, Maximum QoS 3 is a protocol error", () => {
  assertRefused(subscribe(5, text("t"), 0x03), 5, 0x82, /QoS is 3/);
});

Deno.test("at level 5, Retain Handling 3 is a protocol error", () => {
  assertRefused(subscribe(5, text("t"), 0x30), 5, 0x82, /retain handling is 3/);
});

Deno.test("[5.0 MQTT-3.8.3-5] at level 5, bits 6 and 7 of the subscription options are malformed", () => {
  for (const options of [0x40, 0x80, 0xc0]) {
    assertRefused(subscribe(5, text("t"), options), 5, 0x81, /reserved bit/);
  }
});

Deno.test("[5.0 MQTT-3.8.3-4] No Local on a shared subscription is a protocol error", () => {
  assertRefused(subscribe(5, text("$share/g/t"), 0x04), 5, 0x82, /no local on a shared subscription/);
});

Deno.test("every subscription option is read from its bits", () => {
  const packet = decode(subscribe(5, text("t"), 0x04, text("t"), 0x08, text("t"), 0x10, text("t"), 0x22), 5);
  assert(packet.type === "subscribe");
  assert.deepEqual(packet.subscriptions, [
    { topicFilter: "t", qos: 0, noLocal: true, retainAsPublished: false, retainHandling: 0 },
    { topicFilter: "t", qos: 0, noLocal: false, retainAsPublished: true, retainHandling: 0 },
    { topicFilter: "t", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 1 },
    { topicFilter: "t", qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 2 },
  ]);
});

Deno.test("[5.0 MQTT-4.8.2-1] a shared subscription without a share name is malformed", () => {
  assertRefused(subscribe(5, text("$share//t"), 0), 5, 0x81, /is not a topic filter/);
});

Deno.test("[5.0 MQTT-4.8.2-2] a share name with a wildcard is malformed", () => {
  for (const filter of ["$share/g+/t", "$share/+/t", "$share/#/t", "$share/g#/t"]) {
    assertRefused(subscribe(5, text(filter), 0), 5, 0x81, /is not a topic filter/);
  }
});

Deno.test("[5.0 MQTT-4.8.2-2] a shared subscription without a topic filter is malformed", () => {
  for (const filter of ["$share/", "$share/g", "$share/g/", "$share/g/a/#/b"]) {
    assertRefused(subscribe(5, text(filter), 0), 5, 0x81, /is not a topic filter/);
  }
});
