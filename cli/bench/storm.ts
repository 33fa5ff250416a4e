import { Connection, type ConnectOptions } from "./connection.ts";
import { Header, packetSize, subscribePacket, unexpectedPacket, unsubscribePacket } from "./packets.ts";

const clientCount = 20;

/** So many topic filters a client takes one after the other. */
const filtersPerClient = 1000;

/** So many subscriptions of a client may be under way; when its broker is slower than that, it waits. */
const mostUnderWay = 500;

/** Options of {@linkcode SubscribeStorm.open}. */
export interface StormOptions extends Omit<ConnectOptions, "clientId"> {
  /** What the client ids begin with. */
  clientIds: string;
  /** What the topic filters begin with. */
  topic: string;
  /** Subscriptions a second, of all clients together, each of them ended again at once. */
  rate: number;
}

/** Clients that subscribe and unsubscribe all the time, to topics of which no messages come. */
export class SubscribeStorm implements AsyncDisposable {
  readonly #options: StormOptions;
  readonly #connections: Connection[];
  /** Of each client, the subscriptions that it has asked for. */
  readonly #asked: number[];
  /** Of each client, the subscriptions that have been made and ended. */
  readonly #ended: number[];
  #timer?: ReturnType<typeof setInterval>;

  private constructor(options: StormOptions, connections: Connection[]) {
    this.#options = options;
    this.#connections = connections;
    this.#asked = connections.map(() => 0);
    this.#ended = connections.map(() => 0);
  }

  /** Connects its clients. */
  static async open(options: StormOptions): Promise<SubscribeStorm> {
    const connections: Connection[] = [];
    while (connections.length < clientCount) {
      const clientId = `${options.clientIds}w${connections.length}`;
      connections.push(await Connection.open({ ...options, clientId }));
    }
    return new SubscribeStorm(options, connections);
  }

  /** Subscriptions that were made and ended so far. */
  get count(): number {
    return this.#ended.reduce((sum, ended) => sum + ended);
  }

  /**
   * Goes on until it is disposed of, at its rate whatever the broker does.
   *
   * @throws {Error} When a connection ends, or a subscription is refused.
   */
  run(): Promise<never> {
    const start = performance.now();
    let made = 0;
    this.#timer = setInterval(() => {
      const due = Math.floor((performance.now() - start) / 1000 * this.#options.rate);
      for (; made < due; made++) this.#subscribeAndUnsubscribe(made % clientCount);
      for (const connection of this.#connections) connection.flush();
    }, 5);
    return Promise.race(
      this.#connections.map((connection, index) =>
        connection.receive((buffer, end) => this.#takeAnswers(index, buffer, end))
      ),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#connections.map((connection) => connection.disconnect()));
  }

  #subscribeAndUnsubscribe(index: number): void {
    if (this.#asked[index] - this.#ended[index] >= mostUnderWay) return;
    const { topic, level } = this.#options;
    const turn = this.#asked[index]++;
    const filter = `${topic}/storm/${index}/${turn % filtersPerClient}/+`;
    const packetId = 1 + turn % mostUnderWay * 2;
    const connection = this.#connections[index];
    for (
      const packet of [subscribePacket(packetId, [filter], 1, level), unsubscribePacket(packetId + 1, [filter], level)]
    ) {
      const offset = connection.reserve(packet.length);
      connection.outbound.set(packet, offset);
    }
  }

  #takeAnswers(index: number, buffer: Uint8Array, end: number): number {
    let offset = 0;
    for (;;) {
      const size = packetSize(buffer.subarray(offset, end));
      if (size === undefined || offset + size > end) return offset;
      const refused = buffer[offset + size - 1] >= 0x80;
      if (buffer[offset] === Header.unsuback) this.#ended[index]++;
      else if (buffer[offset] !== Header.suback || refused) throw unexpectedPacket("a subscriber", buffer, offset);
      offset += size;
    }
  }
}
