/** A client that connects with another user's client id. */

import assert from "node:assert/strict";
import { lasting, versions } from "../broker/versions.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { granted, type GuardedBroker, passwords, startGuardedBroker } from "./guarded_broker.ts";

const clientId = "ann's phone";

/** One message at a time: everything else waits. */
const oneAtATime = { broker: { limits: { inflight: 1 } } };

/** Ann's letters, at QoS 1 and 2. */
async function sendLetters(broker: GuardedBroker): Promise<string[]> {
  for (const qos of [1, 2] as const) await broker.publish("home/ann/letter", "dear Ann", { qos });
  return ["home/ann/letter", "home/ann/letter"];
}

for (const [level, version] of versions) {
  for (const limits of [{}, oneAtATime]) {
    const which = limits === oneAtATime ? "one after the other" : "at once";
    Deno.test(`MQTT ${version}: who takes over a client id gets nothing that was sent ${which} and not acknowledged`, async () => {
      await using broker = await startGuardedBroker(limits);
      const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
      await ann.subscribe("home/ann/#", { qos: 2 });
      const sent = await sendLetters(broker);
      await ann.expect("publish");
      const bob = await broker.connectAs("bob", { ...lasting(level), clientId });
      sent.push(...await sendLetters(broker));
      await bob.expectNothing();
      assert.deepEqual(await broker.arrived(), sent);
      await broker.expectUnharmed({ sessions: 1, subscriptions: 1 });
    });
  }

  Deno.test(`MQTT ${version}: who takes over a client id gets nothing that was queued`, async () => {
    await using broker = await startGuardedBroker();
    const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
    await granted(ann, ["home/ann/#", "news/today"]);
    await ann.close();
    await sendLetters(broker);
    await broker.publish("news/today", "sunshine", { qos: 1 });
    await sendLetters(broker);
    const bob = await broker.connectAs("bob", { ...lasting(level), clientId });
    // Everybody may read the news.
    const news = await bob.expect("publish");
    assert.equal(news.topic, "news/today");
    await bob.send({ type: "puback", packetId: news.packetId!, reasonCode: 0 });
    await bob.expectNothing();
    assert.equal((await broker.arrived()).length, 5);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 2 });
  });

  Deno.test(`MQTT ${version}: who takes over a client id gets no retained messages that it was still owed`, async () => {
    await using broker = await startGuardedBroker(oneAtATime);
    const topics = ["home/ann/a", "home/ann/b", "home/ann/c"];
    for (const topic of topics) await broker.publish(topic, "x", { qos: 1, retain: true });
    const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
    await ann.subscribe("home/ann/#", { qos: 1 });
    assert.equal((await ann.expect("publish")).topic, "home/ann/a");
    await ann.close();
    const bob = await broker.connectAs("bob", { ...lasting(level), clientId });
    await bob.expectNothing();
    assert.deepEqual(await broker.arrived(), topics);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 1, retainedMessages: 3 });
  });

  Deno.test(`MQTT ${version}: who takes over a client id may use none of its subscriptions`, async () => {
    await using broker = await startGuardedBroker();
    const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
    await granted(ann, ["home/ann/#", "$share/family/home/ann/#"]);
    await broker.publish("home/ann/diary", "retained", { retain: true });
    await ann.close();
    const bob = await broker.connectAs("bob", { ...lasting(level), clientId });
    assert.deepEqual(await granted(bob, ["home/ann/#", "$share/family/home/ann/#", "home/ann/diary"]), []);
    await sendLetters(broker);
    await broker.publish("home/ann/diary", "live", { retain: true });
    await bob.expectNothing();
    assert.equal(await bob.publish({ topic: "home/ann/door", qos: 1 }), level === 5 ? 0x87 : 0);
    assert.equal((await broker.arrived()).length, 4);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 2, sharedSubscriptions: 1, retainedMessages: 1 });
  });

  Deno.test(`MQTT ${version}: acknowledging what was sent to another user makes nothing appear`, async () => {
    await using broker = await startGuardedBroker(oneAtATime);
    const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
    await ann.subscribe("home/ann/#", { qos: 2 });
    await sendLetters(broker);
    await sendLetters(broker);
    const bob = await broker.connectAs("bob", { ...lasting(level), clientId });
    for (let packetId = 1; packetId <= 5; packetId++) {
      await bob.send({ type: "puback", packetId, reasonCode: 0 });
      await bob.send({ type: "pubrec", packetId, reasonCode: 0 });
      assert.equal((await bob.expect("pubrel")).packetId, packetId);
      await bob.send({ type: "pubcomp", packetId, reasonCode: 0 });
    }
    await bob.expectNothing();
    assert.equal((await broker.arrived()).length, 4);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 1 });
  });

  Deno.test(`MQTT ${version}: who has got a client id back from another user gets what was sent since then`, async () => {
    await using broker = await startGuardedBroker();
    const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
    await ann.subscribe("home/ann/#", { qos: 1 });
    const bob = await broker.connectAs("bob", { ...lasting(level), clientId });
    await bob.subscribe("home/bob/#", { qos: 1 });
    await bob.close();
    await broker.publish("home/bob/letter", "dear Bob", { qos: 1 });
    const back = await broker.connectAs("ann", { ...lasting(level), clientId });
    await back.expectNothing();
    await broker.publish("home/bob/letter", "dear Bob", { qos: 1 });
    await broker.publish("home/ann/letter", "dear Ann", { qos: 1 });
    const letter = await back.expect("publish");
    assert.equal(letter.topic, "home/ann/letter");
    await back.send({ type: "puback", packetId: letter.packetId!, reasonCode: 0 });
    await back.expectNothing();
    assert.equal((await broker.arrived()).length, 3);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 2 });
  });

  Deno.test(`MQTT ${version}: a QoS 2 handshake of another user is not finished, nor begun, in its place`, async () => {
    await using broker = await startGuardedBroker();
    const ann = await broker.connectAs("ann", { ...lasting(level), clientId });
    const message = publishPacket({ topic: "home/ann/alarm", qos: 2, packetId: 7 });
    await ann.send(message);
    await ann.expect("pubrec");
    // Bob has a client id of his own: her packet identifiers are not his.
    const bob = await broker.connectAs("bob", { level });
    await bob.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    assert.equal((await bob.expect("pubcomp")).reasonCode, level === 5 ? 0x92 : 0);
    await ann.send({ ...message, dup: true });
    await ann.expect("pubrec");
    assert.deepEqual(await broker.arrived(), ["home/ann/alarm"]);
    // With hers, he publishes nothing by them either.
    const intruder = await broker.connectAs("bob", { ...lasting(level), clientId });
    await intruder.send({ ...message, dup: true });
    await intruder.expect("pubrec");
    await intruder.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    await intruder.expect("pubcomp");
    assert.equal(await intruder.publish({ ...message, packetId: 7 }), level === 5 ? 0x87 : 0);
    await broker.expectUnharmed({ sessions: 1 });
  });

  Deno.test(`MQTT ${version}: of hundred connections that take a client id from each other one is left`, async () => {
    await using broker = await startGuardedBroker();
    const users = ["ann", "bob"] as const;
    const clients = Array.from({ length: 100 }, () => broker.open());
    await Promise.all(clients.map((client, number) => {
      const username = users[number % users.length];
      const will = { topic: `home/${username}/will`, retain: true, payload: "gone" };
      const password = passwords[username];
      return client.send(connectPacket({ ...lasting(level), clientId, username, password, will }));
    }));
    await Promise.all(clients.map((client) => client.expect("connack").catch(() => {})));
    assert.equal(broker.stats().clients, 2);
    for (const client of clients) await client.close();
    const topics = new Set(await broker.arrived());
    assert.deepEqual([...topics].filter((topic) => !/^home\/(ann|bob)\/will$/.test(topic)), []);
    assert.ok(topics.size > 0);
  });
}
