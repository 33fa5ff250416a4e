import { Connection } from "./connection.ts";
import type { LatencyHistogram } from "./latency_histogram.ts";
import type { LoadRequest } from "./load.ts";
import { publishTemplate } from "./packets.ts";
import { Publisher } from "./publisher.ts";
import { Subscriber } from "./subscriber.ts";

/** Clients that share one topic, connected and subscribed, and what has passed between them. */
export class Group {
  readonly publishers: Publisher[] = [];
  readonly subscribers: Subscriber[] = [];
  /** Messages published so far. */
  published = 0;

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
    return this.published * this.subscribers.length - this.delivered;
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
  const { hostname, port, level, username, password, publishers, subscribers, qos, payloadSize } = request;
  const topic = `${request.topic}/${String(number).padStart(3, "0")}`;
  const template = publishTemplate({ topic, payloadSize, qos, level });
  const open = async (role: "p" | "s", index: number) => {
    // Every broker has to take a client id of up to 23 letters and digits [MQTT-3.1.3-5].
    const clientId = `bench${Deno.pid}g${number}${role}${index}`;
    const connection = await Connection.open({ hostname, port, level, username, password, clientId });
    connections.push(connection);
    return connection;
  };

  const group = new Group();
  for (let index = 0; index < subscribers; index++) {
    const connection = await open("s", index);
    await connection.subscribe(topic, qos);
    const onLatency = (milliseconds: number, messages: number) => latencies.record(milliseconds, messages);
    group.subscribers.push(new Subscriber(connection, template, qos, onLatency));
  }
  for (let index = 0; index < publishers; index++) {
    const connection = await open("p", index);
    const { receiveMaximum } = connection;
    const paced = request.rate !== undefined;
    const window = paced ? receiveMaximum : Math.min(request.window, receiveMaximum);
    const batch = paced ? 1 : Math.ceil(window / 4);
    group.publishers.push(new Publisher(connection, template, qos, { window, batch, index }));
  }
  return group;
}
