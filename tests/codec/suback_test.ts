import assert from "node:assert/strict";
import { decode, encode, type ProtocolLevel } from "../../codec/mod.ts";
import { assertRefused, levels, packetBytes, properties } from "./packet_bytes.ts";

for (const level of levels) {
  const noProperties = level === 5 ? properties() : [];

  Deno.test(`at level ${level}, the reason codes are read in their order`, () => {
    const bytes = packetBytes(0x90, [0, 1], noProperties, [2, 0, 0x80, 1]);
    assert.deepEqual(decode(bytes, level), { type: "suback", packetId: 1, reasonCodes: [2, 0, 0x80, 1] });
  });

  Deno.test(`at level ${level}, a SUBACK without a reason code is malformed`, () => {
    assertRefused(packetBytes(0x90, [0, 1], noProperties), level, 0x81, /SUBACK has no reason code/);
  });

  Deno.test(`at level ${level}, packet identifier 0 is malformed`, () => {
    assertRefused(packetBytes(0x90, [0, 0], noProperties, 0), level, 0x81, /packet identifier is 0/);
  });
}

for (const level of [3, 4] as ProtocolLevel[]) {
  Deno.test(`[3.1.1 MQTT-3.9.3-2] at level ${level}, a return code but 0, 1, 2 and 0x80 is a protocol error`, () => {
    for (let returnCode = 0; returnCode < 256; returnCode++) {
      if ([0, 1, 2, 0x80].includes(returnCode)) continue;
      assertRefused(packetBytes(0x90, [0, 1], returnCode), level, 0x82, /reason code/);
    }
  });

  Deno.test(`[3.1.1 MQTT-3.9.3-2] at level ${level}, every refusal is encoded as 0x80`, () => {
    const bytes = encode({ type: "suback", packetId: 1, reasonCodes: [0x87, 1, 0x80, 0x8f] }, level);
    assert.deepEqual(bytes, packetBytes(0x90, [0, 1], [0x80, 1, 0x80, 0x80]));
  });
}

Deno.test("[5.0 MQTT-3.9.3-2] at level 5, every refusal is encoded as it is", () => {
  const bytes = encode({ type: "suback", packetId: 1, reasonCodes: [0x87, 1, 0x8f] }, 5);
  assert.deepEqual(bytes, packetBytes(0x90, [0, 1], 0, [0x87, 1, 0x8f]));
});
