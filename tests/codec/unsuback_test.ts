import assert from "node:assert/strict";
import { decode, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, levels, packetBytes, properties } from "./packet_bytes.ts";

Deno.test("at level 5, the reason codes are read in their order", () => {
  const bytes = packetBytes(0xb0, [0, 1], properties(), [0x11, 0, 0x87]);
  assert.deepEqual(decode(bytes, 5), { type: "unsuback", packetId: 1, reasonCodes: [0x11, 0, 0x87] });
});

for (const level of [3, 4] as ProtocolLevel[]) {
  Deno.test(`[3.1.1 section 3.11] at level ${level}, an UNSUBACK is only a packet identifier`, () => {
    assert.deepEqual(decode(packetBytes(0xb0, [0, 1]), level), { type: "unsuback", packetId: 1, reasonCodes: [] });
  });
}

for (const level of levels) {
  Deno.test(`at level ${level}, packet identifier 0 is malformed`, () => {
    const rest = level === 5 ? [0, 0] : [];
    assertRefused(packetBytes(0xb0, [0, 0], rest), level, 0x81, /packet identifier is 0/);
  });
}

Deno.test("at level 5, an UNSUBACK without a reason code is malformed", () => {
  assertRefused(packetBytes(0xb0, [0, 1], properties()), 5, 0x81, /UNSUBACK has no reason code/);
});
