import { setTimeout as delay } from "node:timers/promises";
import { Connection } from "./connection.ts";
import { LatencyHistogram } from "./latency_histogram.ts";
import { latencyOf, type LoadOptions, type LoadRequest, type LoadResult, withReports } from "./load.ts";
import { beginStretch } from "./stretch.ts";

/**
 * Measures how fast a broker takes connections: each of the publishers connects, waits for CONNACK, says goodbye and
 * begins anew. What the result calls published and delivered are connections that were begun and accepted; the latency is
 * that of a connection, its TLS or WebSocket handshake included.
 *
 * @throws {Error} If a connection fails.
 */
export async function runConnectLoad(request: LoadRequest, options: LoadOptions = {}): Promise<LoadResult> {
  const latencies = new LatencyHistogram();
  const counts = { published: 0, delivered: 0 };
  const connecting = new AbortController();

  async function connectAgainAndAgain(index: number): Promise<void> {
    const clientId = `${request.clientIds}c${index}`;
    while (!connecting.signal.aborted) {
      counts.published++;
      const start = performance.now();
      const connection = await Connection.open({ ...request, clientId });
      latencies.record(performance.now() - start, 1);
      counts.delivered++;
      await connection.disconnect();
    }
  }

  async function measure(): Promise<LoadResult> {
    await delay(request.warmUpSeconds * 1000, undefined, connecting);
    latencies.clear();
    const endStretch = beginStretch(() => counts, request.brokerPid);
    await delay(request.seconds * 1000, undefined, connecting);
    return { ...endStretch(), latency: latencyOf(latencies), lost: 0, duplicates: 0 };
  }

  const clients = Array.from({ length: request.publishers }, (_, index) => connectAgainAndAgain(index));
  const failure = Promise.all(clients).then(() => new Promise<never>(() => {}));
  try {
    return await withReports(() => counts, options, (interrupted) => Promise.race([measure(), failure, interrupted]));
  } finally {
    connecting.abort();
    await Promise.allSettled(clients);
  }
}
