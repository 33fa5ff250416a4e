import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, encode } from "../../codec/mod.ts";
import { arbitraryPacket } from "./arbitrary_packets.ts";
import { levels } from "./packet_bytes.ts";

for (const level of levels) {
  Deno.test(`at level ${level}, a packet that is encoded and decoded is the same packet`, () => {
    fc.assert(
      fc.property(arbitraryPacket(level), (packet) => {
        assert.deepEqual(decode(encode(packet, level), level), packet);
      }),
      { numRuns: 1000 },
    );
  });
}
