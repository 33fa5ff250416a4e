import assert from "node:assert/strict";
import { encode } from "../../codec/mod.ts";
import { connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { Cluster, type ClusterNode, eventually } from "./cluster.ts";
import { limits } from "./traffic.ts";

/** A client that has subscribed to `local`. */
async function localSubscriber(node: ClusterNode): Promise<RawClient> {
  const subscriber = await node.connect();
  await subscriber.subscribe("local", { qos: 1 });
  return subscriber;
}

Deno.test("clients of a node that has lost Redis go on among themselves", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"], isProxied: true });
  const [a] = cluster.nodes;
  const subscriber = await localSubscriber(a);
  const publisher = await a.connect();
  for (const strike of ["cut", "drop"] as const) {
    a.link![strike]();
    await eventually(async () => (await a.problems()).cluster !== undefined, "the node to notice");
    for (const qos of [0, 1] as const) {
      await publisher.publish({ topic: "local", payload: "hello", qos });
      const { packetId, payload } = await subscriber.expect("publish");
      assert.equal(new TextDecoder().decode(payload), "hello");
      if (qos === 1) await subscriber.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    }
    // New clients are let in, and can subscribe.
    const another = await localSubscriber(a);
    await publisher.publish({ topic: "local", payload: "hello" });
    await another.expect("publish");
    await subscriber.expect("publish");
    await another.disconnect();
    a.link!.heal();
    await a.isWell();
  }
});

Deno.test("a node that has lost Redis says so, is not ready, refuses durable sessions, and is well again by itself", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"], isProxied: true });
  const [a, b] = cluster.nodes;
  const durable = { clientId: "durable", cleanStart: false, properties: { sessionExpiryInterval: 600 } };
  await (await b.connect(durable)).disconnect();
  assert.deepEqual(await a.problems(), {});
  a.link!.cut();
  await eventually(async () => (await a.problems()).cluster !== undefined, "the node to notice");
  assert.match((await a.problems()).cluster, /Redis/);
  assert.equal(await a.figure('hookmq_health{part="cluster"}'), 0);
  assert.equal(await a.isReady(), false);
  assert.deepEqual([await b.problems(), await b.isReady()], [{}, true]);
  assert.equal(await b.figure('hookmq_health{part="cluster"}'), 1);
  const refused = await a.open();
  await refused.send(connectPacket(durable));
  assert.equal((await refused.expect("connack")).reasonCode, 0x88);
  a.link!.heal();
  await a.isWell();
  assert.equal((await a.connect(durable)).connack.sessionPresent, true);
});

Deno.test("a message for another node is acknowledged when Redis is back, and arrives", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"], isProxied: true });
  const [a, b] = cluster.nodes;
  const subscriber = await b.connect();
  await subscriber.subscribe("t", { qos: 1 });
  const publisher = await a.connect();
  a.link!.drop();
  await publisher.send(publishPacket({ topic: "t", payload: "waits", qos: 1, packetId: 1 }));
  await eventually(async () => (await a.problems()).cluster !== undefined, "the node to notice");
  // No acknowledgement has come before the answer.
  await publisher.expectNothing();
  a.link!.heal();
  assert.equal((await publisher.expect("puback")).reasonCode, 0);
  assert.equal(new TextDecoder().decode((await subscriber.expect("publish")).payload), "waits");
});

Deno.test("a node that has lost Redis for long refuses what it cannot keep, and its memory stays bounded", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"], isProxied: true, env: limits });
  const [a, b] = cluster.nodes;
  const subscriber = await b.connect();
  await subscriber.subscribe("t", { qos: 1 });
  a.link!.drop();
  await eventually(async () => (await a.problems()).cluster !== undefined, "the node to notice");
  // 1,200 MB each time, of which 128 MB may wait in all.
  const count = 300;
  const payload = new Uint8Array(1e6);
  const flood = async () => {
    const publishers = await Promise.all([1, 2, 3, 4].map(() => a.connect()));
    await Promise.all(publishers.map(async (publisher) => {
      for (let packetId = 1; packetId <= count; packetId++) {
        await publisher.sendBytes(encode(publishPacket({ topic: "t", payload, qos: 1, packetId }), 5));
      }
    }));
    return publishers;
  };
  const idle = a.memory;
  const publishers = await flood();
  const kept = a.memory - idle;
  assert(kept < 700e6, `${kept} bytes more than ${idle}`);
  for (const publisher of await flood()) await publisher.close();
  const before = a.memory;
  for (const publisher of await flood()) await publisher.close();
  const growth = a.memory - before;
  assert(growth < 300e6, `${growth} bytes more than ${before}`);
  a.link!.heal();
  let refused = 0;
  for (const publisher of publishers) {
    for (let packetId = 1; packetId <= count; packetId++) {
      const { reasonCode } = await publisher.expect("puback");
      assert([0, 0x97].includes(reasonCode), `PUBACK ${reasonCode}`);
      if (reasonCode === 0x97) refused += 1;
    }
  }
  assert(refused > 1000, `${refused} of ${publishers.length * count} were refused`);
  for (let arrived = 0; arrived < publishers.length * count - refused; arrived++) {
    const { packetId } = await subscriber.expect("publish");
    await subscriber.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
  }
  await subscriber.expectNothing();
});

Deno.test("a node that has lost Redis shuts down in order nevertheless", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"], isProxied: true });
  const [a] = cluster.nodes;
  a.link!.drop();
  await a.stop();
});

Deno.test("a node that was frozen until the others took it for dead gives its clients up, and delivers nothing twice", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const durable = { clientId: "durable", cleanStart: false, properties: { sessionExpiryInterval: 600 } };
  const first = await a.connect(durable);
  await first.subscribe("t", { qos: 2 });
  const publisher = await b.connect();
  a.freeze();
  await eventually(async () => await cluster.redis.command("EXISTS", "mqtt:node:a") === "0", "the others to miss it");
  const second = await b.connect(durable);
  assert.equal(second.connack.sessionPresent, true);
  await publisher.publish({ topic: "t", payload: "hello", qos: 2 });
  const { packetId } = await second.expect("publish");
  a.thaw();
  assert.equal((await first.expect("disconnect")).reasonCode, 0x8e);
  await second.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
  await second.expect("pubrel");
  await second.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
  await cluster.isWell();
  const again = await a.connect(durable);
  await again.expectNothing();
});

Deno.test("a node that the others took for dead keeps the clients that have not gone elsewhere", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const durable = { clientId: "durable", cleanStart: false, properties: { sessionExpiryInterval: 600 } };
  const clients = [await a.connect(durable), await a.connect({ clientId: "clean" })];
  for (const client of clients) await client.subscribe("t", { qos: 1 });
  a.freeze();
  const isAdopted = async () => await cluster.redis.command("SCARD", "mqtt:sessions:a") === "0";
  await eventually(isAdopted, "another node to look after its sessions");
  a.thaw();
  await cluster.isWell();
  const isBack = async () => await cluster.redis.command("SCARD", "mqtt:sessions:a") === "2";
  await eventually(isBack, "the node to look after them again");
  const publisher = await b.connect();
  await publisher.publish({ topic: "t", payload: "hello", qos: 1 });
  for (const client of clients) {
    const { packetId } = await client.expect("publish");
    await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    await client.expectNothing();
  }
});
