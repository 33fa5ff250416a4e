import assert from "node:assert/strict";
import { Broker, type BrokerOptions, encode } from "../../mod.ts";
import { receive } from "../broker/receive.ts";
import { type ConnectOptions, connectPacket, publishPacket, RawClient } from "../support/raw_client.ts";
import { type TestTransport, transports } from "./transports.ts";

/** Longer than one and a half times the shortest keep alive. */
const DEADLINE = 5000;

/** More than the system takes for a connection whose other end does not read, in messages of this many bytes. */
const MANY = 32;
const LARGE = 1024 * 1024;

/** A broker that is reached in one way only. */
class ReachedBy extends Broker {
  #open: (() => Promise<RawClient>) | undefined;

  static async of(transport: TestTransport, options?: BrokerOptions): Promise<ReachedBy> {
    const broker = new ReachedBy(options);
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

  Deno.test(`${name}: a client that does not read loses messages, and what it gets is whole`, async () => {
    await using broker = await ReachedBy.of(transport, { limits: { outboundBytes: LARGE } });
    await using quick = await broker.connect({ clientId: "quick" });
    await using slow = await broker.connect({ clientId: "slow" });
    const dropped: string[] = [];
    await broker.use({
      id: "dropped",
      onMessageDropped: (clientId, { payload }, reason) => void dropped.push(`${clientId} ${payload[0]} ${reason}`),
    });
    await quick.subscribe("t");
    await slow.subscribe("t");
    const messages = Array.from({ length: MANY }, (_, index) => new Uint8Array(LARGE).fill(index));
    for (const payload of messages) {
      await broker.publish("t", payload);
      assert.deepEqual((await quick.expect("publish")).payload, payload);
    }
    assert.notEqual(dropped.length, 0);
    for (const payload of messages) {
      if (dropped.includes(`slow ${payload[0]} slow-consumer`)) continue;
      assert.deepEqual((await slow.expect("publish")).payload, payload);
    }
    await slow.expectNothing();
  });

  Deno.test(`${name}: a client that publishes faster than hooks decide has to wait`, async () => {
    await using broker = await ReachedBy.of(transport);
    const { promise, resolve: decide } = Promise.withResolvers<void>();
    await broker.use({ id: "slow", onPublish: () => promise });
    await using witness = await broker.connect({ clientId: "witness" });
    await using client = await broker.connect({ clientId: "a" });
    const bytes = encode(publishPacket({ topic: "t", payload: new Uint8Array(LARGE) }), 5);
    let sent = 0;
    const flood = async () => {
      while (sent < MANY) {
        await client.sendBytes(bytes);
        sent += 1;
      }
    };
    const flooding = flood();
    await settled(() => sent, witness);
    assert(sent < MANY, "the broker has read everything");
    decide();
    await flooding;
    await client.expectNothing();
    assert.equal(broker.stats().messagesReceived, MANY);
  });

  Deno.test(`${name}: a client that goes on after it was disconnected is not served, others are`, async () => {
    await using broker = await ReachedBy.of(transport);
    await using other = await broker.connect({ clientId: "other" });
    await using client = await broker.connect({ clientId: "a" });
    await client.send(connectPacket({ clientId: "a" }));
    await other.expectNothing();
    await client.send(publishPacket({ topic: "t" }));
    await client.send({ type: "pingreq" });
    await other.expectNothing();
    assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
    await client.expectClosed();
    assert.equal(broker.stats().messagesReceived, 0);
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

/** Waits until a figure has not changed while a client went to the broker and back many times. */
async function settled(figure: () => number, witness: RawClient): Promise<void> {
  for (let unchanged = 0, last = figure(); unchanged < 100; unchanged++) {
    await witness.expectNothing();
    if (figure() !== last) unchanged = 0;
    last = figure();
  }
}
