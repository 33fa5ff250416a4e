import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { encode as encodeMessagePack } from "@msgpack/msgpack";
import { clusterHook } from "../../hooks/mod.ts";
import { encode, type PublishPacket } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { eventually as eventuallyIn } from "../cluster/cluster.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { RedisServer } from "../support/redis_server.ts";
import { startBroker } from "../support/start_broker.ts";
import { BrokerCluster, type NodeBroker, text } from "./cluster_brokers.ts";

/** What a node has retained, by topic. */
async function retainedAt({ hook }: NodeBroker, topicFilter = "#"): Promise<Record<string, string>> {
  const packets = await hook.getRetained(topicFilter);
  return Object.fromEntries(packets.map((packet) => [packet.topic, text(packet)]).sort());
}

/** Everything on its way to a node has arrived there. */
async function settled(...nodes: NodeBroker[]): Promise<void> {
  for (const { hook } of nodes) await hook.routesKnown!();
}

async function receiveAll(client: RawClient, count: number): Promise<PublishPacket[]> {
  const packets: PublishPacket[] = [];
  while (packets.length < count) packets.push(await client.expect("publish"));
  return packets;
}

Deno.test("a retained message is sent to new subscribers of every node", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const publisher = await a.connect();
  await publisher.publish({ topic: "t", payload: "kept", qos: 1, retain: true });
  const c = await cluster.node("c");
  for (const node of [a, b, c]) {
    const subscriber = await node.connect();
    await subscriber.subscribe("t", { qos: 1 });
    const packet = await subscriber.expect("publish");
    assert.deepEqual([text(packet), packet.retain, packet.qos], ["kept", true, 1]);
  }
});

Deno.test("an empty message removes what is retained at every node and in Redis", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  await a.publish("t", "kept", { retain: true });
  await settled(b, a);
  await b.publish("t", "", { retain: true });
  await settled(a, b);
  assert.deepEqual([await retainedAt(a), await retainedAt(b)], [{}, {}]);
  assert.equal(await cluster.redis.command("EXISTS", "mqtt:retained:t"), "0");
  assert.equal(await cluster.redis.command("SCARD", "mqtt:retained:_idx"), "0");
});

Deno.test("a retained message keeps its properties", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const properties = { contentType: "text/plain", userProperties: [["a", "b"]] as [string, string][] };
  await a.publish("t", "kept", { retain: true, qos: 2, properties });
  await settled(b);
  const [packet] = await b.hook.getRetained("t");
  assert.deepEqual([packet.qos, packet.retain, packet.properties], [2, true, properties]);
});

Deno.test("nodes that write to the same topics at the same time agree in the end, with Redis and with those that come later", async () => {
  await using cluster = await BrokerCluster.start();
  const nodes = await Promise.all(["a", "b", "c"].map((nodeId) => cluster.node(nodeId)));
  const writes: Promise<void>[] = [];
  for (let round = 0; round < 60; round++) {
    for (const node of nodes) {
      for (let topic = 0; topic < 5; topic++) {
        const isRemoval = (round + topic) % 7 === 0;
        const payload = isRemoval ? "" : `${node.hook.nodeId} ${round}`;
        writes.push(node.publish(`t/${topic}`, payload, { retain: true, qos: 1 }));
      }
    }
    if (round % 10 === 0) await Promise.all(writes);
  }
  await Promise.all(writes);
  await settled(...nodes);
  const late = await cluster.node("late");
  const expected = await retainedAt(late);
  for (const node of nodes) assert.deepEqual(await retainedAt(node), expected);
});

Deno.test("a node's own subscribers see its own last message, also while that is on its way", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const publishers = [await b.connect(), await a.connect()];
  cluster.redis.stop();
  for (const publisher of publishers) {
    for (const [index, payload] of ["first", "second"].entries()) {
      const fields = { topic: "t", payload, qos: 1 as const, retain: true, packetId: index + 1 };
      await publisher.send(publishPacket(fields));
    }
    await publisher.expectNothing();
  }
  assert.deepEqual(await retainedAt(a), { t: "second" });
  cluster.redis.continue();
  for (const publisher of publishers) for (let count = 0; count < 2; count++) await publisher.expect("puback");
  await settled(a, b);
  assert.deepEqual(await retainedAt(a), await retainedAt(b));
});

Deno.test("a wildcard finds the same of many thousand messages at every node", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a", { nodeTtl: 10 });
  const b = await cluster.node("b", { nodeTtl: 10 });
  const count = 20_000;
  const publisher = await a.connect();
  for (let start = 0; start < count; start += 1000) {
    const packets = Array.from({ length: 1000 }, (_, index) => {
      const id = start + index;
      return encode(publishPacket({ topic: `plant/${id % 100}/sensor/${id}`, payload: `${id}`, retain: true }), 5);
    });
    await publisher.sendBytes(new Uint8Array(await new Blob(packets as BlobPart[]).arrayBuffer()));
    await eventually(() => b.stats().retainedMessages === start + 1000, "the other node to know them");
  }
  const before = performance.now();
  const c = await cluster.node("c", { nodeTtl: 10 });
  assert.ok(performance.now() - before < 10_000, `${performance.now() - before} ms to load them`);
  for (const node of [a, b, c]) {
    assert.equal(node.stats().retainedMessages, count);
    const subscriber = await node.connect();
    await subscriber.subscribe("plant/7/#");
    const topics = (await receiveAll(subscriber, 200)).map(({ topic }) => topic);
    assert.equal(new Set(topics).size, 200);
    await subscriber.close();
  }
});

Deno.test("a retained message that expires is gone from every node and from Redis", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  await a.publish("t", "short", { retain: true, properties: { messageExpiryInterval: 1 } });
  await settled(b);
  assert.deepEqual(await retainedAt(b), { t: "short" });
  assert.notEqual(await cluster.redis.command("PTTL", "mqtt:retained:t"), "-1");
  await eventually(() => a.stats().retainedMessages + b.stats().retainedMessages === 0, "it to be forgotten");
  const c = await cluster.node("c");
  assert.deepEqual(await retainedAt(c), {});
  assert.equal(await cluster.redis.command("SCARD", "mqtt:retained:_idx"), "0");
});

Deno.test("what is retained in a broker before it joins is known to all, unless they have something newer", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  await a.publish("both", "of the cluster", { retain: true });
  await using late = await startBroker();
  await late.publish("both", "of the late one", { retain: true });
  await late.publish("own", "of the late one", { retain: true });
  const hook = clusterHook({ addr: cluster.redis.url, nodeId: "late" });
  await late.use(hook);
  await hook.routesKnown!();
  await settled(a);
  const expected = { both: "of the cluster", own: "of the late one" };
  assert.deepEqual([await retainedAt(a), await retainedAt(Object.assign(late, { hook }))], [expected, expected]);
});

Deno.test("what has changed while a node was cut off is what the node has when it is back", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  await a.publish("kept", "1", { retain: true });
  await a.publish("changed", "1", { retain: true });
  await a.publish("removed", "1", { retain: true });
  await settled(b);
  // What no node hears, and then a new connection.
  await cluster.redis.command("DEL", "mqtt:retained:removed");
  await cluster.redis.command("SREM", "mqtt:retained:_idx", "removed");
  const publish = encode(publishPacket({ topic: "changed", payload: "2", retain: true }), 5);
  await a.hook.client.set("mqtt:retained:changed", Buffer.from(encodeMessagePack([Date.now(), publish])));
  await cluster.redis.command("CLIENT", "KILL", "TYPE", "pubsub");
  await eventually(() => b.stats().retainedMessages === 2, "the removed one to be gone");
  assert.deepEqual(await retainedAt(b), { kept: "1", changed: "2" });
});

Deno.test("a retained message can be stored and looked up through the hook", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const packet = { type: "publish", topic: "a/b", qos: 1, retain: true, dup: false } as const;
  await a.hook.storeRetained("a/b", { ...packet, payload: new TextEncoder().encode("kept") });
  await settled(b);
  for (const node of [a, b]) {
    assert.deepEqual(await retainedAt(node, "a/+"), { "a/b": "kept" });
    assert.deepEqual(await retainedAt(node, "b/#"), {});
  }
});

for (const [kind, start] of [["one server", RedisServer.start], ["a Redis Cluster", RedisCluster.start]] as const) {
  Deno.test(`[${kind}] the topics of messages that have expired go out of the index, a part at a time`, async () => {
    await using redis = await start();
    await using broker = await startBroker();
    const urls = "masters" in redis ? { addrs: redis.masters.map(({ url }) => url) } : { addr: redis.url };
    const hook = clusterHook({ ...urls, nodeId: "a", heartbeatInterval: 0.1 });
    await broker.use(hook);
    await broker.publish("kept", "kept", { retain: true });
    const expired = Array.from({ length: 3000 }, (_, index) => `expired/${index}`);
    await hook.client.call("SADD", "mqtt:retained:_idx", ...expired);
    await eventuallyIn(
      async () => await hook.client.call("SCARD", "mqtt:retained:_idx") === 1,
      "the index to be clean",
    );
    assert.deepEqual(await hook.client.call("SMEMBERS", "mqtt:retained:_idx"), ["kept"]);
  });
}

for (const [kind, start] of [["one server", RedisServer.start], ["a Redis Cluster", RedisCluster.start]] as const) {
  Deno.test(`[${kind}] large messages are read with replies that Redis has room for`, async () => {
    await using redis = await start();
    const servers = "masters" in redis ? redis.masters : [redis];
    const urls = "masters" in redis ? { addrs: redis.masters.map(({ url }) => url) } : { addr: redis.url };
    await using one = await startBroker();
    await one.use(clusterHook({ ...urls, nodeId: "one" }));
    const count = 240;
    const payload = new Uint8Array(256 * 1024);
    for (let number = 0; number < count; number++) await one.publish(`t/${number}`, payload, { retain: true });
    for (const server of servers) {
      await server.command("CONFIG", "SET", "client-output-buffer-limit", "normal 9mb 0 0");
    }
    await using two = await startBroker();
    await two.use(clusterHook({ ...urls, nodeId: "two" }));
    assert.equal(two.stats().retainedMessages, count);
  });
}
