import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { IClientOptions } from "mqtt";
import { connect, event, type Received } from "./mqttjs_client.ts";
import { startBrokerProcess } from "./programs.ts";

const versions = [
  { protocolVersion: 3, name: "MQTT 3.1" },
  { protocolVersion: 4, name: "MQTT 3.1.1" },
  { protocolVersion: 5, name: "MQTT 5" },
] as const;

const v5 = { protocolVersion: 5 } as const;

/** A message without what a test does not look at. */
function brief({ topic, payload, qos, retain }: Received): string {
  return `${topic} ${payload} q${qos} r${Number(retain)}`;
}

for (const { name, ...version } of versions) {
  /** A client id whose session outlives the connection. */
  const durable = (clientId: string): IClientOptions & typeof version => ({
    ...version,
    clientId,
    clean: false,
    properties: version.protocolVersion === 5 ? { sessionExpiryInterval: 1000 } : undefined,
  });

  for (const qos of [0, 1, 2] as const) {
    Deno.test(`MQTT.js as ${name} publishes at QoS ${qos} and gets it back at the QoS that was granted`, async () => {
      await using broker = await startBrokerProcess();
      await using subscriber = await connect(broker, version);
      await using publisher = await connect(broker, version);
      const [exact] = await subscriber.client.subscribeAsync("exact/#", { qos: 2 });
      const [lower] = await subscriber.client.subscribeAsync("lower/#", { qos: 1 });
      assert.deepEqual([exact.qos, lower.qos], [2, 1]);
      await publisher.client.publishAsync("exact/a", "x", { qos });
      await publisher.client.publishAsync("lower/a", "y", { qos });
      const messages = (await subscriber.take(2)).map(brief);
      assert.deepEqual(messages, [`exact/a x q${qos} r0`, `lower/a y q${Math.min(qos, 1)} r0`]);
    });

    Deno.test(`MQTT.js as ${name} gets a burst of QoS ${qos} messages complete and in order`, async () => {
      await using broker = await startBrokerProcess();
      await using subscriber = await connect(broker, version);
      await using publisher = await connect(broker, version);
      await subscriber.client.subscribeAsync("burst", { qos });
      const payloads = Array.from({ length: 500 }, (_, index) => `${index}`);
      await Promise.all(payloads.map((payload) => publisher.client.publishAsync("burst", payload, { qos })));
      assert.deepEqual((await subscriber.take(500)).map(({ payload }) => payload), payloads);
    });
  }

  Deno.test(`the will of an MQTT.js client of ${name} whose connection breaks is published`, async () => {
    await using broker = await startBrokerProcess();
    await using watcher = await connect(broker, version);
    await watcher.client.subscribeAsync("will/#", { qos: 1 });
    const will = { topic: "will/a", payload: Buffer.from("gone"), qos: 1, retain: false } as const;
    const victim = await connect(broker, { ...version, will });
    await victim.client.endAsync(true);
    assert.equal(brief(await watcher.next()), "will/a gone q1 r0");
  });

  Deno.test(`MQTT.js as ${name} gets retained messages when it subscribes, and new ones without the flag`, async () => {
    await using broker = await startBrokerProcess();
    await using client = await connect(broker, version);
    await client.client.publishAsync("state/lamp", "on", { qos: 1, retain: true });
    await client.client.subscribeAsync("state/#", { qos: 1 });
    await client.client.publishAsync("state/lamp", "off", { qos: 1, retain: true });
    assert.deepEqual((await client.take(2)).map(brief), ["state/lamp on q1 r1", "state/lamp off q1 r0"]);
  });

  Deno.test(`MQTT.js as ${name} takes up its session and gets what was queued meanwhile, in order`, async () => {
    await using broker = await startBrokerProcess();
    await using publisher = await connect(broker, version);
    const first = await connect(broker, durable("sleeper"));
    await first.client.subscribeAsync("queued/#", { qos: 2 });
    await first.client.endAsync();
    const payloads = Array.from({ length: 50 }, (_, index) => `${index}`);
    for (const payload of payloads) await publisher.client.publishAsync("queued/a", payload, { qos: 2 });
    await using second = await connect(broker, durable("sleeper"));
    if (version.protocolVersion > 3) assert.equal(second.connack.sessionPresent, true);
    assert.deepEqual((await second.take(50)).map(({ payload }) => payload), payloads);
  });

  Deno.test(`MQTT.js as ${name} gets no more messages of a topic from which it has unsubscribed`, async () => {
    await using broker = await startBrokerProcess();
    await using client = await connect(broker, version);
    await client.client.subscribeAsync(["wanted", "unwanted"], { qos: 1 });
    await client.client.unsubscribeAsync("unwanted");
    await client.client.publishAsync("unwanted", "x", { qos: 1 });
    await client.client.publishAsync("wanted", "y", { qos: 1 });
    assert.equal(brief(await client.next()), "wanted y q1 r0");
  });

  Deno.test(`MQTT.js as ${name}: a second client with the same client id takes over from the first`, async () => {
    await using broker = await startBrokerProcess();
    await using first = await connect(broker, durable("twin"));
    await first.client.subscribeAsync("twins", { qos: 1 });
    const closed = event(first.client, "close");
    await using second = await connect(broker, durable("twin"));
    await closed;
    await second.client.publishAsync("twins", "x", { qos: 1 });
    assert.equal(brief(await second.next()), "twins x q1 r0");
  });
}

Deno.test("an MQTT 5 client whose session is taken over is told so with 0x8E", async () => {
  await using broker = await startBrokerProcess();
  await using first = await connect(broker, { ...v5, clientId: "twin" });
  const disconnected = event(first.client, "disconnect");
  await using _second = await connect(broker, { ...v5, clientId: "twin" });
  assert.equal((await disconnected).reasonCode, 0x8e);
});

Deno.test("an MQTT 5 session whose expiry interval is 0 ends with its connection", async () => {
  await using broker = await startBrokerProcess();
  const options = { ...v5, clientId: "brief", clean: false, properties: { sessionExpiryInterval: 0 } };
  const first = await connect(broker, options);
  await first.client.endAsync();
  await using second = await connect(broker, options);
  assert.equal(second.connack.sessionPresent, false);
});

Deno.test("an MQTT 5 client without a client id is told the one that it was given", async () => {
  await using broker = await startBrokerProcess();
  await using client = await connect(broker, { ...v5, clientId: "" });
  assert.match(client.connack.properties?.assignedClientIdentifier ?? "", /^.+$/);
});

Deno.test("all properties of an MQTT 5 message go through unchanged", async () => {
  await using broker = await startBrokerProcess();
  await using client = await connect(broker, v5);
  await client.client.subscribeAsync("properties", { qos: 1 });
  const properties = {
    payloadFormatIndicator: true,
    contentType: "text/plain",
    responseTopic: "answers/1",
    correlationData: Buffer.from([0, 1, 254, 255]),
    userProperties: { one: "1", many: ["2", "3"] },
  };
  await client.client.publishAsync("properties", "x", { qos: 1, properties });
  const received = (await client.next()).properties;
  // MQTT.js collects user properties in an object without a prototype.
  assert.deepEqual({ ...received, userProperties: { ...received?.userProperties } }, properties);
});

Deno.test("a request finds its answer by response topic and correlation data", async () => {
  await using broker = await startBrokerProcess();
  await using requester = await connect(broker, v5);
  await using responder = await connect(broker, v5);
  await requester.client.subscribeAsync("answers/requester", { qos: 1 });
  await responder.client.subscribeAsync("requests/square", { qos: 1 });
  const asked = { responseTopic: "answers/requester", correlationData: Buffer.from("7") };
  await requester.client.publishAsync("requests/square", "12", { qos: 1, properties: asked });
  const { payload, properties } = await responder.next();
  const { responseTopic, correlationData } = properties!;
  const answer = String(Number(payload) ** 2);
  await responder.client.publishAsync(responseTopic!, answer, { qos: 1, properties: { correlationData } });
  const answered = await requester.next();
  assert.equal(answered.payload, "144");
  assert.deepEqual(answered.properties?.correlationData, Buffer.from("7"));
});

Deno.test("a publisher that uses topic aliases reaches the topics that they stand for", async () => {
  await using broker = await startBrokerProcess();
  await using subscriber = await connect(broker, v5);
  await using publisher = await connect(broker, { ...v5, autoAssignTopicAlias: true });
  await subscriber.client.subscribeAsync("aliased/#", { qos: 1 });
  const sent: { topic: string; topicAlias?: number }[] = [];
  publisher.client.on("packetsend", (packet) => {
    if (packet.cmd === "publish") sent.push({ topic: packet.topic, topicAlias: packet.properties?.topicAlias });
  });
  for (const topic of ["aliased/a", "aliased/b", "aliased/a", "aliased/b"]) {
    await publisher.client.publishAsync(topic, "x", { qos: 1 });
  }
  assert.deepEqual(sent.map(({ topic }) => topic), ["aliased/a", "aliased/b", "", ""], "MQTT.js has used its aliases");
  const topics = (await subscriber.take(4)).map(({ topic }) => topic);
  assert.deepEqual(topics, ["aliased/a", "aliased/b", "aliased/a", "aliased/b"]);
});

Deno.test("a subscriber that allows topic aliases gets every message with its topic", async () => {
  await using broker = await startBrokerProcess();
  await using subscriber = await connect(broker, { ...v5, properties: { topicAliasMaximum: 2 } });
  await using publisher = await connect(broker, v5);
  await subscriber.client.subscribeAsync("aliased/#", { qos: 1 });
  const topics = ["aliased/a", "aliased/b", "aliased/c", "aliased/a", "aliased/b", "aliased/c"];
  for (const topic of topics) await publisher.client.publishAsync(topic, "x", { qos: 1 });
  assert.deepEqual((await subscriber.take(6)).map(({ topic }) => topic), topics);
});

Deno.test("a message comes with the identifiers of all subscriptions that it matches", async () => {
  await using broker = await startBrokerProcess();
  await using client = await connect(broker, v5);
  await client.client.subscribeAsync("identified/#", { qos: 1, properties: { subscriptionIdentifier: 1 } });
  await client.client.subscribeAsync("identified/+", { qos: 1, properties: { subscriptionIdentifier: 268_435_455 } });
  await client.client.publishAsync("identified/a", "x", { qos: 1 });
  await client.client.publishAsync("identified/a/b", "end", { qos: 1 });
  // Overlapping subscriptions may be answered with one copy that names both, or with a copy for each [MQTT-3.3.4-3].
  const identifiers: number[] = [];
  for (let message = await client.next(); message.payload !== "end"; message = await client.next()) {
    identifiers.push(...[message.properties?.subscriptionIdentifier ?? []].flat());
  }
  assert.deepEqual(identifiers.sort((a, b) => a - b), [1, 268_435_455]);
});

Deno.test("no more QoS 2 messages are in flight to a client than its receive maximum", async () => {
  await using broker = await startBrokerProcess();
  await using subscriber = await connect(broker, { ...v5, properties: { receiveMaximum: 2 } });
  await using publisher = await connect(broker, v5);
  await subscriber.client.subscribeAsync("narrow", { qos: 2 });
  // MQTT.js counts what it has not completed, and ends the connection with this error past its receive maximum.
  const errors: Error[] = [];
  subscriber.client.on("error", (error) => errors.push(error));
  const payloads = Array.from({ length: 30 }, (_, index) => `${index}`);
  await Promise.all(payloads.map((payload) => publisher.client.publishAsync("narrow", payload, { qos: 2 })));
  assert.deepEqual((await subscriber.take(30)).map(({ payload }) => payload), payloads);
  assert.deepEqual(errors, []);
});

Deno.test("a message larger than a client's maximum packet size does not go to that client", async () => {
  await using broker = await startBrokerProcess();
  await using narrow = await connect(broker, { ...v5, properties: { maximumPacketSize: 100 } });
  await using wide = await connect(broker, v5);
  await Promise.all([narrow, wide].map(({ client }) => client.subscribeAsync("sizes", { qos: 1 })));
  await wide.client.publishAsync("sizes", "x".repeat(100), { qos: 1 });
  await wide.client.publishAsync("sizes", "small", { qos: 1 });
  assert.equal((await narrow.next()).payload, "small");
  assert.deepEqual((await wide.take(2)).map(({ payload }) => payload.length), [100, 5]);
});

Deno.test("a subscription with no local does not bring a client its own messages", async () => {
  await using broker = await startBrokerProcess();
  await using client = await connect(broker, v5);
  await using other = await connect(broker, v5);
  await client.client.subscribeAsync("chat", { qos: 1, nl: true });
  await client.client.publishAsync("chat", "mine", { qos: 1 });
  await other.client.publishAsync("chat", "theirs", { qos: 1 });
  assert.equal((await client.next()).payload, "theirs");
});

Deno.test("retain handling says which subscriptions bring retained messages: all, new ones, none", async () => {
  await using broker = await startBrokerProcess();
  await using client = await connect(broker, v5);
  const { client: mqtt } = client;
  await mqtt.publishAsync("state", "on", { qos: 1, retain: true });
  const payloads: string[] = [];
  const subscribe = async (rh: 0 | 1 | 2, end: string) => {
    await mqtt.subscribeAsync("state", { qos: 1, rh });
    await mqtt.publishAsync("end", end, { qos: 1 });
    for (let message = await client.next(); message.topic !== "end"; message = await client.next()) {
      payloads.push(`rh${rh} ${message.payload}`);
    }
  };
  await mqtt.subscribeAsync("end", { qos: 1 });
  await subscribe(2, "none for a new subscription");
  await subscribe(1, "none for one that is there");
  await subscribe(0, "always");
  await mqtt.unsubscribeAsync("state");
  await subscribe(1, "one for a new subscription");
  assert.deepEqual(payloads, ["rh0 on", "rh1 on"]);
});

Deno.test("an MQTT 5 client is told with 0x8B when the broker shuts down", async () => {
  const broker = await startBrokerProcess();
  await using client = await connect(broker, v5);
  const disconnected = event(client.client, "disconnect");
  await broker[Symbol.asyncDispose]();
  assert.equal((await disconnected).reasonCode, 0x8b);
});
