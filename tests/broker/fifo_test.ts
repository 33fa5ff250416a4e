import assert from "node:assert/strict";
import fc from "fast-check";
import { Fifo } from "../../broker/fifo.ts";

Deno.test("whatever is done to it, a queue holds what an array would hold", () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ push: fc.integer({ min: 1, max: 2000 }) }) },
    { weight: 6, arbitrary: fc.record({ shift: fc.integer({ min: 1, max: 2000 }) }) },
    { weight: 2, arbitrary: fc.record({ keepMultiplesOf: fc.integer({ min: 1, max: 5 }) }) },
    { weight: 1, arbitrary: fc.constant({ clear: true as const }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
      const fifo = new Fifo<number>();
      let model: number[] = [];
      let next = 0;
      for (const step of steps) {
        if ("push" in step) {
          for (let count = 0; count < step.push; count++) {
            fifo.push(next);
            model.push(next++);
          }
        } else if ("shift" in step) {
          const shifted = Array.from({ length: step.shift }, () => fifo.shift());
          assert.deepEqual(shifted, Array.from({ length: step.shift }, (_, index) => model[index]));
          model = model.slice(step.shift);
        } else if ("clear" in step) {
          fifo.clear();
          model = [];
        } else {
          const isKept = (item: number) => item % step.keepMultiplesOf === 0;
          assert.deepEqual(fifo.retain(isKept), model.filter((item) => !isKept(item)));
          model = model.filter(isKept);
        }
        assert.equal(fifo.length, model.length);
        assert.equal(fifo.peek(), model[0]);
      }
      assert.deepEqual([...fifo], model);
    }),
    { numRuns: 200 },
  );
});

Deno.test("a long queue is emptied in the time that its length takes, not its square", () => {
  const start = performance.now();
  fillAndEmpty(10_000);
  const short = performance.now() - start;
  fillAndEmpty(10_000);
  const again = performance.now();
  fillAndEmpty(500_000);
  const long = performance.now() - again;
  assert(long < 1000 * Math.max(short, 1), `10,000 items take ${short} ms, 500,000 take ${long} ms`);

  function fillAndEmpty(count: number): void {
    const fifo = new Fifo<number>();
    for (let item = 0; item < count; item++) fifo.push(item);
    for (let item = 0; item < count; item++) assert.equal(fifo.shift(), item);
  }
});
