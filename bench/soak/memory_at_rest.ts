import { setTimeout as delay } from "node:timers/promises";
import { readProcessStats } from "../../cli/bench/process_stats.ts";

/** What a broker needs while no client is connected, in bytes. */
export interface MemoryAtRest {
  /** Its objects, when all garbage is collected. */
  objects: number;
  /** Its buffers outside of the heap, some of which are kept to be used again. */
  buffers: number;
  /** Its whole process (RSS). */
  process: number;
}

const pauseMilliseconds = 300;

/** The memory of the broker that `broker.ts` runs with this port, as soon as its objects get no fewer. */
export async function memoryAtRest(port: number, pid: number): Promise<MemoryAtRest> {
  for (let before = await look(port, pid);;) {
    // The last clients may still be on their way out.
    await delay(pauseMilliseconds);
    const now = await look(port, pid);
    if (now.objects > before.objects * 0.999) return now;
    before = now;
  }
}

async function look(port: number, pid: number): Promise<MemoryAtRest> {
  const { heapUsed, external } = await (await fetch(`http://127.0.0.1:${port}/`)).json();
  return { objects: heapUsed, buffers: external, process: readProcessStats(pid)?.residentBytes ?? 0 };
}
