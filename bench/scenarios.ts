import type { LoadOptions } from "./generator.ts";

/** A load to compare brokers with. */
export interface Scenario {
  name: string;
  load: Pick<LoadOptions, "scenario" | "publishers" | "subscribers" | "qos" | "rate">;
}

const fanIn = { scenario: "fan-in", publishers: 50, subscribers: 1 } as const;
const fanOut = { scenario: "fan-out", publishers: 1, subscribers: 50 } as const;
const wideFanOut = { scenario: "fan-out", publishers: 1, subscribers: 500 } as const;
const pairs = { scenario: "pairs", publishers: 50, subscribers: 50 } as const;

/** The scenarios, in the order in which they run. */
export function scenarios({ rate }: { rate: number }): Scenario[] {
  return [
    { name: "50 -> 1, QoS 0", load: { ...fanIn, qos: 0 } },
    { name: "1 -> 50, QoS 0", load: { ...fanOut, qos: 0 } },
    { name: "1 -> 500, QoS 0", load: { ...wideFanOut, qos: 0 } },
    { name: "50 pairs, QoS 0", load: { ...pairs, qos: 0 } },
    { name: "50 -> 1, QoS 1", load: { ...fanIn, qos: 1 } },
    { name: "1 -> 50, QoS 1", load: { ...fanOut, qos: 1 } },
    { name: "50 pairs, QoS 1", load: { ...pairs, qos: 1 } },
    { name: "50 -> 1, QoS 2", load: { ...fanIn, qos: 2 } },
    { name: "1 -> 50, QoS 2", load: { ...fanOut, qos: 2 } },
    { name: "50 pairs, QoS 2", load: { ...pairs, qos: 2 } },
    { name: "50 pairs paced, QoS 0", load: { ...pairs, qos: 0, rate } },
  ];
}
