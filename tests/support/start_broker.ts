import { Broker, type BrokerOptions } from "../../mod.ts";
import { type ConnectOptions, RawClient } from "./raw_client.ts";

/**
 * A broker on a free port of 127.0.0.1, with clients. At the end of its `await using` block they are closed, and so is
 * the broker.
 */
export class TestBroker extends Broker {
  /** Where it listens. */
  port = 0;
  readonly #opened: RawClient[] = [];
  #named = 0;

  /** A connection that has sent nothing. */
  async open(): Promise<RawClient> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
    conn.setNoDelay(true);
    const client = new RawClient(conn);
    this.#opened.push(client);
    return client;
  }

  /** A client whose CONNECT with these fields has been accepted. It is named `client-1`, `client-2`, … by default. */
  async connect(options: ConnectOptions = {}): Promise<RawClient> {
    const clientId = `client-${++this.#named}`;
    const client = await this.open();
    await client.connect({ clientId, ...options });
    return client;
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#opened) await client.close();
    await super[Symbol.asyncDispose]();
  }
}

/** A broker that listens, with clients on demand. */
export async function startBroker(options: BrokerOptions = {}): Promise<TestBroker> {
  const broker = new TestBroker(options);
  const listener = await broker.listen({ port: 0, hostname: "127.0.0.1" });
  broker.port = listener.address.port;
  return broker;
}
