import assert from "node:assert/strict";
import fc from "fast-check";
import type { Qos, SubscriptionRequest } from "../../mod.ts";
import type { RawClient, SubscribeOptions } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { receive, receiveTexts } from "./receive.ts";
import { statement } from "./statement.ts";
import { arbitraryTopicFilter, arbitraryTopicName, matches } from "./topics/arbitrary_topics.ts";
import { lasting, versions } from "./versions.ts";

function request(topicFilter: string, qos: Qos = 0): SubscriptionRequest {
  return { topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 };
}

/** What the broker answers to several filters, each with options of its own. */
async function subscribeAll(client: RawClient, ...subscriptions: SubscriptionRequest[]): Promise<number[]> {
  await client.send({ type: "subscribe", packetId: 4711, subscriptions });
  const suback = await client.expect("suback");
  assert.equal(suback.packetId, 4711);
  return suback.reasonCodes;
}

/** A broker with a subscriber, who has subscribed to this, and a publisher. */
async function startWith(topicFilter: string | string[], options: SubscribeOptions = {}) {
  const broker = await startBroker();
  const subscriber = await broker.connect({ clientId: "subscriber" });
  await subscriber.subscribe(topicFilter, options);
  const publisher = await broker.connect({ clientId: "publisher" });
  return { subscriber, publisher, [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose]() };
}

for (const [level, version] of versions) {
  const failure = (reasonCode: number) => level === 5 ? reasonCode : 0x80;

  Deno.test(`MQTT ${version}: a subscriber gets what its filters match, once each, and nothing else`, async () => {
    await using broker = await startBroker();
    const subscriber = await broker.connect({ level });
    await subscriber.subscribe(["a/+/c", "b/#", "/"]);
    for (const topic of ["a/b/c", "a/c", "a//c", "a/b/c/d", "b", "b/", "b/c/d", "c", "/", "A/b/c"]) {
      await broker.publish(topic, topic);
    }
    assert.deepEqual(await receiveTexts(subscriber, 6), ["a/b/c", "a//c", "b", "b/", "b/c/d", "/"]);
    await subscriber.expectNothing();
  });

  Deno.test(`${statement(level, "MQTT-4.7.2-1")} "#" and "+/a" do not match topics that begin with "$"`, async () => {
    await using broker = await startBroker();
    const everything = await broker.connect({ level });
    await everything.subscribe(["#", "+/a"]);
    const dollar = await broker.connect({ level });
    await dollar.subscribe(["$SYS/#", "$other/+"]);
    for (const topic of ["$SYS/a", "$other/a", "x/a"]) await broker.publish(topic, topic);
    assert.deepEqual(await receiveTexts(everything, 1), ["x/a"]);
    assert.deepEqual(await receiveTexts(dollar, 2), ["$SYS/a", "$other/a"]);
    await everything.expectNothing();
    await dollar.expectNothing();
  });

  Deno.test(`${statement(level, "MQTT-3.8.4-2")} SUBACK has the packet identifier of its SUBSCRIBE`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    for (const packetId of [1, 513, 65_535]) {
      assert.equal((await client.subscribe("a", { packetId })).packetId, packetId);
    }
  });

  Deno.test(`MQTT ${version}: SUBACK has one code for each filter, in their order, also if some fail`, async () => {
    await using broker = await startBroker({ limits: { topicLevels: 3 } });
    const client = await broker.connect({ level });
    const codes = await subscribeAll(
      client,
      request("a", 2),
      request("a/b/c/d", 1),
      request("b", 0),
      request("c/+", 1),
    );
    assert.deepEqual(codes, [2, failure(0x8f), 0, 1]);
    await broker.publish("a/b/c", "no");
    await broker.publish("c/d", "yes");
    assert.deepEqual(await receiveTexts(client, 1), ["yes"]);
  });

  Deno.test(`${statement(level, "MQTT-3.8.4-5", "MQTT-3.8.4-4")} a filter that a SUBSCRIBE holds twice is subscribed to twice, the last one counts`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    const codes = await subscribeAll(client, request("a", 2), request("b", 1), request("a", 1), request("b", 0));
    assert.deepEqual(codes, [2, 1, 1, 0]);
    await broker.publish("a", "", { qos: 2 });
    assert.equal((await receive(client)).qos, 1);
    await broker.publish("b", "", { qos: 2 });
    assert.equal((await receive(client)).qos, 0);
    await client.expectNothing();
  });

  Deno.test(`MQTT ${version}: a message comes at the lower QoS of its own and the granted one`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    for (const granted of [0, 1, 2] as Qos[]) {
      assert.deepEqual((await client.subscribe("a", { qos: granted })).reasonCodes, [granted]);
      for (const published of [0, 1, 2] as Qos[]) {
        await broker.publish("a", "", { qos: published });
        assert.equal((await receive(client)).qos, Math.min(granted, published), `${published} to ${granted}`);
      }
    }
  });

  Deno.test(`MQTT ${version}: no higher QoS is granted than the broker's maximum`, async () => {
    await using broker = await startBroker({ maximumQos: 1 });
    const client = await broker.connect({ level });
    assert.deepEqual(await subscribeAll(client, request("a", 0), request("b", 1), request("c", 2)), [0, 1, 1]);
    await broker.publish("c", "", { qos: 2 });
    assert.equal((await receive(client)).qos, 1);
  });

  Deno.test(`MQTT ${version}: subscribing again to a filter replaces the subscription`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.subscribe("a", { qos: 2 });
    assert.deepEqual((await client.subscribe("a", { qos: 0 })).reasonCodes, [0]);
    await broker.publish("a", "", { qos: 2 });
    assert.equal((await receive(client)).qos, 0);
    await client.expectNothing();
    assert.equal(broker.stats().subscriptions, 1);
  });

  Deno.test(`MQTT ${version}: subscribing again to a filter has the retained messages sent again`, async () => {
    await using broker = await startBroker();
    await broker.publish("a/1", "kept", { retain: true });
    const client = await broker.connect({ level });
    for (let time = 0; time < 2; time++) {
      await client.subscribe("a/+");
      const { text, retain } = await receive(client);
      assert.deepEqual([text, retain], ["kept", true]);
    }
  });

  Deno.test(`${statement(level, "MQTT-3.3.4-2", "MQTT-3.3.5-1")} overlapping subscriptions bring one copy, at the highest QoS`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    assert.deepEqual(
      await subscribeAll(client, request("a/#", 0), request("a/b", 2), request("#", 1), request("+/b", 0)),
      [0, 2, 1, 0],
    );
    await broker.publish("a/b", "", { qos: 2 });
    assert.equal((await receive(client)).qos, 2);
    await client.expectNothing();
  });

  Deno.test(`MQTT ${version}: each subscriber of a topic gets a message at its own QoS`, async () => {
    await using broker = await startBroker();
    const clients = [];
    for (const qos of [0, 1, 2] as Qos[]) {
      const client = await broker.connect({ level });
      await client.subscribe("a", { qos });
      clients.push(client);
    }
    await broker.publish("a", "x", { qos: 2 });
    for (const [qos, client] of clients.entries()) assert.equal((await receive(client)).qos, qos);
  });

  Deno.test(`${statement(level, "MQTT-3.10.4-2")} who has unsubscribed gets no new messages, but what it still subscribes to`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.subscribe(["a", "b", "c"]);
    await client.unsubscribe(["a", "c"]);
    for (const topic of ["a", "b", "c"]) await broker.publish(topic, topic);
    assert.deepEqual(await receiveTexts(client, 1), ["b"]);
    await client.expectNothing();
    assert.equal(broker.stats().subscriptions, 1);
  });

  Deno.test(`${statement(level, "MQTT-3.10.4-1")} only a filter that is the same character by character is unsubscribed`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.subscribe(["a/b", "a/+"]);
    await client.unsubscribe(["a/#", "A/b", "a/b/", "/a/b", "#", "+/+"]);
    assert.equal(broker.stats().subscriptions, 2);
    await client.unsubscribe("a/+");
    await broker.publish("a/b", "still");
    assert.deepEqual(await receiveTexts(client, 1), ["still"]);
  });

  Deno.test(`${statement(level, "MQTT-3.10.4-5")} UNSUBACK comes also if there was nothing to unsubscribe from`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.subscribe("a");
    const { reasonCodes } = await client.unsubscribe(["b", "a", "a"]);
    assert.deepEqual(reasonCodes, level === 5 ? [0x11, 0, 0x11] : []);
  });

  Deno.test(`${statement(level, "MQTT-3.10.4-3")} what has been sent before an UNSUBSCRIBE is delivered to the end`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ ...lasting(level), clientId: "a" });
    await client.subscribe("a", { qos: 2 });
    await broker.publish("a", "once", { qos: 1 });
    await broker.publish("a", "twice", { qos: 2 });
    const first = await client.expect("publish");
    const second = await client.expect("publish");
    await client.unsubscribe("a");
    await client.close();
    const again = await broker.connect({ ...lasting(level), clientId: "a" });
    for (const { packetId } of [first, second]) {
      const resent = await receive(again);
      assert.deepEqual([resent.packetId, resent.dup], [packetId, true]);
    }
    await again.expectNothing();
  });

  Deno.test(`MQTT ${version}: one subscription too many is refused, replacing and unsubscribing is not`, async () => {
    await using broker = await startBroker({ limits: { subscriptions: 2 } });
    const client = await broker.connect({ level });
    assert.deepEqual((await client.subscribe(["a", "b", "c"])).reasonCodes, [0, 0, failure(0x97)]);
    assert.deepEqual((await client.subscribe("b", { qos: 1 })).reasonCodes, [1]);
    await client.unsubscribe("a");
    assert.deepEqual((await client.subscribe(["c", "a"])).reasonCodes, [0, failure(0x97)]);
    const other = await broker.connect({ level });
    assert.deepEqual((await other.subscribe("a")).reasonCodes, [0]);
  });

  Deno.test(`MQTT ${version}: a filter that is too long or has too many levels is refused, others are not`, async () => {
    await using broker = await startBroker({ limits: { topicLength: 6, topicLevels: 3 } });
    const client = await broker.connect({ level });
    const filters = ["a/b/c", "a/b/#", "a/b/c/", "ééé", "éééa", "123456", "1234567"];
    const refused = failure(0x8f);
    assert.deepEqual((await client.subscribe(filters)).reasonCodes, [0, 0, refused, 0, refused, 0, refused]);
  });

  Deno.test(`MQTT ${version}: a SUBSCRIBE with 200,000 filters is answered without delay`, async () => {
    await using broker = await startBroker({ limits: { subscriptions: 10 } });
    const client = await broker.connect({ level });
    const filters = Array.from({ length: 200_000 }, (_, index) => `${index}`);
    const { reasonCodes } = await client.subscribe(filters, { qos: 1 });
    assert.equal(reasonCodes.length, 200_000);
    assert.deepEqual([...new Set(reasonCodes)], [1, failure(0x97)]);
    assert.equal(reasonCodes.lastIndexOf(1), 9);
  });

  for (const filter of ["", "a#", "a/#/b", "#/a", "a+", "+a/b", "a/b+/c", "a\0b"]) {
    Deno.test(`MQTT ${version}: the filter ${JSON.stringify(filter)} ends the connection`, async () => {
      await using broker = await startBroker();
      const client = await broker.connect({ level });
      await client.sendBytes(subscribeBytes(level, filter));
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x81);
      await client.expectClosed();
      assert.equal(broker.stats().subscriptions, 0);
    });
  }

  Deno.test(`MQTT ${version}: a SUBSCRIBE and an UNSUBSCRIBE without a filter end the connection`, async () => {
    await using broker = await startBroker();
    for (const firstByte of [0x82, 0xa2]) {
      const client = await broker.connect({ level });
      await client.sendBytes(new Uint8Array(level === 5 ? [firstByte, 3, 0, 1, 0] : [firstByte, 2, 0, 1]));
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
      await client.expectClosed();
    }
  });

  Deno.test(`MQTT ${version}: a wildcard is refused where they are not available`, async () => {
    await using broker = await startBroker({ wildcardSubscriptionAvailable: false });
    for (const filter of ["a/+", "#", "$share/g/+"]) {
      const client = await broker.connect({ level });
      assert.deepEqual((await client.subscribe("a/b")).reasonCodes, [0]);
      if (level === 5) {
        assert.equal(client.connack.properties?.wildcardSubscriptionAvailable, false);
        await client.send({ type: "subscribe", packetId: 9, subscriptions: [request("x"), request(filter)] });
        assert.equal((await client.expect("disconnect")).reasonCode, 0xa2);
        await client.expectClosed();
      } else {
        assert.deepEqual((await client.subscribe(["x", filter])).reasonCodes, [0, 0x80]);
      }
    }
  });

  Deno.test(`MQTT ${version}: a shared subscription is refused where they are not available`, async () => {
    await using broker = await startBroker({ sharedSubscriptionAvailable: false });
    const client = await broker.connect({ level });
    assert.deepEqual((await client.subscribe(["#", "$sharing/g/a"])).reasonCodes, [0, 0]);
    if (level === 5) {
      assert.equal(client.connack.properties?.sharedSubscriptionAvailable, false);
      await client.send({ type: "subscribe", packetId: 9, subscriptions: [request("$share/g/a")] });
      assert.equal((await client.expect("disconnect")).reasonCode, 0x9e);
      await client.expectClosed();
    } else {
      assert.deepEqual((await client.subscribe(["x", "$share/g/a"])).reasonCodes, [0, 0x80]);
    }
  });
}

// Subscription identifiers

Deno.test("[5.0 MQTT-3.3.4-3] a message carries the identifier of the subscription that it is sent for", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("a", { qos: 1, properties: { subscriptionIdentifiers: [1] } });
  await client.subscribe(["b", "c"], { properties: { subscriptionIdentifiers: [268_435_455] } });
  await client.subscribe("d");
  const expected: [string, number[] | undefined][] = [["a", [1]], ["b", [268_435_455]], ["c", [268_435_455]], [
    "d",
    undefined,
  ]];
  for (const [topic, identifiers] of expected) {
    for (const qos of [0, 1] as Qos[]) {
      await broker.publish(topic, "", { qos });
      assert.deepEqual((await receive(client)).properties?.subscriptionIdentifiers, identifiers);
    }
  }
});

Deno.test("[5.0 MQTT-3.3.4-4] one copy for several subscriptions carries the identifiers of all that have one", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("a/b", { properties: { subscriptionIdentifiers: [1] } });
  await client.subscribe("a/+", { properties: { subscriptionIdentifiers: [2] } });
  await client.subscribe("+/b", { properties: { subscriptionIdentifiers: [2] } });
  await client.subscribe("a/#");
  await client.subscribe("b/#", { properties: { subscriptionIdentifiers: [3] } });
  await broker.publish("a/b", "");
  assert.deepEqual((await receive(client)).properties?.subscriptionIdentifiers?.sort(), [1, 2, 2]);
  await client.expectNothing();
});

Deno.test("each subscriber gets its own identifiers, whoever else gets the message", async () => {
  await using broker = await startBroker();
  const clients = [];
  for (let identifier = 1; identifier <= 40; identifier++) {
    const client = await broker.connect();
    await client.subscribe("a", { qos: 1, properties: { subscriptionIdentifiers: [identifier] } });
    clients.push(client);
  }
  for (const qos of [0, 1] as Qos[]) {
    await broker.publish("a", "x", { qos });
    for (const [index, client] of clients.entries()) {
      assert.deepEqual((await receive(client)).properties, { subscriptionIdentifiers: [index + 1] });
    }
  }
});

Deno.test("a retained message carries the identifier of the subscription that it is sent for, and only that", async () => {
  await using broker = await startBroker();
  await broker.publish("a/b", "kept", { retain: true });
  const client = await broker.connect();
  await client.subscribe("a/b", { properties: { subscriptionIdentifiers: [1] } });
  assert.deepEqual((await receive(client)).properties?.subscriptionIdentifiers, [1]);
  await client.subscribe("a/#", { properties: { subscriptionIdentifiers: [2] } });
  assert.deepEqual((await receive(client)).properties?.subscriptionIdentifiers, [2]);
  await client.expectNothing();
});

Deno.test("subscribing again with another identifier, or with none, replaces it", async () => {
  const { subscriber, publisher, ...started } = await startWith("a", { properties: { subscriptionIdentifiers: [1] } });
  await using _started = started;
  for (const identifiers of [[2], undefined]) {
    await subscriber.subscribe("a", { properties: { subscriptionIdentifiers: identifiers } });
    await publisher.publish({ topic: "a" });
    assert.deepEqual((await receive(subscriber)).properties?.subscriptionIdentifiers, identifiers);
  }
});

Deno.test("identifiers outlive the connection with their session", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("a", { qos: 1, properties: { subscriptionIdentifiers: [5] } });
  await client.disconnect();
  await broker.publish("a", "meanwhile", { qos: 1 });
  const again = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.deepEqual((await receive(again)).properties?.subscriptionIdentifiers, [5]);
  await broker.publish("a", "later", { qos: 1 });
  assert.deepEqual((await receive(again)).properties?.subscriptionIdentifiers, [5]);
});

Deno.test("an identifier is refused with 0xA1 where they are not available", async () => {
  await using broker = await startBroker({ subscriptionIdentifiersAvailable: false });
  const client = await broker.connect();
  assert.equal(client.connack.properties?.subscriptionIdentifiersAvailable, false);
  assert.deepEqual((await client.subscribe("a")).reasonCodes, [0]);
  await client.send({
    type: "subscribe",
    packetId: 1,
    subscriptions: [request("b")],
    properties: { subscriptionIdentifiers: [1] },
  });
  assert.equal((await client.expect("disconnect")).reasonCode, 0xa1);
  await client.expectClosed();
});

// No local

Deno.test("[5.0 MQTT-3.8.3-3] a no local subscription brings no messages from the same client id, but from others", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ clientId: "a" });
  await client.subscribe("t", { noLocal: true });
  const other = await broker.connect({ clientId: "b" });
  await client.publish({ topic: "t", payload: "own", qos: 1 });
  await other.publish({ topic: "t", payload: "other's" });
  await broker.publish("t", "the broker's");
  assert.deepEqual((await receiveTexts(client, 2)).sort(), ["other's", "the broker's"]);
  await client.expectNothing();
});

Deno.test("without no local a client gets its own messages", async () => {
  const { subscriber, ...started } = await startWith("t");
  await using _started = started;
  await subscriber.publish({ topic: "t", payload: "own" });
  assert.equal((await receive(subscriber)).text, "own");
});

Deno.test("of overlapping subscriptions only those that are not no local bring a client its own messages", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ clientId: "a" });
  await client.subscribe("t/#", { noLocal: true, qos: 2, properties: { subscriptionIdentifiers: [1] } });
  await client.subscribe("t/u", { qos: 1, properties: { subscriptionIdentifiers: [2] } });
  await client.send({
    type: "publish",
    topic: "t/u",
    qos: 2,
    payload: new Uint8Array(1),
    retain: false,
    dup: false,
    packetId: 9,
  });
  const own = await client.expect("publish");
  assert.deepEqual([own.qos, own.properties?.subscriptionIdentifiers], [1, [2]]);
  assert.equal((await client.expect("pubrec")).packetId, 9);
  await broker.publish("t/u", "other's", { qos: 2 });
  const others = await receive(client);
  assert.deepEqual([others.qos, others.properties?.subscriptionIdentifiers?.sort()], [2, [1, 2]]);
});

Deno.test("a client's own retained messages are not sent for its no local subscription", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ clientId: "a" });
  await client.publish({ topic: "t/own", payload: "own", retain: true, qos: 1 });
  await broker.publish("t/other", "other's", { retain: true });
  await client.subscribe("t/#", { noLocal: true });
  assert.equal((await receive(client)).text, "other's");
  await client.expectNothing();
});

Deno.test("no local still holds after the client has come back", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { noLocal: true });
  await before.disconnect();
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.publish({ topic: "t", qos: 1 });
  await client.expectNothing();
});

Deno.test("[5.0 MQTT-3.8.3-4] no local on a shared subscription is a protocol error", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  const subscriptions = [{ ...request("$share/g/a"), noLocal: true }];
  await client.send({ type: "subscribe", packetId: 1, subscriptions });
  assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
  await client.expectClosed();
});

// Retain as published

for (const retainAsPublished of [false, true]) {
  const id = retainAsPublished ? "MQTT-3.3.1-13" : "MQTT-3.3.1-12";
  Deno.test(`[5.0 ${id}] retain as published ${retainAsPublished ? "keeps" : "clears"} the retain flag`, async () => {
    const { subscriber, publisher, ...started } = await startWith("t", { retainAsPublished, qos: 1 });
    await using _started = started;
    for (const qos of [0, 1] as Qos[]) {
      for (const retain of [false, true]) {
        await publisher.publish({ topic: "t", payload: "x", retain, qos });
        assert.equal((await receive(subscriber)).retain, retain && retainAsPublished);
      }
    }
  });
}

Deno.test("a retained message has the retain flag also without retain as published", async () => {
  await using broker = await startBroker();
  await broker.publish("t", "kept", { retain: true });
  const client = await broker.connect();
  for (const retainAsPublished of [false, true]) {
    await client.subscribe("t", { retainAsPublished });
    assert.equal((await receive(client)).retain, true);
  }
});

Deno.test("one of overlapping subscriptions with retain as published is enough to keep the flag", async () => {
  const { subscriber, publisher, ...started } = await startWith(["t", "#"], { retainHandling: 2 });
  await using _started = started;
  await subscriber.subscribe("+", { retainAsPublished: true });
  await publisher.publish({ topic: "t", retain: true });
  assert.equal((await receive(subscriber)).retain, true);
});

// Retain handling

Deno.test("[5.0 MQTT-3.3.1-9] retain handling 0 has retained messages sent at every SUBSCRIBE", async () => {
  await using broker = await startBroker();
  await broker.publish("t", "kept", { retain: true });
  const client = await broker.connect();
  for (let time = 0; time < 3; time++) {
    await client.subscribe("t", { retainHandling: 0 });
    assert.equal((await receive(client)).text, "kept");
  }
});

Deno.test("[5.0 MQTT-3.3.1-10] retain handling 1 has them sent only if the subscription is new", async () => {
  await using broker = await startBroker();
  await broker.publish("t", "kept", { retain: true });
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { retainHandling: 1 });
  assert.equal((await receive(client)).text, "kept");
  await client.subscribe("t", { retainHandling: 1, qos: 2 });
  await client.expectNothing();
  await client.disconnect();
  const again = await broker.connect({ ...lasting(5), clientId: "a" });
  await again.subscribe("t", { retainHandling: 1 });
  await again.expectNothing();
  await again.unsubscribe("t");
  await again.subscribe("t", { retainHandling: 1 });
  assert.equal((await receive(again)).text, "kept");
});

Deno.test("[5.0 MQTT-3.3.1-11] retain handling 2 has none sent", async () => {
  await using broker = await startBroker();
  await broker.publish("t", "kept", { retain: true });
  const client = await broker.connect();
  for (let time = 0; time < 2; time++) {
    await client.subscribe("t", { retainHandling: 2 });
    await client.expectNothing();
  }
});

Deno.test("each filter of a SUBSCRIBE has its own options", async () => {
  await using broker = await startBroker();
  for (const topic of ["a", "b", "c"]) await broker.publish(topic, topic, { retain: true, qos: 1 });
  const client = await broker.connect({ clientId: "me" });
  const codes = await subscribeAll(
    client,
    { ...request("a"), retainHandling: 2, qos: 1 },
    { ...request("b"), retainAsPublished: true },
    { ...request("c"), noLocal: true, qos: 1 },
  );
  assert.deepEqual(codes, [1, 0, 1]);
  const [b, c] = [await receive(client), await receive(client)];
  assert.deepEqual([[b.text, b.qos], [c.text, c.qos]], [["b", 0], ["c", 1]]);
  for (const topic of ["a", "b", "c"]) await client.publish({ topic, payload: topic, retain: true });
  const [liveA, liveB] = [await receive(client), await receive(client)];
  assert.deepEqual([[liveA.text, liveA.retain], [liveB.text, liveB.retain]], [["a", false], ["b", true]]);
  await client.expectNothing();
});

// What else MQTT 5 says

Deno.test("user properties of SUBSCRIBE and UNSUBSCRIBE are accepted, but not more than the limit", async () => {
  await using broker = await startBroker({ limits: { userProperties: 2 } });
  const pair: [string, string] = ["name", "value"];
  for (const type of ["subscribe", "unsubscribe"] as const) {
    const client = await broker.connect();
    for (const count of [2, 3]) {
      const properties = { userProperties: Array.from({ length: count }, () => pair) };
      if (type === "subscribe") await client.send({ type, packetId: 1, subscriptions: [request("a")], properties });
      else await client.send({ type, packetId: 1, topicFilters: ["a"], properties });
      if (count === 2) {
        assert.deepEqual((await client.expect(type === "subscribe" ? "suback" : "unsuback")).packetId, 1);
      }
    }
    assert.equal((await client.expect("disconnect")).reasonCode, 0x97);
    await client.expectClosed();
  }
});

Deno.test("[5.0 MQTT-3.8.4-4] subscribing again to a filter loses no message and brings none twice", async () => {
  const { subscriber, ...started } = await startWith("t");
  await using _started = started;
  for (let index = 1; index <= 100; index++) {
    await subscriber.publish({ topic: "t", payload: `${index}` });
    await subscriber.send({ type: "subscribe", packetId: index, subscriptions: [request("t")] });
  }
  for (let index = 1; index <= 100; index++) {
    assert.equal((await receive(subscriber)).text, `${index}`);
    assert.equal((await subscriber.expect("suback")).packetId, index);
  }
});

Deno.test("whatever clients subscribe to and give up, each gets what its subscriptions match, live and retained", async () => {
  const step = fc.record({
    client: fc.nat(2),
    action: fc.constantFrom("subscribe", "subscribe", "unsubscribe", "publish", "publish", "publish"),
    filter: arbitraryTopicFilter,
    topic: arbitraryTopicName,
    qos: fc.constantFrom<Qos>(0, 1),
    retain: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60 }), async (steps) => {
      await using broker = await startBroker();
      const clients = [await broker.connect({ level: 4 }), await broker.connect(), await broker.connect()];
      const granted = clients.map(() => new Map<string, Qos>());
      const retained = new Map<string, { text: string; qos: Qos }>();
      for (const [index, { client, action, filter, topic, qos, retain }] of steps.entries()) {
        if (action === "unsubscribe") {
          await clients[client].unsubscribe(filter);
          granted[client].delete(filter);
        } else if (action === "subscribe") {
          await clients[client].subscribe(filter, { qos });
          granted[client].set(filter, qos);
          const expected = [...retained].filter(([topic]) => matches(filter, topic));
          const found = new Set<string>();
          for (let count = 0; count < expected.length; count++) {
            const message = await receive(clients[client]);
            const kept = retained.get(message.topic)!;
            assert.deepEqual([message.text, message.qos], [kept.text, Math.min(kept.qos, qos)]);
            found.add(message.topic);
          }
          assert.deepEqual(found, new Set(expected.map(([topic]) => topic)));
        } else {
          const text = `${index}`;
          await broker.publish(topic, text, { qos, retain });
          if (retain) retained.set(topic, { text, qos });
          for (const [index, client] of clients.entries()) {
            const qosOfAll = [...granted[index]].filter(([filter]) => matches(filter, topic)).map(([, qos]) => qos);
            if (qosOfAll.length === 0) continue;
            const message = await receive(client);
            assert.deepEqual([message.topic, message.text], [topic, text]);
            assert.equal(message.qos, Math.min(qos, Math.max(...qosOfAll)));
          }
        }
      }
      for (const client of clients) await client.expectNothing();
    }),
    { numRuns: 40 },
  );
});

/** A SUBSCRIBE to anything at all. */
function subscribeBytes(level: number, filter: string): Uint8Array {
  const text = new TextEncoder().encode(filter);
  const body = [0, 1, ...(level === 5 ? [0] : []), text.length >> 8, text.length & 0xff, ...text, 0];
  return new Uint8Array([0x82, body.length, ...body]);
}
