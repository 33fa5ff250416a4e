/**
 * The load generator, a process of its own: `deno run -A bench/load/main.ts '<LoadRequest as JSON>'` writes a
 * {@linkcode LoadResult} as JSON. It speaks bytes rather than MQTT, so that it needs far less time for a message than the
 * broker under test. Whatever goes wrong ends it with one line on standard error.
 */

import { readProcessStats } from "../process_stats.ts";
import { startClosedLoop } from "./closed_loop.ts";
import { type Group, openGroups } from "./groups.ts";
import { startPaced } from "./paced.ts";
import type { LoadRequest, LoadResult } from "./request.ts";

/** How long deliveries may pause, once nothing is published any more, before those that are missing count as lost. */
const drainSeconds = 5;

async function run(request: LoadRequest): Promise<LoadResult> {
  const { scenario, brokerPid, warmUpSeconds, seconds } = request;
  const publishing = new AbortController();
  const latencies: number[] = [];

  const groups = await openGroups(request);
  if ("rate" in scenario) {
    const { signal } = publishing;
    startPaced(groups, { rate: scenario.rate, signal, onLatency: (milliseconds) => latencies.push(milliseconds) });
  } else {
    for (const group of groups) startClosedLoop(group, publishing.signal);
  }

  await delay(warmUpSeconds);
  latencies.length = 0;
  const before = snapshot(groups, brokerPid);
  await delay(seconds);
  const after = snapshot(groups, brokerPid);
  const latency = latencies.length === 0 ? undefined : percentiles(latencies);

  publishing.abort();
  await drain(groups);
  const lost = groups.reduce((sum, group) => sum + group.outstanding, 0);
  if (lost === 0 && !groups.every((group) => group.idle)) throw new Error("the broker left messages unacknowledged");

  const elapsed = after.seconds - before.seconds;
  const cpuPercent = (start?: number, end?: number) =>
    start === undefined || end === undefined ? undefined : (end - start) / elapsed * 100;
  return {
    messagesPerSecond: (after.delivered - before.delivered) / elapsed,
    brokerCpuPercent: cpuPercent(before.broker?.cpuSeconds, after.broker?.cpuSeconds),
    generatorCpuPercent: cpuPercent(before.generator?.cpuSeconds, after.generator?.cpuSeconds),
    brokerResidentMegabytes: after.broker && after.broker.residentBytes / 2 ** 20,
    lost,
    latency,
  };
}

function snapshot(groups: Group[], brokerPid: number | undefined) {
  return {
    seconds: performance.now() / 1000,
    delivered: deliveries(groups),
    broker: brokerPid === undefined ? undefined : readProcessStats(brokerPid),
    generator: readProcessStats(Deno.pid),
  };
}

function deliveries(groups: Group[]): number {
  return groups.reduce((sum, group) => sum + group.delivered, 0);
}

/** Waits until everything has arrived and is acknowledged, or nothing has come for some time. */
async function drain(groups: Group[]): Promise<void> {
  let delivered = deliveries(groups);
  let deadline = performance.now() + drainSeconds * 1000;
  while (!groups.every((group) => group.idle) && performance.now() < deadline) {
    await delay(0.01);
    if (deliveries(groups) > delivered) {
      delivered = deliveries(groups);
      deadline = performance.now() + drainSeconds * 1000;
    }
  }
}

function percentiles(latencies: number[]): LoadResult["latency"] {
  const sorted = Float64Array.from(latencies).sort();
  const at = (fraction: number) => sorted[Math.floor((sorted.length - 1) * fraction)];
  return { p50Milliseconds: at(0.5), p99Milliseconds: at(0.99) };
}

function delay(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

function fail(error: unknown): never {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}

// The clients read in the background: when one of their connections fails, that is where it shows.
addEventListener("unhandledrejection", (event) => fail(event.reason));
try {
  console.log(JSON.stringify(await run(JSON.parse(Deno.args[0]))));
} catch (error) {
  fail(error);
}
Deno.exit(0);
