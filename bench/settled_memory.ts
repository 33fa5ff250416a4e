import { readProcessStats } from "../cli/bench/process_stats.ts";
import type { RunningBroker } from "./brokers.ts";

/** Memory that has changed by less than 1 % in this time has settled. */
const settledSeconds = 2;
const deadlineSeconds = 30;

/**
 * The resident memory of a broker, in bytes, when it does not change any more.
 *
 * @throws {Error} If its process is not known, or its memory goes on changing.
 */
export async function settledMemory({ pid }: RunningBroker, signal: AbortSignal): Promise<number> {
  const deadline = performance.now() + deadlineSeconds * 1000;
  let settled = residentBytes(pid);
  let since = performance.now();
  while (performance.now() - since < settledSeconds * 1000) {
    if (performance.now() > deadline) {
      throw new Error(`the broker's memory does not settle within ${deadlineSeconds} seconds`);
    }
    signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = residentBytes(pid);
    if (Math.abs(now - settled) > settled * 0.01) {
      settled = now;
      since = performance.now();
    }
  }
  return residentBytes(pid);
}

function residentBytes(pid: number | undefined): number {
  const stats = pid === undefined ? undefined : readProcessStats(pid);
  if (stats === undefined) {
    throw new Error("the broker's memory cannot be read: its process is unknown, or there is no /proc");
  }
  return stats.residentBytes;
}
