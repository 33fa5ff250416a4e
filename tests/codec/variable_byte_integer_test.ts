import assert from "node:assert/strict";
import {
  MAXIMUM_VARIABLE_BYTE_INTEGER,
  variableByteIntegerLength,
  writeVariableByteInteger,
} from "../../codec/variable_byte_integer.ts";

/** Table 1-1 of MQTT 5.0: the first and the last value of every size. */
const sizes: [size: number, from: number, to: number][] = [
  [1, 0, 127],
  [2, 128, 16_383],
  [3, 16_384, 2_097_151],
  [4, 2_097_152, 268_435_455],
];

for (const [size, from, to] of sizes) {
  Deno.test(`[5.0 table 1-1] ${from} to ${to} take ${size} bytes`, () => {
    for (const value of [from, to]) {
      assert.equal(variableByteIntegerLength(value), size);
      assert.equal(writeVariableByteInteger(new Uint8Array(8), 3, value), 3 + size);
    }
  });
}

Deno.test("a value above 268,435,455 is a RangeError that shows it", () => {
  assert.equal(MAXIMUM_VARIABLE_BYTE_INTEGER, 268_435_455);
  assert.throws(() => writeVariableByteInteger(new Uint8Array(8), 0, 268_435_456), {
    name: "RangeError",
    message: "268435456 is larger than 268,435,455, the most that a Variable Byte Integer holds",
  });
});
