import assert from "node:assert/strict";
import { clusterHook } from "../../hooks/mod.ts";
import { Channel } from "../../hooks/cluster/channel.ts";
import { Link } from "../../hooks/cluster/link.ts";
import { NodeKeys } from "../../hooks/cluster/node_keys.ts";
import { readNodes, Registry } from "../../hooks/cluster/registry.ts";
import { eventually } from "../broker/eventually.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import { startBroker } from "../support/start_broker.ts";
import { BrokerCluster } from "./cluster_brokers.ts";

Deno.test("nodes that come later are known to those before, and the other way round", async () => {
  await using cluster = await BrokerCluster.start();
  const nodes = [];
  for (const nodeId of ["c", "a", "b"]) nodes.push(await cluster.node(nodeId));
  for (const { hook } of nodes) {
    await eventually(() => hook.health().nodes.length === 3, "all nodes to be known");
    assert.deepEqual(await hook.getActiveNodes(), ["a", "b", "c"]);
  }
});

Deno.test("a heartbeat says how a node is, and is gone when the node is", async () => {
  await using cluster = await BrokerCluster.start();
  const before = Date.now();
  const a = await cluster.node("a");
  await a.connect();
  await a.connect();
  await using link = await openLink(cluster);
  let node = (await readNodes(link, "mqtt:"))[0];
  const end = performance.now() + 5000;
  while (node.clients !== 2) {
    assert.ok(performance.now() < end, `${node.clients} clients`);
    [node] = await readNodes(link, "mqtt:");
  }
  const { nodeId, sessions, startedAt, version, messagesPerSecond } = node;
  assert.deepEqual([nodeId, sessions, messagesPerSecond], ["a", 2, 0]);
  assert.match(version, /^\d+\.\d+\.\d+/);
  assert.ok(startedAt >= before - 1000 && startedAt <= Date.now());
  await a.close();
  assert.deepEqual(await readNodes(link, "mqtt:"), []);
});

Deno.test("a cluster with another prefix on the same server is another cluster", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b", { keyPrefix: "other:" });
  const subscriber = await b.connect();
  await subscriber.subscribe("t");
  await a.publish("t", "not for them");
  await subscriber.expectNothing();
  assert.deepEqual([await a.hook.getActiveNodes(), await b.hook.getActiveNodes()], [["a"], ["b"]]);
});

Deno.test("a node that is started again has its id back at once, also if it was killed", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a", { heartbeatInterval: 5, nodeTtl: 60 });
  // As a process that was killed leaves things.
  await cluster.redis.command("HSET", "mqtt:nodes", "b", "its last life");
  await cluster.redis.command("SET", "mqtt:node:b", JSON.stringify({ incarnation: "its last life" }), "PX", 60_000);
  const before = performance.now();
  await cluster.node("b", { heartbeatInterval: 5, nodeTtl: 60 });
  assert.ok(performance.now() - before < 5000);
  await eventually(() => a.hook.health().nodes.length === 2, "the new life to be known");
});

Deno.test("what a node has left in an earlier life is not taken for what it is now", async () => {
  await using cluster = await BrokerCluster.start();
  await cluster.redis.command("HSET", "mqtt:routes:a", "old/#", "x", "", "7");
  await cluster.redis.command("XADD", "mqtt:inbox:a", "*", "frame", "old");
  await cluster.node("a");
  assert.equal(await cluster.redis.command("EXISTS", "mqtt:routes:a", "mqtt:inbox:a"), "0");
});

Deno.test("a node whose id somebody else has taken says so, and is one of the cluster again when that has gone", async () => {
  await using cluster = await BrokerCluster.start();
  const logger = new RecordingLogger();
  const a = await cluster.node("a", {}, { logger });
  const other = JSON.stringify({ incarnation: "somebody else" });
  // A subscriber, so that it is not taken for the last life of a process that was killed.
  await using link = await openLink(cluster);
  await link.subscribe("mqtt:fanout:a", () => {});
  await cluster.redis.command("SET", "mqtt:node:a", other, "PX", 60_000);
  await cluster.redis.command("HSET", "mqtt:nodes", "a", "somebody else");
  const keepBeating = setInterval(() => void link.call("SET", "mqtt:node:a", other, "PX", 60_000).catch(() => {}), 20);
  try {
    await eventually(() => !a.hook.health().ok, "the conflict to be noticed");
  } finally {
    clearInterval(keepBeating);
  }
  assert.match(a.hook.health().reason!, /^node id "a" is in use by another broker/);
  await link.call("DEL", "mqtt:node:a");
  await eventually(() => a.hook.health().ok, "the node to be back");
});

Deno.test("a node that others have forgotten makes itself known again, with its routes", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t", { qos: 1 });
  for (const command of [["HDEL", "mqtt:nodes", "b"], ["DEL", "mqtt:routes:b", "mqtt:inbox:b"]]) {
    await cluster.redis.command(...command);
  }
  const end = performance.now() + 5000;
  while (await cluster.redis.command("HLEN", "mqtt:routes:b") !== "2") {
    assert.ok(performance.now() < end, "the routes are not written again");
  }
  await b.hook.routesKnown!();
  await a.publish("t", "hello", { qos: 1 });
  assert.equal((await subscriber.expect("publish")).topic, "t");
});

Deno.test("a node counts as alive while it tells a Redis that was emptied again what it has", async () => {
  await using cluster = await BrokerCluster.start();
  await using link = await openLink(cluster);
  const logger = new RecordingLogger();
  const keys = new NodeKeys("mqtt:");
  const incarnation = "this life";
  const alive: string[][] = [];
  const unused = () => Promise.reject(new Error("nobody else is there"));
  const registry = new Registry({
    link,
    keys,
    nodeId: "a",
    incarnation,
    heartbeatInterval: 60_000,
    nodeTtl: 60_000,
    describe: () => ({
      incarnation,
      version: "1.0.0",
      startedAt: 0,
      clients: 0,
      sessions: 0,
      messagesPerSecond: 0,
      routesVersion: 0,
    }),
    watcher: {
      appeared: unused,
      turned: unused,
      gone: unused,
      atLeast: unused,
      adopt: unused,
      check: unused,
      forgotten: async () => void alive.push((await readNodes(link, "mqtt:")).map(({ nodeId }) => nodeId)),
    },
    logger,
  }, new Channel(keys.events, logger));
  assert.equal(await registry.register(), "node");
  await cluster.redis.command("FLUSHALL");
  assert.equal(await registry.register(), "everything");
  await registry.stop();
  assert.deepEqual(alive, [["a"]]);
});

Deno.test("what is retained and routed is there again after all was deleted under the nodes' feet", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t/#", { qos: 1 });
  await a.publish("t/kept", "kept", { retain: true, qos: 1 });
  await subscriber.expect("publish");
  await cluster.redis.command("FLUSHALL");
  const end = performance.now() + 5000;
  while (await cluster.redis.command("EXISTS", "mqtt:routes:b", "mqtt:retained:t/kept", "mqtt:node:a") !== "3") {
    assert.ok(performance.now() < end, "it is not there again");
  }
});

Deno.test("a broker that closes while Redis is away does not wait for it for long", async () => {
  await using cluster = await BrokerCluster.start();
  await using broker = await startBroker();
  await broker.use(clusterHook({ addr: cluster.redis.url, nodeId: "late" }));
  await cluster.redis.kill();
  const before = performance.now();
  await broker.close();
  assert.ok(performance.now() - before < 5000, `${performance.now() - before} ms`);
});

/** A connection of somebody who is no node. */
async function openLink({ redis }: BrokerCluster): Promise<Link & AsyncDisposable> {
  const link = new Link({ addr: redis.url, logger: new RecordingLogger() });
  await link.connect();
  return Object.assign(link, { [Symbol.asyncDispose]: () => link.close() });
}

Deno.test("what an emptied Redis has not been given completely, it is given once more", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const durable = { clientId: "away", cleanStart: false, properties: { sessionExpiryInterval: 600 } };
  const away = await a.connect(durable);
  await away.subscribe("t", { qos: 1 });
  await away.close();
  const publisher = await a.connect();
  await publisher.publish({ topic: "retained", payload: "kept", qos: 1, retain: true });
  const { client } = a.hook;
  const call = client.callBuffer.bind(client) as (...words: unknown[]) => Promise<unknown>;
  let isInterrupted = false;
  client.callBuffer = ((...words: unknown[]) => {
    if (isInterrupted || words[0] !== "SADD" || words[1] !== "mqtt:sessions:a") return call(...words);
    isInterrupted = true;
    return Promise.reject(new Error("interrupted"));
  }) as typeof client.callBuffer;
  await cluster.redis.restart();
  await eventually(() => isInterrupted && a.hook.health().isConnected, "the reconnection");
  assert.equal((await a.hook.getRetained("#")).length, 1);
  await publisher.publish({ topic: "t", payload: "1", qos: 1 });
  const back = await a.open();
  assert.equal((await back.connect(durable)).sessionPresent, true);
  assert.equal((await back.expect("publish")).topic, "t");
  assert.equal(await cluster.redis.command("SMEMBERS", "mqtt:retained:_idx"), "retained");
});
