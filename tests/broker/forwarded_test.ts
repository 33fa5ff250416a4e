import assert from "node:assert/strict";
import type { BrokerOptions, ClusterContext, Forwarded, Hook } from "../../mod.ts";
import { encode, type PublishPacket } from "../../codec/mod.ts";
import type { ConnectOptions, SubscribeOptions } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { receivedSoFar, receiveTexts } from "./receive.ts";

const toAll: Forwarded = { publisherId: "publisher", sentAt: 0, toAll: true, groups: [], sessions: [] };

/** A broker, and its door for other brokers. */
async function startNode(
  options: BrokerOptions = {},
): Promise<{ broker: TestBroker; cluster: ClusterContext } & AsyncDisposable> {
  const broker = await startBroker(options);
  const { promise, resolve } = Promise.withResolvers<ClusterContext>();
  await broker.use({ id: "cluster", init: ({ cluster }) => resolve(cluster) });
  return { broker, cluster: await promise, [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose]() };
}

/** PUBLISH packets, one behind the other. */
function packets(...messages: ({ payload: string } & Partial<Omit<PublishPacket, "payload">>)[]): Uint8Array {
  const encoded = messages.map(({ payload, ...fields }) => {
    const bytes = new TextEncoder().encode(payload);
    return encode({ type: "publish", topic: "t", qos: 0, retain: false, dup: false, ...fields, payload: bytes }, 5);
  });
  return new Uint8Array(encoded.flatMap((bytes) => [...bytes]));
}

const texts = ["a", "bb", "", "x".repeat(200), "c"];
const plain = packets(...texts.map((payload) => ({ payload })));

const receivers: Record<string, [ConnectOptions, SubscribeOptions]> = {
  "an MQTT 5 client": [{ level: 5 }, {}],
  "an MQTT 3.1.1 client": [{ level: 4 }, {}],
  "a client that understands topic aliases": [{ level: 5, properties: { topicAliasMaximum: 2 } }, {}],
  "a client with a subscription identifier": [{ level: 5 }, { properties: { subscriptionIdentifiers: [7] } }],
  "a client that does not get its own messages": [{ level: 5 }, { noLocal: true }],
};

for (const [name, [connect, subscribe]] of Object.entries(receivers)) {
  Deno.test(`${name} gets all of a run of forwarded messages, in their order`, async () => {
    await using node = await startNode();
    const client = await node.broker.connect(connect);
    await client.subscribe("t", subscribe);
    await node.cluster.deliverForwarded(plain, toAll);
    for (const text of texts) {
      const packet = await client.expect("publish");
      assert.equal(new TextDecoder().decode(packet.payload), text);
      assert.deepEqual([packet.qos, packet.retain, packet.dup], [0, false, false]);
      if (packet.properties?.topicAlias === undefined) assert.equal(packet.topic, "t");
      assert.deepEqual(packet.properties?.subscriptionIdentifiers, subscribe.properties && [7]);
    }
    await client.expectNothing();
  });
}

Deno.test("messages on other topics, or of another kind, end a run and lose nothing of themselves", async () => {
  await using node = await startNode();
  const client = await node.broker.connect({ level: 5 });
  await client.subscribe("#", { retainAsPublished: true });
  const messages = [
    { payload: "1" },
    { payload: "2" },
    { payload: "3", retain: true },
    { payload: "4", topic: "u" },
    { payload: "5", topic: "u", properties: { contentType: "text/plain" } },
    { payload: "6", topic: "u" },
    { payload: "7".repeat(20_000), topic: "u" },
    { payload: "8", topic: "u" },
  ];
  await node.cluster.deliverForwarded(packets(...messages), toAll);
  for (const { payload, topic = "t", retain = false, properties } of messages) {
    const packet = await client.expect("publish");
    assert.deepEqual(
      [packet.topic, new TextDecoder().decode(packet.payload), packet.retain, packet.properties],
      [topic, payload, retain, properties],
    );
  }
});

Deno.test("an MQTT 3.1.1 client gets messages of another broker without their properties", async () => {
  await using node = await startNode();
  const client = await node.broker.connect({ level: 4 });
  await client.subscribe("t");
  const properties = { contentType: "text/plain" };
  await node.cluster.deliverForwarded(packets({ payload: "1", properties }, { payload: "2", properties }), toAll);
  assert.deepEqual(await receiveTexts(client, 2), ["1", "2"]);
});

Deno.test("a client does not get its own messages from another broker with no-local", async () => {
  await using node = await startNode();
  const client = await node.broker.connect({ clientId: "publisher" });
  await client.subscribe("t", { noLocal: true });
  await node.cluster.deliverForwarded(plain, toAll);
  await client.expectNothing();
});

Deno.test("of a run, a client gets those messages that are not too large for it", async () => {
  await using node = await startNode();
  const client = await node.broker.connect({ level: 5, properties: { maximumPacketSize: 100 } });
  await client.subscribe("t");
  await node.cluster.deliverForwarded(plain, toAll);
  assert.deepEqual(await receivedSoFar(client), ["a", "bb", "", "c"]);
});

Deno.test("each message of a run goes to the embedding program, and past hooks that read along", async () => {
  await using node = await startNode();
  const got: string[] = [];
  await node.broker.subscribe("t", ({ payload }) => void got.push(new TextDecoder().decode(payload)));
  await node.cluster.deliverForwarded(plain, toAll);
  assert.deepEqual(got, texts);
  const hook: Hook = {
    id: "shout",
    onPublishDeliver: (_client, packet) => ({ ...packet, payload: new Uint8Array([...packet.payload, 33]) }),
  };
  const client = await node.broker.connect();
  await client.subscribe("t");
  await node.broker.use(hook);
  await node.cluster.deliverForwarded(plain, toAll);
  assert.deepEqual(await receiveTexts(client, texts.length), texts.map((text) => `${text}!`));
});

Deno.test("a forwarded message that cannot be delivered keeps no other back, and is told of", async () => {
  await using node = await startNode();
  const client = await node.broker.connect();
  await client.subscribe("#");
  const deep = "a/".repeat(300);
  const mixed = packets({ payload: "1" }, { payload: "2", topic: deep }, { payload: "3" });
  assert.throws(() => node.cluster.deliverForwarded(mixed, toAll), /300|levels/);
  assert.deepEqual(await receiveTexts(client, 2), ["1", "3"]);
});

for (const cut of [1, 3, 5]) {
  Deno.test(`what is cut off by ${cut} bytes is not delivered, but what is in front of it and comes later`, async () => {
    await using node = await startNode();
    const client = await node.broker.connect();
    await client.subscribe("#");
    const whole = packets({ payload: "1" }, { payload: "2" }, { payload: "3" });
    assert.throws(() => node.cluster.deliverForwarded(whole.subarray(0, -cut), toAll), /cut off/);
    assert.deepEqual(await receiveTexts(client, 2), ["1", "2"]);
    await node.cluster.deliverForwarded(plain, toAll);
    assert.deepEqual(await receiveTexts(client, texts.length), texts);
  });
}

for (const outboundBytes of [100, 1000]) {
  for (const level of [4, 5] as const) {
    Deno.test(`a run to a level ${level} client is counted, and limited to ${outboundBytes} bytes, as its messages are`, async () => {
      const counted = [];
      for (const together of [true, false]) {
        await using node = await startNode({ limits: { outboundBytes } });
        const client = await node.broker.connect({ level });
        await client.subscribe("t");
        const each = Array.from({ length: 50 }, (_, index) => packets({ payload: `${index}` }));
        const all = new Uint8Array(each.flatMap((bytes) => [...bytes]));
        for (const bytes of together ? [all] : each) node.cluster.deliverForwarded(bytes, toAll);
        const { packetsSent, messagesSent, messagesDropped, payloadBytesSent } = node.broker.stats();
        assert.equal(messagesSent + messagesDropped, 50);
        const texts = await receiveTexts(client, messagesSent);
        counted.push({ packetsSent, messagesSent, messagesDropped, payloadBytesSent, texts });
      }
      assert.deepEqual(counted[0], counted[1]);
      assert.equal(counted[0].messagesDropped > 0, outboundBytes === 100);
    });
  }
}
