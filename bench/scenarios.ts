import type { LoadOptions } from "./generator.ts";

/** A load to compare brokers with. */
export interface Scenario {
  name: string;
  suite: SuiteName;
  load:
    & Pick<LoadOptions, "scenario" | "publishers" | "subscribers" | "topicsPerSubscriber" | "qos" | "rate" | "storm">
    & Pick<Partial<LoadOptions>, "payload" | "level" | "properties" | "transport">;
  /** Whether clients have to log in, and rules decide on every topic. Default false. */
  secured?: boolean;
  /** What is counted. Default messages. */
  counts?: "connections";
}

/** Suites of scenarios, in the order in which they run, and what each of them is about. */
export const suites = {
  throughput: "Throughput: 64 bytes, MQTT 3.1.1",
  payload: "Larger payloads",
  mqtt5: "MQTT 5.0",
  routing: "Wildcards, shared subscriptions, many subscriptions",
  security: "Logins and rules, TLS, WebSocket",
  latency: "Latency and CPU at a rate that all of them can do",
  connect: "Connections, one after the other by each of 50 clients",
};

/** The name of a suite. */
export type SuiteName = keyof typeof suites;

const fanIn = { scenario: "fan-in", publishers: 50, subscribers: 1 } as const;
const fanOut = { scenario: "fan-out", publishers: 1, subscribers: 50 } as const;
const wideFanOut = { scenario: "fan-out", publishers: 1, subscribers: 500 } as const;
const pairs = { scenario: "pairs", publishers: 50, subscribers: 50 } as const;
const wildcards = { scenario: "wildcards", publishers: 20, subscribers: 20 } as const;
const shared = { scenario: "shared", publishers: 50, subscribers: 50 } as const;
const spread = { scenario: "spread", publishers: 50, subscribers: 1000, topicsPerSubscriber: 100 } as const;
const connect = { scenario: "connect", publishers: 50, qos: 0 } as const;
const KB = 1024;

/** All scenarios, in the order in which they run. */
export const scenarios: Scenario[] = [
  ...suite("throughput", [
    { name: "50 -> 1, QoS 0", load: { ...fanIn, qos: 0 } },
    { name: "1 -> 50, QoS 0", load: { ...fanOut, qos: 0 } },
    { name: "1 -> 500, QoS 0", load: { ...wideFanOut, qos: 0 } },
    { name: "50 pairs, QoS 0", load: { ...pairs, qos: 0 } },
    { name: "50 -> 1, QoS 1", load: { ...fanIn, qos: 1 } },
    { name: "1 -> 50, QoS 1", load: { ...fanOut, qos: 1 } },
    { name: "1 -> 500, QoS 1", load: { ...wideFanOut, qos: 1 } },
    { name: "50 pairs, QoS 1", load: { ...pairs, qos: 1 } },
    { name: "50 -> 1, QoS 2", load: { ...fanIn, qos: 2 } },
    { name: "1 -> 50, QoS 2", load: { ...fanOut, qos: 2 } },
    { name: "50 pairs, QoS 2", load: { ...pairs, qos: 2 } },
  ]),
  ...suite("payload", [
    { name: "50 pairs, 1 KB, QoS 0", load: { ...pairs, qos: 0, payload: KB } },
    { name: "50 pairs, 1 KB, QoS 1", load: { ...pairs, qos: 1, payload: KB } },
    { name: "1 -> 50, 1 KB, QoS 0", load: { ...fanOut, qos: 0, payload: KB } },
    { name: "50 pairs, 64 KB, QoS 0", load: { ...pairs, qos: 0, payload: 64 * KB } },
    { name: "50 pairs, 64 KB, QoS 1", load: { ...pairs, qos: 1, payload: 64 * KB } },
    { name: "1 -> 50, 64 KB, QoS 0", load: { ...fanOut, qos: 0, payload: 64 * KB } },
  ]),
  ...suite("mqtt5", [
    { name: "50 pairs, 5.0, QoS 0", load: { ...pairs, qos: 0, level: 5 } },
    { name: "50 pairs, properties, QoS 0", load: { ...pairs, qos: 0, level: 5, properties: true } },
    { name: "50 pairs, properties, QoS 1", load: { ...pairs, qos: 1, level: 5, properties: true } },
    { name: "1 -> 50, properties, QoS 0", load: { ...fanOut, qos: 0, level: 5, properties: true } },
  ]),
  ...suite("routing", [
    { name: "20 x 20 wildcards, QoS 0", load: { ...wildcards, qos: 0 } },
    { name: "20 x 20 wildcards, QoS 1", load: { ...wildcards, qos: 1 } },
    { name: "shared group, QoS 0", load: { ...shared, qos: 0 } },
    { name: "shared group, QoS 1", load: { ...shared, qos: 1 } },
    { name: "100,000 topics, QoS 0", load: { ...spread, qos: 0 } },
    { name: "subscribe storm, QoS 0", load: { ...pairs, qos: 0, storm: 2000 } },
  ]),
  ...suite("security", [
    { name: "50 pairs, auth + ACL, QoS 0", load: { ...pairs, qos: 0 }, secured: true },
    { name: "50 pairs, TLS, QoS 0", load: { ...pairs, qos: 0, transport: "tls" } },
    { name: "1 -> 50, TLS, QoS 0", load: { ...fanOut, qos: 0, transport: "tls" } },
    { name: "50 pairs, WebSocket, QoS 0", load: { ...pairs, qos: 0, transport: "ws" } },
    { name: "1 -> 50, WebSocket, QoS 0", load: { ...fanOut, qos: 0, transport: "ws" } },
  ]),
  ...suite("latency", [
    { name: "20,000 msg/s, QoS 0", load: { ...pairs, qos: 0, rate: 20_000 } },
    { name: "5,000 msg/s, QoS 1", load: { ...pairs, qos: 1, rate: 5000 } },
  ]),
  ...suite("connect", [
    { name: "connect", load: connect, counts: "connections" },
    { name: "connect, auth", load: connect, counts: "connections", secured: true },
    { name: "connect, TLS", load: { ...connect, transport: "tls" }, counts: "connections" },
  ]),
];

function suite(name: SuiteName, members: Omit<Scenario, "suite">[]): Scenario[] {
  return members.map((scenario) => ({ ...scenario, suite: name }));
}
