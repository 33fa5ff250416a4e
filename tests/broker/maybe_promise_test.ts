import assert from "node:assert/strict";
import { forEachInTurn, isPromise, recover, then } from "../../broker/maybe_promise.ts";

Deno.test("a promise is told from a value", () => {
  assert.equal(isPromise(Promise.resolve()), true);
  for (const value of [undefined, null, 0, "", {}, { then: 1 }]) assert.equal(isPromise(value), false);
});

Deno.test("then goes on at once with what is there", () => {
  assert.equal(then(20, (value) => value + 1), 21);
  assert.throws(() => then(20, () => assert.fail("boom")), { message: "boom" });
});

Deno.test("then waits for a promise, and passes on what it rejects with", async () => {
  const result = then(Promise.resolve(20), (value) => value + 1);
  assert(isPromise(result));
  assert.equal(await result, 21);
  await assert.rejects(async () => await then(Promise.reject(new Error("boom")), () => assert.fail("not reached")), {
    message: "boom",
  });
});

Deno.test("forEachInTurn is done at once if nothing is to be waited for", () => {
  const seen: number[] = [];
  assert.equal(forEachInTurn([1, 2, 3], (item) => void seen.push(item)), undefined);
  assert.deepEqual(seen, [1, 2, 3]);
});

Deno.test("forEachInTurn begins with an item when those before it are done", async () => {
  const events: string[] = [];
  await forEachInTurn([1, 2, 3, 4], (item) => {
    events.push(`begin ${item}`);
    if (item % 2 === 1) return void events.push(`end ${item}`);
    return Promise.resolve().then(() => void events.push(`end ${item}`));
  });
  assert.deepEqual(events, [1, 2, 3, 4].flatMap((item) => [`begin ${item}`, `end ${item}`]));
});

Deno.test("forEachInTurn stops at an item that fails", async () => {
  const seen: number[] = [];
  const fails = (item: number) => {
    seen.push(item);
    if (item === 2) throw new Error("boom");
    return Promise.resolve();
  };
  await assert.rejects(async () => await forEachInTurn([1, 2, 3], fails), { message: "boom" });
  assert.deepEqual(seen, [1, 2]);
});

Deno.test("recover gives the value, or what becomes of the error, at once if it can", async () => {
  const fail = () => {
    throw new Error("boom");
  };
  const message = (error: unknown) => (error as Error).message;
  assert.equal(recover(() => "fine", message), "fine");
  assert.equal(recover(fail, message), "boom");
  assert.equal(await recover(() => Promise.resolve("fine"), message), "fine");
  assert.equal(await recover(() => Promise.reject(new Error("boom")), message), "boom");
});
