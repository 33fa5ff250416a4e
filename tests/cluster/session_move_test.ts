import assert from "node:assert/strict";
import { PersistentClient } from "../crash/persistent_client.ts";
import type { ConnectOptions, RawClient } from "../support/raw_client.ts";
import { publishPacket } from "../support/raw_client.ts";
import { Cluster, type ClusterNode, eventually } from "./cluster.ts";

/** How long a node may take to close a connection whose client has connected to another one, in milliseconds. */
const TAKEOVER = 1000;

const lasting = { clientId: "mover", cleanStart: false, properties: { sessionExpiryInterval: 600 } };

/** The payload of the next message, which is acknowledged completely. */
async function receive(client: RawClient): Promise<string> {
  const { payload, qos, packetId } = await client.expect("publish");
  if (qos === 1) await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
  if (qos === 2) {
    await client.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    await client.expect("pubrel");
    await client.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
  }
  return new TextDecoder().decode(payload);
}

/** A session with a subscription, whose client has left. */
async function leave(node: ClusterNode, topicFilter = "t", options: ConnectOptions = {}): Promise<void> {
  const client = await node.connect({ ...lasting, ...options });
  await client.subscribe(topicFilter, { qos: 2 });
  await client.disconnect();
}

for (const level of [4, 5] as const) {
  Deno.test(`a client of level ${level} that comes to another node finds its session and its subscriptions`, async () => {
    await using cluster = await Cluster.start();
    const [a, b, c] = cluster.nodes;
    const durable = level === 5 ? lasting : { clientId: "mover", cleanStart: false };
    await leave(a, "t/#", { ...durable, level });
    const client = await b.connect({ ...durable, level });
    assert.equal(client.connack.sessionPresent, true);
    const publisher = await c.connect();
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish({ topic: "t/1", payload: `QoS ${qos}`, qos });
      assert.equal(await receive(client), `QoS ${qos}`);
    }
    await client.expectNothing();
  });
}

Deno.test("a client finds at another node what came while it was away, from every node, in order", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  await leave(a);
  const sent: string[] = [];
  const publishers = [await a.connect(), await b.connect(), await c.connect()];
  for (let number = 1; number <= 60; number++) {
    const payload = `number ${number}`;
    await publishers[number % 3].publish({ topic: "t", payload, qos: number % 2 === 0 ? 1 : 2 });
    sent.push(payload);
  }
  const client = await c.connect({ ...lasting, properties: { sessionExpiryInterval: 600, receiveMaximum: 1 } });
  const got: string[] = [];
  while (got.length < sent.length) got.push(await receive(client));
  assert.deepEqual(got, sent);
  await client.expectNothing();
});

Deno.test("what a client has acknowledged at one node does not come again at another", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const client = await a.connect(lasting);
  await client.subscribe("t", { qos: 2 });
  const publisher = await b.connect();
  for (const qos of [1, 2] as const) {
    await publisher.publish({ topic: "t", payload: `QoS ${qos}`, qos });
    assert.equal(await receive(client), `QoS ${qos}`);
  }
  await client.disconnect();
  // Until then it may come again.
  const isEmpty = async () => await cluster.redis.command("XLEN", "mqtt:queue:{mover}") === "0";
  await eventually(isEmpty, "the acknowledgement to be stored");
  const again = await b.connect(lasting);
  await again.expectNothing();
});

Deno.test("a message that was not acknowledged comes again at another node, with its packet identifier", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const publisher = await b.connect();
  for (const qos of [1, 2] as const) {
    const client = await a.connect({ ...lasting, clientId: `QoS ${qos}` });
    await client.subscribe(`t/${qos}`, { qos });
    await publisher.publish({ topic: `t/${qos}`, payload: "hello", qos });
    const first = await client.expect("publish");
    assert.equal(first.dup, false);
    await client.close();
    const again = await b.connect({ ...lasting, clientId: `QoS ${qos}` });
    const { packetId, dup, payload } = await again.expect("publish");
    assert.deepEqual({ packetId, dup, payload }, { packetId: first.packetId, dup: true, payload: first.payload });
  }
});

Deno.test("a client that has sent PUBREC at one node gets PUBREL at another, and no PUBLISH", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const client = await a.connect(lasting);
  await client.subscribe("t", { qos: 2 });
  await (await b.connect()).publish({ topic: "t", payload: "hello", qos: 2 });
  const { packetId } = await client.expect("publish");
  await client.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
  await client.expect("pubrel");
  await client.close();
  const again = await b.connect(lasting);
  assert.equal((await again.expect("pubrel")).packetId, packetId);
  await again.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
  await again.expectNothing();
  await again.close();
  await (await a.connect(lasting)).expectNothing();
});

Deno.test("a QoS 2 message that was sent to one node is not delivered again when it is sent to another", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  const subscriber = await c.connect();
  await subscriber.subscribe("t", { qos: 2 });
  const publish = publishPacket({ topic: "t", payload: "once", qos: 2, packetId: 7 });
  const first = await a.connect(lasting);
  await first.send(publish);
  await first.expect("pubrec");
  await first.close();
  const again = await b.connect(lasting);
  await again.send({ ...publish, dup: true });
  assert.equal((await again.expect("pubrec")).reasonCode, 0);
  await again.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
  assert.equal((await again.expect("pubcomp")).reasonCode, 0);
  assert.equal(await receive(subscriber), "once");
  // The identifier is free again.
  await again.publish({ topic: "t", payload: "another", qos: 2, packetId: 7 });
  assert.equal(await receive(subscriber), "another");
  await subscriber.expectNothing();
});

Deno.test("a QoS 2 message whose release was sent to one node can be released at another", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const first = await a.connect(lasting);
  await first.send(publishPacket({ topic: "t", payload: "once", qos: 2, packetId: 7 }));
  await first.expect("pubrec");
  await first.close();
  const again = await b.connect(lasting);
  await again.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
  assert.equal((await again.expect("pubcomp")).reasonCode, 0);
});

for (const isDurable of [true, false]) {
  const what = isDurable ? "durable" : "clean";
  Deno.test(`a connection with a ${what} session is closed with 0x8E within a second of a connection elsewhere`, async () => {
    await using cluster = await Cluster.start({ ids: ["a", "b"] });
    const [a, b] = cluster.nodes;
    const options = isDurable ? lasting : { clientId: "mover" };
    const first = await a.open(TAKEOVER);
    await first.connect(options);
    await first.subscribe("t");
    const second = await b.connect(options);
    assert.equal((await first.expect("disconnect")).reasonCode, 0x8e);
    await first.expectClosed();
    assert.equal(second.connack.sessionPresent, isDurable);
    const third = await a.connect(options);
    assert.equal((await second.expect("disconnect")).reasonCode, 0x8e);
    assert.equal(third.connack.sessionPresent, isDurable);
    await third.expectNothing();
  });
}

Deno.test("a connection of MQTT 3.1.1 is closed within a second of a connection elsewhere", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const first = await a.open(TAKEOVER);
  await first.connect({ clientId: "mover", level: 4, cleanStart: false });
  await b.connect({ clientId: "mover", level: 4, cleanStart: false });
  await first.expectClosed();
});

Deno.test("a client that moves from node to node while messages are published gets each once, in order", async () => {
  await using cluster = await Cluster.start();
  const publisher = await cluster.nodes[0].connect();
  const got: string[] = [];
  const violations: string[] = [];
  const client = new PersistentClient({
    clientId: "mover",
    level: 5,
    mayBeRefused: false,
    onViolation: (violation) => violations.push(violation),
    onMessage: (_packet, text) => got.push(text),
  });
  await client.connect(cluster.nodes[0].port);
  await client.subscribe("t", 2);
  const sent = Array.from({ length: 100 }, (_, number) => String(number));
  for (const [number, payload] of sent.entries()) {
    if (number % 3 === 0) await client.connect(cluster.nodes[number / 3 % 3].port);
    await publisher.publish({ topic: "t", payload, qos: 2 });
  }
  await eventually(() => got.length >= sent.length, "every message to arrive");
  await client.disconnect();
  assert.deepEqual(got, sent);
  assert.deepEqual(violations, []);
});

Deno.test("a clean start at one node ends the session that another node has kept, with all that waits for it", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  await leave(a);
  const publisher = await c.connect();
  await publisher.publish({ topic: "t", payload: "waits", qos: 1 });
  const clean = await b.connect({ clientId: "mover", cleanStart: true });
  assert.equal(clean.connack.sessionPresent, false);
  await publisher.publish({ topic: "t", payload: "for nobody", qos: 1 });
  await clean.expectNothing();
  await clean.disconnect();
  const again = await a.connect(lasting);
  assert.equal(again.connack.sessionPresent, false);
  await again.expectNothing();
});

Deno.test("a session expires, wherever its client was last, and leaves nothing behind", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  const keys = async () => (await cluster.redis.command("KEYS", "*{mover}*")).split("\n").filter((key) => key !== "");
  await leave(a, "t", { properties: { sessionExpiryInterval: 600 } });
  await leave(b, "t", { properties: { sessionExpiryInterval: 2 } });
  await (await c.connect()).publish({ topic: "t", payload: "waits", qos: 1 });
  assert.notDeepEqual(await keys(), []);
  await eventually(async () => (await keys()).length === 0, "the session to expire");
  const again = await c.connect(lasting);
  assert.equal(again.connack.sessionPresent, false);
  await again.expectNothing();
});

Deno.test("a client that takes its session over elsewhere has the will of its old connection published", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  const watcher = await c.connect();
  await watcher.subscribe("will/#", { qos: 1 });
  await a.connect({ ...lasting, will: { topic: "will/first", payload: "gone", qos: 1 } });
  const second = await b.connect({ ...lasting, will: { topic: "will/second", payload: "gone", qos: 1 } });
  const { topic, packetId } = await watcher.expect("publish");
  assert.equal(topic, "will/first");
  await watcher.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
  await second.disconnect();
  await watcher.expectNothing();
});

Deno.test("a delayed will is not published if its client is back in time, at whichever node", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  const watcher = await c.connect();
  await watcher.subscribe("will/#");
  const properties = { willDelayInterval: 1 };
  const will = { topic: "will/back", payload: "gone", properties };
  await (await a.connect({ ...lasting, will })).close();
  await b.connect(lasting);
  // One that is due later.
  const other = await a.connect({ ...lasting, clientId: "other", will: { ...will, topic: "will/other" } });
  await other.close();
  assert.equal((await watcher.expect("publish")).topic, "will/other");
  await watcher.expectNothing();
});

Deno.test("a client that goes without a goodbye has its delayed will published once in the whole cluster", async () => {
  await using cluster = await Cluster.start();
  const [a, , c] = cluster.nodes;
  const watcher = await c.connect();
  await watcher.subscribe("will/#");
  const will = { topic: "will/mover", payload: "gone", properties: { willDelayInterval: 1 } };
  await (await a.connect({ ...lasting, will })).close();
  assert.equal((await watcher.expect("publish")).topic, "will/mover");
  await watcher.expectNothing();
});

Deno.test("unsubscribing at one node from what was subscribed at another holds in the whole cluster", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  await leave(a, "t");
  const client = await b.connect(lasting);
  await client.unsubscribe("t");
  await client.disconnect();
  const publisher = await c.connect();
  await publisher.publish({ topic: "t", payload: "unwanted", qos: 1 });
  const again = await a.connect(lasting);
  assert.equal(again.connack.sessionPresent, true);
  await again.expectNothing();
});
