import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { BrokerMetrics } from "../sys/broker_meter.ts";
import type { Health } from "./health.ts";

type Figure = keyof BrokerMetrics;
type Instrument = [name: string, help: string];

/** What can go up and down: name and description of each. */
const gauges = {
  uptime: ["hookmq_uptime_seconds", "Time since the broker was made."],
  clientsConnected: ["hookmq_clients_connected", "Clients that are connected."],
  clientsDisconnected: ["hookmq_clients_disconnected", "Sessions whose client is not connected."],
  clientsTotal: ["hookmq_sessions", "Sessions, of connected clients and of others."],
  clientsMaximum: ["hookmq_clients_connected_maximum", "The most clients that were connected at the same time."],
  connections: ["hookmq_connections", "Connections that are open, whether or not they have become a client."],
  subscriptions: ["hookmq_subscriptions", "Subscriptions of all sessions and of the embedding program."],
  sharedSubscriptions: ["hookmq_shared_subscriptions", "Those that are shared; each member of a group counts."],
  retainedMessages: ["hookmq_retained_messages", "Topics with a retained message."],
  queuedMessages: ["hookmq_queued_messages", "Messages that wait in the sessions' queues."],
  queuedBytes: ["hookmq_queued_bytes", "Memory that the messages in the sessions' queues take."],
  heapSize: ["hookmq_heap_bytes", "Memory that JavaScript objects use."],
  heapMaximum: ["hookmq_heap_maximum_bytes", "The most memory that JavaScript objects were found to use."],
} satisfies Partial<Record<Figure, Instrument>>;

/** What only goes up while the process lasts: all the others. */
const counters: Record<Exclude<Figure, keyof typeof gauges>, Instrument> = {
  connectionsAccepted: ["hookmq_connections_accepted_total", "Connections that were accepted."],
  connectionsRefused: ["hookmq_connections_refused_total", "Connections that were closed since a limit was reached."],
  connectsReceived: ["hookmq_connects_received_total", "CONNECT packets from clients, whatever became of them."],
  sessionsExpired: ["hookmq_sessions_expired_total", "Sessions that ended since their expiry interval had passed."],
  packetsReceived: ["hookmq_packets_received_total", "Packets of any kind from clients."],
  packetsSent: ["hookmq_packets_sent_total", "Packets of any kind to clients."],
  publishReceived: ["hookmq_publish_received_total", "PUBLISH packets from clients."],
  publishSent: ["hookmq_publish_sent_total", "PUBLISH packets to clients."],
  publishDropped: ["hookmq_publish_dropped_total", "Messages that did not reach a client."],
  publishBytesReceived: ["hookmq_publish_received_bytes_total", "Bytes of payload in PUBLISH packets from clients."],
  publishBytesSent: ["hookmq_publish_sent_bytes_total", "Bytes of payload in PUBLISH packets to clients."],
  bytesReceived: ["hookmq_received_bytes_total", "Bytes from clients."],
  bytesSent: ["hookmq_sent_bytes_total", "Bytes to clients."],
};

/** The instruments that are told of events. */
export interface Histograms {
  /** How late the event loop comes to what is due. */
  readonly eventLoopDelay: Histogram;
  /** From a client's CONNECT until it is let in. */
  readonly connectDuration: Histogram;
  /** How long clients stay connected. */
  readonly connectionDuration: Histogram;
}

/** Puts the broker's figures into a registry, which reads them when it is read itself; they are 0 until there are any. */
export function registerFigures(registry: Registry, read: () => BrokerMetrics | undefined): void {
  // The figures of one page come from one look at the broker.
  let current: BrokerMetrics | undefined;
  const figures = () => {
    if (current === undefined) queueMicrotask(() => current = undefined);
    return current ??= read();
  };
  for (const [figure, [name, help]] of entries(gauges)) {
    registry.registerMetric(
      new Gauge({
        name,
        help,
        registers: [],
        collect() {
          this.set(figures()?.[figure] ?? 0);
        },
      }),
    );
  }
  for (const [figure, [name, help]] of entries(counters)) {
    registry.registerMetric(
      new Counter({
        name,
        help,
        registers: [],
        collect() {
          this.reset();
          this.inc(figures()?.[figure] ?? 0);
        },
      }),
    );
  }
}

/** Puts the version into a registry, as a label of a figure that is always 1. */
export function registerVersion(registry: Registry, version: string): void {
  const name = "hookmq_build_info";
  const gauge = new Gauge({ name, help: "The version of HookMQ.", labelNames: ["version"], registers: [registry] });
  gauge.set({ version }, 1);
}

/** Puts what is known of the broker's parts into a registry. */
export function registerHealth(registry: Registry, health: Health): void {
  registry.registerMetric(
    new Gauge({
      name: "hookmq_health",
      help: "Whether a part of the broker works as it should: 1 if so, 0 if not.",
      labelNames: ["part"],
      registers: [],
      collect() {
        // A hook that has been removed is no part any more.
        this.reset();
        for (const [part, { ok }] of health.parts) this.set({ part }, ok ? 1 : 0);
      },
    }),
  );
}

/** Puts histograms into a registry. */
export function registerHistograms(registry: Registry): Histograms {
  const registers = [registry];
  return {
    eventLoopDelay: new Histogram({
      name: "hookmq_event_loop_delay_seconds",
      help: "How late the event loop comes to what is due, sampled five times a second.",
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
      registers,
    }),
    connectDuration: new Histogram({
      name: "hookmq_connect_duration_seconds",
      help: "Time from a client's CONNECT until it is let in, in whole milliseconds.",
      buckets: [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    connectionDuration: new Histogram({
      name: "hookmq_connection_duration_seconds",
      help: "How long clients stayed connected.",
      buckets: [1, 10, 60, 600, 3600, 21_600, 86_400, 604_800],
      registers,
    }),
  };
}

function entries<K extends string, V>(record: Record<K, V>): [K, V][] {
  return Object.entries(record) as [K, V][];
}
