import assert from "node:assert/strict";
import fc from "fast-check";
import { SmallMap } from "../../../broker/topics/small_map.ts";

Deno.test("a small map is a map", () => {
  const step = fc.record({ isSet: fc.boolean(), key: fc.constantFrom("a", "b", "c"), value: fc.nat() });
  fc.assert(fc.property(fc.array(step), (steps) => {
    const map = new Map<string, number>();
    const small = new SmallMap<string, number>();
    for (const { isSet, key, value } of steps) {
      if (isSet) {
        map.set(key, value);
        small.set(key, value);
      } else {
        assert.equal(small.delete(key), map.delete(key));
      }
      assert.equal(small.size, map.size);
      assert.deepEqual([...small.entries()], [...map.entries()]);
      assert.deepEqual([...small.values()], [...map.values()]);
      for (const key of ["a", "b", "c"]) assert.equal(small.get(key), map.get(key));
    }
  }));
});
