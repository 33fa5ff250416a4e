import { setTimeout as delay } from "node:timers/promises";
import { startClosedLoop } from "./closed_loop.ts";
import { type Group, openGroups } from "./groups.ts";
import { LatencyHistogram } from "./latency_histogram.ts";
import { startPaced } from "./paced.ts";
import type { ProtocolLevel, QoS } from "./packets.ts";
import type { SocketAddress } from "./socket.ts";
import { SubscribeStorm } from "./storm.ts";
import { beginStretch, type Counts } from "./stretch.ts";
import type { GroupShape } from "./topics.ts";

/** Which load {@linkcode runLoad} puts on which broker. */
export interface LoadRequest extends SocketAddress, GroupShape {
  username?: string;
  password?: string;
  /** Of the broker's process on this machine; without it there are no figures of it. */
  brokerPid?: number;
  level: ProtocolLevel;
  /** What the ids of all clients begin with. */
  clientIds: string;
  /** What the topics of all groups begin with. */
  topic: string;
  /** Independent groups of clients of the same shape, each with topics of its own. */
  groups: number;
  qos: QoS;
  /** Bytes of payload in each message, at least 16. */
  payloadSize: number;
  /** Whether messages have properties; MQTT 5.0 only. */
  withProperties?: boolean;
  /** Messages that each publisher may be ahead of the slowest subscriber of its group; without a rate. */
  window: number;
  /** Messages a second, of all publishers together; without it they publish as fast as the broker delivers. */
  rate?: number;
  /** Subscriptions a second that are made and ended again beside the messages. Default none. */
  storm?: number;
  warmUpSeconds: number;
  seconds: number;
}

/** What came of a load. */
export interface LoadResult {
  /** Messages published, in the time measured. */
  sentPerSecond: number;
  /** Deliveries to subscribers, in the time measured, without duplicates. */
  deliveredPerSecond: number;
  /** Subscriptions that were made and ended beside the messages; absent where none was asked for. */
  subscribesPerSecond?: number;
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
export async function runLoad(request: LoadRequest, options: LoadOptions = {}): Promise<LoadResult> {
  const latencies = new LatencyHistogram();
  const publishing = new AbortController();
  await using opened = await openGroups(request, latencies);
  const { groups } = opened;
  await using storm = request.storm === undefined ? undefined : await SubscribeStorm.open(
    { ...request, rate: request.storm },
  );
  const counts = () => ({
    published: total(groups, "published"),
    delivered: total(groups, "delivered"),
    subscribed: storm?.count,
  });

  async function measure(): Promise<LoadResult> {
    await delay(request.warmUpSeconds * 1000, undefined, publishing);
    latencies.clear();
    const endStretch = beginStretch(counts, request.brokerPid);
    await delay(request.seconds * 1000, undefined, publishing);
    const result = { ...endStretch(), latency: latencyOf(latencies) };
    publishing.abort();
    await drain(groups);
    const lost = total(groups, "outstanding");
    if (lost === 0 && !groups.every((group) => group.idle)) throw new Error("the broker left messages unacknowledged");
    return { ...result, lost, duplicates: total(groups, "duplicates") };
  }

  const failure = Promise.race([
    ...request.rate === undefined
      ? groups.map((group) => startClosedLoop(group, publishing.signal))
      : [startPaced(groups, { rate: request.rate, signal: publishing.signal })],
    storm?.run() ?? new Promise<never>(() => {}),
  ]);
  try {
    return await withReports(counts, options, (interrupted) => Promise.race([measure(), failure, interrupted]));
  } finally {
    publishing.abort();
  }
}

/** Calls `onProgress` each second while `load` runs, which is given a promise that is rejected at the signal. */
export async function withReports(
  counts: () => Counts,
  { signal, onProgress }: LoadOptions,
  load: (interrupted: Promise<never>) => Promise<LoadResult>,
): Promise<LoadResult> {
  signal?.throwIfAborted();
  const interruption = Promise.withResolvers<never>();
  const interrupt = () => interruption.reject(signal?.reason);
  signal?.addEventListener("abort", interrupt);
  const stopReporting = onProgress && reportProgress(counts, onProgress);
  try {
    return await load(interruption.promise);
  } finally {
    stopReporting?.();
    signal?.removeEventListener("abort", interrupt);
  }
}

/** Calls `onProgress` each second until the function that it returns is called. */
function reportProgress(counts: () => Counts, onProgress: (progress: Progress) => void): () => void {
  const start = performance.now();
  let before = { seconds: 0, ...counts() };
  const timer = setInterval(() => {
    const now = { seconds: (performance.now() - start) / 1000, ...counts() };
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

/** The percentiles of what was recorded; undefined where nothing was. */
export function latencyOf(latencies: LatencyHistogram): LoadResult["latency"] {
  if (latencies.count === 0) return undefined;
  return { p50Milliseconds: latencies.percentile(50), p99Milliseconds: latencies.percentile(99) };
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
