import assert from "node:assert/strict";
import { decode } from "../../codec/mod.ts";
import { assertRefused, binary, packetBytes, properties, text } from "./packet_bytes.ts";

Deno.test("an empty AUTH says success", () => {
  assert.deepEqual(decode(packetBytes(0xf0), 5), { type: "auth", reasonCode: 0 });
});

Deno.test("an AUTH has a reason code, a method and its data", () => {
  assert.deepEqual(decode(packetBytes(0xf0, 0x18, properties(0x15, text("SCRAM"), 0x16, binary(1, 2))), 5), {
    type: "auth",
    reasonCode: 0x18,
    properties: { authenticationMethod: "SCRAM", authenticationData: new Uint8Array([1, 2]) },
  });
});

Deno.test("[5.0 section 3.15.2.2.2] an AUTH that is not empty and has no authentication method is a protocol error", () => {
  for (const reasonCode of [0x00, 0x18, 0x19]) {
    assertRefused(packetBytes(0xf0, reasonCode, properties()), 5, 0x82, /no authentication method/);
    assertRefused(packetBytes(0xf0, reasonCode, properties(0x16, binary(1))), 5, 0x82, /no authentication method/);
  }
});

Deno.test("[5.0 section 3.15.2.1] an AUTH with a reason code and no property length is malformed", () => {
  for (const reasonCode of [0x00, 0x18, 0x19]) {
    assertRefused(packetBytes(0xf0, reasonCode), 5, 0x81, /packet ends inside property length/);
  }
});
