import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { encode } from "@msgpack/msgpack";
import type { ClusterContext, RemoteSubscriber, StoredSubscription } from "../../broker/hooks.ts";
import { Channel } from "../../hooks/cluster/channel.ts";
import { Fanout } from "../../hooks/cluster/fanout.ts";
import { Link } from "../../hooks/cluster/link.ts";
import { NodeKeys } from "../../hooks/cluster/node_keys.ts";
import { RemoteNode } from "../../hooks/cluster/remote_node.ts";
import { Writer } from "../../hooks/cluster/writer.ts";
import { type Qos, ReasonCode } from "../../mod.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import { BrokerCluster, type NodeBroker } from "./cluster_brokers.ts";

/** A node that consists of what it has left in Redis. */
class FakeNode {
  readonly #client: NodeBroker["hook"]["client"];
  readonly nodeId = "fake";
  version = 0;

  constructor({ hook }: NodeBroker) {
    this.#client = hook.client;
  }

  async beat(lifetime = 60_000): Promise<void> {
    const heartbeat = JSON.stringify({ incarnation: "life", routesVersion: this.version });
    await this.#client.call("SET", "mqtt:node:fake", heartbeat, "PX", lifetime);
    await this.#client.call("HSET", "mqtt:nodes", "fake", "life");
    await this.#client.call("PUBLISH", "mqtt:events", this.#bytes(["node", "fake"]));
  }

  /** Stores routes, and tells of them unless the event is to be lost. */
  async setRoutes(routes: [topicFilter: string, maximumQos: Qos, members: number][], tells = true): Promise<void> {
    this.version += 1;
    const values = routes.flatMap(([topicFilter, ...route]) => [topicFilter, this.#bytes(route)]);
    await this.#client.call("HSET", "mqtt:routes:fake", "", this.version, ...values);
    const event = this.#bytes(["routes", "fake", "life", this.version, routes]);
    if (tells) await this.#client.call("PUBLISH", "mqtt:events", event);
  }

  #bytes(value: unknown) {
    return Buffer.from(encode(value));
  }
}

/** Whether a message on a topic is for anybody. */
async function isRouted(broker: NodeBroker, topic: string): Promise<boolean> {
  await using client = await broker.connect();
  return await client.publish({ topic, qos: 1 }) === ReasonCode.Success;
}

async function becomesRouted(broker: NodeBroker, topic: string, isWanted: boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (await isRouted(broker, topic) !== isWanted) {
    assert.ok(performance.now() < end, `${topic} is ${isWanted ? "not routed" : "still routed"} after 5 s`);
  }
}

Deno.test("a hundred thousand filters of another node are read in pages, in a few seconds", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const fake = new FakeNode(a);
  await fake.beat();
  for (let start = 0; start < 100_000; start += 5000) {
    await fake.setRoutes(
      Array.from({ length: 5000 }, (_, index) => [`sensors/${start + index}/#`, 1, 1]),
      false,
    );
  }
  await cluster.redis.command("CONFIG", "RESETSTAT");
  const before = performance.now();
  const b = await cluster.node("b");
  // 2 on a machine that does nothing else.
  assert.ok(performance.now() - before < 20_000, `${performance.now() - before} ms`);
  const stats = await cluster.redis.command("INFO", "commandstats");
  assert.ok(Number(stats.match(/cmdstat_hscan:calls=(\d+)/)![1]) >= 50, stats);
  assert.doesNotMatch(stats, /cmdstat_(hgetall|hkeys|keys):/);
  assert.equal(await isRouted(b, "sensors/0/x"), true);
  assert.equal(await isRouted(b, "sensors/99999/x"), true);
  assert.equal(await isRouted(b, "sensors/100000/x"), false);
});

Deno.test("routes are learned from events, and forgotten", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const fake = new FakeNode(a);
  await fake.beat();
  await fake.setRoutes([["t", 1, 1], ["u", 1, 1]]);
  await becomesRouted(a, "t", true);
  await fake.setRoutes([["t", 0, 0]]);
  await becomesRouted(a, "t", false);
  assert.equal(await isRouted(a, "u"), true);
});

Deno.test("an event that was lost is noticed by the one after it", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a", { heartbeatInterval: 60, nodeTtl: 120 });
  const fake = new FakeNode(a);
  await fake.beat();
  await fake.setRoutes([["seen", 1, 1]]);
  await becomesRouted(a, "seen", true);
  await fake.setRoutes([["lost", 1, 1]], false);
  await fake.setRoutes([["seen too", 1, 1]]);
  await becomesRouted(a, "lost", true);
});

Deno.test("an event that was lost and has none after it is noticed by the heartbeats", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const fake = new FakeNode(a);
  await fake.beat();
  await fake.setRoutes([["lost", 1, 1]], false);
  await fake.beat();
  await becomesRouted(a, "lost", true);
});

Deno.test("events of an earlier life of a node mean nothing", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const fake = new FakeNode(a);
  await fake.beat();
  await fake.setRoutes([["now", 1, 1]]);
  await becomesRouted(a, "now", true);
  const old = encode(["routes", "fake", "an earlier life", 9, [["then", 1, 1], ["now", 0, 0]]]);
  await a.hook.client.call("PUBLISH", "mqtt:events", Buffer.from(old));
  await fake.setRoutes([["next", 1, 1]]);
  await becomesRouted(a, "next", true);
  assert.deepEqual([await isRouted(a, "then"), await isRouted(a, "now")], [false, true]);
});

Deno.test("routes that change in one turn of the event loop are written with one command", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const client = await a.connect();
  const filters = Array.from({ length: 500 }, (_, index) => `t/${index}`);
  await cluster.redis.command("CONFIG", "RESETSTAT");
  await client.subscribe(filters, { qos: 1 });
  const stats = await cluster.redis.command("INFO", "commandstats");
  // Of which one registers the client, and one is for the routes.
  assert.ok(Number(stats.match(/cmdstat_hset:calls=(\d+)/)![1]) <= 2, stats);
  assert.equal(await cluster.redis.command("HLEN", "mqtt:routes:a"), `${filters.length + 1}`);
});

Deno.test("the routes of a dead node are forgotten when it does not come back", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a", { heartbeatInterval: 0.1, nodeTtl: 0.2 });
  const fake = new FakeNode(a);
  await fake.setRoutes([["t", 1, 1]], false);
  await fake.beat(200);
  await becomesRouted(a, "t", true);
  await becomesRouted(a, "t", false);
  assert.equal(await cluster.redis.command("HEXISTS", "mqtt:nodes", "fake"), "0");
  const end = performance.now() + 5000;
  while (await cluster.redis.command("EXISTS", "mqtt:routes:fake", "mqtt:inbox:fake") !== "0") {
    assert.ok(performance.now() < end, "what it has left is still there");
  }
});

/** Keeps who subscribes to what, as `RemoteNode` says it. */
class SubscriptionRecord {
  readonly filters = new Map<RemoteSubscriber, Map<string, Qos>>();
  readonly context = {
    addSubscription: (subscriber: RemoteSubscriber, { topicFilter, qos }: StoredSubscription) => {
      if (!this.filters.has(subscriber)) this.filters.set(subscriber, new Map());
      this.filters.get(subscriber)!.set(topicFilter, qos);
    },
    removeSubscription: (subscriber: RemoteSubscriber, topicFilter: string) => {
      this.filters.get(subscriber)!.delete(topicFilter);
    },
  } as Partial<ClusterContext> as ClusterContext;

  /** How many subscribers each filter has, and at which QoS. */
  get subscribers(): Record<string, [count: number, qos: Qos]> {
    const counts: Record<string, [number, Qos]> = {};
    for (const filters of this.filters.values()) {
      for (const [topicFilter, qos] of filters) counts[topicFilter] = [(counts[topicFilter]?.[0] ?? 0) + 1, qos];
    }
    return counts;
  }
}

/** A node whose routes come from the test; nothing is sent to it. */
function remoteNode() {
  const record = new SubscriptionRecord();
  const logger = new RecordingLogger();
  const link = new Link({ addr: "127.0.0.1:1", logger });
  const keys = new NodeKeys("mqtt:");
  const writer = new Writer(link, { logger });
  const fanout = new Fanout(
    { link, writer, keys, nodeId: "a", incarnation: "life", cluster: record.context, logger },
    new Channel("channel", logger),
  );
  return { record, node: new RemoteNode("b", "life", fanout.to("b"), record.context) };
}

Deno.test("all plain subscribers of a node are one, and members of a group as many as there are, up to 16", () => {
  const { record, node } = remoteNode();
  node.change("t", 1, 500);
  node.change("u", 2, 1);
  node.change("$share/g/t", 1, 3);
  node.change("$share/h/t", 0, 20);
  assert.deepEqual(record.subscribers, {
    "t": [1, 1],
    "u": [1, 2],
    "$share/g/t": [3, 1],
    "$share/h/t": [16, 0],
  });
  assert.equal(record.filters.size, 17);
});

Deno.test("a route that changes takes the place of what it was", () => {
  const { record, node } = remoteNode();
  node.change("t", 1, 5);
  node.change("t", 0, 4);
  node.change("$share/g/t", 2, 5);
  node.change("$share/g/t", 1, 2);
  node.change("u", 1, 1);
  node.change("u", 0, 0);
  assert.deepEqual(record.subscribers, { "t": [1, 0], "$share/g/t": [2, 1] });
  node.clear();
  assert.deepEqual([record.subscribers, node.size], [{}, 0]);
});

Deno.test("while routes are read, what events say counts more than what is read", async () => {
  const { record, node } = remoteNode();
  for (const topicFilter of ["kept", "gone", "changed", "removed"]) node.change(topicFilter, 1, 1);
  await node.reload((async function* () {
    yield [["kept", 1, 1], ["new", 2, 1]] as const;
    await Promise.resolve();
    node.change("changed", 2, 1);
    node.change("removed", 0, 0);
    node.change("added", 0, 1);
    yield [["changed", 1, 1], ["removed", 1, 1]] as const;
  })());
  assert.deepEqual(record.subscribers, { "kept": [1, 1], "new": [1, 2], "changed": [1, 2], "added": [1, 0] });
});

Deno.test("a subscriber at another node is connected as long as that is alive", () => {
  const { record, node } = remoteNode();
  node.change("t", 1, 1);
  const [subscriber] = record.filters.keys();
  assert.deepEqual([subscriber.isConnected, subscriber.clientId], [true, undefined]);
  node.isAlive = false;
  assert.equal(subscriber.isConnected, false);
});
