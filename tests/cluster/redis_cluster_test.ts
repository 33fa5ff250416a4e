import assert from "node:assert/strict";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { Cluster } from "./cluster.ts";

// Everything is tested with a single server; here is what must be the same with a Redis Cluster of three masters.

const durable = { cleanStart: false, properties: { sessionExpiryInterval: 600 } };

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

Deno.test("over a Redis Cluster every subscriber on every node gets each message once", async () => {
  await using redis = await RedisCluster.start();
  await using cluster = await Cluster.start({ redisUrl: redis.url });
  const subscribers: RawClient[] = [];
  for (const node of cluster.nodes) {
    for (const options of [{ clientId: `clean-${node.id}` }, { ...durable, clientId: `durable-${node.id}` }]) {
      const subscriber = await node.connect(options);
      await subscriber.subscribe("t/#", { qos: 2 });
      subscribers.push(subscriber);
    }
  }
  for (const node of cluster.nodes) {
    const publisher = await node.connect();
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish({ topic: `t/${node.id}`, payload: `QoS ${qos}`, qos });
      for (const subscriber of subscribers) assert.equal(await receive(subscriber), `QoS ${qos}`);
    }
  }
  for (const subscriber of subscribers) await subscriber.expectNothing();
});

Deno.test("over a Redis Cluster clients find their sessions, queues and half-finished handshakes at another node", async () => {
  await using redis = await RedisCluster.start();
  await using cluster = await Cluster.start({ redisUrl: redis.url });
  const [a, b, c] = cluster.nodes;
  const publisher = await c.connect();
  // Enough of them for every master to have some.
  const clientIds = Array.from({ length: 12 }, (_, index) => `client-${index}`);
  for (const clientId of clientIds) {
    const client = await a.connect({ ...durable, clientId });
    await client.subscribe(clientId, { qos: 2 });
    await client.send(publishPacket({ topic: "half", qos: 2, packetId: 9 }));
    await client.expect("pubrec");
    await client.close();
    for (const number of [1, 2, 3]) {
      await publisher.publish({ topic: clientId, payload: `${number}`, qos: number % 2 === 0 ? 1 : 2 });
    }
  }
  for (const clientId of clientIds) {
    const properties = { ...durable.properties, receiveMaximum: 1 };
    const client = await b.connect({ ...durable, clientId, properties });
    assert.equal(client.connack.sessionPresent, true);
    for (const number of [1, 2, 3]) assert.equal(await receive(client), `${number}`);
    await client.send({ type: "pubrel", packetId: 9, reasonCode: 0 });
    assert.equal((await client.expect("pubcomp")).reasonCode, 0);
    const elsewhere = await c.connect({ ...durable, clientId });
    assert.equal((await client.expect("disconnect")).reasonCode, 0x8e);
    await elsewhere.expectNothing();
  }
});

Deno.test("over a Redis Cluster retained messages are the same on every node, also on one that joins later", async () => {
  await using redis = await RedisCluster.start();
  await using cluster = await Cluster.start({ redisUrl: redis.url });
  const expected = new Map<string, string>();
  for (const node of cluster.nodes) {
    const publisher = await node.connect();
    for (let number = 0; number < 50; number++) {
      await publisher.publish({ topic: `r/${node.id}/${number}`, payload: `${number}`, qos: 1, retain: true });
      expected.set(`r/${node.id}/${number}`, `${number}`);
    }
  }
  await using late = await cluster.join("late");
  for (const node of [...cluster.nodes, late]) {
    const client = await node.connect();
    await client.subscribe("r/#");
    const found = new Map<string, string>();
    while (found.size < expected.size) {
      const { topic, payload } = await client.expect("publish");
      found.set(topic, new TextDecoder().decode(payload));
    }
    await client.expectNothing();
    assert.deepEqual([...found].sort(), [...expected].sort(), `at node ${node.id}`);
  }
});

Deno.test("over a Redis Cluster whose servers have forgotten all scripts QoS 0 messages go on reaching other nodes", async () => {
  await using redis = await RedisCluster.start();
  await using cluster = await Cluster.start({ redisUrl: redis.url });
  const [publisher, subscriber] = [await cluster.nodes[0].connect(), await cluster.nodes[1].connect()];
  await subscriber.subscribe("t");
  for (const server of redis.masters) await server.command("SCRIPT", "FLUSH");
  await publisher.publish({ topic: "t", payload: "after" });
  const { payload } = await subscriber.expect("publish");
  assert.equal(new TextDecoder().decode(payload), "after");
});
