import type { LoadRequest } from "../../cli/bench/load.ts";

/** A steady load that is part of the soak. */
export interface SoakLoad {
  name: string;
  request: Omit<LoadRequest, "hostname" | "port" | "clientIds" | "warmUpSeconds" | "seconds">;
}

const common = { level: 4, window: 1, groups: 1, topicsPerSubscriber: 1, routing: "topic" } as const;

/** Something of everything, some 5,000 messages and 20,000 deliveries a second. */
export const mix: SoakLoad[] = [
  {
    name: "20 pairs, QoS 0",
    request: {
      ...common,
      topic: "pairs0",
      groups: 20,
      publishers: 1,
      subscribers: 1,
      qos: 0,
      payloadSize: 64,
      rate: 2000,
    },
  },
  {
    name: "10 pairs, QoS 1, 5.0 with properties",
    request: {
      ...common,
      topic: "pairs1",
      level: 5,
      groups: 10,
      publishers: 1,
      subscribers: 1,
      qos: 1,
      payloadSize: 256,
      withProperties: true,
      rate: 1000,
    },
  },
  {
    name: "10 pairs, QoS 2",
    request: {
      ...common,
      topic: "pairs2",
      groups: 10,
      publishers: 1,
      subscribers: 1,
      qos: 2,
      payloadSize: 64,
      rate: 500,
    },
  },
  {
    name: "1 -> 100, QoS 0, WebSocket",
    request: {
      ...common,
      topic: "fan-out",
      transport: "ws",
      publishers: 1,
      subscribers: 100,
      qos: 0,
      payloadSize: 1024,
      rate: 100,
    },
  },
  {
    name: "20 -> 1, QoS 1, 64 KB",
    request: { ...common, topic: "large", publishers: 20, subscribers: 1, qos: 1, payloadSize: 65_536, rate: 20 },
  },
  {
    name: "10 x 10 wildcards, QoS 1, beside a subscribe storm",
    request: {
      ...common,
      topic: "wildcards",
      routing: "wildcards",
      publishers: 10,
      subscribers: 10,
      qos: 1,
      payloadSize: 64,
      rate: 200,
      storm: 200,
    },
  },
  {
    name: "shared group of 10, QoS 1",
    request: {
      ...common,
      topic: "shared",
      level: 5,
      routing: "shared",
      publishers: 10,
      subscribers: 10,
      qos: 1,
      payloadSize: 64,
      rate: 500,
    },
  },
  {
    name: "2,000 topics of 20 clients, QoS 0",
    request: {
      ...common,
      topic: "spread",
      routing: "spread",
      publishers: 10,
      subscribers: 20,
      topicsPerSubscriber: 100,
      qos: 0,
      payloadSize: 64,
      rate: 500,
    },
  },
];
