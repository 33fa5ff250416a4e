import assert from "node:assert/strict";
import { type Hook, ReasonCode, ReasonCodeError } from "../../mod.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { passingTime } from "./passing_time.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "./receive.ts";
import { type Call, RecordingStorage } from "./recording_storage.ts";
import { comesAfter, startStoring } from "./storing_broker.ts";
import { lasting, versions } from "./versions.ts";

const FOREVER = 0xffff_ffff;
const noRoom = () => new ReasonCodeError(ReasonCode.QuotaExceeded, "no room");

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: CONNACK comes when the session is stored`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const witness = await broker.connect();
    const client = await broker.open();
    await client.send(connectPacket({ ...lasting(level), clientId: "a", username: "alice" }));
    const call = await storage.expect("storeSession");
    await comesAfter([call], client.expect("connack"), witness);
    assert.deepEqual(call.args, [{
      clientId: "a",
      protocolLevel: level,
      username: "alice",
      expiryInterval: FOREVER,
      disconnectedAt: undefined,
      will: undefined,
    }]);
  });

  Deno.test(`MQTT ${version}: a session that ends with its connection is not stored, nor anything of it`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const client = await broker.connect({ level, clientId: "a", will: { topic: "w", qos: 2 } });
    await client.subscribe("t", { qos: 2 });
    const publisher = await broker.connect({ level, clientId: "b" });
    for (const qos of [1, 2] as const) {
      await publisher.publish({ topic: "t", qos });
      await receive(client);
    }
    await client.unsubscribe("t");
    await client.close();
    await eventually(() => broker.stats().sessions === 1, "the session to be over");
    assert.deepEqual(storage.rest(), []);
  });

  Deno.test(`MQTT ${version}: SUBACK comes when the subscriptions are stored`, async () => {
    await using storing = await startStoring();
    const [client, witness] = await storing.subscribed(["a", "b"], "t", { level });
    const suback = client.subscribe(["c", "d"], { qos: 1 });
    const call = await storing.storage.expect("storeSubscriptions");
    assert.deepEqual((await comesAfter([call], suback, witness)).reasonCodes, [1, 1]);
    const options = { qos: 1, noLocal: false, retainAsPublished: false, identifiers: undefined };
    assert.deepEqual(call.args, ["a", [{ topicFilter: "c", ...options }, { topicFilter: "d", ...options }]]);
  });

  Deno.test(`MQTT ${version}: UNSUBACK comes when the subscriptions are forgotten`, async () => {
    await using storing = await startStoring();
    const [client, witness] = await storing.subscribed(["a", "b"], "t", { level });
    const unsuback = client.unsubscribe(["t", "u"]);
    const call = await storing.storage.expect("removeSubscriptions");
    await comesAfter([call], unsuback, witness);
    assert.deepEqual(call.args, ["a", ["t", "u"]]);
  });

  Deno.test(`MQTT ${version}: PUBACK comes when every session has stored the message`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    await storing.away(...await storing.subscribed(["a", "b"], "t", { level }));
    const [publisher, witness] = [await broker.connect({ level }), await broker.connect()];
    const published = publisher.publish({ topic: "t", qos: 1, payload: "one" });
    const calls = await storage.expectAll("storeOutgoing", "storeOutgoing");
    await comesAfter(calls, published, witness);
    assert.deepEqual(calls.map(({ args: [clientId] }) => clientId), ["a", "b"]);
    const [[, first], [, second]] = calls.map(({ args }) => args);
    assert.equal(first.message, second.message, "one and the same message");
    assert.equal(new TextDecoder().decode(first.message.packet.payload), "one");
    assert.deepEqual([first.qos, first.packetId, first.released], [1, 0, false]);
    assert.ok(second.id > first.id);
  });

  Deno.test(`MQTT ${version}: PUBREC comes when the message and its packet identifier are stored, in one go`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    await storing.away(...await storing.subscribed(["a"], "t", { level }));
    const [publisher, witness] = [await storing.connected("p", { level }), await broker.connect()];
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
    const calls = await storage.expectAll("storeOutgoing", "storeReceived");
    await comesAfter(calls, publisher.expect("pubrec"), witness);
    assert.equal(calls[0].go, calls[1].go);
    assert.deepEqual(calls[1].args, ["p", 7]);
  });

  Deno.test(`MQTT ${version}: PUBCOMP comes when the packet identifier is forgotten`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const [publisher, witness] = [await storing.connected("p", { level }), await broker.connect()];
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
    (await storage.expect("storeReceived")).succeed();
    await publisher.expect("pubrec");
    await publisher.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    const call = await storage.expect("removeReceived");
    assert.equal((await comesAfter([call], publisher.expect("pubcomp"), witness)).reasonCode, 0);
    assert.deepEqual(call.args, ["p", 7]);
  });

  Deno.test(`MQTT ${version}: a QoS 2 message is sent when it is stored with its packet identifier`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const [subscriber] = await storing.subscribed(["a"], "t", { level });
    const [publisher, witness] = [await broker.connect(), await broker.connect()];
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
    const call = await storage.expect("storeOutgoing");
    const { packetId } = await comesAfter([call], subscriber.expect("publish"), witness);
    assert.equal(call.args[1].packetId, packetId);
    await publisher.expect("pubrec");
  });

  Deno.test(`MQTT ${version}: PUBREL comes when it is stored that the client has the message`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const [subscriber] = await storing.subscribed(["a"], "t", { level });
    const [publisher, witness] = [await broker.connect(), await broker.connect()];
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
    (await storage.expect("storeOutgoing")).succeed();
    const { packetId } = await subscriber.expect("publish");
    await subscriber.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    const call = await storage.expect("storeOutgoing");
    await comesAfter([call], subscriber.expect("pubrel"), witness);
    assert.deepEqual([call.args[1].packetId, call.args[1].released], [packetId, true]);
    await subscriber.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
    assert.equal((await storage.expect("removeOutgoing")).args[1].id, call.args[1].id);
  });
}

Deno.test("a QoS 1 message is sent to a client that is connected before it is stored, and acknowledged after that", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [subscriber] = await storing.subscribed(["a"]);
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 7 }));
  const call = await storage.expect("storeOutgoing");
  const { packetId } = await subscriber.expect("publish");
  assert.equal(call.args[1].packetId, packetId);
  await publisher.expectNothing();
  call.succeed();
  await publisher.expect("puback");
});

Deno.test("QoS 0 is not stored: neither such messages nor what goes to such subscriptions", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [subscriber] = await storing.subscribed(["a"]);
  const suback = subscriber.subscribe("u", { qos: 0 });
  (await storage.expect("storeSubscriptions")).succeed();
  await suback;
  const publisher = await broker.connect();
  await publisher.publish({ topic: "t", qos: 0, payload: "one" });
  await publisher.publish({ topic: "u", qos: 2, payload: "two" });
  assert.deepEqual(await receiveTexts(subscriber, 2), ["one", "two"]);
  assert.deepEqual(storage.rest(), []);
});

Deno.test("acknowledgements leave in the order of the messages, whichever is stored first", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 7 }));
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 8 }));
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 9 }));
  const [first, second, third] = await storage.expectAll("storeOutgoing", "storeOutgoing", "storeOutgoing");
  third.succeed();
  second.succeed();
  await publisher.expectNothing();
  first.succeed();
  assert.equal((await publisher.expect("puback")).packetId, 7);
  assert.equal((await publisher.expect("pubrec")).packetId, 8);
  assert.equal((await publisher.expect("puback")).packetId, 9);
});

Deno.test("a retained message is acknowledged when it is stored as such and on its way to every session", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const [publisher, witness] = [await broker.connect(), await broker.connect()];
  const published = publisher.publish({ topic: "t", qos: 1, retain: true, payload: "one" });
  const calls = await storage.expectAll("storeRetained", "storeOutgoing");
  assert.equal(calls[0].go, calls[1].go);
  await comesAfter(calls.reverse(), published, witness);
});

Deno.test("a QoS 2 message that comes again while it is stored is answered when it has been, and delivered once", async () => {
  await using storing = await startStoring();
  const { storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const first = await storing.connected("p");
  await first.send(publishPacket({ topic: "t", qos: 2, packetId: 7, payload: "once" }));
  const calls = await storage.expectAll("storeOutgoing", "storeReceived");
  await first.close();
  (await storage.expect("storeSession")).succeed();
  const publisher = await storing.back("p");
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7, dup: true, payload: "once" }));
  await publisher.expectNothing();
  for (const call of calls) call.succeed();
  await publisher.expect("pubrec");
  assert.deepEqual(storage.rest(), []);
});

Deno.test("a QoS 2 message goes to all its sessions in one go, though hooks are asked about each", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a", "b"]));
  const answers: ((allowed: boolean) => void)[] = [];
  await broker.use({ id: "slow", canRead: () => new Promise((resolve) => answers.push(resolve)) });
  const publisher = await storing.connected("p");
  const witness = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
  await eventually(() => answers.length === 2, "both sessions to be asked about");
  answers[1](true);
  await witness.expectNothing();
  assert.deepEqual(storage.rest(), []);
  answers[0](true);
  const calls = await storage.expectAll("storeOutgoing", "storeOutgoing", "storeReceived");
  assert.equal(new Set(calls.map(({ go }) => go)).size, 1);
  await comesAfter(calls, publisher.expect("pubrec"), witness);
});

Deno.test("a message waits for every hook that stores it", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const second = Promise.withResolvers<void>();
  await broker.use({ id: "second", storeOutgoing: () => second.promise });
  await storing.away(...await storing.subscribed(["a"]));
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 7 }));
  (await storage.expect("storeOutgoing")).succeed();
  await publisher.expectNothing();
  second.resolve();
  await publisher.expect("puback");
});

Deno.test("what a message becomes for one receiver is stored for that one, and waited for as well", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a", "b"]));
  await broker.use({
    id: "changer",
    onPublishDeliver: ({ clientId }, packet) =>
      clientId === "a" ? { ...packet, payload: new TextEncoder().encode("for a") } : undefined,
  });
  const [publisher, witness] = [await broker.connect(), await broker.connect()];
  const published = publisher.publish({ topic: "t", qos: 1, payload: "for all" });
  const calls = await storage.expectAll("storeOutgoing", "storeOutgoing");
  await comesAfter(calls, published, witness);
  const payloads = calls.map(({ args: [, { message }] }) => new TextDecoder().decode(message.packet.payload));
  assert.deepEqual(payloads, ["for a", "for all"]);
});

Deno.test("CONNACK with a session that ends with its connection comes when a stored one before it is forgotten", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const [client, witness] = [await broker.open(), await broker.connect()];
  await client.send(connectPacket({ clientId: "a" }));
  const call = await storage.expect("removeSession");
  await comesAfter([call], client.expect("connack"), witness);
});

Deno.test("CONNACK comes when a session is forgotten that the client ended just before", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [before] = await storing.subscribed(["a"]);
  await before.disconnect({ properties: { sessionExpiryInterval: 0 } });
  const call = await storage.expect("removeSession");
  const [client, witness] = [await broker.open(), await broker.connect()];
  await client.send(connectPacket({ clientId: "a" }));
  await comesAfter([call], client.expect("connack"), witness);
});

Deno.test("[3.1.1] a message that could not be stored ends the connection at once, also while one before it is being stored", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.subscribed(["a"]);
  const publisher = await broker.connect({ level: 4 });
  for (const packetId of [1, 2]) await publisher.send(publishPacket({ topic: "t", qos: 1, packetId }));
  const [first, second] = await storage.expectAll("storeOutgoing", "storeOutgoing");
  second.fail(noRoom());
  await publisher.expectClosed();
  first.succeed();
});

Deno.test("QoS 2 messages are sent in their order, whichever is stored first", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [subscriber] = await storing.subscribed(["a"]);
  const publisher = await broker.connect();
  for (const packetId of [1, 2, 3]) {
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId, payload: `${packetId}` }));
  }
  const [first, second, third] = await storage.expectAll("storeOutgoing", "storeOutgoing", "storeOutgoing");
  third.succeed();
  second.fail(noRoom());
  await subscriber.expectNothing();
  first.succeed();
  assert.deepEqual([textOf(await subscriber.expect("publish")), textOf(await subscriber.expect("publish"))], [
    "1",
    "3",
  ]);
});

// Failures: what could not be stored is never acknowledged.

Deno.test("[5.0] a message that a session could not store is refused with the reason given, and never reaches that", async () => {
  for (const [error, reasonCode] of [[noRoom(), 0x97], [new Error("broken"), 0x80]] as const) {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    await storing.away(...await storing.subscribed(["a", "b"]));
    const publisher = await storing.connected("p");
    for (const [qos, answer] of [[1, "puback"], [2, "pubrec"]] as const) {
      await publisher.send(publishPacket({ topic: "t", qos, packetId: qos }));
      const [first, second] = await storage.expectAll("storeOutgoing", "storeOutgoing");
      first.succeed();
      if (qos === 2) (await storage.expect("storeReceived")).succeed();
      second.fail(error);
      assert.equal((await publisher.expect(answer)).reasonCode, reasonCode);
    }
    assert.equal(broker.stats().messagesDropped, 2);
    const subscriber = await storing.back("b");
    await subscriber.expectNothing();
  }
});

for (const qos of [1, 2] as const) {
  Deno.test(`[3.1.1] the client of a QoS ${qos} message that could not be stored is disconnected, and sends it again`, async () => {
    await using storing = await startStoring();
    const { storage } = storing;
    await storing.away(...await storing.subscribed(["a"]));
    const first = await storing.connected("p", { level: 4 });
    await first.send(publishPacket({ topic: "t", qos, packetId: 7, payload: "once" }));
    (await storage.expect("storeOutgoing")).fail(noRoom());
    if (qos === 2) (await storage.expect("storeReceived")).fail(noRoom());
    await first.expectClosed();
    (await storage.expect("storeSession")).succeed();
    const publisher = await storing.back("p", { ...lasting(4) });
    await publisher.send(publishPacket({ topic: "t", qos, packetId: 7, dup: true, payload: "once" }));
    (await storage.expect("storeOutgoing")).succeed();
    if (qos === 2) (await storage.expect("storeReceived")).succeed();
    await publisher.expect(qos === 1 ? "puback" : "pubrec");
    const subscriber = await storing.back("a");
    storage.succeed();
    assert.equal((await receive(subscriber)).text, "once");
    await subscriber.expectNothing();
  });
}

Deno.test("a QoS 1 message that is on its way when it turns out not to be stored stays in flight until it arrives", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [subscriber] = await storing.subscribed(["a"]);
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 7 }));
  const { packetId } = await subscriber.expect("publish");
  (await storage.expect("storeOutgoing")).fail(noRoom());
  assert.equal((await publisher.expect("puback")).reasonCode, 0x97);
  await subscriber.close();
  (await storage.expect("storeSession")).succeed();
  const again = await storing.back("a");
  const resent = await again.expect("publish");
  assert.deepEqual([resent.packetId, resent.dup], [packetId, true]);
});

Deno.test("a QoS 2 message that could not be stored is not sent to a client that is connected", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [subscriber] = await storing.subscribed(["a"], "t", { properties: { receiveMaximum: 1 } });
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7, payload: "one" }));
  (await storage.expect("storeOutgoing")).fail(noRoom());
  assert.equal((await publisher.expect("pubrec")).reasonCode, 0x97);
  storage.succeeds = true;
  await publisher.publish({ topic: "t", qos: 2, payload: "two" });
  assert.equal((await receive(subscriber)).text, "two");
  await subscriber.expectNothing();
});

Deno.test("[5.0] a session that could not be stored is refused with the reason given, and forgotten", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const client = await broker.open();
  await client.send(connectPacket({ ...lasting(5), clientId: "a", will: { topic: "w" } }));
  (await storage.expect("storeSession")).fail(noRoom());
  assert.equal((await client.expect("connack")).reasonCode, 0x97);
  await client.expectClosed();
  await storage.expect("removeSession");
  assert.equal(broker.stats().sessions, 0);
});

Deno.test("[3.1.1] a session that could not be stored is refused: the server is unavailable", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const client = await broker.open();
  await client.send(connectPacket({ ...lasting(4), clientId: "a" }));
  (await storage.expect("storeSession")).fail(noRoom());
  assert.equal((await client.expect("connack")).reasonCode, 3);
  await client.expectClosed();
});

Deno.test("[5.0] a client whose subscription could not be stored is disconnected with the reason given", async () => {
  await using storing = await startStoring();
  const { storage } = storing;
  const client = await storing.connected("a");
  const suback = client.subscribe("t");
  (await storage.expect("storeSubscriptions")).fail(noRoom());
  await assert.rejects(suback, { message: /got { type: "disconnect", reasonCode: 151/ });
  await client.expectClosed();
});

Deno.test("[3.1.1] a client whose subscription could not be stored is disconnected", async () => {
  await using storing = await startStoring();
  const { storage } = storing;
  const client = await storing.connected("a", { level: 4 });
  const suback = client.subscribe("t");
  (await storage.expect("storeSubscriptions")).fail(noRoom());
  await assert.rejects(suback, { message: /awaited suback: the connection was closed/ });
});

Deno.test("a message that could not be stored for the member of a group to whom it is passed on is delivered all the same", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [first, second] = await storing.subscribed(["a", "b"], "$share/g/t", { properties: { receiveMaximum: 1 } });
  const publisher = await broker.connect();
  for (let packetId = 1; packetId <= 3; packetId++) {
    await publisher.send(publishPacket({ topic: "t", qos: 1, packetId, payload: `${packetId}` }));
    (await storage.expect("storeOutgoing")).succeed();
    await publisher.expect("puback");
  }
  assert.equal((await first.expect("publish")).packetId, 1);
  await first.close();
  // What was in flight to the first, and perhaps what waited for it, has to wait for the second.
  await eventually(() => broker.stats().clients === 2, "the first member to be gone");
  while (broker.stats().queuedMessages < 2) await publisher.expectNothing();
  for (const call of storage.pending()) if (call.method === "storeOutgoing") call.fail(noRoom());
  storage.succeed();
  assert.deepEqual((await receiveTexts(second, 3)).sort(), ["1", "2", "3"]);
});

// What is forgotten, and when.

Deno.test("a message is forgotten when its client has acknowledged it", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [subscriber] = await storing.subscribed(["a"]);
  const publisher = await broker.connect();
  const acknowledgements = [
    [1, "puback", 0],
    [1, "puback", 0x80],
    [2, "pubrec", 0x80],
  ] as const;
  for (const [qos, type, reasonCode] of acknowledgements) {
    await publisher.send(publishPacket({ topic: "t", qos, packetId: 7 }));
    const call = await storage.expect("storeOutgoing");
    call.succeed();
    const { packetId } = await subscriber.expect("publish");
    await subscriber.send({ type, packetId: packetId!, reasonCode });
    const { args: [clientId, { id }] } = await storage.expect("removeOutgoing");
    assert.deepEqual([clientId, id], ["a", call.args[1].id]);
    await publisher.expect(qos === 1 ? "puback" : "pubrec");
    if (qos === 2) {
      await publisher.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
      await publisher.expect("pubcomp");
    }
  }
});

Deno.test("a message that its client does not accept is forgotten", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.subscribed(["a"], "t", { properties: { maximumPacketSize: 50 } });
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 7, payload: "x".repeat(50) }));
  const [, { id }] = (await storage.expect("storeOutgoing")).args;
  assert.equal((await storage.expect("removeOutgoing")).args[1].id, id);
});

Deno.test("the oldest message is forgotten when the queue is full", async () => {
  await using storing = await startStoring({ limits: { queueMessages: 1 } });
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
  const [, { id }] = (await storage.expect("storeOutgoing")).args;
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 2 }));
  assert.equal((await storage.expect("removeOutgoing")).args[1].id, id);
  await storage.expect("storeOutgoing");
});

Deno.test("a message that a full queue does not take is not stored, and acknowledged", async () => {
  await using storing = await startStoring({ limits: { queueMessages: 1 }, queuePolicy: "drop-new" });
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const publisher = await broker.connect();
  for (const packetId of [1, 2]) await publisher.send(publishPacket({ topic: "t", qos: 1, packetId }));
  (await storage.expect("storeOutgoing")).succeed();
  await publisher.expect("puback");
  await publisher.expect("puback");
  assert.deepEqual(storage.rest(), []);
});

Deno.test("a message whose lifetime has passed is forgotten when its turn comes", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const publisher = await broker.connect();
  const published = publisher.publish({ topic: "t", qos: 1, properties: { messageExpiryInterval: 10 } });
  const call = await storage.expect("storeOutgoing");
  call.succeed();
  await published;
  using _passing = passingTime(11);
  const subscriber = await storing.back("a");
  assert.equal((await storage.expect("removeOutgoing")).args[1].id, call.args[1].id);
  await subscriber.expectNothing();
});

for (const [end, name] of [["clean start", "its client wants a new one"], ["expiry", "it has expired"]] as const) {
  Deno.test(`a session is forgotten with all its messages when ${name}`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const properties = { sessionExpiryInterval: end === "expiry" ? 1 : FOREVER, receiveMaximum: 1 };
    const [subscriber] = await storing.subscribed(["a"], "t", { properties });
    const publisher = await broker.connect();
    const ids: number[] = [];
    for (const packetId of [1, 2]) {
      await publisher.send(publishPacket({ topic: "t", qos: 1, packetId }));
      const call = await storage.expect("storeOutgoing");
      call.succeed();
      ids.push(call.args[1].id);
      await publisher.expect("puback");
    }
    await storing.away(subscriber);
    if (end === "clean start") await (await broker.open()).send(connectPacket({ clientId: "a" }));
    const removals = await storage.expectAll("removeOutgoing", "removeOutgoing");
    assert.deepEqual(removals.map(({ args: [, { id }] }) => id), ids);
    assert.deepEqual((await storage.expect("removeSession")).args, ["a"]);
  });
}

Deno.test("a session that is to end with its connection from now on is forgotten before CONNACK", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"]));
  const [client, witness] = [await broker.open(), await broker.connect()];
  await client.send(connectPacket({ clientId: "a", cleanStart: false }));
  const call = await storage.expect("removeSession");
  assert.equal((await comesAfter([call], client.expect("connack"), witness)).sessionPresent, true);
});

Deno.test("a message that is passed on to another member is stored for that and forgotten for the first in one go", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [first, second] = await storing.subscribed(["a", "b"], "$share/g/t");
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
  const before = await storage.expect("storeOutgoing");
  assert.deepEqual([before.args[0], before.args[1].shareFilter], ["a", "$share/g/t"]);
  before.succeed();
  await publisher.expect("puback");
  await first.expect("publish");
  await first.close();
  const [stored, removed] = await storage.expectAll("storeOutgoing", "removeOutgoing");
  assert.deepEqual([stored.args[0], removed.args[0], removed.args[1].id], ["b", "a", before.args[1].id]);
  assert.deepEqual([stored.args[1].replaces, stored.go], [before.args[1].id, removed.go]);
  await second.expect("publish");
});

// Sessions whose connection has ended, and their wills.

Deno.test("a session is stored with its will and, when the connection has ended, with the time of that", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const client = await broker.open();
  const will = { topic: "w", payload: "gone", properties: { willDelayInterval: 60 } };
  await client.send(connectPacket({ ...lasting(5), clientId: "a", will }));
  const [session] = (await storage.expect("storeSession")).args;
  assert.deepEqual([session.will?.topic, session.disconnectedAt], ["w", undefined]);
  storage.succeed();
  await client.expect("connack");
  const before = Date.now();
  await client.close();
  const [ended] = (await storage.expect("storeSession")).args;
  assert.equal(ended.will?.topic, "w");
  assert.ok(ended.disconnectedAt! >= before && ended.disconnectedAt! <= Date.now());
});

Deno.test("a will that is published is stored for who gets it and forgotten with its session in one go", async () => {
  await using storing = await startStoring();
  const { storage } = storing;
  await storing.away(...await storing.subscribed(["a"], "w"));
  const client = await storing.connected("b", { will: { topic: "w", qos: 1 } });
  await client.close();
  const [message, session] = await storage.expectAll("storeOutgoing", "storeSession") as [
    Call<"storeOutgoing">,
    Call<"storeSession">,
  ];
  assert.deepEqual([message.args[0], session.args[0].clientId, session.args[0].will], ["a", "b", undefined]);
  assert.equal(message.go, session.go);
});

Deno.test("a will that a hook takes its time for stays stored until it is published", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.away(...await storing.subscribed(["a"], "w"));
  const asked = Promise.withResolvers<void>();
  await broker.use({ id: "slow", onWillPublish: () => asked.promise });
  const client = await storing.connected("b", { will: { topic: "w", qos: 1 } });
  await client.close();
  await eventually(() => broker.stats().clients === 0, "the client to be gone");
  assert.deepEqual(storage.rest(), []);
  asked.resolve();
  await storage.expectAll("storeOutgoing", "storeSession");
});

Deno.test("a will whose delay has passed is forgotten, and its session's expiry still counts from its disconnection", async () => {
  await using storing = await startStoring();
  const { storage } = storing;
  const client = await storing.connected("a", { will: { topic: "w", properties: { willDelayInterval: 1 } } });
  await client.close();
  const [ended] = (await storage.expect("storeSession")).args;
  const [published] = (await storage.expect("storeSession")).args;
  assert.deepEqual([ended.will?.topic, published.will], ["w", undefined]);
  assert.equal(published.disconnectedAt, ended.disconnectedAt);
});

Deno.test("sessions keep their wills when the broker closes", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.connected("a", { will: { topic: "w" } });
  const closed = broker.close();
  const [session] = (await storage.expect("storeSession")).args;
  assert.equal(session.will?.topic, "w");
  assert.notEqual(session.disconnectedAt, undefined);
  await closed;
});

Deno.test("a session that there was before the hook is stored when that is added, with all that it holds", async () => {
  await using broker = await startBroker();
  const properties = { receiveMaximum: 1, sessionExpiryInterval: FOREVER };
  const client = await broker.connect({ clientId: "a", cleanStart: false, properties });
  await client.subscribe("t", { qos: 1 });
  await client.send(publishPacket({ topic: "u", qos: 2, packetId: 7 }));
  await client.expect("pubrec");
  for (const payload of ["in flight", "queued"]) await broker.publish("t", payload, { qos: 1 });
  await client.expect("publish");
  const storage = new RecordingStorage();
  storage.succeeds = true;
  await broker.use(storage);
  assert.deepEqual((await storage.expect("storeSession")).args[0].clientId, "a");
  assert.deepEqual((await storage.expect("storeSubscriptions")).args[1].map(({ topicFilter }) => topicFilter), ["t"]);
  assert.deepEqual((await storage.expect("storeReceived")).args, ["a", 7]);
  const [inflight, queued] = await storage.expectAll("storeOutgoing", "storeOutgoing");
  assert.deepEqual([inflight.args[1].packetId, queued.args[1].packetId], [1, 0]);
  await client.send({ type: "puback", packetId: 1, reasonCode: 0 });
  assert.equal((await storage.expect("removeOutgoing")).args[1].id, inflight.args[1].id);
});

// A group's messages that are passed on, and what comes in between.

Deno.test("a message is not lost with a member whose session ends while hooks are asked about others", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  storage.succeeds = true;
  const later = Promise.withResolvers<boolean>();
  const asked = Promise.withResolvers<void>();
  const dropped: string[] = [];
  await broker.use({
    id: "slow",
    canRead: ({ clientId }) => {
      if (clientId !== "plain") return Promise.resolve(true);
      asked.resolve();
      return later.promise;
    },
    onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId} ${textOf(packet)} ${reason}`),
  });
  const b = await broker.connect({ clientId: "b" });
  await b.subscribe("$share/g/t", { qos: 2 });
  const c = await broker.connect({ clientId: "c" });
  await c.subscribe("$share/g/t", { qos: 2 });
  const plain = await broker.connect({ clientId: "plain" });
  await plain.subscribe("t", { qos: 0 });
  const publisher = await broker.connect({ ...lasting(5), clientId: "p" });
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 1, payload: "m" }));
  await asked.promise;
  await b.close();
  await eventually(() => broker.stats().sessions === 3, "b's session to be over");
  later.resolve(true);
  assert.equal((await publisher.expect("pubrec")).reasonCode, 0);
  assert.deepEqual([await receivedSoFar(c), dropped], [["m"], []]);
});

Deno.test("what is stored is not passed on to a member that gets it at QoS 0", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  storage.succeeds = true;
  const a = await broker.connect({ ...lasting(5), clientId: "a" });
  await a.subscribe("$share/g/t", { qos: 1 });
  await broker.publish("t", "m", { qos: 1 });
  assert.deepEqual(await receivedSoFar(a), ["m"]);
  const b = await broker.connect({ ...lasting(5), clientId: "b" });
  await b.subscribe("$share/g/t", { qos: 0 });
  storage.rest();
  await a.close();
  await eventually(() => broker.stats().clients === 1, "the client to be gone");
  assert.deepEqual([storage.rest().filter((call) => call.includes("Outgoing")), await receivedSoFar(b)], [[], []]);
});

Deno.test("what is passed on while it is being stored is not lost if only its second store is refused", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  const [a, b] = await storing.subscribed(["a", "b"], "$share/g/t", { properties: { receiveMaximum: 1 } });
  storage.succeeds = true;
  for (let number = 0; number < 2; number++) await broker.publish("t", `${number}`, { qos: 2 });
  await a.expect("publish");
  await b.expect("publish");
  storage.succeeds = false;
  const publisher = await broker.connect({ clientId: "p" });
  storage.rest();
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 1, payload: "m" }));
  const first = await storage.expect("storeOutgoing");
  const left = first.args[0] === "a" ? a : b;
  await left.close();
  const second = await storage.expect("storeOutgoing");
  assert.notEqual(second.args[0], first.args[0]);
  second.fail(new Error("no room"));
  await publisher.expectNothing();
  first.succeed();
  assert.equal((await publisher.expect("puback")).reasonCode, 0);
  assert.equal(broker.stats().queuedMessages, 1);
});

Deno.test("what is removed when a session ends is not said to be replaced, nor removed again", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  storage.succeeds = true;
  let slow = false;
  const later = Promise.withResolvers<boolean>();
  await broker.use({ id: "slow", canRead: () => slow ? later.promise : true });
  const a = await broker.connect({ ...lasting(5), clientId: "a" });
  await a.subscribe("$share/g/t", { qos: 1 });
  await broker.publish("t", "m", { qos: 1 });
  assert.deepEqual(await receivedSoFar(a), ["m"]);
  await a.close();
  await eventually(() => broker.stats().clients === 0, "the client to be gone");
  const b = await broker.connect({ ...lasting(5), clientId: "b" });
  await b.subscribe("$share/g/t", { qos: 1 });
  storage.rest();
  slow = true;
  await broker.connect({ clientId: "a", cleanStart: true });
  const before = storage.pending().filter(({ method }) => method.endsWith("Outgoing"));
  assert.deepEqual(before.map(({ method }) => method), ["removeOutgoing"]);
  slow = false;
  later.resolve(true);
  assert.equal(textOf(await b.expect("publish")), "m");
  const after = storage.pending().filter(({ method }) => method.endsWith("Outgoing"));
  assert.deepEqual(
    after.map(({ method, args }) => [method, (args[1] as { replaces?: number }).replaces]),
    [["storeOutgoing", undefined]],
  );
});

Deno.test("a store that throws at a will does not keep the session from ending", async () => {
  await using broker = await startBroker();
  const calls: string[] = [];
  let throws = false;
  const hook: Hook = {
    id: "store",
    storeSession: ({ clientId }) => void calls.push(`storeSession ${clientId}`),
    removeSession: (clientId) => void calls.push(`removeSession ${clientId}`),
    storeSubscriptions: () => {},
    removeSubscriptions: () => {},
    storeOutgoing: () => {
      if (throws) throw new Error("no room");
    },
    removeOutgoing: () => {},
    storeReceived: () => {},
    removeReceived: () => {},
    onSessionEnded: (clientId) => void calls.push(`ended ${clientId}`),
  };
  await broker.use(hook);
  const watcher = await broker.connect({ ...lasting(5), clientId: "watcher" });
  await watcher.subscribe("w", { qos: 1 });
  const a = await broker.connect({
    ...lasting(5),
    clientId: "a",
    will: { topic: "w", qos: 1, payload: "gone", properties: { willDelayInterval: 60 } },
  });
  await a.close();
  await eventually(() => broker.stats().clients === 1, "the client to be gone");
  throws = true;
  calls.length = 0;
  await broker.connect({ clientId: "a", cleanStart: true });
  assert.deepEqual(calls, ["removeSession a", "ended a"]);
});
