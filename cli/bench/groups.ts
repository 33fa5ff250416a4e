import { Connection } from "./connection.ts";
import { publishTemplate } from "./packets.ts";
import { Publisher } from "./publisher.ts";
import type { LoadRequest } from "./request.ts";
import { Subscriber } from "./subscriber.ts";

/** Clients that share one topic, connected and subscribed, and what has passed between them. */
export class Group {
  readonly publishers: Publisher[] = [];
  readonly subscribers: Subscriber[] = [];
  /** Messages published so far. */
  published = 0;

  /** Deliveries so far, to all subscribers together. */
  get delivered(): number {
    return this.subscribers.reduce((sum, subscriber) => sum + subscriber.delivered, 0);
  }

  /** Deliveries that are still to come. */
  get outstanding(): number {
    return this.published * this.subscribers.length - this.delivered;
  }

  /** Whether everything published has arrived and is acknowledged. */
  get idle(): boolean {
    return this.outstanding <= 0 && this.publishers.every((publisher) => publisher.idle);
  }
}

/** Connects all clients of the scenario. */
export function openGroups(request: LoadRequest): Promise<Group[]> {
  const numbers = Array.from({ length: request.scenario.groups }, (_, number) => number);
  return Promise.all(numbers.map((number) => openGroup(request, number)));
}

async function openGroup(request: LoadRequest, number: number): Promise<Group> {
  const { scenario, hostname, port, level, payloadSize } = request;
  const { publishers, subscribers, qos } = scenario;
  const topic = `bench/${String(number).padStart(3, "0")}`;
  const template = publishTemplate({ topic, payloadSize, qos, level });
  // Every broker has to take a client id of up to 23 letters and digits [MQTT-3.1.3-5].
  const open = (role: "p" | "s", index: number) =>
    Connection.open({ hostname, port, level, clientId: `bench${Deno.pid}g${number}${role}${index}` });

  const group = new Group();
  for (let index = 0; index < subscribers; index++) {
    const connection = await open("s", index);
    await connection.subscribe(topic, qos);
    group.subscribers.push(new Subscriber(connection, template, qos));
  }
  for (let index = 0; index < publishers; index++) {
    const connection = await open("p", index);
    const window = "window" in scenario ? Math.min(scenario.window, connection.receiveMaximum) : 1;
    const batch = Math.ceil(window / 4);
    group.publishers.push(new Publisher(connection, template, qos, { window, batch }));
  }
  return group;
}
