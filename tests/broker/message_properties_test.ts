import assert from "node:assert/strict";
import fc from "fast-check";
import { encode, type ProtocolLevel, type PublishProperties, type Qos } from "../../mod.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { passingTime } from "./passing_time.ts";
import { receive, textOf } from "./receive.ts";
import { message } from "./topics/message.ts";
import { lasting, versions } from "./versions.ts";

const everyProperty: PublishProperties = {
  payloadFormatIndicator: 1,
  contentType: "text/plain; charset=utf-8",
  responseTopic: "answers/7",
  correlationData: new Uint8Array([0, 0xff, 0x80]),
  userProperties: [["b", "2"], ["a", "1"], ["b", "1"], ["", ""], ["ä", "\ufeff日"]],
};

/** Sends a message, which may name its topic by an alias, and waits until the broker has handled it. */
async function publish(client: RawClient, topic: string, topicAlias?: number, qos: Qos = 0): Promise<void> {
  const properties = topicAlias === undefined ? undefined : { topicAlias };
  await client.publish({ topic, payload: "x", qos, properties });
}

/** The next message's topic name and alias, as they are in the packet. */
async function nextTopic(client: RawClient): Promise<[topic: string, alias: number | undefined]> {
  const packet = await client.expect("publish");
  return [packet.topic, packet.properties?.topicAlias];
}

// From one version to another

for (const [publisherLevel, from] of versions) {
  for (const [subscriberLevel, to] of versions) {
    Deno.test(`a message from MQTT ${from} to ${to} arrives at every QoS, alive, queued and retained`, async () => {
      await using broker = await startBroker();
      const publisher = await broker.connect({ level: publisherLevel });
      const options = { ...lasting(subscriberLevel), clientId: "subscriber" };
      let subscriber = await broker.connect(options);
      await subscriber.subscribe("a/#", { qos: 2 });
      const properties = publisherLevel === 5 ? everyProperty : undefined;
      const expected = publisherLevel === 5 && subscriberLevel === 5 ? everyProperty : undefined;
      const publish = (qos: Qos) =>
        publisher.publish({ topic: "a/ü", payload: `at ${qos}`, qos, properties, retain: true });
      const check = async (qos: Qos, retain: boolean) => {
        const packet = await receive(subscriber);
        assert.deepEqual([packet.topic, packet.text, packet.qos, packet.retain], ["a/ü", `at ${qos}`, qos, retain]);
        assert.deepEqual(packet.properties, expected);
      };
      for (const qos of [0, 1, 2] as Qos[]) {
        await publish(qos);
        await check(qos, false);
      }
      await subscriber.disconnect();
      for (const qos of [1, 2] as Qos[]) await publish(qos);
      subscriber = await broker.connect(options);
      for (const qos of [1, 2] as Qos[]) await check(qos, false);
      await subscriber.subscribe("a/#", { qos: 2 });
      await check(2, true);
    });
  }
}

Deno.test("[5.0 MQTT-3.3.2-17] properties, whatever they are, arrive unaltered at whoever gets the message", async () => {
  await using broker = await startBroker();
  const publisher = await broker.connect();
  const aliased = await broker.connect({ properties: { topicAliasMaximum: 10 } });
  const plain = await broker.connect();
  const identified = await broker.connect();
  await aliased.subscribe("t", { qos: 1 });
  await plain.subscribe("t", { qos: 0 });
  await identified.subscribe("t", { qos: 1, properties: { subscriptionIdentifiers: [300] } });
  const string = fc.string({ unit: "binary", maxLength: 100 }).map((text) => text.replaceAll("\0", ""));
  const topicName = string.map((text) => text.replaceAll(/[+#]/g, "/") || "/");
  const properties = fc.record({
    payloadFormatIndicator: fc.constantFrom(0, 1),
    messageExpiryInterval: fc.integer({ min: 1000, max: 0xffff_ffff }),
    contentType: string,
    responseTopic: topicName,
    correlationData: fc.uint8Array({ maxLength: 300 }),
    userProperties: fc.array(fc.tuple(string, string), { minLength: 1, maxLength: 10 }),
    topicAlias: fc.integer({ min: 1, max: 256 }),
  }, { requiredKeys: [], noNullPrototype: true });
  const sent = fc.record({
    properties,
    payload: fc.uint8Array({ maxLength: 100 }),
    qos: fc.constantFrom<Qos>(0, 1, 2),
  });
  await fc.assert(
    fc.asyncProperty(sent, async ({ properties, payload, qos }) => {
      await publisher.publish({ topic: "t", payload, qos, properties: properties as PublishProperties });
      const { topicAlias: _alias, ...expected } = properties as PublishProperties;
      for (const subscriber of [aliased, plain, identified]) {
        const received = await receive(subscriber);
        const { topicAlias: _outbound, subscriptionIdentifiers: _identifiers, ...rest } = received.properties ?? {};
        if (rest.messageExpiryInterval !== undefined && rest.messageExpiryInterval < expected.messageExpiryInterval!) {
          rest.messageExpiryInterval += 1;
        }
        assert.deepEqual(rest, expected);
        assert.deepEqual(received.payload, payload);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("[5.0 MQTT-3.3.2-18] user properties keep their order, with every one that is there several times", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("t");
  const userProperties = Array.from({ length: 500 }, (_, index): [string, string] => [`${index % 7}`, `${index}`]);
  await client.publish({ topic: "t", properties: { userProperties } });
  assert.deepEqual((await receive(client)).properties?.userProperties, userProperties);
});

Deno.test("more user properties than the limit end the connection with 0x97", async () => {
  await using broker = await startBroker({ limits: { userProperties: 2 } });
  const client = await broker.connect();
  const pairs = (count: number) => Array.from({ length: count }, (): [string, string] => ["a", "b"]);
  assert.equal(await client.publish({ topic: "t", qos: 1, properties: { userProperties: pairs(2) } }), 0x10);
  await client.publish({ topic: "t", properties: { userProperties: pairs(3) } });
  assert.equal((await client.expect("disconnect")).reasonCode, 0x97);
  await client.expectClosed();
});

Deno.test("[5.0 MQTT-3.3.4-6] a subscription identifier from a client is a protocol error", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.publish({ topic: "t", properties: { subscriptionIdentifiers: [1] } });
  assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
  await client.expectClosed();
});

Deno.test("a message that the embedding program passes on loses the identifiers that it came with", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("t", { properties: { subscriptionIdentifiers: [7] } });
  await client.subscribe("u");
  const properties = { contentType: "x", subscriptionIdentifiers: [1, 2], topicAlias: 3 };
  await broker.publish("t", "", { properties });
  assert.deepEqual((await receive(client)).properties, { contentType: "x", subscriptionIdentifiers: [7] });
  await broker.publish("u", "", { properties });
  assert.deepEqual((await receive(client)).properties, { contentType: "x" });
});

Deno.test("a payload that is too large to be copied arrives with its properties, at every QoS and level", async () => {
  await using broker = await startBroker();
  const clients: RawClient[] = [];
  for (const level of [4, 5, 5] as ProtocolLevel[]) {
    const properties = clients.length === 2 ? { topicAliasMaximum: 1 } : undefined;
    const client = await broker.connect({ level, properties });
    await client.subscribe("t", { qos: 1 });
    clients.push(client);
  }
  const payload = Uint8Array.from({ length: 200_000 }, (_, index) => index % 251);
  for (const qos of [0, 1, 0, 1] as Qos[]) {
    await broker.publish("t", payload, { qos, properties: { contentType: "x" } });
    for (const client of clients) {
      const received = await receive(client);
      assert.deepEqual(received.payload, payload);
      assert.equal(received.properties?.contentType, client.level === 5 ? "x" : undefined);
    }
  }
});

// Message expiry

Deno.test("[5.0 MQTT-3.3.2-6] a message that has waited carries what is left of its lifetime", async () => {
  await using broker = await startBroker();
  const publisher = await broker.connect();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { qos: 2 });
  await publisher.publish({ topic: "t", qos: 1, properties: { messageExpiryInterval: 60 } });
  assert.equal((await receive(before)).properties?.messageExpiryInterval, 60);
  await before.disconnect();
  for (const qos of [1, 2] as Qos[]) {
    await publisher.publish({ topic: "t", qos, properties: { messageExpiryInterval: 60, contentType: "x" } });
  }
  using _time = passingTime(20);
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  for (const qos of [1, 2] as Qos[]) {
    const packet = await receive(after);
    assert.deepEqual([packet.qos, packet.properties?.contentType], [qos, "x"]);
    assert([40, 39].includes(packet.properties!.messageExpiryInterval!));
  }
});

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a message whose lifetime has passed while it waited is not sent`, async () => {
    await using broker = await startBroker();
    const dropped: string[] = [];
    await broker.use({
      id: "dropped",
      onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId} ${textOf(packet)} ${reason}`),
    });
    const before = await broker.connect({ ...lasting(level), clientId: "a" });
    await before.subscribe("t", { qos: 1 });
    await before.disconnect();
    await broker.publish("t", "brief", { qos: 1, properties: { messageExpiryInterval: 10 } });
    await broker.publish("t", "longer", { qos: 1, properties: { messageExpiryInterval: 100 } });
    await broker.publish("t", "for ever", { qos: 1 });
    using _time = passingTime(20);
    const after = await broker.connect({ ...lasting(level), clientId: "a" });
    assert.deepEqual([(await receive(after)).text, (await receive(after)).text], ["longer", "for ever"]);
    await after.expectNothing();
    assert.deepEqual(dropped, ["a brief expired"]);
    assert.equal(broker.stats().messagesDropped, 1);
  });
}

Deno.test("a message whose lifetime is 0 reaches who is there, and waits for nobody", async () => {
  await using broker = await startBroker();
  const away = await broker.connect({ ...lasting(5), clientId: "away" });
  await away.subscribe("t", { qos: 1 });
  await away.disconnect();
  const present = await broker.connect();
  await present.subscribe("t", { qos: 1 });
  await broker.publish("t", "now", { qos: 1, properties: { messageExpiryInterval: 0 } });
  assert.equal((await receive(present)).text, "now");
  const back = await broker.connect({ ...lasting(5), clientId: "away" });
  await back.expectNothing();
});

Deno.test("[5.0 MQTT-4.3.3-7] a QoS 2 message that has been sent is sent again also when its lifetime has passed", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { qos: 2 });
  await broker.publish("t", "sent", { qos: 2, properties: { messageExpiryInterval: 10 } });
  const { packetId } = await before.expect("publish");
  await before.close();
  using _time = passingTime(20);
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  const resent = await receive(after);
  assert.deepEqual([resent.packetId, resent.dup, resent.text], [packetId, true, "sent"]);
});

Deno.test("hooks and the embedding program see what is left of a message's lifetime", async () => {
  await using broker = await startBroker();
  await broker.publish("t", "x", { retain: true, properties: { messageExpiryInterval: 60 } });
  const seen: (number | undefined)[] = [];
  await broker.use({
    id: "shout",
    onPublishDeliver(_client, packet) {
      seen.push(packet.properties?.messageExpiryInterval);
      return { ...packet, payload: new TextEncoder().encode("X") };
    },
  });
  using _time = passingTime(20);
  const client = await broker.connect();
  await client.subscribe("t");
  const { text, properties } = await receive(client);
  assert.equal(text, "X");
  using _subscription = await broker.subscribe("t", (packet) => {
    seen.push(packet.properties?.messageExpiryInterval);
  });
  for (const left of [properties?.messageExpiryInterval, ...seen]) assert(left === 40 || left === 39, `${left}`);
  assert.equal(seen.length, 2);
});

Deno.test("a message keeps only so many of its encodings, however many kinds of receivers it meets", () => {
  const kept = message("t");
  const first = kept.encoded(true, false, [1], "name");
  assert.equal(kept.encoded(true, false, [1], "name"), first);
  for (let identifier = 2; identifier <= 1000; identifier++) kept.encoded(true, false, [identifier], "name");
  assert.notEqual(kept.encoded(true, false, [1], "name"), first);
  assert.deepEqual(kept.encoded(true, false, [1], "name").bytes, first.bytes);
});

// Topic aliases from clients

Deno.test("an alias stands for the topic that it was given with, until it is given with another one", async () => {
  await using broker = await startBroker();
  const subscriber = await broker.connect();
  await subscriber.subscribe("#", { qos: 2 });
  const publisher = await broker.connect();
  const steps: [topic: string, alias: number, expected: string][] = [
    ["a", 1, "a"],
    ["", 1, "a"],
    ["b", 256, "b"],
    ["", 256, "b"],
    ["", 1, "a"],
    ["c", 1, "c"],
    ["", 1, "c"],
    ["", 256, "b"],
  ];
  for (const qos of [0, 1, 2] as Qos[]) {
    for (const [topic, alias, expected] of steps) {
      await publish(publisher, topic, alias, qos);
      const packet = await receive(subscriber);
      assert.deepEqual([packet.topic, packet.text, packet.qos, packet.properties], [expected, "x", qos, undefined]);
    }
  }
});

Deno.test("a message that names its topic by an alias reaches every version, is retained and queued", async () => {
  await using broker = await startBroker();
  const publisher = await broker.connect();
  const away = await broker.connect({ ...lasting(4), clientId: "away" });
  await away.subscribe("t", { qos: 1 });
  await away.disconnect();
  const old = await broker.connect({ level: 4 });
  await old.subscribe("t");
  await publish(publisher, "t", 1);
  assert.equal((await receive(old)).topic, "t");
  await publisher.publish({ topic: "", payload: "by alias", qos: 1, retain: true, properties: { topicAlias: 1 } });
  for (const client of [old, await broker.connect({ ...lasting(4), clientId: "away" })]) {
    const { topic, text } = await receive(client);
    assert.deepEqual([topic, text], ["t", "by alias"]);
  }
  const late = await broker.connect();
  await late.subscribe("t");
  const { topic, text, properties } = await receive(late);
  assert.deepEqual([topic, text, properties?.topicAlias], ["t", "by alias", undefined]);
});

Deno.test("aliases of one client mean nothing to another one", async () => {
  await using broker = await startBroker();
  const [first, second, subscriber] = [await broker.connect(), await broker.connect(), await broker.connect()];
  await subscriber.subscribe("#");
  await publish(first, "a", 1);
  await publish(second, "b", 1);
  await publish(first, "", 1);
  await publish(second, "", 1);
  const topics = [];
  for (let count = 0; count < 4; count++) topics.push((await receive(subscriber)).topic);
  assert.deepEqual(topics.sort(), ["a", "a", "b", "b"]);
});

Deno.test("an alias counts also if the message that set it was refused", async () => {
  await using broker = await startBroker();
  const subscriber = await broker.connect();
  await subscriber.subscribe("#");
  const publisher = await broker.connect();
  await publisher.publish({ topic: "$SYS/a", qos: 1, properties: { topicAlias: 1 } });
  assert.equal(await publisher.publish({ topic: "", qos: 1, properties: { topicAlias: 1 } }), 0x87);
  await publish(publisher, "a", 1, 1);
  await publish(publisher, "", 1, 1);
  assert.deepEqual([(await receive(subscriber)).topic, (await receive(subscriber)).topic], ["a", "a"]);
});

Deno.test("[5.0 MQTT-3.3.2-12] all aliases up to the broker's maximum are accepted, and CONNACK says which", async () => {
  await using broker = await startBroker({ limits: { topicAliasMaximum: 3 } });
  const client = await broker.connect();
  assert.equal(client.connack.properties?.topicAliasMaximum, 3);
  await client.subscribe("#");
  for (const alias of [3, 1, 2]) await publish(client, `${alias}`, alias);
  for (const alias of [1, 2, 3]) await publish(client, "", alias);
  for (const topic of ["3", "1", "2", "1", "2", "3"]) assert.equal((await receive(client)).topic, topic);
});

for (
  const [what, alias, topic, reasonCode] of [
    ["of 0", 0, "a", 0x94],
    ["above the maximum", 257, "a", 0x94],
    ["above the maximum, without a topic name", 257, "", 0x94],
    ["that was never given, without a topic name", 1, "", 0x82],
  ] as const
) {
  Deno.test(`a topic alias ${what}, ends the connection with 0x${reasonCode.toString(16)}`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect();
    const bytes = encode(publishPacket({ topic, properties: { topicAlias: 1 } }), 5);
    bytes.set([alias >> 8, alias & 0xff], bytes.length - 2);
    await client.sendBytes(bytes);
    assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
    await client.expectClosed();
  });
}

Deno.test("a message with neither a topic name nor an alias ends the connection with 0x82", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.sendBytes(new Uint8Array([0x30, 4, 0, 0, 0, 0x78]));
  assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
  await client.expectClosed();
});

Deno.test("where aliases are switched off, CONNACK does not offer them, and none is accepted", async () => {
  await using broker = await startBroker({ limits: { topicAliasMaximum: 0 } });
  const client = await broker.connect();
  assert.equal(client.connack.properties?.topicAliasMaximum, undefined);
  await publish(client, "a", 1);
  assert.equal((await client.expect("disconnect")).reasonCode, 0x94);
  await client.expectClosed();
});

Deno.test("[5.0 MQTT-3.3.2-7] an alias ends with its connection, though the session goes on", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await publish(before, "t", 1, 1);
  await before.disconnect();
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  await after.send(publishPacket({ topic: "", properties: { topicAlias: 1 } }));
  assert.equal((await after.expect("disconnect")).reasonCode, 0x82);
  await after.expectClosed();
});

// Topic aliases to clients

Deno.test("a topic is named with its alias once, and by the alias alone from then on", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ properties: { topicAliasMaximum: 10 } });
  await client.subscribe("#", { qos: 2 });
  const expected: [topic: string, qos: Qos, packet: [string, number]][] = [
    ["a", 0, ["a", 1]],
    ["a", 0, ["", 1]],
    ["b", 1, ["b", 2]],
    ["a", 1, ["", 1]],
    ["b", 2, ["", 2]],
    ["b", 0, ["", 2]],
  ];
  for (const [topic, qos, packet] of expected) {
    await broker.publish(topic, "x", { qos });
    assert.deepEqual(await nextTopic(client), packet);
  }
});

Deno.test("[5.0 MQTT-3.3.2-11] no alias is above the client's maximum, topics beyond it come by name", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ properties: { topicAliasMaximum: 2 } });
  await client.subscribe("#");
  for (let round = 0; round < 2; round++) {
    for (const topic of ["a", "b", "c", "d"]) await broker.publish(topic, "x");
  }
  const topics = [];
  for (let count = 0; count < 8; count++) topics.push(await nextTopic(client));
  assert.deepEqual(topics, [
    ...[["a", 1], ["b", 2], ["c", undefined], ["d", undefined]],
    ...[["", 1], ["", 2], ["c", undefined], ["d", undefined]],
  ]);
});

Deno.test("a client that has not asked for aliases is sent none", async () => {
  await using broker = await startBroker();
  for (const properties of [undefined, { topicAliasMaximum: 0 }]) {
    const client = await broker.connect({ properties });
    await client.subscribe("a");
    for (let time = 0; time < 2; time++) {
      await broker.publish("a", "x");
      assert.deepEqual(await nextTopic(client), ["a", undefined]);
    }
  }
});

Deno.test("each client has aliases of its own", async () => {
  await using broker = await startBroker();
  const first = await broker.connect({ properties: { topicAliasMaximum: 5 } });
  const second = await broker.connect({ properties: { topicAliasMaximum: 5 } });
  await first.subscribe(["a", "b"]);
  await second.subscribe("b");
  for (const topic of ["a", "b", "b"]) await broker.publish(topic, "x");
  assert.deepEqual([await nextTopic(first), await nextTopic(first), await nextTopic(first)], [
    ["a", 1],
    ["b", 2],
    ["", 2],
  ]);
  assert.deepEqual([await nextTopic(second), await nextTopic(second)], [["b", 1], ["", 1]]);
});

Deno.test("what is sent again on a new connection names its topic anew", async () => {
  await using broker = await startBroker();
  const options = {
    clientId: "a",
    cleanStart: false,
    properties: { sessionExpiryInterval: 100, topicAliasMaximum: 5 },
  };
  const before = await broker.connect(options);
  await before.subscribe("t", { qos: 1 });
  for (const payload of ["1", "2"]) await broker.publish("t", payload, { qos: 1 });
  assert.deepEqual([await nextTopic(before), await nextTopic(before)], [["t", 1], ["", 1]]);
  await before.close();
  const after = await broker.connect(options);
  const packets = [await after.expect("publish"), await after.expect("publish")];
  assert.deepEqual(
    packets.map((packet) => [packet.topic, packet.properties?.topicAlias, textOf(packet), packet.dup]),
    [["t", 1, "1", true], ["", 1, "2", true]],
  );
});

Deno.test("[5.0 MQTT-3.1.2-24] a message that only an alias would make too large is sent without one", async () => {
  await using broker = await startBroker();
  const size = encode(publishPacket({ topic: "topic", payload: "x".repeat(40) }), 5).length;
  const client = await broker.connect({ properties: { topicAliasMaximum: 5, maximumPacketSize: size } });
  await client.subscribe("topic");
  for (let time = 0; time < 2; time++) {
    await broker.publish("topic", "x".repeat(40));
    assert.deepEqual(await nextTopic(client), ["topic", undefined]);
  }
  await broker.publish("topic", "x".repeat(37));
  assert.deepEqual(await nextTopic(client), ["topic", 1]);
  await broker.publish("topic", "x".repeat(41));
  assert.deepEqual(await nextTopic(client), ["", 1]);
});
