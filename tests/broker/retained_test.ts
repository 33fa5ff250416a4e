import assert from "node:assert/strict";
import type { BrokerContext } from "../../broker/broker_context.ts";
import type { HookContext } from "../../broker/hooks.ts";
import { Retained } from "../../broker/retained.ts";
import { RetainedTree } from "../../broker/topics/retained_tree.ts";
import { type PublishPacket, type Qos, ReasonCode, ReasonCodeError } from "../../mod.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import { publishPacket, RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { passingTime } from "./passing_time.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "./receive.ts";
import { RecordingLogger } from "./recording_logger.ts";
import { statement } from "./statement.ts";
import { message } from "./topics/message.ts";
import { versions } from "./versions.ts";

for (const [level, version] of versions) {
  Deno.test(`${statement(level, "MQTT-3.3.1-9", "MQTT-3.3.1-6")} a new subscriber is sent the last retained message of each topic, flagged as such`, async () => {
    await using broker = await startBroker();
    const publisher = await broker.connect({ level });
    for (const [topic, payload] of [["a", "old"], ["b", "only"], ["a", "new"]]) {
      await publisher.publish({ topic, payload, retain: true, qos: 1 });
    }
    await publisher.disconnect();
    const subscriber = await broker.connect({ level });
    await subscriber.subscribe("#");
    const messages = [await receive(subscriber), await receive(subscriber)];
    assert.deepEqual(messages.map(({ topic, text, retain }) => [topic, text, retain]).sort(), [
      ["a", "new", true],
      ["b", "only", true],
    ]);
    await subscriber.expectNothing();
  });

  Deno.test(`${statement(level, "MQTT-3.3.1-12", "MQTT-3.3.1-9")} who is subscribed already gets a retained message as any other`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.subscribe("a");
    await client.publish({ topic: "a", payload: "x", retain: true });
    assert.equal((await receive(client)).retain, false);
    await client.expectNothing();
  });

  Deno.test(`${statement(level, "MQTT-3.3.1-6", "MQTT-3.3.1-10")} an empty retained message removes what was retained, and is delivered itself`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.publish({ topic: "a", payload: "x", retain: true });
    await client.subscribe("a");
    assert.equal((await receive(client)).text, "x");
    await client.publish({ topic: "a", retain: true });
    const { text, retain } = await receive(client);
    assert.deepEqual([text, retain], ["", false]);
    assert.equal(broker.stats().retainedMessages, 0);
    await client.subscribe("a");
    await client.expectNothing();
  });

  Deno.test(`${statement(level, "MQTT-3.3.1-8", "MQTT-3.3.1-12")} a message without the retain flag leaves what is retained as it is`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.publish({ topic: "a", payload: "kept", retain: true });
    for (const payload of ["other", ""]) await client.publish({ topic: "a", payload, qos: 1 });
    await client.publish({ topic: "b", payload: "not kept", qos: 1 });
    await client.subscribe("#");
    assert.deepEqual(await receivedSoFar(client), ["kept"]);
  });

  Deno.test(`MQTT ${version}: a retained message keeps its QoS`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    for (const published of [0, 1, 2] as Qos[]) {
      await client.publish({ topic: "a", payload: "x", retain: true, qos: published });
      for (const granted of [0, 1, 2] as Qos[]) {
        await client.subscribe("a", { qos: granted });
        assert.equal((await receive(client)).qos, Math.min(published, granted));
      }
      await client.unsubscribe("a");
    }
  });

  Deno.test(`MQTT ${version}: each filter brings the retained messages that it matches`, async () => {
    await using broker = await startBroker();
    for (const topic of ["a", "a/b", "a/b/c", "b", "$SYS/a"]) await broker.publish(topic, topic, { retain: true });
    const client = await broker.connect({ level });
    const expected: [string, string[]][] = [
      ["a", ["a"]],
      ["a/#", ["a", "a/b", "a/b/c"]],
      ["+/b", ["a/b"]],
      ["+", ["a", "b"]],
      ["#", ["a", "a/b", "a/b/c", "b"]],
      ["$SYS/+", ["$SYS/a"]],
      ["c", []],
    ];
    for (const [filter, topics] of expected) {
      await client.subscribe(filter);
      assert.deepEqual((await receivedSoFar(client)).sort(), topics, filter);
    }
  });

  Deno.test(`MQTT ${version}: one retained topic too many is refused, replacing and deleting is not`, async () => {
    await using broker = await startBroker({ limits: { retainedMessages: 2 } });
    const client = await broker.connect({ level });
    const publish = (topic: string, payload: string, qos: Qos = 1) =>
      client.publish({ topic, payload, qos, retain: true });
    const accepted = level === 5 ? ReasonCode.NoMatchingSubscribers : 0;
    assert.equal(await publish("a", "1"), accepted);
    assert.equal(await publish("b", "1"), accepted);
    for (const qos of [1, 2] as const) {
      const publisher = await broker.connect({ level });
      const packet = publishPacket({ topic: "c", payload: "1", qos, packetId: 1, retain: true });
      if (level === 5) assert.equal(await publisher.publish(packet), ReasonCode.QuotaExceeded);
      else {
        // An acknowledgement would say that it is kept.
        await publisher.send(packet);
        await publisher.expectClosed();
      }
    }
    await publish("c", "1", 0);
    assert.equal(await publish("b", "2"), accepted);
    assert.equal(await publish("a", ""), accepted);
    assert.equal(await publish("d", "1"), accepted);
    await client.subscribe("#");
    const messages = [await receive(client), await receive(client)];
    assert.deepEqual(messages.map(({ topic, text }) => topic + text).sort(), ["b2", "d1"]);
    await client.expectNothing();
  });

  for (const qos of [0, 1] as Qos[]) {
    Deno.test(`MQTT ${version}: 20,000 retained messages all reach a slow subscriber at QoS ${qos}`, async () => {
      const limits = { outboundBytes: 1000, queueMessages: 5, queueBytes: 1000, inflight: 10 };
      await using broker = await startBroker({ limits });
      const payload = "x".repeat(50);
      for (let index = 0; index < 20_000; index++) {
        await broker.publish(`a/${index}`, payload, { retain: true, qos: 1 });
      }
      const subscriber = await broker.connect({ level });
      await subscriber.subscribe("a/#", { qos });
      const topics = new Set<string>();
      for (let count = 0; count < 20_000; count++) {
        const packet = await subscriber.expect("publish");
        topics.add(packet.topic);
        if (qos > 0) await subscriber.send({ type: "puback", packetId: packet.packetId!, reasonCode: 0 });
      }
      assert.equal(topics.size, 20_000);
      await subscriber.expectNothing();
      assert.equal(broker.stats().messagesDropped, 0);
    });
  }
}

// While retained messages are on their way

Deno.test("what is published while retained messages are being sent is not followed by what it replaced", async () => {
  await using broker = await startBroker();
  for (let index = 0; index < 50; index++) await broker.publish(`a/${index}`, "old", { retain: true, qos: 1 });
  const subscriber = await broker.connect({ properties: { receiveMaximum: 1 } });
  await subscriber.subscribe("a/+", { qos: 1 });
  const first = await subscriber.expect("publish");
  for (const topic of ["a/20", "a/40"]) await broker.publish(topic, "new", { retain: true, qos: 1 });
  await broker.publish("a/30", "", { retain: true, qos: 1 });
  await subscriber.send({ type: "puback", packetId: first.packetId!, reasonCode: 0 });
  const texts: Record<string, string[]> = { [first.topic]: [textOf(first)] };
  for (let count = 1; count < 50; count++) {
    const { topic, text } = await receive(subscriber);
    (texts[topic] ??= []).push(text);
  }
  await subscriber.expectNothing();
  const expected = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`a/${index}`, ["old"]]));
  assert.deepEqual(texts, { ...expected, "a/20": ["new"], "a/40": ["new"], "a/30": [""] });
});

Deno.test("a client that subscribes again before it has been sent everything is sent that once, not twice", async () => {
  await using broker = await startBroker();
  for (let index = 0; index < 100; index++) await broker.publish(`a/${index}`, `${index}`, { retain: true, qos: 1 });
  const client = await broker.connect({ properties: { receiveMaximum: 1 } });
  await client.subscribe("a/+", { qos: 1 });
  const first = await client.expect("publish");
  for (let time = 0; time < 50; time++) await client.subscribe("a/+", { qos: 1 });
  await client.send({ type: "puback", packetId: first.packetId!, reasonCode: 0 });
  assert.equal(new Set(await receiveTexts(client, 100)).size, 100);
  await client.expectNothing();
});

Deno.test("a client that unsubscribes is sent nothing more of what was retained", async () => {
  await using broker = await startBroker();
  for (let index = 0; index < 100; index++) await broker.publish(`a/${index}`, `${index}`, { retain: true, qos: 1 });
  const client = await broker.connect({ properties: { receiveMaximum: 1 } });
  await client.subscribe(["a/+", "a/50"], { qos: 1 });
  const first = await client.expect("publish");
  await client.unsubscribe("a/+");
  await client.send({ type: "puback", packetId: first.packetId!, reasonCode: 0 });
  assert.equal((await receive(client)).text, "50");
  await client.expectNothing();
});

Deno.test("retained messages are looked up as a slow client can take them, so that they take no memory for it", async () => {
  const { match } = RetainedTree.prototype;
  let found = 0;
  RetainedTree.prototype.match = function* (topicFilter) {
    for (const message of match.call(this, topicFilter)) {
      found += 1;
      yield message;
    }
  };
  try {
    await using broker = await startBroker();
    for (let index = 0; index < 1000; index++) await broker.publish(`a/${index}`, "x", { retain: true, qos: 1 });
    const client = await broker.connect({ properties: { receiveMaximum: 10 } });
    await client.subscribe("a/+", { qos: 1 });
    await receivedSoFar(client);
    assert.equal(found, 10);
  } finally {
    RetainedTree.prototype.match = match;
  }
});

Deno.test("at QoS 0 a slow subscriber is never sent an old value after a new one", async () => {
  await using broker = await startBroker({ limits: { outboundBytes: 1000 } });
  const payload = (word: string) => word.padEnd(1000);
  for (let index = 0; index < 200; index++) await broker.publish(`a/${index}`, payload("old"), { retain: true });
  const [here, there] = duplexPair();
  const serving = broker.serve(there);
  const subscriber = new RawClient(here);
  await subscriber.connect({ clientId: "slow" });
  await subscriber.subscribe("a/+");
  const updated = new Set<string>();
  const seen = new Map<string, string>();
  for (let count = 0; seen.size < 200; count++) {
    if (count % 2 === 0 && updated.size < 200) {
      const topic = `a/${199 - updated.size}`;
      updated.add(topic);
      await broker.publish(topic, payload("new"), { retain: true });
    }
    const { topic, text } = await receive(subscriber);
    assert(!(seen.get(topic) === "new" && text.startsWith("old")), `${topic} is old again`);
    seen.set(topic, text.trim());
    if (topic === "a/99") break;
  }
  await subscriber.close();
  await serving;
});

Deno.test("retained messages at QoS 1 that a session was still owed come after a reconnect", async () => {
  await using broker = await startBroker();
  for (let index = 0; index < 10; index++) await broker.publish(`a/${index}`, `${index}`, { retain: true, qos: 1 });
  const options = { clientId: "a", cleanStart: false, properties: { sessionExpiryInterval: 100, receiveMaximum: 1 } };
  const before = await broker.connect(options);
  await before.subscribe("a/+", { qos: 1 });
  const texts = await receiveTexts(before, 3);
  await before.disconnect();
  const after = await broker.connect(options);
  texts.push(...await receiveTexts(after, 7));
  assert.deepEqual(new Set(texts).size, 10);
  await after.expectNothing();
});

// Message expiry

Deno.test("[5.0 MQTT-3.3.2-6] a retained message is sent with what is left of its lifetime", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.publish({ topic: "a", payload: "x", retain: true, properties: { messageExpiryInterval: 100 } });
  await client.subscribe("a");
  assert.equal((await receive(client)).properties?.messageExpiryInterval, 100);
  using _time = passingTime(42);
  await client.subscribe("a");
  const left = (await receive(client)).properties?.messageExpiryInterval;
  assert(left === 58 || left === 57, `${left}`);
});

Deno.test("[5.0 MQTT-3.3.2-5] a retained message whose lifetime has passed is not sent", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.publish({ topic: "a", payload: "x", retain: true, properties: { messageExpiryInterval: 100 }, qos: 1 });
  using _time = passingTime(100);
  await client.subscribe("a");
  await client.expectNothing();
});

Deno.test("a retained message is gone when its lifetime has passed, one that took its place stays", async () => {
  await using broker = await startBroker();
  const properties = { messageExpiryInterval: 1 };
  for (const topic of ["a", "b"]) await broker.publish(topic, "brief", { retain: true, properties });
  await broker.publish("b", "lasting", { retain: true });
  assert.equal(broker.stats().retainedMessages, 2);
  await eventually(() => broker.stats().retainedMessages === 1, "the end of one retained message");
  const client = await broker.connect();
  await client.subscribe("#");
  assert.deepEqual(await receivedSoFar(client), ["lasting"]);
});

Deno.test("a retained message that is replaced or deleted leaves no timer behind", () => {
  const timers = new Set<object>();
  const retained = new Retained({
    hooks: { on: { storeRetained: [], getRetained: [] } },
    limits: { retainedMessages: 1 },
    slab: { copy: (bytes: Uint8Array) => bytes },
    timers: {
      schedule: (delay: number) => {
        const timer = { delay };
        timers.add(timer);
        return timer;
      },
      cancel: (timer: object) => timers.delete(timer),
    },
  } as unknown as BrokerContext);
  const store = (messageExpiryInterval?: number, payload = "x") =>
    retained.store(message("a", { payload, properties: { messageExpiryInterval } }));
  store(1000);
  assert.equal(timers.size, 1);
  store(2000);
  assert.deepEqual([...timers], [{ delay: 2_000_000 }]);
  store(undefined);
  assert.equal(timers.size, 0);
  store(1000);
  store(undefined, "");
  assert.equal(timers.size, 0);
});

// What hooks remember

for (const way of ["at once", "later"]) {
  Deno.test(`a retained message that a hook refuses ${way} is not kept, nor is the removal of one`, async () => {
    await using broker = await startBroker();
    await broker.publish("a", "before", { retain: true });
    const refusal = new ReasonCodeError(ReasonCode.QuotaExceeded, "full");
    const refuse = () => {
      throw refusal;
    };
    await broker.use({ id: "full", storeRetained: way === "at once" ? refuse : () => Promise.reject(refusal) });
    const client = await broker.connect();
    for (const [topic, payload] of [["a", "after"], ["b", "after"], ["a", ""]]) {
      assert.equal(await client.publish({ topic, payload, qos: 1, retain: true }), 0x97);
    }
    await client.subscribe("#");
    const { topic, text } = await receive(client);
    assert.deepEqual([topic, text], ["a", "before"]);
    await client.expectNothing();
  });
}

// One that is refused while another one is under way behind it; they need not be answered in their order.
const outcomes: [order: number[], isRefused: boolean[], kept: string][] = [
  [[0, 1], [true, true], "before"],
  [[1, 0], [true, true], "before"],
  [[0, 1], [true, false], "second"],
  [[1, 0], [true, false], "second"],
  [[0, 1], [false, true], "first"],
  [[1, 0], [false, true], "first"],
];

for (const [order, isRefused, kept] of outcomes) {
  const names = ["first", "second"];
  const answers = order.map((index) => `the ${names[index]} is ${isRefused[index] ? "refused" : "stored"}`).join(", ");
  const refusal = new ReasonCodeError(ReasonCode.QuotaExceeded, "full");
  Deno.test(`of retained messages under way the last one that is not refused is kept: ${answers}`, async () => {
    await using broker = await startBroker();
    await broker.publish("a", "before", { retain: true });
    const storing = names.map(() => Promise.withResolvers<void>());
    let calls = 0;
    await broker.use({ id: "slow", storeRetained: () => storing[calls++]?.promise ?? Promise.reject(refusal) });
    const [publisher, client, later] = [await broker.connect(), await broker.connect(), await broker.connect()];
    for (const [index, payload] of names.entries()) {
      await publisher.send(publishPacket({ topic: "a", qos: 1, packetId: index + 1, retain: true, payload }));
    }
    await eventually(() => calls === 2, "both to be under way");
    for (const index of order) {
      if (isRefused[index]) storing[index].reject(refusal);
      else storing[index].resolve();
      await client.expectNothing();
    }
    await client.subscribe("a");
    assert.deepEqual(await receivedSoFar(client), [kept]);
    assert.equal(await (await broker.connect()).publish({ topic: "a", qos: 1, retain: true }), 0x97);
    await later.subscribe("a");
    assert.deepEqual(await receivedSoFar(later), [kept]);
  });
}

Deno.test("a retained message whose lifetime ends before it is refused gives way to the one before", async () => {
  await using broker = await startBroker();
  await broker.publish("a", "before", { retain: true });
  const storing = Promise.withResolvers<void>();
  await broker.use({ id: "slow", storeRetained: () => storing.promise });
  const published = broker.publish("a", "brief", { retain: true, properties: { messageExpiryInterval: 1 } });
  await eventually(() => broker.stats().retainedMessages === 0, "the end of its lifetime");
  storing.reject(new ReasonCodeError(ReasonCode.QuotaExceeded, "full"));
  await assert.rejects(published);
  const client = await broker.connect();
  await client.subscribe("a");
  assert.deepEqual(await receivedSoFar(client), ["before"]);
});

Deno.test("a retained message that another broker has set meanwhile is kept when one of ours is refused", async () => {
  await using broker = await startBroker();
  await broker.publish("a", "before", { retain: true });
  const storing = Promise.withResolvers<void>();
  let context!: HookContext;
  await broker.use({
    id: "slow",
    init: (given) => void (context = given),
    storeRetained: () => storing.promise,
  });
  const published = broker.publish("a", "ours", { retain: true });
  const payload = new TextEncoder().encode("theirs");
  context.cluster.setRetained({ type: "publish", topic: "a", payload, qos: 0, retain: true, dup: false }, Date.now());
  storing.reject(new ReasonCodeError(ReasonCode.QuotaExceeded, "full"));
  await assert.rejects(published);
  const client = await broker.connect();
  await client.subscribe("a");
  assert.deepEqual(await receivedSoFar(client), ["theirs"]);
});

Deno.test("getRetained takes the place of what the broker itself remembers", async () => {
  await using broker = await startBroker();
  const asked: string[] = [];
  await broker.publish("a/own", "own", { retain: true });
  await broker.use({
    id: "memory",
    getRetained(topicFilter) {
      asked.push(topicFilter);
      return [{
        ...publishPacket({ topic: "a/b", payload: "hook's", qos: 1 }),
        properties: { contentType: "text/plain" },
      }];
    },
  });
  const client = await broker.connect();
  await client.subscribe("a/#", { qos: 2 });
  const { topic, text, qos, retain, properties } = await receive(client);
  assert.deepEqual([topic, text, qos, retain], ["a/b", "hook's", 1, true]);
  assert.deepEqual(properties, { contentType: "text/plain" });
  await client.expectNothing();
  await client.subscribe("a/#", { retainHandling: 2 });
  await client.subscribe("$share/g/a/#");
  await client.expectNothing();
  assert.deepEqual(asked, ["a/#"]);
});

Deno.test("of several hooks that remember a topic the first one counts", async () => {
  await using broker = await startBroker();
  const remembers = (id: string, ...topics: string[]) => ({
    id,
    getRetained: () => Promise.resolve(topics.map((topic) => publishPacket({ topic, payload: id }))),
  });
  await broker.use(remembers("first", "a", "b"));
  await broker.use(remembers("second", "b", "c"));
  const client = await broker.connect();
  await client.subscribe("#");
  const messages = [await receive(client), await receive(client), await receive(client)];
  assert.deepEqual(messages.map(({ topic, text }) => [topic, text]), [["a", "first"], ["b", "first"], ["c", "second"]]);
  await client.expectNothing();
});

for (
  const [how, getRetained] of [
    ["throws", () => {
      throw new Error("no database");
    }],
    ["rejects", () => Promise.reject(new Error("no database"))],
    ["returns what is no message", () => [publishPacket({ topic: "a/+" })]],
  ] as [string, () => PublishPacket[] | Promise<PublishPacket[]>][]
) {
  Deno.test(`a getRetained that ${how} is logged, and the subscription is there all the same`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    await broker.use({ id: "broken", getRetained });
    await broker.use({ id: "fine", getRetained: () => [publishPacket({ topic: "a", payload: "kept" })] });
    const client = await broker.connect();
    assert.deepEqual((await client.subscribe("a")).reasonCodes, [0]);
    assert.equal((await receive(client)).text, "kept");
    await broker.publish("a", "live");
    assert.equal((await receive(client)).text, "live");
    assert.equal(logger.entries.length, 1);
    assert.match(logger.entries[0], /^error: getRetained of hook broken failed: /);
    const texts: string[] = [];
    using _local = await broker.subscribe("a", (packet) => void texts.push(textOf(packet)));
    assert.deepEqual(texts, ["kept"]);
  });
}

Deno.test("what is published while a hook looks for retained messages is not followed by what it replaced", async () => {
  await using broker = await startBroker();
  for (const topic of ["a", "b"]) await broker.publish(topic, "old", { retain: true });
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<PublishPacket[]>();
  await broker.use({
    id: "slow",
    getRetained() {
      asked.resolve();
      return answer.promise;
    },
  });
  const client = await broker.connect();
  const texts: string[] = [];
  const local = broker.subscribe("a", (packet) => void texts.push(textOf(packet)));
  await client.subscribe("+");
  await asked.promise;
  await broker.publish("a", "new", { retain: true });
  answer.resolve(["a", "b"].map((topic) => publishPacket({ topic, payload: "old" })));
  const messages = [await receive(client), await receive(client)];
  assert.deepEqual(messages.map(({ topic, text }) => [topic, text]), [["a", "new"], ["b", "old"]]);
  await client.expectNothing();
  await local;
  assert.deepEqual(texts, ["new"]);
});

Deno.test("storeRetained gets every retained message, also the one that deletes, and no other", async () => {
  await using broker = await startBroker();
  const stored: [string, PublishPacket][] = [];
  await broker.use({ id: "memory", storeRetained: (topic, packet) => void stored.push([topic, packet]) });
  const client = await broker.connect();
  const properties = { contentType: "text/plain", userProperties: [["a", "b"]] as [string, string][] };
  await client.publish({ topic: "a", payload: "first", retain: true, qos: 1, properties });
  await client.publish({ topic: "a", payload: "not retained", qos: 1 });
  await client.publish({ topic: "a", retain: true, qos: 2 });
  await broker.publish("b", "inside", { retain: true });
  assert.deepEqual(stored, [
    ["a", publishPacket({ topic: "a", payload: "first", retain: true, qos: 1, properties })],
    ["a", publishPacket({ topic: "a", retain: true, qos: 2 })],
    ["b", publishPacket({ topic: "b", payload: "inside", retain: true })],
  ]);
});

Deno.test("a packet that storeRetained keeps stays as it is", async () => {
  await using broker = await startBroker();
  const stored: PublishPacket[] = [];
  await broker.use({ id: "memory", storeRetained: (_topic, packet) => void stored.push(packet) });
  const client = await broker.connect();
  for (let index = 0; index < 100; index++) {
    await client.publish({ topic: "a", payload: `${index}`, retain: true, qos: 1 });
  }
  assert.deepEqual(stored.map(textOf), Array.from({ length: 100 }, (_, index) => `${index}`));
});

for (const qos of [1, 2] as Qos[]) {
  Deno.test(`a QoS ${qos} message is acknowledged when storeRetained has stored it`, async () => {
    await using broker = await startBroker();
    const storing = Promise.withResolvers<void>();
    const stored = Promise.withResolvers<void>();
    await broker.use({
      id: "memory",
      storeRetained() {
        storing.resolve();
        return stored.promise;
      },
    });
    const client = await broker.connect();
    await client.send(publishPacket({ topic: "a", payload: "x", retain: true, qos, packetId: 1 }));
    await storing.promise;
    await client.expectNothing();
    stored.resolve();
    assert.equal((await client.expect(qos === 1 ? "puback" : "pubrec")).packetId, 1);
  });

  Deno.test(`a QoS ${qos} message that storeRetained fails to store is refused`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    const failures = [new Error("disk full"), new ReasonCodeError(ReasonCode.QuotaExceeded, "enough")];
    await broker.use({ id: "memory", storeRetained: () => Promise.reject(failures.shift()) });
    const client = await broker.connect();
    assert.equal(await client.publish({ topic: "a", payload: "x", retain: true, qos }), ReasonCode.UnspecifiedError);
    assert.equal(await client.publish({ topic: "a", payload: "x", retain: true, qos }), ReasonCode.QuotaExceeded);
    assert.deepEqual(logger.entries.length, 1);
    assert.match(logger.entries[0], /disk full/);
  });
}

Deno.test("a QoS 0 message that storeRetained fails to store harms nobody", async () => {
  await using broker = await startBroker();
  await broker.use({ id: "memory", storeRetained: () => Promise.reject(new Error("disk full")) });
  const client = await broker.connect();
  await client.subscribe("a");
  await client.publish({ topic: "a", payload: "x", retain: true });
  assert.equal((await receive(client)).text, "x");
  await client.expectNothing();
});

Deno.test("a retained message that the embedding program publishes is refused to it as to a client", async () => {
  await using broker = await startBroker({ limits: { retainedMessages: 1 } });
  await broker.publish("a", "x", { retain: true });
  await assert.rejects(broker.publish("b", "x", { retain: true }), {
    name: "ReasonCodeError",
    reasonCode: ReasonCode.QuotaExceeded,
    message: "1 topics have a retained message",
  });
  await broker.use({ id: "memory", storeRetained: () => Promise.reject(new Error("disk full")) });
  await assert.rejects(broker.publish("a", "x", { retain: true }), { message: "disk full" });
});

// Without retained messages

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a retained message ends the connection where they are not available`, async () => {
    await using broker = await startBroker({ retainAvailable: false });
    for (const qos of [0, 1, 2] as Qos[]) {
      const client = await broker.connect({ level });
      if (level === 5) assert.equal(client.connack.properties?.retainAvailable, false);
      await client.subscribe("a");
      await client.send(publishPacket({ topic: "a", payload: "x", retain: true, qos, packetId: qos === 0 ? 0 : 1 }));
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.RetainNotSupported);
      await client.expectClosed();
    }
    assert.equal(broker.stats().retainedMessages, 0);
  });
}
