import { RawClient } from "../../support/raw_client.ts";
import type { Duplex } from "../../support/raw_client.ts";

/** How long the broker may take to bring a message, in milliseconds. */
const DEADLINE = 10_000;

const TOPIC = "witness/what nobody else publishes on";

/** Two clients that have nothing to do with the others: one sends a message after the other, which is to get them. */
export class Witness implements AsyncDisposable {
  /** How many messages have arrived. */
  count = 0;
  /** The longest that one of them took with its acknowledgement, in milliseconds. */
  slowest = 0;
  readonly #publisher: RawClient;
  readonly #subscriber: RawClient;

  constructor(publisher: RawClient, subscriber: RawClient) {
    this.#publisher = publisher;
    this.#subscriber = subscriber;
  }

  static async connect(connect: () => Promise<Duplex>): Promise<Witness> {
    const clients = [new RawClient(await connect(), DEADLINE), new RawClient(await connect(), DEADLINE)];
    const [publisher, subscriber] = clients;
    await publisher.connect({ clientId: "witness who publishes", keepAlive: 0 });
    await subscriber.connect({ clientId: "witness who subscribes", keepAlive: 0 });
    await subscriber.subscribe(TOPIC, { qos: 1 });
    return new Witness(publisher, subscriber);
  }

  /** Sends messages until it is told that it is over. Fails if one does not arrive as it should. */
  async watch(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const payload = `${this.count}`;
      const from = performance.now();
      const reasonCode = await this.#publisher.publish({ topic: TOPIC, qos: 1, payload });
      if (reasonCode !== 0) throw new Error(`the witness's message ${payload} was answered with ${reasonCode}`);
      const message = await this.#subscriber.expect("publish");
      const arrived = new TextDecoder().decode(message.payload);
      if (arrived !== payload) throw new Error(`the witness got message ${arrived} for message ${payload}`);
      await this.#subscriber.send({ type: "puback", packetId: message.packetId!, reasonCode: 0 });
      this.slowest = Math.max(this.slowest, performance.now() - from);
      this.count += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of [this.#publisher, this.#subscriber]) await client.close();
  }
}
