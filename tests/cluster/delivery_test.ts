import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { IClientSubscribeOptions } from "mqtt";
import { connect, type Received, type TestClient } from "../interop/mqttjs_client.ts";
import { Cluster, type ClusterNode, eventually } from "./cluster.ts";

const v5 = { protocolVersion: 5 } as const;

type Qos = 0 | 1 | 2;

/** A client of a node that has subscribed. */
async function subscriber(
  node: ClusterNode,
  topicFilter: string,
  options: Partial<IClientSubscribeOptions> & { clientId?: string } = {},
): Promise<TestClient> {
  const { clientId, ...subscription } = options;
  const client = await connect(node, { ...v5, clientId });
  await client.client.subscribeAsync(topicFilter, { qos: 2, ...subscription });
  return client;
}

/** Messages until the one with this payload, which is the last: what was sent before it at its QoS has come, or never will. */
async function takeUntil(client: TestClient, last: string): Promise<Received[]> {
  const messages: Received[] = [];
  for (;;) {
    const message = await client.next();
    if (message.payload === last) return messages;
    messages.push(message);
  }
}

const payloadsOf = (messages: Received[]) => messages.map(({ payload }) => payload);

for (const qos of [0, 1, 2] as const) {
  Deno.test(`every subscriber on every node gets a QoS ${qos} message once, with all that belongs to it`, async () => {
    await using cluster = await Cluster.start();
    const [a] = cluster.nodes;
    await using stack = new AsyncDisposableStack();
    const subscribers: TestClient[] = [];
    for (const node of cluster.nodes) {
      subscribers.push(stack.use(await subscriber(node, "t/#")), stack.use(await subscriber(node, "t/+/x")));
    }
    await using publisher = await connect(a, v5);
    const properties = {
      payloadFormatIndicator: true,
      contentType: "text/plain",
      responseTopic: "answers",
      correlationData: Buffer.from([1, 2, 3]),
      userProperties: { colour: ["red", "green"], size: "1" },
    };
    await publisher.client.publishAsync("t/1/x", "hello", { qos, properties });
    await publisher.client.publishAsync("t/1/x", "last", { qos });
    for (const each of subscribers) {
      const [message, ...more] = await takeUntil(each, "last");
      assert.deepEqual(more, []);
      const { topic, payload, retain, properties: { userProperties, ...others } = {} } = message;
      assert.deepEqual({ topic, payload, qos: message.qos, retain }, {
        topic: "t/1/x",
        payload: "hello",
        qos,
        retain: false,
      });
      assert.deepEqual({ ...others, userProperties: { ...userProperties } }, properties);
    }
  });
}

Deno.test("a subscriber at another node with overlapping filters gets a message once, with both identifiers", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using each = await subscriber(b, "t/#", { properties: { subscriptionIdentifier: 1 } });
  await each.client.subscribeAsync("t/+", { qos: 1, properties: { subscriptionIdentifier: 2 } });
  await using publisher = await connect(a, v5);
  for (const payload of ["hello", "last"]) await publisher.client.publishAsync("t/1", payload, { qos: 2 });
  const [message, ...others] = await takeUntil(each, "last");
  assert.deepEqual([message.payload, message.qos, others], ["hello", 2, []]);
  assert.deepEqual([message.properties?.subscriptionIdentifier].flat().sort(), [1, 2]);
});

Deno.test("subscribers at another node get a message at the QoS that each was granted", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using stack = new AsyncDisposableStack();
  await using publisher = await connect(a, v5);
  const subscribers: TestClient[] = [];
  for (const qos of [0, 1, 2] as const) subscribers.push(stack.use(await subscriber(b, "t", { qos })));
  for (const qos of [0, 1, 2] as const) {
    await publisher.client.publishAsync("t", "hello", { qos });
    const got: Qos[] = [];
    for (const each of subscribers) got.push((await each.next()).qos);
    assert.deepEqual(got, [0, 1, 2].map((granted) => Math.min(granted, qos)));
  }
});

Deno.test("the retain flag arrives at another node for those who want it as it was published", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using as = await subscriber(b, "t", { rap: true });
  await using not = await subscriber(b, "t", { rap: false });
  await using publisher = await connect(a, v5);
  for (const qos of [0, 1, 2] as const) {
    await publisher.client.publishAsync("t", "hello", { qos, retain: true });
    assert.deepEqual([(await as.next()).retain, (await not.next()).retain], [true, false], `at QoS ${qos}`);
  }
});

Deno.test("messages of one publisher keep their order on every node, at each QoS", async () => {
  await using cluster = await Cluster.start();
  await using stack = new AsyncDisposableStack();
  const subscribers: TestClient[] = [];
  for (const node of cluster.nodes) subscribers.push(stack.use(await subscriber(node, "t/#")));
  const published: string[] = [];
  const acknowledged: Promise<unknown>[] = [];
  for (const node of cluster.nodes) {
    const { client } = stack.use(await connect(node, v5));
    for (let number = 0; number < 300; number++) {
      const qos = number % 3 as Qos;
      published.push(`${node.id} ${qos} ${number}`);
      acknowledged.push(client.publishAsync(`t/${node.id}`, published.at(-1)!, { qos }));
    }
  }
  await Promise.all(acknowledged);
  const streams = (payloads: string[]) => Map.groupBy(payloads, (payload) => payload.slice(0, 3));
  for (const each of subscribers) {
    const got = streams(payloadsOf(await each.take(published.length)));
    for (const [stream, payloads] of streams(published)) assert.deepEqual(got.get(stream), payloads);
  }
});

Deno.test("a large message arrives whole at another node", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using each = await subscriber(b, "t");
  await using publisher = await connect(a, v5);
  const payload = Array.from({ length: 200_000 }, (_, index) => index).join(" ");
  for (const qos of [0, 1, 2] as const) {
    await publisher.client.publishAsync("t", payload, { qos });
    const message = await each.next();
    assert(message.payload === payload, `at QoS ${qos} it is another one`);
  }
});

Deno.test("clients of MQTT 3.1.1 and 5 get each other's messages across nodes", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using old = await connect(a, { protocolVersion: 4 });
  await using modern = await connect(b, v5);
  await old.client.subscribeAsync("to/old", { qos: 2 });
  await modern.client.subscribeAsync("to/modern", { qos: 2 });
  for (const qos of [0, 1, 2] as const) {
    await old.client.publishAsync("to/modern", "hello", { qos });
    await modern.client.publishAsync("to/old", "hello", { qos, properties: { contentType: "x" } });
    assert.deepEqual([(await modern.next()).qos, (await old.next()).qos], [qos, qos]);
  }
});

Deno.test("a topic alias is resolved before a message goes to another node", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using each = await subscriber(b, "#");
  await using publisher = await connect(a, v5);
  await publisher.client.publishAsync("long/topic", "1", { properties: { topicAlias: 1 } });
  await publisher.client.publishAsync("", "2", { properties: { topicAlias: 1 } });
  assert.deepEqual((await each.take(2)).map(({ topic, payload }) => [topic, payload]), [
    ["long/topic", "1"],
    ["long/topic", "2"],
  ]);
});

Deno.test("a client that has unsubscribed at one node gets nothing more from another", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using each = await subscriber(b, "t/1");
  await each.client.subscribeAsync("t/2", { qos: 1 });
  await using publisher = await connect(a, v5);
  await each.client.unsubscribeAsync("t/1");
  await publisher.client.publishAsync("t/1", "unwanted", { qos: 1 });
  await publisher.client.publishAsync("t/2", "last", { qos: 1 });
  assert.deepEqual(await takeUntil(each, "last"), []);
});

Deno.test("no local holds for a client that publishes at one node and has subscribed at another", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const durable = { ...v5, clientId: "durable", clean: false, properties: { sessionExpiryInterval: 600 } };
  const there = await connect(b, durable);
  await there.client.subscribeAsync("t", { qos: 1, nl: true });
  await there.client.subscribeAsync("end", { qos: 1 });
  await there[Symbol.asyncDispose]();
  await using here = await connect(a, durable);
  await using other = await connect(b, v5);
  await here.client.publishAsync("t", "mine", { qos: 1 });
  await other.client.publishAsync("t", "another's", { qos: 1 });
  await other.client.publishAsync("end", "last", { qos: 1 });
  assert.deepEqual(payloadsOf(await takeUntil(here, "last")), ["another's"]);
});

for (const qos of [0, 1, 2] as const) {
  Deno.test(`a shared subscription gives each QoS ${qos} message to one member in the whole cluster, and all a share`, async () => {
    await using cluster = await Cluster.start();
    await using stack = new AsyncDisposableStack();
    const members: TestClient[] = [];
    for (const node of cluster.nodes) members.push(stack.use(await subscriber(node, "$share/group/t")));
    await using alone = await subscriber(cluster.nodes[1], "t");
    const payloads = Array.from({ length: 90 }, (_, index) => String(index));
    const publishers: TestClient[] = [];
    for (const node of cluster.nodes) publishers.push(stack.use(await connect(node, v5)));
    const shares = members.map(({ client }) => {
      const share: string[] = [];
      client.on("message", (_topic, payload) => share.push(payload.toString()));
      return share;
    });
    await Promise.all(payloads.map((payload, index) => {
      return publishers[index % publishers.length].client.publishAsync("t", payload, { qos });
    }));
    await eventually(() => shares.flat().length >= payloads.length, "every message to arrive");
    // What came twice would come before these.
    const ends = publishers.flatMap(({ client }) => members.map(() => client.publishAsync("t", "end", { qos })));
    await Promise.all(ends);
    const all = [...payloads, ...ends.map(() => "end")];
    await eventually(() => shares.flat().length >= all.length, "the last messages to arrive");
    assert.deepEqual(shares.flat().sort(), all.sort());
    for (const share of shares) assert(share.length >= 10, `${share.length} of ${all.length}`);
    assert.deepEqual(payloadsOf(await alone.take(all.length)).sort(), all);
  });
}

Deno.test("a shared subscription whose only member is at another node gives it everything", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await using member = await subscriber(b, "$share/group/t");
  await using publisher = await connect(a, v5);
  const payloads = Array.from({ length: 30 }, (_, index) => String(index));
  for (const payload of payloads) await publisher.client.publishAsync("t", payload, { qos: 1 });
  assert.deepEqual(payloadsOf(await member.take(30)), payloads);
});

Deno.test("a shared subscription prefers a member who is connected to another node over one who is away", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const away = await connect(a, { ...v5, clean: false, clientId: "away", properties: { sessionExpiryInterval: 600 } });
  await away.client.subscribeAsync("$share/group/t", { qos: 1 });
  await away[Symbol.asyncDispose]();
  await using member = await subscriber(b, "$share/group/t", { qos: 1 });
  await using publisher = await connect(a, v5);
  const payloads = Array.from({ length: 10 }, (_, index) => String(index));
  for (const payload of payloads) await publisher.client.publishAsync("t", payload, { qos: 1 });
  assert.deepEqual(payloadsOf(await member.take(10)), payloads);
});

Deno.test("the will of a client at one node reaches subscribers at the others", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  await using first = await subscriber(b, "will/#");
  await using second = await subscriber(c, "will/#");
  const will = { topic: "will/a", payload: Buffer.from("gone"), qos: 1, retain: false } as const;
  const victim = await connect(a, { ...v5, will });
  await victim.client.endAsync(true);
  for (const each of [first, second]) {
    const { topic, payload, qos } = await each.next();
    assert.deepEqual({ topic, payload, qos }, { topic: "will/a", payload: "gone", qos: 1 });
  }
});
