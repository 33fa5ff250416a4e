import { setTimeout as delay } from "node:timers/promises";
import { startClosedLoop } from "./closed_loop.ts";
import { type Group, openGroups } from "./groups.ts";
import { LatencyHistogram } from "./latency_histogram.ts";
import { startPaced } from "./paced.ts";
import type { ProtocolLevel, QoS } from "./packets.ts";
import { readProcessStats } from "./process_stats.ts";

/** Which load {@linkcode runLoad} puts on which broker. */
export interface LoadRequest {
  hostname: string;
  port: number;
  username?: string;
  password?: string;
  /** Of the broker's process on this machine; without it there are no figures of it. */
  brokerPid?: number;
  level: ProtocolLevel;
  /** What the topics of all groups begin with. */
  topic: string;
  /** Independent groups of clients, each with a topic of its own. */
  groups: number;
  /** Publishers in each group. */
  publishers: number;
  /** Subscribers in each group; each gets what all publishers of the group publish. */
  subscribers: number;
  qos: QoS;
  /** Bytes of payload in each message, at least 16. */
  payloadSize: number;
  /** Messages that each publisher may be ahead of the slowest subscriber of its group; without a rate. */
  window: number;
  /** Messages a second, of all publishers together; without it they publish as fast as the broker delivers. */
  rate?: number;
  warmUpSeconds: number;
  seconds: number;
}

/** What came of a load. */
export interface LoadResult {
  /** Messages published, in the time measured. */
  sentPerSecond: number;
  /** Deliveries to subscribers, in the time measured, without duplicates. */
  deliveredPerSecond: number;
  /** Deliveries that had not come when nothing came any more, warm-up included. */
  lost: number;
  /** Deliveries that came again, or behind a later one of their publisher. */
  duplicates: number;
  /** From just before the write to just after the read of a message, in the time measured; absent if none came then. */
  latency?: { p50Milliseconds: number; p99Milliseconds: number };
  /** Of one core, in the time measured; on Linux. */
  generatorCpuPercent?: number;
  /** Of one core, in the time measured; on Linux, if its process is known. */
  brokerCpuPercent?: number;
  /** Resident memory of the broker's process at the end of the time measured; on Linux, if its process is known. */
  brokerResidentMegabytes?: number;
}

/** How a load is getting on. */
export interface Progress {
  /** Since the warm-up began. */
  seconds: number;
  /** In the last second. */
  sentPerSecond: number;
  /** In the last second. */
  deliveredPerSecond: number;
}

/** Options of {@linkcode runLoad}. */
export interface LoadOptions {
  /** Ends the load before its time; the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** Called once a second while messages are published. */
  onProgress?: (progress: Progress) => void;
}

/** How long deliveries may pause, once nothing is published any more, before those that are missing count as lost. */
const drainSeconds = 5;

/**
 * Puts a load on a broker and measures what comes of it. It speaks bytes rather than MQTT, so that it needs far less time
 * for a message than the broker does.
 *
 * @throws {Error} If the load cannot be carried out: no broker, a refusal, a connection that ends.
 */
export async function runLoad(request: LoadRequest, { signal, onProgress }: LoadOptions = {}): Promise<LoadResult> {
  const latencies = new LatencyHistogram();
  const publishing = new AbortController();
  await using opened = await openGroups(request, latencies);
  const { groups } = opened;
  const failure = Promise.race(
    request.rate === undefined
      ? groups.map((group) => startClosedLoop(group, publishing.signal))
      : [startPaced(groups, { rate: request.rate, signal: publishing.signal })],
  );
  const interruption = Promise.withResolvers<never>();
  const interrupt = () => interruption.reject(signal?.reason);
  signal?.addEventListener("abort", interrupt);
  const stopReporting = onProgress && reportProgress(groups, onProgress);
  const publish = async () => {
    await delay(request.warmUpSeconds * 1000, undefined, publishing);
    latencies.clear();
    const before = snapshot(groups, request.brokerPid);
    await delay(request.seconds * 1000, undefined, publishing);
    const result = difference(before, snapshot(groups, request.brokerPid), latencies);
    publishing.abort();
    stopReporting?.();
    await drain(groups);
    const lost = total(groups, "outstanding");
    if (lost === 0 && !groups.every((group) => group.idle)) throw new Error("the broker left messages unacknowledged");
    return { ...result, lost, duplicates: total(groups, "duplicates") };
  };
  try {
    signal?.throwIfAborted();
    return await Promise.race([publish(), failure, interruption.promise]);
  } finally {
    publishing.abort();
    stopReporting?.();
    signal?.removeEventListener("abort", interrupt);
  }
}

/** Calls `onProgress` each second until the function that it returns is called. */
function reportProgress(groups: Group[], onProgress: (progress: Progress) => void): () => void {
  const start = performance.now();
  let before = { seconds: 0, published: total(groups, "published"), delivered: total(groups, "delivered") };
  const timer = setInterval(() => {
    const now = {
      seconds: (performance.now() - start) / 1000,
      published: total(groups, "published"),
      delivered: total(groups, "delivered"),
    };
    const elapsed = now.seconds - before.seconds;
    onProgress({
      seconds: now.seconds,
      sentPerSecond: (now.published - before.published) / elapsed,
      deliveredPerSecond: (now.delivered - before.delivered) / elapsed,
    });
    before = now;
  }, 1000);
  return () => clearInterval(timer);
}

type Snapshot = ReturnType<typeof snapshot>;

function snapshot(groups: Group[], brokerPid: number | undefined) {
  return {
    seconds: performance.now() / 1000,
    published: total(groups, "published"),
    delivered: total(groups, "delivered"),
    broker: brokerPid === undefined ? undefined : readProcessStats(brokerPid),
    generator: readProcessStats(Deno.pid),
  };
}

function difference(
  before: Snapshot,
  after: Snapshot,
  latencies: LatencyHistogram,
): Omit<LoadResult, "lost" | "duplicates"> {
  const elapsed = after.seconds - before.seconds;
  const cpuPercent = (start?: number, end?: number) =>
    start === undefined || end === undefined ? undefined : (end - start) / elapsed * 100;
  return {
    sentPerSecond: (after.published - before.published) / elapsed,
    deliveredPerSecond: (after.delivered - before.delivered) / elapsed,
    latency: latencies.count === 0
      ? undefined
      : { p50Milliseconds: latencies.percentile(50), p99Milliseconds: latencies.percentile(99) },
    generatorCpuPercent: cpuPercent(before.generator?.cpuSeconds, after.generator?.cpuSeconds),
    brokerCpuPercent: cpuPercent(before.broker?.cpuSeconds, after.broker?.cpuSeconds),
    brokerResidentMegabytes: after.broker && after.broker.residentBytes / 2 ** 20,
  };
}

function total(groups: Group[], figure: "published" | "delivered" | "duplicates" | "outstanding"): number {
  return groups.reduce((sum, group) => sum + group[figure], 0);
}

/** Waits until everything has arrived and is acknowledged, or nothing has come for some time. */
async function drain(groups: Group[]): Promise<void> {
  let delivered = total(groups, "delivered");
  let deadline = performance.now() + drainSeconds * 1000;
  while (!groups.every((group) => group.idle) && performance.now() < deadline) {
    await delay(10);
    if (total(groups, "delivered") > delivered) {
      delivered = total(groups, "delivered");
      deadline = performance.now() + drainSeconds * 1000;
    }
  }
}
