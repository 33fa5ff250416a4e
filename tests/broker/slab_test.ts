import assert from "node:assert/strict";
import fc from "fast-check";
import { Slab } from "../../broker/slab.ts";

Deno.test("copies stay as they are, whatever becomes of the originals and of other copies", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 5000, size: "max" }), { maxLength: 40 }), (originals) => {
      const slab = new Slab();
      const expected = originals.map((original) => [...original]);
      const copies = originals.map((original) => slab.copy(original));
      for (const original of originals) original.fill(0xee);
      assert.deepEqual(copies.map((copy) => [...copy]), expected);
      for (const [index, copy] of copies.entries()) {
        copy.fill(index);
        expected[index].fill(index);
      }
      assert.deepEqual(copies.map((copy) => [...copy]), expected);
    }),
    { numRuns: 100 },
  );
});

Deno.test("small copies lie next to each other, a large one has memory of its own", () => {
  const slab = new Slab();
  const [first, second, large, third] = [100, 200, 5000, 300].map((size) => slab.copy(new Uint8Array(size)));
  assert.equal(second.buffer, first.buffer);
  assert.equal(third.buffer, first.buffer);
  assert.equal(second.byteOffset, first.byteOffset + 100);
  assert.equal(large.buffer.byteLength, 5000);
});
