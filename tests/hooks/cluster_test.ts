import assert from "node:assert/strict";
import { clusterHook } from "../../hooks/mod.ts";
import { type ProtocolLevel, type Qos, ReasonCode } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { publishPacket } from "../support/raw_client.ts";
import { RedisServer } from "../support/redis_server.ts";
import { startBroker } from "../support/start_broker.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { BrokerCluster, text } from "./cluster_brokers.ts";

const levels: readonly ProtocolLevel[] = [3, 4, 5];
const qualities: readonly Qos[] = [0, 1, 2];

for (const level of levels) {
  for (const qos of qualities) {
    Deno.test(`a message at QoS ${qos} of a client of level ${level} reaches subscribers of all levels at another node`, async () => {
      await using cluster = await BrokerCluster.start();
      const a = await cluster.node("a");
      const b = await cluster.node("b");
      const subscribers = await Promise.all(levels.map((level) => b.connect({ level, clientId: `level-${level}` })));
      for (const subscriber of subscribers) await subscriber.subscribe("t/#", { qos: 2 });
      const publisher = await a.connect({ level });
      assert.equal(await publisher.publish({ topic: "t/1", payload: "hello", qos }), ReasonCode.Success);
      for (const subscriber of subscribers) {
        const packet = await subscriber.expect("publish");
        assert.deepEqual([packet.topic, text(packet), packet.qos, packet.retain], ["t/1", "hello", qos, false]);
      }
    });
  }
}

Deno.test("who has the SUBACK gets what is published at any other node from then on", async () => {
  await using cluster = await BrokerCluster.start();
  const nodes = await Promise.all(["a", "b", "c"].map((nodeId) => cluster.node(nodeId)));
  const subscriber = await nodes[0].connect();
  for (let round = 0; round < 20; round++) {
    await subscriber.subscribe(`t/${round}`);
    for (const node of nodes) await node.publish(`t/${round}`, "now");
    for (const _node of nodes) assert.equal((await subscriber.expect("publish")).topic, `t/${round}`);
  }
});

Deno.test("who has the UNSUBACK gets nothing more", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe(["t", "u"]);
  await subscriber.unsubscribe("t");
  await a.publish("t", "too late");
  await a.publish("u", "next");
  assert.equal(text(await subscriber.expect("publish")), "next");
});

Deno.test("messages keep their order on their way to another node", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t/#", { qos: 1 });
  const publisher = await a.connect();
  const count = 2000;
  for (const qos of [0, 1] as const) {
    const sent = (async () => {
      for (let index = 0; index < count; index++) {
        await publisher.send({
          type: "publish",
          topic: `t/${qos}`,
          payload: new TextEncoder().encode(`${index}`),
          qos,
          retain: false,
          dup: false,
          ...(qos === 1 && { packetId: (index % 500) + 1 }),
        });
        if (qos === 1) await publisher.expect("puback");
      }
    })();
    for (let index = 0; index < count; index++) {
      const packet = await subscriber.expect("publish");
      assert.deepEqual([packet.topic, text(packet)], [`t/${qos}`, `${index}`]);
      if (qos === 1) {
        await subscriber.send({ type: "puback", packetId: packet.packetId!, reasonCode: 0 });
      }
    }
    await sent;
  }
});

Deno.test("a message with all properties arrives with them", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t", { qos: 1, properties: { subscriptionIdentifiers: [7] } });
  const publisher = await a.connect();
  const properties = {
    payloadFormatIndicator: 1 as const,
    messageExpiryInterval: 60,
    responseTopic: "answer",
    correlationData: new Uint8Array([1, 2, 3]),
    userProperties: [["a", "b"]] as [string, string][],
    contentType: "text/plain",
  };
  await publisher.publish({ topic: "t", payload: "x", qos: 1, properties });
  const packet = await subscriber.expect("publish");
  assert.deepEqual({ ...packet.properties, messageExpiryInterval: 60 }, {
    ...properties,
    subscriptionIdentifiers: [7],
  });
});

Deno.test("a client with several subscriptions gets a message from another node once, at the highest QoS", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t/#", { qos: 0 });
  await subscriber.subscribe("t/+", { qos: 1 });
  await subscriber.subscribe("#", { qos: 0 });
  const other = await b.connect();
  await other.subscribe("t/1", { qos: 0 });
  await a.publish("t/1", "once", { qos: 2 });
  assert.equal((await subscriber.expect("publish")).qos, 1);
  await subscriber.expectNothing();
  assert.equal((await other.expect("publish")).qos, 0);
  await other.expectNothing();
});

Deno.test("the embedding program gets what is published at another node", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const received: string[] = [];
  using _subscription = await b.subscribe("t", (packet) => void received.push(text(packet)));
  await using probe = await b.connect();
  await probe.subscribe("t");
  await a.publish("t", "hello");
  await probe.expect("publish");
  assert.deepEqual(received, ["hello"]);
});

for (const qos of qualities) {
  Deno.test(`a shared subscription brings each message at QoS ${qos} to one member in the whole cluster, and some to every one`, async () => {
    await using cluster = await BrokerCluster.start();
    const nodes = await Promise.all(["a", "b", "c"].map((nodeId) => cluster.node(nodeId)));
    const counts = new Map<string, number>();
    const seen: string[] = [];
    const members: { name: string; broker: typeof nodes[number] }[] = [
      { name: "a1", broker: nodes[0] },
      { name: "b1", broker: nodes[1] },
      { name: "b2", broker: nodes[1] },
      { name: "c1", broker: nodes[2] },
    ];
    const clients = await Promise.all(members.map(async ({ name, broker }) => {
      const client = await broker.connect({ clientId: name });
      await client.subscribe("$share/workers/jobs/#", { qos });
      return { name, client };
    }));
    const total = 120;
    for (let job = 0; job < total; job++) await nodes[job % 3].publish("jobs/1", `${job}`, { qos });
    await Promise.all(clients.map(async ({ name, client }) => {
      for (;;) {
        const packet = await client.expect("publish").catch(() => undefined);
        if (packet === undefined) return;
        counts.set(name, (counts.get(name) ?? 0) + 1);
        if (qos === 1) await client.send({ type: "puback", packetId: packet.packetId!, reasonCode: 0 });
        // Whoever has seen the last one closes all connections.
        seen.push(text(packet));
        if (seen.length === total) { for (const other of clients) await other.client.close(); }
      }
    }));
    assert.deepEqual(seen.map(Number).sort((x, y) => x - y), Array.from({ length: total }, (_, job) => job));
    for (const { name } of members) assert.ok(counts.get(name)! >= 5, `${name} got ${counts.get(name)}`);
  });
}

Deno.test("topics below $SYS are each node's own", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe(["$SYS/#", "t"]);
  await a.publish("$SYS/broker/uptime", "1 second", { retain: true });
  await a.publish("t", "next");
  assert.equal((await subscriber.expect("publish")).topic, "t");
  assert.equal(await cluster.redis.command("EXISTS", "mqtt:retained:$SYS/broker/uptime"), "0");
});

Deno.test("a node that has left takes its subscriptions with it", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t");
  const publisher = await a.connect();
  assert.equal(await publisher.publish({ topic: "t", qos: 1 }), ReasonCode.Success);
  await b.close();
  await eventually(() => a.hook.health().nodes.length === 1, "node b to be gone");
  assert.equal(await publisher.publish({ topic: "t", qos: 1 }), ReasonCode.NoMatchingSubscribers);
});

Deno.test("a node that has joined late knows all subscriptions of the others", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const subscriber = await a.connect();
  await subscriber.subscribe(["t/1", "$share/g/t/2"], { qos: 1 });
  const b = await cluster.node("b");
  await b.publish("t/1", "first");
  await b.publish("t/2", "second");
  assert.deepEqual([text(await subscriber.expect("publish")), text(await subscriber.expect("publish"))], [
    "first",
    "second",
  ]);
});

Deno.test("subscriptions that a broker has when it joins are known to the others", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  await using late = await startBroker();
  const subscriber = await late.connect();
  await subscriber.subscribe("t");
  const hook = clusterHook({ addr: cluster.redis.url, nodeId: "late" });
  await late.use(hook);
  await hook.routesKnown!();
  await a.publish("t", "hello");
  assert.equal(text(await subscriber.expect("publish")), "hello");
});

Deno.test("a hook says which nodes are alive, which one it is, and lends its client", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  await eventually(() => a.hook.health().nodes.length === 2, "node b to be known");
  assert.deepEqual(await a.hook.getActiveNodes(), ["a", "b"]);
  assert.deepEqual(await b.hook.getActiveNodes(), ["a", "b"]);
  assert.equal(a.hook.nodeId, "a");
  assert.equal(await a.hook.client.ping(), "PONG");
});

Deno.test("a message is put into the queue of a durable session at another node", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const client = await b.connect({ clientId: "c", properties: { sessionExpiryInterval: 60 } });
  const packet = { type: "publish" as const, topic: "t", qos: 1 as const, retain: false, dup: false };
  await a.hook.queueMessage("c", { ...packet, payload: new TextEncoder().encode("for you") });
  assert.equal(text(await client.expect("publish")), "for you");
});

for (const queuePolicy of ["drop-oldest", "drop-new"] as const) {
  Deno.test(`what a full queue drops with "${queuePolicy}" is counted and told at the node that has published`, async () => {
    await using cluster = await BrokerCluster.start();
    const a = await cluster.node("a");
    const b = await cluster.node("b", {}, { queuePolicy, limits: { queueMessages: 2 } });
    const told: string[] = [];
    await b.use({
      id: "observer",
      onMessageDropped: (clientId, packet, reason) => told.push(`${clientId} ${reason} ${text(packet)}`),
    });
    const away = await a.connect({ clientId: "away", properties: { sessionExpiryInterval: 3600 } });
    await away.subscribe("t", { qos: 1 });
    await away.disconnect();
    await eventually(() => a.stats().clients === 0, "the client to be gone");
    await a.hook.routesKnown!();
    const publisher = await b.connect();
    for (const payload of ["1", "2", "3"]) await publisher.publish({ topic: "t", payload, qos: 1 });
    await eventually(() => told.length > 0, "the message that was dropped");
    assert.deepEqual(told, [`away queue-full ${queuePolicy === "drop-new" ? "3" : "1"}`]);
    assert.deepEqual([a.stats().messagesDropped, b.stats().messagesDropped], [0, 1]);
  });
}

Deno.test("a node id that is in use is refused", async () => {
  await using cluster = await BrokerCluster.start();
  await cluster.node("a");
  await assert.rejects(cluster.node("a"), { message: /^node id "a" is in use by another broker/ });
});

Deno.test("a Redis that is not there is named, and what to do about it", async () => {
  await using broker = await startBroker();
  await assert.rejects(broker.use(clusterHook({ addr: "127.0.0.1:1", nodeId: "a" })), {
    message: "cannot use Redis at 127.0.0.1:1: connection refused (is it running?)",
  });
});

Deno.test("health says since when Redis is not there, and what waits", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  assert.deepEqual(a.hook.health(), {
    ok: true,
    isConnected: true,
    pending: { changes: 0, bytes: 0 },
    nodes: ["a"],
    dropped: 0,
  });
  const before = Date.now();
  await cluster.redis.kill();
  await eventually(() => !a.hook.health().ok, "the loss of Redis to be noticed");
  void a.publish("kept", "waits", { retain: true }).catch(() => {});
  const { isConnected, ready, reason, disconnectedAt, pending } = a.hook.health();
  assert.equal(isConnected, false);
  // Clients with durable sessions would be refused here, and are not elsewhere.
  assert.equal(ready, false);
  assert.match(reason!, /^Redis at 127\.0\.0\.1:\d+: /);
  assert.ok(disconnectedAt! >= before && disconnectedAt! <= Date.now());
  assert.equal(pending.changes, 1);
  assert.equal(a.health().ok, false);
});

Deno.test("with Redis away the clients of one node go on exchanging messages", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const subscriber = await a.connect();
  await subscriber.subscribe("t", { qos: 1 });
  await cluster.redis.kill();
  await eventually(() => !a.hook.health().ok, "the loss of Redis to be noticed");
  const publisher = await a.connect();
  assert.equal(await publisher.publish({ topic: "t", payload: "here", qos: 1 }), ReasonCode.Success);
  assert.equal(text(await subscriber.expect("publish")), "here");
  await subscriber.subscribe("u");
  await a.publish("u", "and here");
  assert.equal(text(await subscriber.expect("publish")), "and here");
});

Deno.test("what is forwarded at QoS 1 while Redis does not answer is acknowledged when it does again", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t", { qos: 1 });
  const publisher = await a.connect();
  cluster.redis.stop();
  await publisher.send({
    type: "publish",
    topic: "t",
    payload: new TextEncoder().encode("waits"),
    qos: 1,
    retain: false,
    dup: false,
    packetId: 9,
  });
  await publisher.expectNothing();
  cluster.redis.continue();
  assert.equal((await publisher.expect("puback")).packetId, 9);
  assert.equal(text(await subscriber.expect("publish")), "waits");
});

Deno.test("a node that gets no answer from Redis closes within some two seconds, whatever waits", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  cluster.redis.stop();
  const stored = a.publish("kept", "waits", { retain: true });
  const refused = assert.rejects(stored, { message: "the broker is closed" });
  const before = performance.now();
  await a.close();
  const lasted = performance.now() - before;
  cluster.redis.continue();
  assert.ok(lasted < 3000, `${lasted} ms`);
  await refused;
});

Deno.test("a node that closes writes what waits before it leaves", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  await (await a.connect({ clientId: "away", properties: { sessionExpiryInterval: 3600 } })).disconnect();
  cluster.redis.stop();
  const packet = publishPacket({ topic: "t", payload: "x".repeat(10_000), qos: 1 });
  const queued = Array.from({ length: 3000 }, () => a.hook.queueMessage("away", packet));
  const closed = a.close();
  cluster.redis.continue();
  await Promise.all(queued);
  await closed;
  // It has no life any more.
  assert.equal(await cluster.redis.command("HGETALL", "mqtt:nodes"), "a");
});

Deno.test("when Redis comes back empty, routes and retained messages are there again", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const subscriber = await b.connect();
  await subscriber.subscribe("t/#", { qos: 1 });
  await a.publish("t/kept", "kept", { retain: true, qos: 1 });
  await subscriber.expect("publish");
  await cluster.redis.restart();
  await eventually(() => a.hook.health().nodes.length === 2 && b.hook.health().ok, "both nodes to be back");
  await b.hook.routesKnown!();
  await a.publish("t/new", "hello", { qos: 1 });
  assert.equal(text(await subscriber.expect("publish")), "hello");
  const c = await cluster.node("c");
  assert.deepEqual((await c.hook.getRetained("#")).map(text), ["kept"]);
  await c.publish("t/c", "from the new one", { qos: 1 });
  assert.equal(text(await subscriber.expect("publish")), "from the new one");
});

Deno.test("a hook that is not in use says so", () => {
  const hook = clusterHook({ nodeId: "a" });
  assert.throws(() => hook.client, { message: 'hook "cluster" is not in use: add it to a broker' });
});

const wrongOptions: [options: Record<string, unknown>, message: string][] = [
  [{ nodeId: "" }, 'nodeId is ""; it must be 1 to 128 letters, digits, and characters of "._-:@"'],
  [{ nodeId: "a b" }, 'nodeId is "a b"; it must be 1 to 128 letters, digits, and characters of "._-:@"'],
  [{ nodeId: undefined }, 'nodeId is undefined; it must be 1 to 128 letters, digits, and characters of "._-:@"'],
  [
    { addr: "a", addrs: ["b"] },
    "addr and addrs are both there; addr is for a single server, addrs for a Redis Cluster",
  ],
  [{ addrs: [] }, "addrs is empty; it must hold the address of a server at least"],
  [{ db: -1 }, "db is -1; it must be a whole number from 0 on"],
  [{ db: 1.5 }, "db is 1.5; it must be a whole number from 0 on"],
  [{ addrs: ["a"], db: 1 }, "db is 1; a Redis Cluster has only database 0"],
  [{ keyPrefix: "{mqtt}" }, 'keyPrefix is "{mqtt}"; it may not hold braces'],
  [{ heartbeatInterval: 0 }, "heartbeatInterval is 0; it must be a number of seconds from 0.1 to 3600"],
  [{ heartbeatInterval: NaN }, "heartbeatInterval is NaN; it must be a number of seconds from 0.1 to 3600"],
  [{ nodeTtl: 5 }, "nodeTtl is 5; it must be a number of seconds from 6 to 86400"],
  [{ heartbeatInterval: 1, nodeTtl: "10" }, "nodeTtl is 10; it must be a number of seconds from 2 to 86400"],
];
for (const [options, message] of wrongOptions) {
  Deno.test(`the options ${Deno.inspect(options)} are refused: ${message}`, () => {
    const given = { nodeId: "a", ...options } as Parameters<typeof clusterHook>[0];
    assert.throws(() => clusterHook(given), { name: "RangeError", message });
  });
}

Deno.test("an address that is none is refused", () => {
  assert.throws(() => clusterHook({ nodeId: "a", addr: "redis://" }), RangeError);
  assert.throws(() => clusterHook({ nodeId: "a", addrs: ["a:1", "b:x"] }), RangeError);
});

Deno.test("a node that dies without a word is noticed and said", async () => {
  await using redis = await RedisServer.start();
  const logger = new RecordingLogger();
  await using a = await startBroker({ logger });
  await a.use(clusterHook({ addr: redis.url, nodeId: "a", heartbeatInterval: 0.2, nodeTtl: 1 }));
  // As one that has died without a word leaves things.
  await redis.command("HSET", "mqtt:nodes", "b", "some life");
  await redis.command("SET", "mqtt:node:b", JSON.stringify({ incarnation: "some life", routesVersion: 0 }), "PX", 600);
  await redis.command("PUBLISH", "mqtt:events", "");
  await eventually(() => logger.entries.includes("info: node b is there"), "node b to be noticed");
  await eventually(
    () => logger.entries.includes("warn: node b is dead: it has said nothing for too long"),
    "its death to be noticed",
  );
});

Deno.test("in a Redis Cluster, too, who has the SUBACK gets what is published from then on, and all have the same retained messages", async () => {
  await using redis = await RedisCluster.start();
  const addrs = redis.masters.map(({ port }) => `127.0.0.1:${port}`);
  const hooks = ["a", "b"].map((nodeId) => clusterHook({ addrs, nodeId }));
  await using a = await startBroker();
  await using b = await startBroker();
  await a.use(hooks[0]);
  await b.use(hooks[1]);
  const subscriber = await b.connect();
  for (let round = 0; round < 60; round++) {
    await subscriber.subscribe(`t/${round}`, { qos: 2 });
    await a.publish(`t/${round}`, "now", { qos: qualities[round % 3] });
    assert.equal((await subscriber.expect("publish")).topic, `t/${round}`);
  }
  for (let topic = 0; topic < 20; topic++) {
    await [a, b][topic % 2].publish(`kept/${topic}`, "kept", { retain: true });
    if (topic % 3 === 0) await a.publish(`kept/${topic}`, "", { retain: true });
  }
  for (const { routesKnown } of hooks) await routesKnown!();
  const late = clusterHook({ addrs, nodeId: "c" });
  await using c = await startBroker();
  await c.use(late);
  for (const hook of [...hooks, late]) assert.equal((await hook.getRetained("kept/#")).length, 13);
  assert.equal(await late.client.scard("mqtt:retained:_idx"), 13);
});

Deno.test("a node that was cut off comes back also if the node has left that its client has gone to", async () => {
  await using cluster = await BrokerCluster.start();
  await using proxy = new TcpProxy(cluster.redis.port);
  const a = await cluster.node("a", { addr: `127.0.0.1:${proxy.port}` });
  const b = await cluster.node("b");
  const durable = { clientId: "mover", cleanStart: false, properties: { sessionExpiryInterval: 600 } };
  const before = await a.connect(durable);
  await before.subscribe("t", { qos: 1 });
  proxy.cut();
  await eventually(() => !a.hook.health().isConnected, "the loss");
  await before.close();
  await (await b.connect(durable)).close();
  await b.close();
  proxy.heal();
  await eventually(() => a.hook.health().isConnected, "the reconnection");
  await (await a.connect()).publish({ topic: "t", payload: "kept", qos: 1 });
  const after = await a.connect(durable);
  assert.equal(text(await after.expect("publish")), "kept");
});
