import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { decode, encode } from "@msgpack/msgpack";
import { Redis } from "ioredis";
import { eventually } from "../broker/eventually.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { BrokerCluster, type NodeBroker, text } from "./cluster_brokers.ts";

/** Adds a node whose heart beats, and that does nothing else. */
async function addSilentNode({ redis }: BrokerCluster, { hook }: NodeBroker): Promise<void> {
  const heartbeat = JSON.stringify({ incarnation: "life", routesVersion: 0 });
  await redis.command("SET", "mqtt:node:fake", heartbeat, "PX", 60_000);
  await redis.command("HSET", "mqtt:nodes", "fake", "life");
  await hook.client.call("PUBLISH", "mqtt:events", Buffer.from(encode(["node", "fake"])));
  await eventually(() => hook.health().nodes.includes("fake"), "the other node to be known");
}

async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const before = performance.now();
  await work();
  return performance.now() - before;
}

Deno.test("a node that is alone does not wait for anybody", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const before = performance.now();
  await a.hook.routesKnown!();
  assert.ok(performance.now() - before < 500);
});

Deno.test("a node that does not answer holds a SUBACK back for about a second", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a", { nodeTtl: 60 });
  await addSilentNode(cluster, a);
  const subscriber = await a.connect();
  const waited = await milliseconds(() => subscriber.subscribe("t"));
  assert.ok(waited > 500 && waited < 1900, `${waited} ms`);
});

Deno.test("a node that has not answered once is not waited for again before it has", async () => {
  await using cluster = await BrokerCluster.start();
  await using proxy = new TcpProxy(cluster.redis.port);
  const a = await cluster.node("a", { nodeTtl: 60 });
  await cluster.node("slow", { addr: `127.0.0.1:${proxy.port}` });
  await eventually(() => a.hook.health().nodes.length === 2, "the other node to be known");
  const known = () => milliseconds(async () => await a.hook.routesKnown!());
  assert.ok(await known() < 500);
  proxy.drop();
  assert.ok(await known() > 500);
  assert.ok(await known() < 500);
  proxy.heal();
  // It is asked all the same.
  const deadline = performance.now() + 5000;
  for (let waited = 0; waited < 500;) {
    assert.ok(performance.now() < deadline, "it is not waited for again");
    await known();
    proxy.drop();
    waited = await known();
    proxy.heal();
  }
});

for (const isNoticed of [true, false]) {
  const when = isNoticed ? "as soon as it is" : "later than an answer is waited for";
  Deno.test(`a node that was cut off itself, and notices it ${when}, waits for the others again`, async () => {
    await using cluster = await BrokerCluster.start();
    await using own = new TcpProxy(cluster.redis.port);
    await using others = new TcpProxy(cluster.redis.port);
    const a = await cluster.node("a", { addr: `127.0.0.1:${own.port}`, nodeTtl: 60 });
    await cluster.node("b", { addr: `127.0.0.1:${others.port}`, nodeTtl: 60 });
    await eventually(() => a.hook.health().nodes.length === 2, "the other node to be known");
    const known = () => milliseconds(async () => await a.hook.routesKnown!());
    // From now on nobody answers.
    others.drop();
    const unanswered = known();
    if (!isNoticed) await unanswered;
    own.cut();
    await eventually(() => !a.hook.health().isConnected, "the loss of Redis to be noticed");
    own.heal();
    await eventually(() => a.hook.health().isConnected, "Redis to be there again");
    await unanswered;
    const waited = await known();
    assert.ok(waited > 500 && waited < 1900, `${waited} ms`);
    assert.ok(await known() < 500);
  });
}

Deno.test("a node that does not answer holds the CONNACK of who brings subscriptions back for about a second, and no other", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a", { nodeTtl: 60 });
  const b = await cluster.node("b", { nodeTtl: 60 });
  const session = { cleanStart: false, properties: { sessionExpiryInterval: 3600 } };
  for (const clientId of ["one", "two"]) await (await a.connect({ ...session, clientId })).subscribe("t");
  await (await a.connect({ ...session, clientId: "bare" })).disconnect();
  await addSilentNode(cluster, b);
  for (const options of [{}, { ...session, clientId: "bare" }, { ...session, clientId: "two", cleanStart: true }]) {
    const waited = await milliseconds(() => b.connect(options));
    assert.ok(waited < 500, `${waited} ms for ${JSON.stringify(options)}`);
  }
  const waited = await milliseconds(() => b.connect({ ...session, clientId: "one" }));
  assert.ok(waited > 500 && waited < 1900, `${waited} ms`);
});

Deno.test("what is published elsewhere at QoS 0 directly behind the CONNACK reaches a client that has come back", async () => {
  await using cluster = await BrokerCluster.start();
  await using proxy = new TcpProxy(cluster.redis.port);
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  const slow = await cluster.node("slow", { addr: `127.0.0.1:${proxy.port}`, nodeTtl: 60 });
  await eventually(() => a.hook.health().nodes.length === 3, "all nodes to be known");
  const durable = { clientId: "subscriber", cleanStart: false, properties: { sessionExpiryInterval: 3600 } };
  await (await a.connect(durable)).subscribe("t");
  const listener = new Redis(cluster.redis.url);
  using _closed = { [Symbol.dispose]: () => listener.disconnect() };
  await listener.subscribe("mqtt:events");
  const isAsked = () =>
    new Promise<void>((resolve) => {
      listener.on("messageBuffer", (_channel, data) => (decode(data) as string[])[0] === "fence" && resolve());
    });
  for (const [round, node] of [b, b, a].entries()) {
    // It hears of nothing until somebody asks whether it has heard, or does not.
    proxy.drop();
    const asked = isAsked();
    const connected = node.connect(durable).then(async (subscriber) => {
      await slow.publish("t", `${round}`);
      return subscriber;
    });
    await Promise.race([asked, connected]);
    proxy.heal();
    const subscriber = await connected;
    assert.equal(text(await subscriber.expect("publish")), `${round}`);
    await subscriber.disconnect();
  }
});

Deno.test("who waits at the same time waits for the same answer", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  await eventually(() => a.hook.health().nodes.length === 2, "the other node to be known");
  const known = a.hook.routesKnown!();
  assert.equal(a.hook.routesKnown!(), known);
  await known;
  assert.notEqual(a.hook.routesKnown!(), known);
  await b.hook.routesKnown!();
});

Deno.test("without Redis nobody waits", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  await cluster.redis.kill();
  await eventually(() => !a.hook.health().isConnected, "the loss of Redis to be noticed");
  assert.equal(a.hook.routesKnown!(), undefined);
});

Deno.test("a message that is retained while somebody subscribes elsewhere reaches him, one way or the other", async () => {
  await using cluster = await BrokerCluster.start();
  const a = await cluster.node("a");
  const b = await cluster.node("b");
  for (let round = 0; round < 50; round++) {
    const topic = `t/${round}`;
    const published = a.publish(topic, "kept", { retain: true, qos: round % 2 === 0 ? 0 : 1 });
    await using subscriber = await b.connect();
    await subscriber.send({
      type: "subscribe",
      packetId: 1,
      subscriptions: [{ topicFilter: topic, qos: 0, noLocal: false, retainAsPublished: true, retainHandling: 0 }],
    });
    // What is forwarded may come before the SUBACK; what is retained comes after it.
    const isFirst = await subscriber.expect("suback").then(() => true, () => false);
    if (isFirst) assert.equal(text(await subscriber.expect("publish")), "kept");
    await published;
  }
});
