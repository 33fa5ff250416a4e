import assert from "node:assert/strict";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive, receiveTexts } from "./receive.ts";
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

// Failures: what could not be stored is never acknowledged.

Deno.test("[5.0] a message that could not be stored is refused with the reason given, and reaches nobody later", async () => {
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
    storage.succeeds = true;
    const subscriber = await storing.back("a").catch(() => {});
    void subscriber;
  });
}
