import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { encode } from "@msgpack/msgpack";
import { eventually } from "../broker/eventually.ts";
import { BrokerCluster, text } from "./cluster_brokers.ts";

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
  // One whose heart beats, and that does nothing else.
  const heartbeat = JSON.stringify({ incarnation: "life", routesVersion: 0 });
  await cluster.redis.command("SET", "mqtt:node:fake", heartbeat, "PX", 60_000);
  await cluster.redis.command("HSET", "mqtt:nodes", "fake", "life");
  await a.hook.client.call("PUBLISH", "mqtt:events", Buffer.from(encode(["node", "fake"])));
  await eventually(() => a.hook.health().nodes.length === 2, "the other node to be known");
  const subscriber = await a.connect();
  const before = performance.now();
  await subscriber.subscribe("t");
  const waited = performance.now() - before;
  assert.ok(waited > 500 && waited < 1900, `${waited} ms`);
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
