import type { ProtocolLevel, QoS } from "../../cli/bench/packets.ts";

/** What the load generator is asked to do: its only argument, as JSON. */
export interface ForwardRequest {
  hostname: string;
  /** Of the broker that publishers connect to. */
  publishPort: number;
  /** Of the broker that subscribers connect to. */
  subscribePort: number;
  level: ProtocolLevel;
  qos: QoS;
  /** Whether the subscribers' sessions outlive their connections. */
  isDurable: boolean;
  /** Pairs of a publisher and a subscriber, each pair on a topic of its own. */
  pairs: number;
  /** Bytes of payload in each message, at least 16. */
  payloadSize: number;
  /** Messages that a publisher may be ahead of its subscriber. */
  window: number;
  /** Time before that which is measured. */
  warmUp: number;
  seconds: number;
}

/** What the load generator says: a line of standard output each, as JSON. */
export type ForwardReport =
  | { event: "measuring" }
  | { event: "measured"; messages: number; seconds: number };
