import assert from "node:assert/strict";
import type { RawClient } from "../support/raw_client.ts";
import { Cluster, type ClusterNode, eventually } from "./cluster.ts";

const durable = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };

/** A cluster whose Redis has lost everything and has got it back from the nodes, after `prepare`. */
async function restarted(prepare: (cluster: Cluster) => Promise<void>): Promise<Cluster> {
  const cluster = await Cluster.start();
  try {
    await prepare(cluster);
    await cluster.redis.restart();
    await eventually(async () => await cluster.redis.command("HLEN", "mqtt:nodes") === "3", "all nodes to register");
    await cluster.isWell();
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}

async function expectText(client: RawClient, expected: string): Promise<void> {
  const { payload, qos, packetId } = await client.expect("publish");
  assert.equal(new TextDecoder().decode(payload), expected);
  if (qos === 1) await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
}

/** What a new subscriber gets. */
async function retainedAt(node: ClusterNode, topic: string): Promise<string> {
  const client = await node.connect();
  await client.subscribe(topic);
  const { payload } = await client.expect("publish");
  await client.close();
  return new TextDecoder().decode(payload);
}

Deno.test("when Redis comes back empty, subscribers on every node go on getting messages from every other", async () => {
  const subscribers: RawClient[] = [];
  await using cluster = await restarted(async ({ nodes }) => {
    for (const node of nodes) {
      const subscriber = await node.connect();
      await subscriber.subscribe("t/#", { qos: 1 });
      subscribers.push(subscriber);
    }
  });
  for (const node of cluster.nodes) {
    const publisher = await node.connect();
    for (const qos of [0, 1] as const) {
      await publisher.publish({ topic: "t/1", payload: `from ${node.id} at QoS ${qos}`, qos });
      for (const subscriber of subscribers) await expectText(subscriber, `from ${node.id} at QoS ${qos}`);
    }
  }
  for (const subscriber of subscribers) await subscriber.expectNothing();
});

Deno.test("when Redis comes back empty, it gets the retained messages from the nodes", async () => {
  await using cluster = await restarted(async ({ nodes: [a, b, c] }) => {
    const publisher = await a.connect();
    await publisher.publish({ topic: "r/1", payload: "one", qos: 1, retain: true });
    await publisher.publish({ topic: "r/2", payload: "two", qos: 1, retain: true });
    for (const node of [b, c]) assert.equal(await retainedAt(node, "r/2"), "two");
  });
  await using late = await cluster.join("late");
  for (const node of [...cluster.nodes, late]) {
    assert.equal(await retainedAt(node, "r/1"), "one");
    assert.equal(await retainedAt(node, "r/2"), "two");
  }
});

Deno.test("when Redis comes back empty, connected clients keep their durable sessions, and can move", async () => {
  let client: RawClient | undefined;
  await using cluster = await restarted(async ({ nodes: [a] }) => {
    client = await a.connect({ ...durable, clientId: "connected" });
    await client.subscribe("t", { qos: 1 });
  });
  const [, b, c] = cluster.nodes;
  const publisher = await b.connect();
  await publisher.publish({ topic: "t", payload: "first", qos: 1 });
  await expectText(client!, "first");
  // Until then it may come again.
  const isEmpty = async () => await cluster.redis.command("XLEN", "mqtt:queue:{connected}") === "0";
  await eventually(isEmpty, "the acknowledgement to be stored");
  const moved = await c.connect({ ...durable, clientId: "connected" });
  assert.equal((await client!.expect("disconnect")).reasonCode, 0x8e);
  assert.equal(moved.connack.sessionPresent, true);
  await publisher.publish({ topic: "t", payload: "second", qos: 1 });
  await expectText(moved, "second");
  await moved.expectNothing();
});

Deno.test("when Redis comes back empty, clients that are away keep their sessions and subscriptions", async () => {
  await using cluster = await restarted(async ({ nodes: [a] }) => {
    const client = await a.connect({ ...durable, clientId: "away" });
    await client.subscribe("t", { qos: 1 });
    await client.disconnect();
  });
  const [, b, c] = cluster.nodes;
  await (await b.connect()).publish({ topic: "t", payload: "for later", qos: 1 });
  const client = await c.connect({ ...durable, clientId: "away" });
  assert.equal(client.connack.sessionPresent, true);
  await expectText(client, "for later");
  await client.expectNothing();
});

Deno.test("when Redis comes back empty, a message that a client has not acknowledged is not forgotten", async () => {
  let client: RawClient | undefined;
  let packetId: number | undefined;
  await using cluster = await restarted(async ({ nodes: [a, b] }) => {
    client = await a.connect({ ...durable, clientId: "slow" });
    await client.subscribe("t", { qos: 2 });
    await (await b.connect()).publish({ topic: "t", payload: "hello", qos: 2 });
    ({ packetId } = await client.expect("publish"));
  });
  await client!.close();
  const again = await cluster.nodes[2].connect({ ...durable, clientId: "slow" });
  const message = await again.expect("publish");
  assert.deepEqual([message.packetId, message.dup], [packetId, true]);
  await again.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
  await again.expect("pubrel");
  await again.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
  await again.expectNothing();
});
