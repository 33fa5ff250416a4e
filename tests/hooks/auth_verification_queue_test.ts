import assert from "node:assert/strict";
import { VerificationQueue } from "../../hooks/auth/verification_queue.ts";

/** Tasks that end when they are told to, and the order in which they began. */
function heldTasks() {
  const begun: number[] = [];
  const ends: PromiseWithResolvers<number>[] = [];
  const task = (number: number) => () => {
    begun.push(number);
    return (ends[number] = Promise.withResolvers<number>()).promise;
  };
  return { begun, ends, task };
}

/** Everything that is already settled has been acted upon. */
const turnOfTheEventLoop = () => new Promise<void>((resolve) => setTimeout(resolve));

Deno.test("not more tasks run at one time than may; the others wait in their order", async () => {
  const queue = new VerificationQueue(2, 10);
  const { begun, ends, task } = heldTasks();
  const results = Promise.all([0, 1, 2, 3].map((number) => queue.run(task(number))));
  assert.deepEqual([begun, queue.running, queue.waiting], [[0, 1], 2, 2]);
  ends[1].resolve(1);
  await turnOfTheEventLoop();
  assert.deepEqual([begun, queue.running, queue.waiting], [[0, 1, 2], 2, 1]);
  ends[0].resolve(0);
  ends[2].resolve(2);
  await turnOfTheEventLoop();
  assert.deepEqual([begun, queue.running, queue.waiting], [[0, 1, 2, 3], 1, 0]);
  ends[3].resolve(3);
  assert.deepEqual(await results, [0, 1, 2, 3]);
});

Deno.test("a task that fails makes room like any other", async () => {
  const queue = new VerificationQueue(1, 10);
  const failing = queue.run(() => Promise.reject(new Error("no")));
  const next = queue.run(() => Promise.resolve("yes"));
  await assert.rejects(failing, { message: "no" });
  assert.equal(await next, "yes");
});

Deno.test("the queue is full when every place is taken and as many wait as may", async () => {
  const queue = new VerificationQueue(1, 1);
  const { ends, task } = heldTasks();
  assert.equal(queue.full, false);
  const first = queue.run(task(0));
  assert.equal(queue.full, false);
  const second = queue.run(task(1));
  assert.equal(queue.full, true);
  ends[0].resolve(0);
  await first;
  await turnOfTheEventLoop();
  assert.equal(queue.full, false);
  ends[1].resolve(1);
  await second;
});

Deno.test("nobody has to wait where nobody may", async () => {
  const queue = new VerificationQueue(1, 0);
  assert.equal(queue.full, false);
  const { ends, task } = heldTasks();
  const first = queue.run(task(0));
  assert.equal(queue.full, true);
  ends[0].resolve(0);
  await first;
});

Deno.test("giving up rejects what waits, and takes until nothing runs", async () => {
  const queue = new VerificationQueue(1, 10);
  const { begun, ends, task } = heldTasks();
  const running = queue.run(task(0));
  const waiting = queue.run(task(1));
  let over = false;
  const givenUp = queue.giveUp(new Error("closed")).then(() => over = true);
  await assert.rejects(waiting, { message: "closed" });
  await turnOfTheEventLoop();
  assert.equal(over, false);
  ends[0].resolve(0);
  await givenUp;
  assert.deepEqual([await running, begun, queue.running], [0, [0], 0]);
});

Deno.test("giving up is over at once where nothing runs, and what comes later runs", async () => {
  const queue = new VerificationQueue(1, 10);
  await queue.giveUp(new Error("closed"));
  assert.equal(await queue.run(() => Promise.resolve("later")), "later");
});
