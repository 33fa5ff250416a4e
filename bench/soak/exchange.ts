import { setTimeout as delay } from "node:timers/promises";
import type { Publisher } from "../../cli/bench/publisher.ts";

const patienceSeconds = 30;

/**
 * Publishes so many batches, and waits until all of them are acknowledged.
 *
 * @throws {Error} If that takes too long.
 */
export async function publishBatches(publisher: Publisher, batches: number): Promise<void> {
  let remaining = batches;
  const isDone = () => {
    for (; remaining > 0 && publisher.ready; remaining--) publisher.publish();
    return remaining === 0 && publisher.idle;
  };
  if (!await becomesTrue(isDone)) throw new Error(`messages are not acknowledged within ${patienceSeconds} seconds`);
}

/** Whether it becomes true within some time. */
export async function becomesTrue(isTrue: () => boolean): Promise<boolean> {
  const deadline = performance.now() + patienceSeconds * 1000;
  while (!isTrue()) {
    if (performance.now() > deadline) return false;
    await delay(5);
  }
  return true;
}
