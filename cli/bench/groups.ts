import { Connection } from "./connection.ts";
import type { LatencyHistogram } from "./latency_histogram.ts";
import type { LoadRequest } from "./load.ts";
import { publishTemplate } from "./packets.ts";
import { Publisher } from "./publisher.ts";
import { Subscriber } from "./subscriber.ts";
import { groupTopics } from "./topics.ts";

/** Bytes of payload in a batch, where a message is not larger: what a processor's caches can hold for many publishers. */
const largestBatch = 64 * 1024;

/** Clients that exchange messages, connected and subscribed, and what has passed between them. */
export class Group {
  /** Whether each message goes to one of the subscribers, rather than to all. */
  readonly toOne: boolean;
  readonly publishers: Publisher[] = [];
  readonly subscribers: Subscriber[] = [];
  /** Messages published so far. */
  published = 0;

  constructor({ toOne = false }: { toOne?: boolean } = {}) {
    this.toOne = toOne;
  }

  /** Deliveries so far, to all subscribers together, without duplicates. */
  get delivered(): number {
    return this.subscribers.reduce((sum, subscriber) => sum + subscriber.delivered, 0);
  }

  /** Deliveries so far that came again, or out of order. */
  get duplicates(): number {
    return this.subscribers.reduce((sum, subscriber) => sum + subscriber.duplicates, 0);
  }

  /** Deliveries that are still to come. */
  get outstanding(): number {
    return this.published * (this.toOne ? 1 : this.subscribers.length) - this.delivered;
  }

  /** Messages that have arrived at the subscriber that is the furthest behind, or, each going to one, at any. */
  get arrived(): number {
    if (this.toOne) return this.delivered;
    let fewest = Infinity;
    for (const { delivered } of this.subscribers) if (delivered < fewest) fewest = delivered;
    return fewest;
  }

  /** Whether everything published has arrived and is acknowledged. */
  get idle(): boolean {
    return this.outstanding === 0 && this.publishers.every((publisher) => publisher.idle);
  }
}

/** The groups of a load; disposing of them disconnects their clients. */
export interface OpenedGroups extends AsyncDisposable {
  groups: Group[];
}

/** Connects all clients of a load, which record in `latencies` how long messages take. */
export async function openGroups(request: LoadRequest, latencies: LatencyHistogram): Promise<OpenedGroups> {
  const connections: Connection[] = [];
  const disconnect = async () => {
    await Promise.all(connections.map((connection) => connection.disconnect()));
  };
  const numbers = Array.from({ length: request.groups }, (_, number) => number);
  const opening = await Promise.allSettled(
    numbers.map((number) => openGroup(request, number, connections, latencies)),
  );
  const failed = opening.find((group) => group.status === "rejected");
  if (failed !== undefined) {
    await disconnect();
    throw failed.reason;
  }
  const groups = opening.flatMap((group) => group.status === "fulfilled" ? group.value : []);
  return { groups, [Symbol.asyncDispose]: disconnect };
}

async function openGroup(
  request: LoadRequest,
  number: number,
  connections: Connection[],
  latencies: LatencyHistogram,
): Promise<Group> {
  const { level, qos, payloadSize, withProperties } = request;
  const topics = groupTopics(`${request.topic}/${String(number).padStart(3, "0")}`, request);
  const template = publishTemplate({ topic: topics.published[0][0], payloadSize, qos, level, withProperties });
  const open = async (role: "p" | "s", index: number) => {
    // Every broker has to take a client id of up to 23 letters and digits [MQTT-3.1.3-5].
    const connection = await Connection.open({ ...request, clientId: `${request.clientIds}g${number}${role}${index}` });
    connections.push(connection);
    return connection;
  };

  const group = new Group({ toOne: request.routing === "shared" || request.routing === "spread" });
  for (const [index, filters] of topics.filters.entries()) {
    const connection = await open("s", index);
    await connection.subscribeAll(filters, qos);
    const onLatency = (milliseconds: number, messages: number) => latencies.record(milliseconds, messages);
    group.subscribers.push(new Subscriber(connection, template, qos, onLatency));
  }
  for (const [index, published] of topics.published.entries()) {
    const connection = await open("p", index);
    const { receiveMaximum } = connection;
    const paced = request.rate !== undefined;
    const window = paced ? receiveMaximum : Math.min(request.window, receiveMaximum);
    const batch = paced ? 1 : Math.ceil(Math.min(window / 4, largestBatch / payloadSize));
    group.publishers.push(new Publisher(connection, template, qos, { window, batch, index, topics: published }));
  }
  return group;
}
