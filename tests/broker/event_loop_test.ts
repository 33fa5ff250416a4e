import assert from "node:assert/strict";
import { EventLoop } from "../../broker/event_loop.ts";

/** Reads as a connection does whose peer always has more to say, until `isOver`; returns how often it had to wait. */
async function readOn(eventLoop: EventLoop, isOver: () => boolean): Promise<number> {
  const deadline = performance.now() + 5000;
  let waits = 0;
  while (!isOver()) {
    assert.ok(performance.now() < deadline, "the event loop has not turned");
    const turn = eventLoop.overdue();
    if (turn !== undefined) waits += 1;
    await turn;
  }
  return waits;
}

Deno.test("timers fire although several connections read on and on", async () => {
  const eventLoop = new EventLoop();
  let ticks = 0;
  const ticking = setInterval(() => ticks += 1, 1);
  try {
    const waits = await Promise.all([1, 2, 3].map(() => readOn(eventLoop, () => ticks >= 3)));
    assert.ok(waits.every((count) => count >= 1));
  } finally {
    clearInterval(ticking);
    eventLoop.stop();
  }
});

Deno.test("nobody waits while the event loop turns by itself", async () => {
  const eventLoop = new EventLoop();
  for (let turns = 0; turns < 30; turns++) {
    assert.equal(eventLoop.overdue(), undefined);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  eventLoop.stop();
});

Deno.test("who waits for a turn goes on when the broker stops", async () => {
  const eventLoop = new EventLoop();
  let turn: Promise<void> | undefined;
  while (turn === undefined) turn = eventLoop.overdue();
  eventLoop.stop();
  await turn;
});
