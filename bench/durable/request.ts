import type { ProtocolLevel } from "../../cli/bench/packets.ts";

/** What the load generator is asked to do: its only argument, as JSON. */
export interface DurableRequest {
  hostname: string;
  port: number;
  /** Of the broker, for figures of its process. */
  brokerPid?: number;
  level: ProtocolLevel;
  qos: 1 | 2;
  /** Pairs of a publisher and a subscriber, all with sessions that outlive their connections. */
  pairs: number;
  /** Bytes of payload in each message, at least 16. */
  payloadSize: number;
  /** Messages that a publisher may have in flight. */
  window: number;
  /** How long the online throughput is measured, and the latency. */
  seconds: number;
  /** Messages for each subscriber while it is offline; below what brokers queue for one session. */
  queued: number;
  /** Messages per second, of all publishers together, for the latency. */
  rate: number;
}

/** What the load generator found: what it writes to standard output, as JSON. */
export interface DurableResult {
  /** Messages per second to connected subscribers, acknowledged on both sides. */
  online: Throughput;
  /** Messages per second that are acknowledged to their publishers while the subscribers are away. */
  offline: Throughput;
  /** Messages per second when the subscribers come back for them. */
  backlog: Throughput;
  /** From the write of a message to the end of its exchange with the publisher, at the steady rate. */
  latency: { p50Milliseconds: number; p99Milliseconds: number };
}

/** How fast something went, and what it cost the broker. */
export interface Throughput {
  messagesPerSecond: number;
  /** Of one core, all threads of the broker together. */
  brokerCpuPercent?: number;
}
