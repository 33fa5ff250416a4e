import assert from "node:assert/strict";
import { Window } from "../../hooks/cluster/window.ts";
import { passingTime } from "../broker/passing_time.ts";

Deno.test("a window is full when as much is on its way as it allows, and not before", () => {
  const window = new Window(100);
  window.sent(1, 60);
  assert.equal(window.isFull, false);
  window.sent(2, 40);
  assert.deepEqual([window.isFull, window.bytes], [true, 100]);
});

Deno.test("what has been read up to a number makes room", () => {
  const window = new Window(100);
  window.sent(1, 60);
  window.sent(4, 60);
  window.sent(7, 60);
  window.read(5);
  assert.deepEqual([window.isFull, window.bytes], [false, 60]);
});

Deno.test("whoever waits for room is told when there is some", async () => {
  const window = new Window(100);
  window.sent(1, 80);
  window.sent(2, 80);
  window.sent(3, 30);
  let hasRoom = false;
  const room = window.room()!.then(() => hasRoom = true);
  window.read(1);
  await Promise.resolve();
  assert.equal(hasRoom, false);
  window.read(2);
  await room;
  assert.equal(window.room(), undefined);
});

Deno.test("whoever waits for room that nobody makes any more is released", async () => {
  const window = new Window(100);
  window.sent(1, 100);
  const room = window.room();
  window.release();
  await room;
  assert.equal(window.isFull, true);
});

Deno.test("a full window that nothing comes out of is opened after some time", () => {
  const window = new Window(100);
  window.sent(1, 100);
  window.check();
  assert.equal(window.isFull, true);
  using _later = passingTime(4);
  window.check();
  assert.deepEqual([window.isFull, window.bytes], [false, 0]);
});

Deno.test("a window that is not full is left as it is", () => {
  const window = new Window(100);
  window.sent(1, 99);
  using _later = passingTime(4);
  window.check();
  assert.equal(window.bytes, 99);
});
