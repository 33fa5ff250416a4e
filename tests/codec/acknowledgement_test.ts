import assert from "node:assert/strict";
import { type AcknowledgementType, decode } from "../../codec/mod.ts";
import { assertRefused, levels, packetBytes, properties, text } from "./packet_bytes.ts";

const types: readonly [type: AcknowledgementType, firstByte: number][] = [
  ["puback", 0x40],
  ["pubrec", 0x50],
  ["pubrel", 0x62],
  ["pubcomp", 0x70],
];

for (const [type, firstByte] of types) {
  const name = type.toUpperCase();

  for (const level of levels) {
    Deno.test(`at level ${level}, ${name} of two bytes says success`, () => {
      assert.deepEqual(decode(packetBytes(firstByte, [1, 2]), level), { type, packetId: 0x0102, reasonCode: 0 });
    });

    Deno.test(`at level ${level}, ${name} with packet identifier 0 is malformed`, () => {
      assertRefused(packetBytes(firstByte, [0, 0]), level, 0x81, /packet identifier is 0/);
    });

    Deno.test(`at level ${level}, ${name} that ends inside its packet identifier is malformed`, () => {
      for (const body of [[], [1]]) {
        assertRefused(packetBytes(firstByte, body), level, 0x81, /packet ends inside packet identifier/);
      }
    });
  }

  const reasonCode = type === "puback" || type === "pubrec" ? 0x97 : 0x92;

  Deno.test(`${name} of three bytes has a reason code and no properties`, () => {
    assert.deepEqual(decode(packetBytes(firstByte, [0, 1], reasonCode), 5), { type, packetId: 1, reasonCode });
  });

  Deno.test(`${name} of four bytes has a reason code and a property length of 0`, () => {
    const bytes = packetBytes(firstByte, [0, 1], reasonCode, properties());
    assert.deepEqual(decode(bytes, 5), { type, packetId: 1, reasonCode });
  });

  Deno.test(`${name} with a reason string has it among its properties`, () => {
    const bytes = packetBytes(firstByte, [0, 1], reasonCode, properties(0x1f, text("why")));
    assert.deepEqual(decode(bytes, 5), { type, packetId: 1, reasonCode, properties: { reasonString: "why" } });
  });
}
