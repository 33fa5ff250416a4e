import type { QoS } from "./load/packets.ts";

/** Who publishes to whom. */
export interface Traffic {
  name: string;
  /** Independent groups of clients, each with a topic of its own. */
  groups: number;
  /** Publishers in each group. */
  publishers: number;
  /** Subscribers in each group; each gets what all publishers of the group publish. */
  subscribers: number;
  qos: QoS;
}

/** As fast as the broker delivers: a publisher goes on when its earlier messages have arrived. */
export interface ClosedLoopScenario extends Traffic {
  /** Messages that each publisher may be ahead of the slowest subscriber of its group (and of its acknowledgements). */
  window: number;
}

/** At a steady rate, to see how long a message takes. */
export interface PacedScenario extends Traffic {
  /** Messages a second, of all publishers together. */
  rate: number;
}

export type Scenario = ClosedLoopScenario | PacedScenario;

const pairs = { groups: 50, publishers: 1, subscribers: 1 };
const fanIn = { groups: 1, publishers: 50, subscribers: 1 };
const fanOut = { groups: 1, publishers: 1, subscribers: 50 };
const wideFanOut = { groups: 1, publishers: 1, subscribers: 500 };

/**
 * The scenarios, in the order in which they run. Windows are wide enough that a broker can gather messages into larger
 * writes, and narrow enough to stay below the queue limits that brokers have by default (1,000 messages at QoS 1 and 2).
 */
export function scenarios({ rate }: { rate: number }): Scenario[] {
  return [
    { name: "50 -> 1, QoS 0", ...fanIn, qos: 0, window: 64 },
    { name: "1 -> 50, QoS 0", ...fanOut, qos: 0, window: 1024 },
    { name: "1 -> 500, QoS 0", ...wideFanOut, qos: 0, window: 256 },
    { name: "50 pairs, QoS 0", ...pairs, qos: 0, window: 128 },
    { name: "50 -> 1, QoS 1", ...fanIn, qos: 1, window: 16 },
    { name: "1 -> 50, QoS 1", ...fanOut, qos: 1, window: 256 },
    { name: "50 pairs, QoS 1", ...pairs, qos: 1, window: 64 },
    { name: "50 -> 1, QoS 2", ...fanIn, qos: 2, window: 16 },
    { name: "1 -> 50, QoS 2", ...fanOut, qos: 2, window: 256 },
    { name: "50 pairs, QoS 2", ...pairs, qos: 2, window: 64 },
    { name: "50 pairs paced, QoS 0", ...pairs, qos: 0, rate },
  ];
}
