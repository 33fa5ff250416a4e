import assert from "node:assert/strict";
import { decode } from "../../codec/mod.ts";
import { assertRefused, levels, packetBytes, properties, text } from "./packet_bytes.ts";

for (const level of levels) {
  const noProperties = level === 5 ? properties() : [];
  const version = level === 5 ? "5.0" : "3.1.1";

  Deno.test(
    `[${version} MQTT-3.10.3-2] at level ${level}, an UNSUBSCRIBE without a topic filter is a protocol error`,
    () => {
      assertRefused(packetBytes(0xa2, [0, 1], noProperties), level, 0x82, /UNSUBSCRIBE has no topic filter/);
    },
  );

  Deno.test(
    `[${level === 5 ? "5.0 MQTT-2.2.1-3" : "3.1.1 MQTT-2.3.1-1"}] at level ${level}, packet identifier 0 is malformed`,
    () => {
      assertRefused(packetBytes(0xa2, [0, 0], noProperties, text("t")), level, 0x81, /packet identifier is 0/);
    },
  );

  Deno.test(`[${version} MQTT-4.7.3-1] at level ${level}, an empty topic filter is malformed`, () => {
    assertRefused(packetBytes(0xa2, [0, 1], noProperties, text("")), level, 0x81, /"" is not a topic filter/);
  });

  Deno.test(`[${version} MQTT-4.7.1-2] at level ${level}, a wildcard in the wrong place is malformed`, () => {
    for (const filter of ["a/#/b", "a#", "+a", "$share/g/a/#/b", "$share/g"]) {
      assertRefused(packetBytes(0xa2, [0, 1], noProperties, text(filter)), level, 0x81, /is not a topic filter/);
    }
  });

  Deno.test(`at level ${level}, every filter is read, in their order`, () => {
    const bytes = packetBytes(0xa2, [0, 1], noProperties, text("b/#"), text("a"), text("$share/g/+"), text("a"));
    assert.deepEqual(decode(bytes, level), {
      type: "unsubscribe",
      packetId: 1,
      topicFilters: ["b/#", "a", "$share/g/+", "a"],
    });
  });
}
