import assert from "node:assert/strict";
import { decode } from "../../codec/mod.ts";
import { assertRefused, packetBytes, properties } from "./packet_bytes.ts";

Deno.test("session present and reason code are read", () => {
  assert.deepEqual(decode(packetBytes(0x20, 1, 0, properties()), 5), {
    type: "connack",
    sessionPresent: true,
    reasonCode: 0,
  });
  assert.deepEqual(decode(packetBytes(0x20, 0, 0x87, properties()), 5), {
    type: "connack",
    sessionPresent: false,
    reasonCode: 0x87,
  });
});

Deno.test("[5.0 MQTT-3.2.2-1] reserved connect acknowledge flags are malformed", () => {
  for (const flags of [0x02, 0x03, 0x10, 0x80, 0xff]) {
    assertRefused(packetBytes(0x20, flags, 0, properties()), 5, 0x81, /connect acknowledge flags/);
    assertRefused(packetBytes(0x20, flags, 0), 4, 0x81, /connect acknowledge flags/);
  }
});

Deno.test("[5.0 MQTT-3.2.2-6] session present with a refusal is a protocol error", () => {
  assertRefused(packetBytes(0x20, 1, 0x87, properties()), 5, 0x82, /session present/);
});

Deno.test("[3.1.1 MQTT-3.2.2-4] session present with a refusal is a protocol error before MQTT 5, too", () => {
  assertRefused(packetBytes(0x20, 1, 5), 4, 0x82, /session present/);
});

Deno.test("[3.1.1 section 3.2.2.3] before MQTT 5, a return code above 5 is a protocol error", () => {
  for (let returnCode = 0; returnCode < 256; returnCode++) {
    const bytes = packetBytes(0x20, 0, returnCode);
    if (returnCode > 5) assertRefused(bytes, 4, 0x82, /reason code/);
    else assert.deepEqual(decode(bytes, 4), { type: "connack", sessionPresent: false, reasonCode: returnCode });
  }
});

Deno.test("at level 5, a CONNACK without a property length is malformed", () => {
  assertRefused(packetBytes(0x20, 0, 0), 5, 0x81, /packet ends inside property length/);
});
