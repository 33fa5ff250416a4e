import assert from "node:assert/strict";
import { decode } from "../../codec/mod.ts";
import { levels, packetBytes, properties, text } from "./packet_bytes.ts";

for (const level of levels) {
  Deno.test(`at level ${level}, an empty DISCONNECT is a normal disconnection`, () => {
    assert.deepEqual(decode(packetBytes(0xe0), level), { type: "disconnect", reasonCode: 0 });
  });
}

Deno.test("a DISCONNECT of one byte has a reason code and no properties", () => {
  assert.deepEqual(decode(packetBytes(0xe0, 0x04), 5), { type: "disconnect", reasonCode: 0x04 });
});

Deno.test("a DISCONNECT of two bytes has a reason code and a property length of 0", () => {
  assert.deepEqual(decode(packetBytes(0xe0, 0x8e, properties()), 5), { type: "disconnect", reasonCode: 0x8e });
});

Deno.test("a DISCONNECT may have properties", () => {
  assert.deepEqual(decode(packetBytes(0xe0, 0x9c, properties(0x1c, text("b:1"), 0x11, [0, 0, 0, 9])), 5), {
    type: "disconnect",
    reasonCode: 0x9c,
    properties: { serverReference: "b:1", sessionExpiryInterval: 9 },
  });
});
