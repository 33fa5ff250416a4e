import assert from "node:assert/strict";
import { Broker } from "../../mod.ts";
import { receive } from "../broker/receive.ts";
import { type ConnectOptions, RawClient } from "../support/raw_client.ts";
import { type TestTransport, transports } from "./transports.ts";

Deno.test.sanitizer({ ops: true, resources: true });

/** Longer than one and a half times the shortest keep alive. */
const DEADLINE = 5000;

/** A broker that is reached in one way only. */
class ReachedBy extends Broker {
  #open: (() => Promise<RawClient>) | undefined;

  static async of(transport: TestTransport): Promise<ReachedBy> {
    const broker = new ReachedBy();
    const open = await transport.listen(broker);
    broker.#open = async () => new RawClient(await open(), DEADLINE);
    return broker;
  }

  async connect(options: ConnectOptions): Promise<RawClient> {
    const client = await this.#open!();
    await client.connect(options);
    return client;
  }
}

for (const transport of transports) {
  const { name } = transport;

  for (const level of [3, 4, 5] as const) {
    Deno.test(`${name}: a client of level ${level} connects, and disconnects`, async () => {
      await using broker = await ReachedBy.of(transport);
      await using client = await broker.connect({ level, clientId: "a" });
      await client.disconnect();
      assert.equal(broker.stats().clients, 0);
    });
  }

  Deno.test(`${name}: a QoS 2 message goes in and out exactly once`, async () => {
    await using broker = await ReachedBy.of(transport);
    await using subscriber = await broker.connect({ clientId: "subscriber" });
    await using publisher = await broker.connect({ clientId: "publisher" });
    await subscriber.subscribe("t", { qos: 2 });
    assert.equal(await publisher.publish({ topic: "t", payload: "once", qos: 2 }), 0);
    assert.equal((await receive(subscriber)).text, "once");
    await subscriber.expectNothing();
    await publisher.expectNothing();
  });

  Deno.test(`${name}: the will of a client whose connection breaks is published`, async () => {
    await using broker = await ReachedBy.of(transport);
    await using watcher = await broker.connect({ clientId: "watcher" });
    await watcher.subscribe("will");
    const client = await broker.connect({ clientId: "a", will: { topic: "will", payload: "gone" } });
    await client.close();
    assert.equal((await receive(watcher)).text, "gone");
  });

  Deno.test(`${name}: a second connection with the same client id takes over from the first`, async () => {
    await using broker = await ReachedBy.of(transport);
    await using first = await broker.connect({ clientId: "a" });
    await using second = await broker.connect({ clientId: "a" });
    assert.equal((await first.expect("disconnect")).reasonCode, 0x8e);
    await first.expectClosed();
    await second.expectNothing();
  });

  Deno.test(`${name}: a payload of a megabyte comes back as it was sent`, async () => {
    await using broker = await ReachedBy.of(transport);
    await using client = await broker.connect({ clientId: "a" });
    await client.subscribe("t");
    const payload = new Uint8Array(1024 * 1024).map((_, index) => index ^ (index >> 8));
    await client.publish({ topic: "t", payload });
    assert.deepEqual((await client.expect("publish")).payload, payload);
  });

  Deno.test(`${name}: the broker says why it closes`, async () => {
    const broker = await ReachedBy.of(transport);
    await using client = await broker.connect({ clientId: "a" });
    const closed = broker.close();
    assert.equal((await client.expect("disconnect")).reasonCode, 0x8b);
    await client.expectClosed();
    await client.close();
    await closed;
  });
}

Deno.test("a client that is silent for too long is disconnected, however it is connected", async () => {
  await Promise.all(transports.map(async (transport) => {
    await using broker = await ReachedBy.of(transport);
    await using client = await broker.connect({ clientId: "a", keepAlive: 1 });
    assert.equal((await client.expect("disconnect")).reasonCode, 0x8d, transport.name);
    await client.expectClosed();
  }));
});
