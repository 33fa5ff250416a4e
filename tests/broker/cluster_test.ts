import assert from "node:assert/strict";
import { connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { MemoryCluster } from "./memory_cluster.ts";
import { receive, receiveTexts, textOf } from "./receive.ts";
import { lasting } from "./versions.ts";

/** Two brokers that are one, and what they share. */
interface Pair extends AsyncDisposable {
  cluster: MemoryCluster;
  a: TestBroker;
  b: TestBroker;
}

async function startPair(): Promise<Pair> {
  const cluster = new MemoryCluster();
  const [a, b] = [await startBroker(), await startBroker()];
  // Both would call their first client "client-1", and together they have only one with that name.
  const connectToA = a.connect.bind(a);
  a.connect = (options) => connectToA({ clientId: `a-${crypto.randomUUID()}`, ...options });
  for (const broker of [a, b]) await broker.use(cluster.hook());
  return {
    cluster,
    a,
    b,
    async [Symbol.asyncDispose]() {
      await a[Symbol.asyncDispose]();
      await b[Symbol.asyncDispose]();
    },
  };
}

for (const qos of [0, 1, 2] as const) {
  Deno.test(`a QoS ${qos} message reaches each subscriber at each broker once, as it was published`, async () => {
    await using pair = await startPair();
    const subscribers = [];
    for (const [index, broker] of [pair.a, pair.b].entries()) {
      for (const options of [{}, lasting(5), { level: 4 as const }]) {
        const subscriber = await broker.connect({ clientId: `${index}-${subscribers.length}`, ...options });
        for (const filter of ["t/#", "t/1"]) await subscriber.subscribe(filter, { qos: 2, retainAsPublished: true });
        subscribers.push(subscriber);
      }
    }
    const publisher = await pair.a.connect();
    const properties = { contentType: "text/plain", userProperties: [["a", "1"], ["a", "2"]] as [string, string][] };
    await publisher.publish({ topic: "t/1", payload: "hello", qos, retain: true, properties });
    for (const subscriber of subscribers) {
      const message = await receive(subscriber);
      assert.deepEqual([message.topic, message.text, message.qos], ["t/1", "hello", qos]);
      if (subscriber.level === 5) assert.deepEqual([message.retain, message.properties], [true, properties]);
      await subscriber.expectNothing();
    }
  });
}

Deno.test("subscription identifiers and the lower QoS of a subscription hold at another broker", async () => {
  await using pair = await startPair();
  const clean = await pair.b.connect();
  const durable = await pair.b.connect({ ...lasting(5), clientId: "durable" });
  for (const subscriber of [clean, durable]) {
    await subscriber.subscribe("t", { qos: 1, properties: { subscriptionIdentifiers: [7] } });
    await subscriber.subscribe("u", { qos: 0, properties: { subscriptionIdentifiers: [8] } });
  }
  for (const topic of ["t", "u"]) await (await pair.a.connect()).publish({ topic, qos: 2 });
  for (const subscriber of [clean, durable]) {
    const messages = [await receive(subscriber), await receive(subscriber)];
    const found = messages.map(({ qos, properties }) => [qos, properties?.subscriptionIdentifiers]);
    assert.deepEqual(found.sort(), [[0, [8]], [1, [7]]]);
  }
});

Deno.test("a client with no-local does not get its own messages, and others do at each broker", async () => {
  await using pair = await startPair();
  const own = await pair.a.connect({ ...lasting(5), clientId: "own" });
  const other = await pair.b.connect({ ...lasting(5), clientId: "other" });
  for (const client of [own, other]) await client.subscribe("t", { qos: 1, noLocal: true });
  await own.publish({ topic: "t", qos: 1, payload: "mine" });
  assert.equal((await receive(other)).text, "mine");
  await own.expectNothing();
});

Deno.test("each message for a shared subscription goes to one member of all brokers", async () => {
  await using pair = await startPair();
  const members = [];
  for (const [index, broker] of [pair.a, pair.b, pair.b].entries()) {
    const member = await broker.connect(index === 1 ? { ...lasting(5), clientId: "durable" } : {});
    await member.subscribe("$share/g/t", { qos: 1 });
    members.push(member);
  }
  const publisher = await pair.a.connect();
  for (let number = 0; number < 9; number++) await publisher.publish({ topic: "t", qos: 1, payload: `${number}` });
  const texts = [];
  for (const member of members) {
    texts.push(...await receiveTexts(member, 3));
    await member.expectNothing();
  }
  assert.deepEqual(texts.sort(), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
});

Deno.test("what waits for a member of a group goes with its session to another broker, and to no other member", async () => {
  await using pair = await startPair();
  const properties = { sessionExpiryInterval: 600, receiveMaximum: 1 };
  const options = { clientId: "s", cleanStart: false, properties };
  const first = await pair.a.connect(options);
  await first.subscribe("$share/g/t", { qos: 2 });
  for (const payload of ["1", "2", "3"]) await pair.a.publish("t", payload, { qos: 2 });
  await first.expect("publish");
  const other = await pair.a.connect();
  await other.subscribe("$share/g/t", { qos: 2 });
  const second = await pair.b.connect(options);
  await first.expect("disconnect");
  await first.expectClosed();
  assert.deepEqual(await receiveTexts(second, 3), ["1", "2", "3"]);
  await other.expectNothing();
});

Deno.test("topics below $SYS stay with their broker", async () => {
  await using pair = await startPair();
  const subscriber = await pair.b.connect();
  await subscriber.subscribe("$SYS/#");
  await pair.a.publish("$SYS/broker/uptime", "1");
  await subscriber.expectNothing();
});

for (const [from, to] of [["a", "b"], ["a", "a"]] as const) {
  Deno.test(`a session goes on at broker ${to} with all that broker ${from} had of it`, async () => {
    await using pair = await startPair();
    const first = await pair[from].connect({ ...lasting(5), clientId: "s" });
    await first.subscribe("t", { qos: 2 });
    const publisher = await pair.b.connect();
    await publisher.publish({ topic: "t", qos: 2, payload: "released" });
    await publisher.publish({ topic: "t", qos: 2, payload: "sent" });
    const released = await first.expect("publish");
    const sent = await first.expect("publish");
    await first.send({ type: "pubrec", packetId: released.packetId!, reasonCode: 0 });
    await first.expect("pubrel");
    await first.send(publishPacket({ topic: "u", qos: 2, packetId: 9 }));
    await first.expect("pubrec");
    await first.close();
    for (const payload of ["1", "2"]) await publisher.publish({ topic: "t", qos: 1, payload });

    const second = await pair[to].connect({ ...lasting(5), clientId: "s" });
    assert.equal(second.connack.sessionPresent, true);
    const pubrel = await second.expect("pubrel");
    assert.equal(pubrel.packetId, released.packetId);
    const again = await second.expect("publish");
    assert.deepEqual([textOf(again), again.dup, again.packetId], ["sent", true, sent.packetId]);
    assert.deepEqual(await receiveTexts(second, 2), ["1", "2"]);
    await second.send(publishPacket({ topic: "t", qos: 2, packetId: 9, dup: true }));
    await second.expect("pubrec");
    await publisher.publish({ topic: "t", qos: 1, payload: "3" });
    assert.equal((await receive(second)).text, "3");
    await second.expectNothing();
    await second.send({ type: "pubcomp", packetId: pubrel.packetId, reasonCode: 0 });
    await second.send({ type: "pubrec", packetId: again.packetId!, reasonCode: 0 });
    await second.expect("pubrel");
    await second.send({ type: "pubcomp", packetId: again.packetId!, reasonCode: 0 });
    await second.expectNothing();
    assert.deepEqual(pair.cluster.queues, { s: 0 });
  });

  Deno.test(`a connection at broker ${to} closes the one at broker ${from} that has its client id`, async () => {
    await using pair = await startPair();
    const first = await pair[from].connect({ ...lasting(5), clientId: "s" });
    await first.subscribe("t", { qos: 1 });
    const second = await pair[to].connect({ ...lasting(5), clientId: "s" });
    assert.equal((await first.expect("disconnect")).reasonCode, 0x8e);
    await first.expectClosed();
    assert.equal(second.connack.sessionPresent, true);
    await pair.a.publish("t", "hello", { qos: 1 });
    assert.equal((await receive(second)).text, "hello");
    await second.expectNothing();
  });

  Deno.test(`a clean start at broker ${to} ends the session at broker ${from}`, async () => {
    await using pair = await startPair();
    const first = await pair[from].connect({ ...lasting(5), clientId: "s" });
    await first.subscribe("t", { qos: 1 });
    await first.close();
    await pair.a.publish("t", "lost", { qos: 1 });
    const second = await pair[to].connect({ ...lasting(5), clientId: "s", cleanStart: true });
    assert.equal(second.connack.sessionPresent, false);
    await pair.b.publish("t", "not subscribed", { qos: 1 });
    await second.expectNothing();
    assert.deepEqual(pair.cluster.queues, { s: 0 });
  });
}

Deno.test("a session that its client makes end with the connection is forgotten everywhere", async () => {
  await using pair = await startPair();
  const first = await pair.a.connect({ ...lasting(5), clientId: "s" });
  await first.subscribe("t", { qos: 1 });
  await first.close();
  const second = await pair.b.connect({ clientId: "s", cleanStart: false });
  assert.equal(second.connack.sessionPresent, true);
  await pair.a.publish("t", "through a route", { qos: 1 });
  assert.equal((await receive(second)).text, "through a route");
  await second.disconnect();
  assert.deepEqual(pair.cluster.queues, {});
  assert.deepEqual([pair.a.stats().subscriptions, pair.b.stats().subscriptions], [0, 0]);
});

Deno.test("hooks are asked about what has come from a queue, and what they keep back is given up, in order", async () => {
  await using pair = await startPair();
  const { promise, resolve } = Promise.withResolvers<void>();
  await pair.b.use({
    id: "picky",
    canRead: async (_client, topic) => {
      if (topic === "t/slow") await promise;
      return topic !== "t/secret";
    },
  });
  const subscriber = await pair.b.connect({ ...lasting(5), clientId: "s" });
  await subscriber.subscribe("t/#", { qos: 1 });
  for (const topic of ["t/slow", "t/secret", "t/open"]) await pair.a.publish(topic, topic, { qos: 1 });
  await subscriber.expectNothing();
  resolve();
  assert.deepEqual(await receiveTexts(subscriber, 2), ["t/slow", "t/open"]);
  await subscriber.expectNothing();
  assert.deepEqual(pair.cluster.queues, { s: 0 });
});

Deno.test("a retained message for a new subscription is stored until its client has it", async () => {
  await using pair = await startPair();
  await pair.a.publish("t", "retained", { qos: 1, retain: true });
  const first = await pair.a.connect({ ...lasting(5), clientId: "s" });
  await first.subscribe("t", { qos: 1 });
  await first.expect("publish");
  await first.close();
  const second = await pair.b.connect({ ...lasting(5), clientId: "s" });
  const again = await receive(second);
  assert.deepEqual([again.text, again.retain, again.dup], ["retained", true, true]);
  await second.expectNothing();
});

Deno.test("several connections at once with one client id end with one", async () => {
  await using pair = await startPair();
  const clients = await Promise.all([pair.a, pair.b, pair.a, pair.b].map(async (broker) => {
    const client = await broker.open();
    await client.send(connectPacket({ ...lasting(5), clientId: "s" }));
    return client;
  }));
  const isLetIn = async (client: RawClient) => await client.expect("connack").then(() => true, () => false);
  const letIn = await Promise.all(clients.map(isLetIn));
  const isConnected = async (client: RawClient) => {
    await client.send({ type: "pingreq" });
    return await client.expect("pingresp").then(() => true, () => false);
  };
  const connected = await Promise.all(clients.filter((_, index) => letIn[index]).map(isConnected));
  assert.equal(connected.filter(Boolean).length, 1);
  assert.equal(pair.a.stats().clients + pair.b.stats().clients, 1);
});

Deno.test("a hook that has queues does not go with another that stores sessions", async () => {
  await using pair = await startPair();
  const storing = { id: "other", storeOutgoing: () => {} };
  await assert.rejects(pair.a.use(storing), {
    message: 'hook "other" cannot store sessions: hook "memory-cluster" does, and brings their messages',
  });
});
