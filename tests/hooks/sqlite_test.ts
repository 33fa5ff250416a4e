import assert from "node:assert/strict";
import type { PublishPacket, PublishProperties } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { passingTime, passingTimers } from "../broker/passing_time.ts";
import { receive, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting, versions } from "../broker/versions.ts";
import { connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import type { TestBroker } from "../support/start_broker.ts";
import { DatabaseFile, ends } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

const FOREVER = 0xffff_ffff;

/** A client whose session has been stored with one subscription, and which is gone. */
async function subscribedBefore(
  broker: TestBroker,
  clientId: string,
  topicFilter = "t",
  qos: 1 | 2 = 2,
): Promise<void> {
  const client = await broker.connect({ ...lasting(5), clientId });
  await client.subscribe(topicFilter, { qos });
  await client.disconnect();
}

/** The payloads of so many messages that are all sent before any of them is acknowledged. */
async function receiveTogether(client: RawClient, count: number): Promise<string[]> {
  const packets: PublishPacket[] = [];
  while (packets.length < count) packets.push(await client.expect("publish"));
  for (const { qos, packetId } of packets) {
    await client.send({ type: qos === 1 ? "puback" : "pubrec", packetId: packetId!, reasonCode: 0 });
  }
  for (const _packet of packets.filter(({ qos }) => qos === 2)) {
    const { packetId } = await client.expect("pubrel");
    await client.send({ type: "pubcomp", packetId, reasonCode: 0 });
  }
  return packets.map(textOf);
}

async function published(broker: TestBroker, topic: string, texts: string[], qos: 1 | 2 = 1): Promise<void> {
  for (const text of texts) await broker.publish(topic, text, { qos });
}

for (const end of ends) {
  for (const [level, version] of versions) {
    Deno.test(`MQTT ${version}: a session is there again after a ${end}, with its subscription and its messages`, async () => {
      await using file = new DatabaseFile();
      const before = await file.start();
      const client = await before.connect({ ...lasting(level), clientId: "a" });
      await client.subscribe("t/#", { qos: 2 });
      await client.disconnect();
      await published(before, "t/1", ["one", "two"], 2);
      const after = await file.restart(end);
      const again = await after.connect({ ...lasting(level), clientId: "a" });
      if (level > 3) assert.equal(again.connack.sessionPresent, true);
      await published(after, "t/2", ["three"], 2);
      assert.deepEqual(await receiveTogether(again, 3), ["one", "two", "three"]);
    });
  }

  Deno.test(`a session is not there again after a ${end} if it ended with its connection`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    const client = await before.connect({ clientId: "a" });
    await client.subscribe("t", { qos: 1 });
    const after = await file.restart(end);
    assert.equal(after.stats().sessions, 0);
  });

  Deno.test(`subscriptions keep all their options over a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    const client = await before.connect({ ...lasting(5), clientId: "a" });
    await client.subscribe("own", { qos: 1, noLocal: true });
    await client.subscribe("kept", { qos: 1, retainAsPublished: true, properties: { subscriptionIdentifiers: [7] } });
    await client.subscribe("kept/#", { qos: 2, properties: { subscriptionIdentifiers: [268_435_455] } });
    await client.subscribe("plain", { qos: 0 });
    await client.subscribe("gone", { qos: 1 });
    await client.unsubscribe("gone");
    await client.disconnect();
    const after = await file.restart(end);
    const again = await after.connect({ ...lasting(5), clientId: "a" });
    await again.send(publishPacket({ topic: "own", qos: 1, packetId: 1 }));
    await again.expect("puback");
    for (const topic of ["gone", "plain", "kept"]) await after.publish(topic, topic, { qos: 2, retain: true });
    const plain = await again.expect("publish");
    assert.deepEqual([textOf(plain), plain.qos, plain.retain], ["plain", 0, false]);
    const kept = await receive(again);
    assert.deepEqual([kept.text, kept.qos, kept.retain], ["kept", 2, true]);
    assert.deepEqual(kept.properties?.subscriptionIdentifiers?.toSorted(), [268_435_455, 7]);
    await again.expectNothing();
  });

  Deno.test(`messages in flight have the same packet identifiers after a ${end}, and come first, marked as duplicates`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    const properties = { sessionExpiryInterval: FOREVER, receiveMaximum: 2 };
    const client = await before.connect({ clientId: "a", cleanStart: false, properties });
    await client.subscribe("t", { qos: 2 });
    await published(before, "t", ["one"], 1);
    await published(before, "t", ["two"], 2);
    await published(before, "t", ["three", "four"], 1);
    const sent = [await client.expect("publish"), await client.expect("publish")];
    const after = await file.restart(end);
    const again = await after.connect({ ...lasting(5), clientId: "a" });
    for (const { packetId, qos, payload } of sent) {
      const resent = await again.expect("publish");
      assert.deepEqual([resent.packetId, resent.qos, resent.payload, resent.dup], [packetId, qos, payload, true]);
    }
    const rest = [await again.expect("publish"), await again.expect("publish")];
    assert.deepEqual(rest.map((packet) => [textOf(packet), packet.dup]), [["three", false], ["four", false]]);
  });

  Deno.test(`a QoS 2 message that was released is only completed after a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    const client = await before.connect({ ...lasting(5), clientId: "a" });
    await client.subscribe("t", { qos: 2 });
    await published(before, "t", ["one"], 2);
    const { packetId } = await client.expect("publish");
    await client.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    await client.expect("pubrel");
    const after = await file.restart(end);
    const again = await after.connect({ ...lasting(5), clientId: "a" });
    assert.equal((await again.expect("pubrel")).packetId, packetId);
    await again.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
    await again.expectNothing();
    await file.stop();
    assert.deepEqual(file.rows(), { sessions: 1, subscriptions: 1 });
  });

  Deno.test(`a QoS 2 message is not delivered again when its PUBLISH comes again after a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "a");
    const client = await before.connect({ ...lasting(5), clientId: "p" });
    await client.send(publishPacket({ topic: "t", qos: 2, packetId: 7, payload: "once" }));
    await client.expect("pubrec");
    const after = await file.restart(end);
    const publisher = await after.connect({ ...lasting(5), clientId: "p" });
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 7, dup: true, payload: "once" }));
    await publisher.expect("pubrec");
    await publisher.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    assert.equal((await publisher.expect("pubcomp")).reasonCode, 0);
    const subscriber = await after.connect({ ...lasting(5), clientId: "a" });
    assert.equal((await receive(subscriber)).text, "once");
    await subscriber.expectNothing();
    // From here on the packet identifier means another message.
    await publisher.publish({ topic: "t", qos: 2, packetId: 7, payload: "twice" });
    assert.equal((await receive(subscriber)).text, "twice");
  });

  Deno.test(`PUBREL is answered after a ${end}, whether or not it was before`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    const client = await before.connect({ ...lasting(5), clientId: "p" });
    for (const packetId of [1, 2]) {
      await client.send(publishPacket({ topic: "t", qos: 2, packetId }));
      await client.expect("pubrec");
    }
    await client.send({ type: "pubrel", packetId: 1, reasonCode: 0 });
    await client.expect("pubcomp");
    const after = await file.restart(end);
    const publisher = await after.connect({ ...lasting(5), clientId: "p" });
    for (const packetId of [1, 2]) await publisher.send({ type: "pubrel", packetId, reasonCode: 0 });
    assert.deepEqual(await publisher.expect("pubcomp"), { type: "pubcomp", packetId: 1, reasonCode: 0x92 });
    assert.deepEqual(await publisher.expect("pubcomp"), { type: "pubcomp", packetId: 2, reasonCode: 0 });
  });

  Deno.test(`retained messages are there again after a ${end}: set, replaced, cleared`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    const publisher = await before.connect();
    for (const [topic, payload] of [["r/1", "set"], ["r/2", "old"], ["r/2", "new"], ["r/3", "set"], ["r/3", ""]]) {
      await publisher.publish({ topic, qos: 1, retain: true, payload });
    }
    await publisher.publish({ topic: "r/4", qos: 0, retain: true, payload: "QoS 0" });
    await publisher.publish({ topic: "r/5", qos: 1, retain: true, payload: "the last" });
    const after = await file.restart(end);
    const client = await after.connect();
    await client.subscribe("r/#", { qos: 2 });
    const received = new Map<string, string>();
    for (let count = 0; count < 4; count++) {
      const { topic, text, retain, qos } = await receive(client);
      received.set(topic, `${text} ${qos} ${retain}`);
    }
    await client.expectNothing();
    assert.deepEqual(Object.fromEntries(received), {
      "r/1": "set 1 true",
      "r/2": "new 1 true",
      "r/4": "QoS 0 0 true",
      "r/5": "the last 1 true",
    });
  });

  Deno.test(`a will whose client is away is published after a ${end}, when the rest of its delay has passed`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "watcher", "w");
    const properties = { willDelayInterval: 60, contentType: "text/plain" };
    const will = { topic: "w", payload: "gone", qos: 2, retain: true, properties } as const;
    const client = await before.connect({ ...lasting(5), clientId: "a", will });
    await client.close();
    await eventually(() => before.stats().clients === 0, "the client to be gone");
    // Its session has been stored when the next one is.
    await subscribedBefore(before, "b");
    using _passing = passingTime(59.5);
    const after = await file.restart(end);
    const watcher = await after.connect({ ...lasting(5), clientId: "watcher" });
    const published = await receive(watcher);
    assert.deepEqual([published.text, published.qos, published.properties], ["gone", 2, { contentType: "text/plain" }]);
    assert.equal(after.stats().retainedMessages, 1);
  });

  Deno.test(`the will of a client that was connected is published after a ${end}, and only once`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "watcher", "w");
    await before.connect({ ...lasting(5), clientId: "a", will: { topic: "w", payload: "gone", qos: 1 } });
    await file.restart(end);
    const after = await file.restart("shutdown");
    const watcher = await after.connect({ ...lasting(5), clientId: "watcher" });
    // A client that the broker has disconnected has some time to come back.
    using _passing = passingTimers(30);
    assert.equal((await receive(watcher)).text, "gone");
    await watcher.expectNothing();
  });

  Deno.test(`a session's expiry goes on while the broker is down for a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "watcher", "w");
    for (const [clientId, sessionExpiryInterval] of [["short", 60], ["long", 120]] as const) {
      const will = {
        topic: "w",
        payload: `${clientId} is over`,
        qos: 1,
        properties: { willDelayInterval: 600 },
      } as const;
      const client = await before.connect({ clientId, cleanStart: false, will, properties: { sessionExpiryInterval } });
      await client.subscribe("t", { qos: 1 });
      await client.disconnect({ reasonCode: 4 });
    }
    await published(before, "t", ["one"]);
    using _passing = passingTime(61);
    const after = await file.restart(end);
    assert.equal(after.stats().sessions, 2);
    const long = await after.connect({ clientId: "long", cleanStart: false });
    assert.equal((await receive(long)).text, "one");
    const watcher = await after.connect({ ...lasting(5), clientId: "watcher" });
    assert.equal((await receive(watcher)).text, "short is over");
    await long.disconnect();
    await file.stop();
    assert.deepEqual(file.rows(), { sessions: 1, subscriptions: 1 });
  });

  Deno.test(`a session that ended leaves nothing after a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    for (const clientId of ["wiped", "expired"]) await subscribedBefore(before, clientId);
    const publisher = await before.connect({ ...lasting(5), clientId: "expired" });
    await publisher.send(publishPacket({ topic: "u", qos: 2, packetId: 1 }));
    await publisher.expect("pubrec");
    await published(before, "t", ["one", "two"]);
    await publisher.disconnect({ properties: { sessionExpiryInterval: 0 } });
    await before.connect({ clientId: "wiped" });
    // Everything before it is stored when this is.
    await subscribedBefore(before, "other", "u");
    const after = await file.restart(end);
    assert.equal(after.stats().sessions, 1);
    await file.stop();
    assert.deepEqual(file.rows(), { sessions: 1, subscriptions: 1 });
  });

  Deno.test(`a message's lifetime goes on while the broker is down for a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "a");
    for (const [text, messageExpiryInterval] of [["short", 60], ["long", 120]] as const) {
      await before.publish("t", text, { qos: 1, properties: { messageExpiryInterval } });
      await before.publish(`r/${text}`, text, { qos: 1, retain: true, properties: { messageExpiryInterval } });
    }
    using _passing = passingTime(61);
    const after = await file.restart(end);
    const client = await after.connect({ ...lasting(5), clientId: "a" });
    const queued = await receive(client);
    await client.subscribe("r/#", { qos: 1 });
    const retained = await receive(client);
    for (const { text, properties } of [queued, retained]) {
      assert.equal(text, "long");
      assert.ok(Math.abs(properties!.messageExpiryInterval! - 59) <= 1);
    }
    await client.expectNothing();
    await file.stop();
    assert.deepEqual(file.rows(), { sessions: 1, subscriptions: 2, retained: 1 });
  });

  Deno.test(`members of a group get each message once after a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    for (const clientId of ["a", "b"]) await subscribedBefore(before, clientId, "$share/g/t", 1);
    await published(before, "t", ["1", "2", "3", "4"]);
    const after = await file.restart(end);
    await published(after, "t", ["5", "6"]);
    // What waits for a member that goes for good is the others'.
    await after.connect({ clientId: "a" });
    const client = await after.connect({ ...lasting(5), clientId: "b" });
    assert.deepEqual((await receiveTexts(client, 6)).sort(), ["1", "2", "3", "4", "5", "6"]);
    await client.expectNothing();
  });

  Deno.test(`a message keeps its properties over a ${end}, user properties in their order`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "a");
    const properties: PublishProperties = {
      payloadFormatIndicator: 1,
      contentType: "text/plain; charset=utf-8",
      responseTopic: "answers/ä",
      correlationData: new Uint8Array([0, 255, 1]),
      userProperties: [["b", "2"], ["a", ""], ["b", "1"], ["", "😀"]],
    };
    await before.publish("t", "é", { qos: 2, properties });
    await before.publish("r", "é", { qos: 2, retain: true, properties });
    const after = await file.restart(end);
    const client = await after.connect({ ...lasting(5), clientId: "a" });
    const queued = await receive(client);
    await client.subscribe("r", { qos: 1 });
    const retained = await receive(client);
    for (const received of [queued, retained]) {
      assert.deepEqual([received.text, received.properties], ["é", properties]);
    }
  });

  Deno.test(`payloads of any size are whole after a ${end}`, async () => {
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "a");
    const payloads = [0, 1, 2048, 4096, 65_536, 1024 * 1024].map((size) =>
      Uint8Array.from({ length: size }, (_, index) => index * 7 + size)
    );
    const publisher = await before.connect();
    for (const payload of payloads) await publisher.publish({ topic: "t", qos: 1, payload });
    const after = await file.restart(end);
    const client = await after.connect({ ...lasting(5), clientId: "a" });
    for (const payload of payloads) {
      const received = await receive(client);
      assert.ok(
        received.payload.length === payload.length && received.payload.every((byte, at) => byte === payload[at]),
      );
    }
  });
}

Deno.test("a session that takes over another one's place while messages come is stored with all of them", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  const texts = Array.from({ length: 60 }, (_, index) => `${index}`);
  const first = await before.connect({ ...lasting(5), clientId: "a" });
  await first.subscribe("t", { qos: 2 });
  const publishing = published(before, "t", texts, 2);
  await first.expect("publish");
  for (let count = 0; count < 10; count++) await before.connect({ ...lasting(5), clientId: "a" });
  await publishing;
  const after = await file.restart("crash");
  const client = await after.connect({ ...lasting(5), clientId: "a" });
  const received = [];
  while (received.length < texts.length) received.push(textOf(await client.expect("publish")));
  assert.deepEqual(received, texts);
});

Deno.test("client ids of any characters find their sessions again", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  // U+FFFD sorts before U+1F600 by its bytes, and behind it by its UTF-16 code units.
  const clientIds = [
    "a",
    "B",
    "é",
    "e\u0301",
    "\u{1F600}",
    "\u{FFFD}",
    "'; DROP TABLE sessions --",
    " ",
    "a/+/#",
    "\u{10FFFF}",
  ];
  for (const clientId of clientIds) await subscribedBefore(before, clientId, `t/${clientIds.indexOf(clientId)}`);
  for (const clientId of clientIds) await before.publish(`t/${clientIds.indexOf(clientId)}`, clientId, { qos: 1 });
  const after = await file.restart("crash");
  for (const clientId of clientIds) {
    const client = await after.connect({ ...lasting(5), clientId });
    assert.equal((await receive(client)).text, clientId);
    await client.expectNothing();
  }
});

Deno.test("thousands of sessions are there again", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  const count = 5000;
  const connect = async (index: number) => {
    const client = await before.connect({ ...lasting(5), clientId: `client-${index}` });
    await client.subscribe(["all", `t/${index}`], { qos: 1 });
    await client.disconnect();
  };
  for (let index = 0; index < count; index += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, offset) => connect(index + offset)));
  }
  await eventually(() => before.stats().clients === 0, "all clients to be gone");
  await before.publish("all", "one message", { qos: 1 });
  const after = await file.restart("shutdown");
  const { sessions, subscriptions, queuedMessages } = after.stats();
  assert.deepEqual([sessions, subscriptions, queuedMessages], [count, 2 * count, count]);
  await file.stop();
  assert.equal(file.rows().messages, 1);
});

Deno.test("thousands of messages are there again, in their order, and those of many megabytes", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  await subscribedBefore(before, "a");
  // More than is read back at a time, in messages as well as in bytes.
  const texts = Array.from({ length: 2500 }, (_, index) => index % 1000 === 1 ? `${index}`.repeat(1e6) : `${index}`);
  await Promise.all(texts.map((text) => before.publish("t", text, { qos: 1 })));
  await Promise.all(texts.map((text, index) => before.publish(`r/${index}`, text, { qos: 1, retain: true })));
  const after = await file.restart("crash");
  assert.deepEqual([after.stats().queuedMessages, after.stats().retainedMessages], [texts.length, texts.length]);
  const client = await after.connect({ ...lasting(5), clientId: "a" });
  for (const text of texts) {
    const message = await receive(client);
    assert.ok(message.text === text, `got ${message.text.slice(0, 20)} for ${text.slice(0, 20)}`);
  }
});

Deno.test("nothing is left of messages that everybody has acknowledged", async () => {
  await using file = new DatabaseFile();
  const broker = await file.start();
  const offline = ["a", "b"];
  for (const clientId of offline) await subscribedBefore(broker, clientId);
  const online = await broker.connect({ ...lasting(5), clientId: "c" });
  await online.subscribe("t", { qos: 2 });
  const publisher = await broker.connect({ ...lasting(5), clientId: "p" });
  const receiving = (async () => {
    for (let count = 0; count < 20; count++) await receive(online);
    await online.disconnect();
  })();
  for (let count = 0; count < 10; count++) {
    for (const qos of [1, 2] as const) await publisher.publish({ topic: "t", qos, payload: `${count}` });
  }
  await receiving;
  for (const clientId of offline) {
    const client = await broker.connect({ ...lasting(5), clientId });
    await receiveTogether(client, 20);
    await client.disconnect();
  }
  await file.stop();
  assert.deepEqual(file.rows(), { sessions: 4, subscriptions: 3 });
});

Deno.test("a message that is acknowledged before it is written is never written", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { qos: 1 });
  const publisher = await broker.connect();
  workers.hold();
  const before = workers.batches.length;
  for (const packetId of [1, 2]) {
    await publisher.send(publishPacket({ topic: "t", qos: 1, packetId, payload: `${packetId}` }));
    await receive(client);
    await client.expectNothing();
  }
  assert.equal(workers.batches.length, before + 1, "the first is being written when the second comes");
  await publisher.expectNothing();
  workers.release();
  await publisher.expect("puback");
  await publisher.expect("puback");
  const [first, second] = workers.batches.slice(before).map((operations) => operations.map(([name]) => name));
  assert.deepEqual(first, ["message", "outgoing"]);
  assert.deepEqual(second, ["removeOutgoing", "removeMessage"]);
});

Deno.test("messages of many clients are written together", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "a");
  const publishers = await Promise.all(Array.from({ length: 20 }, () => broker.connect()));
  workers.hold();
  await publishers[0].send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
  await eventually(() => workers.batches.at(-1)?.[0]?.[0] === "message", "the first message to be written");
  const before = workers.batches.length;
  const publishing = publishers.slice(1).map((publisher) => publisher.publish({ topic: "t", qos: 1 }));
  await eventually(() => broker.stats().queuedMessages === 20, "the others to be there");
  workers.release();
  await Promise.all(publishing);
  assert.equal(workers.batches.length, before + 1);
});

Deno.test("a session that was to end with a connection, and goes on with another one, is stored once", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  await subscribedBefore(before, "a");
  await published(before, "t", ["once"], 2);
  workers.hold();
  const ending = await before.open();
  const batches = workers.batches.length;
  await ending.send(connectPacket({ clientId: "a", cleanStart: false }));
  await eventually(() => workers.batches.length > batches, "the session to be forgotten");
  const again = await before.open();
  await again.send(connectPacket({ ...lasting(5), clientId: "a" }));
  await ending.expectClosed();
  workers.release();
  await again.expect("connack");
  assert.equal((await receive(again)).text, "once");
  await again.expectNothing();
  await before.connect({ ...lasting(5), clientId: "witness" });
  const after = await file.restart("crash");
  assert.equal(after.stats().queuedMessages, 0);
});
