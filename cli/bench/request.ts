import type { Scenario } from "../scenarios.ts";
import type { ProtocolLevel } from "./packets.ts";

/** What the load generator is asked to do: its only argument, as JSON. */
export interface LoadRequest {
  scenario: Scenario;
  hostname: string;
  port: number;
  /** Of the broker, where it is known; without it there are no figures of the broker's process. */
  brokerPid?: number;
  level: ProtocolLevel;
  /** Bytes of payload in each message, at least 8. */
  payloadSize: number;
  warmUpSeconds: number;
  seconds: number;
}

/** What the load generator found: what it writes to standard output, as JSON. */
export interface LoadResult {
  /** Deliveries to subscribers, in the time measured. */
  messagesPerSecond: number;
  /** Of one core, in the time measured. */
  brokerCpuPercent?: number;
  /** Of one core, in the time measured. */
  generatorCpuPercent?: number;
  /** Resident memory of the broker's process at the end of the time measured. */
  brokerResidentMegabytes?: number;
  /** Deliveries that had not come when nothing came any more; negative where more came than was published. */
  lost: number;
  /** From just before the write to just after the read of a message; in paced scenarios only. */
  latency?: { p50Milliseconds: number; p99Milliseconds: number };
}
