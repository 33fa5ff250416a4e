import { Connection } from "../cli/bench/connection.ts";
import { publishTemplate } from "../cli/bench/packets.ts";
import { Publisher } from "../cli/bench/publisher.ts";
import type { RunningBroker } from "./brokers.ts";

/** What is on a broker besides the messages that are measured; disposing of it closes its connections. */
export class Population implements Disposable {
  readonly #broker: RunningBroker;
  /** Besides the broker's own. */
  readonly #morePorts: number[];
  readonly #connections: Connection[] = [];

  constructor(broker: RunningBroker, { morePorts = [] }: { morePorts?: number[] } = {}) {
    this.#broker = broker;
    this.#morePorts = morePorts;
  }

  [Symbol.dispose](): void {
    for (const connection of this.#connections) connection.close();
  }

  /** Clients number `from` to below `to`, connected and silent. */
  async addConnections(from: number, to: number): Promise<void> {
    await inTurns(from, to, async (number) => {
      this.#connections.push(await this.#open(`idle${number}`, number));
    });
  }

  /** Clients that have a session with one subscription, and are not connected. */
  async addSessions(from: number, to: number): Promise<void> {
    await inTurns(from, to, (number) => this.#leaveSession(number));
  }

  /** Subscriptions of connected clients, so many for each; `from` and `to` are multiples of that. */
  async addSubscriptions(from: number, to: number, perClient: number): Promise<void> {
    await inTurns(from / perClient, to / perClient, async (client) => {
      const connection = await this.#open(`subscriber${client}`, client);
      this.#connections.push(connection);
      const filters = Array.from({ length: perClient }, (_, index) => `bench/unrelated/${client}/${index}`);
      await connection.subscribeAll(filters, 0);
    });
  }

  /** Messages at QoS 1 that wait for clients that are not connected, so many for each. */
  async addQueuedMessages(from: number, to: number, perClient: number): Promise<void> {
    await inTurns(from / perClient, to / perClient, async (client) => {
      await this.#leaveSession(client);
      await this.#publish(`queue${client}`, [sessionTopic(client)], perClient, { retain: false });
    });
  }

  /** Retained messages, each with a topic of its own; `from` and `to` are multiples of 1,000. */
  async addRetainedMessages(from: number, to: number): Promise<void> {
    const perClient = 1000;
    await inTurns(from / perClient, to / perClient, async (client) => {
      const topics = Array.from({ length: perClient }, (_, index) => {
        return `bench/retained/${String(client).padStart(6, "0")}/${String(index).padStart(3, "0")}`;
      });
      await this.#publish(`retain${client}`, topics, perClient, { retain: true });
    });
  }

  async #leaveSession(number: number): Promise<void> {
    const connection = await this.#open(`session${number}`, number, { persistent: true });
    await connection.subscribe(sessionTopic(number), 1);
    await connection.disconnect();
  }

  /** Publishes `count` messages with 64 bytes at QoS 1, and waits until they are acknowledged. */
  async #publish(clientId: string, topics: string[], count: number, { retain }: { retain: boolean }): Promise<void> {
    const connection = await this.#open(clientId, 0);
    const template = publishTemplate({ topic: topics[0], payloadSize: 64, qos: 1, level: 4, retain });
    const publisher = new Publisher(connection, template, 1, { window: 200, batch: 100, topics });
    let remaining = count;
    const publishWhatFits = () => {
      for (; remaining > 0 && publisher.ready; remaining -= publisher.batch) publisher.publish();
    };
    const acknowledged = new Promise<void>((resolve, reject) => {
      publisher.receive(() => {
        publishWhatFits();
        if (publisher.idle) resolve();
      }).catch(reject);
    });
    publishWhatFits();
    await acknowledged;
    await connection.disconnect();
  }

  /** At one of the broker's ports: there are not enough local ports for all connections to one of them. */
  #open(clientId: string, number: number, { persistent = false } = {}): Promise<Connection> {
    const ports = [this.#broker.port, ...this.#morePorts];
    const { hostname } = this.#broker;
    return Connection.open({ hostname, port: ports[number % ports.length], clientId, level: 4, persistent });
  }
}

/** Topics of one length. */
function sessionTopic(number: number): string {
  return `bench/session/${String(number).padStart(6, "0")}`;
}

/** Does it for each number, some hundred at a time. */
async function inTurns(from: number, to: number, act: (number: number) => Promise<void>): Promise<void> {
  const atATime = 200;
  for (let start = from; start < to; start += atATime) {
    const count = Math.min(atATime, to - start);
    await Promise.all(Array.from({ length: count }, (_, index) => act(start + index)));
  }
}
