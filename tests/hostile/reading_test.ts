/** Clients that try to be sent what they may not read. */

import assert from "node:assert/strict";
import { lasting, versions } from "../broker/versions.ts";
import type { RawClient } from "../support/raw_client.ts";
import { granted, type GuardedBroker, passwords, rules, startGuardedBroker } from "./guarded_broker.ts";

/** What Bob may not read. */
const forbiddenTopics = [
  ...["home/ann", "home/ann/door", "home/ann/safe/code", "home", "home//door", "home/Bob/door", "home/bobby/door"],
  ...["news/internal", "news/internal/salaries", "News/today", "/home/bob/door", "home /bob/door"],
  ...["\u{feff}home/bob/door", "home/b\u043eb/door", "home/bo\u0301b/door"],
  ...["plans", "$internal/plans", "$SYS/broker/secret"],
];

/** Filters that match any of it. */
const forbiddenFilters = [
  ...["#", "+", "+/#", "+/+", "+/+/+", "/#", "+/+/#", "$SYS/#", "$SYS/+/version", "$SYS/broker/version", "$internal/#"],
  ...["home/#", "home/+", "home/+/#", "home/+/door", "+/bob/#", "+/bob/door", "home/ann/#", "home/ann", "home"],
  ...["news/#", "news/+", "news/+/#", "news/internal", "news/internal/#", "news/internal/+", "+/today"],
  ...["home/bobby/#", "home/Bob/#", "home/%u/#", "home/%c/#", "home/*/door", "home/b*/door", "home//door", "plans"],
];

const allowedFilters = ["home/bob/#", "home/bob", "home/bob/+/x", "news/today", "news/today/#"];

/** Bob's session without a client. */
async function leave(broker: GuardedBroker, client: RawClient): Promise<void> {
  const { clients } = broker.stats();
  await client.disconnect();
  assert.equal(broker.stats().clients, clients - 1);
}

async function publishAll(broker: GuardedBroker, topics: readonly string[], retain = false): Promise<void> {
  for (const topic of topics) await broker.publish(topic, "secret", { qos: 1, retain });
  assert.deepEqual(await broker.arrived(), topics.filter((topic) => !topic.startsWith("$internal")));
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: no filter is granted that matches more than may be read, and nothing of it is sent`, async () => {
    await using broker = await startGuardedBroker();
    await publishAll(broker, forbiddenTopics, true);
    const bob = await broker.connectAs("bob", { level });
    assert.deepEqual(await granted(bob, forbiddenFilters), []);
    assert.deepEqual(await granted(bob, forbiddenFilters.map((filter) => `$share/readers/${filter}`)), []);
    assert.deepEqual(await granted(bob, allowedFilters), allowedFilters);
    await publishAll(broker, forbiddenTopics, true);
    await bob.expectNothing();
    await broker.expectUnharmed({ retainedMessages: forbiddenTopics.length });
  });

  Deno.test(`MQTT ${version}: forbidden filters among allowed ones are refused one by one`, async () => {
    await using broker = await startGuardedBroker();
    const bob = await broker.connectAs("bob", { level });
    const filters = ["news/today", "#", "home/bob/#", "home/ann/#", "home/bob/#", "$share/g/#"];
    const { reasonCodes } = await bob.subscribe(filters, { qos: 1 });
    const refused = level === 5 ? 0x87 : 0x80;
    assert.deepEqual(reasonCodes, [1, refused, 1, refused, 1, refused]);
    await publishAll(broker, forbiddenTopics);
    await bob.expectNothing();
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: where wide filters are granted, they bring only what may be read`, async () => {
    await using broker = await startGuardedBroker({ acl: { rules, denyByDefault: true, wideSubscriptions: "filter" } });
    await publishAll(broker, [...forbiddenTopics, "news/today"], true);
    const bob = await broker.connectAs("bob", { level });
    // What is retained and what is live, by wildcards and in a group.
    await bob.subscribe("#", { qos: 0 });
    assert.equal((await bob.expect("publish")).topic, "news/today");
    await bob.subscribe(["$share/readers/#", "$share/readers/$SYS/#", "$SYS/#", "home/ann/#"], { qos: 0 });
    await publishAll(broker, [...forbiddenTopics, "home/bob/door"]);
    // Once for the filter and once for the group.
    for (let copy = 0; copy < 2; copy++) assert.equal((await bob.expect("publish")).topic, "home/bob/door");
    await bob.expectNothing();
    await broker.expectUnharmed({ retainedMessages: forbiddenTopics.length + 1 });
  });

  Deno.test(`MQTT ${version}: whatever a client calls itself, it reads no more`, async () => {
    await using broker = await startGuardedBroker();
    await publishAll(broker, forbiddenTopics, true);
    for (const clientId of ["+", "#", "%u", "%c", "ann", "admin", "$SYS", "bob/+", "\u{feff}bob", "witness "]) {
      const bob = await broker.connectAs("bob", { level, clientId });
      assert.deepEqual(await granted(bob, forbiddenFilters), [], clientId);
      await bob.disconnect();
    }
    await broker.expectUnharmed({ retainedMessages: forbiddenTopics.length });
  });

  Deno.test(`MQTT ${version}: a session that is resumed after rules were tightened brings nothing of what is denied now`, async () => {
    await using broker = await startGuardedBroker();
    const bob = await broker.connectAs("bob", lasting(level));
    await granted(bob, ["news/today", "news/today/#", "$share/readers/news/today", "home/bob/#"]);
    // In flight, at QoS 1 and 2, in the queue, live and retained.
    await broker.publish("news/today", "in flight", { qos: 1 });
    await broker.publish("news/today", "in flight", { qos: 2 });
    await leave(broker, bob);
    await broker.publish("news/today", "queued", { qos: 1 });
    await broker.publish("home/bob/door", "queued", { qos: 1 });
    await broker.publish("news/today", "queued and retained", { qos: 2, retain: true });
    broker.acl.setRules(rules.filter(({ topicFilter }) => topicFilter !== "news/#"));
    await broker.publish("news/today", "denied", { qos: 1, retain: true });
    const back = await broker.connectAs("bob", lasting(level));
    // MQTT 3.1 has no word for it.
    assert.equal(back.connack.sessionPresent, level > 3);
    const { topic, packetId } = await back.expect("publish");
    assert.equal(topic, "home/bob/door");
    await back.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    await broker.publish("news/today", "live", { qos: 1, retain: true });
    assert.deepEqual(await granted(back, ["news/today", "news/today/#", "$share/readers/news/today"]), []);
    await back.expectNothing();
    assert.equal((await broker.arrived()).length, 7);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 4, sharedSubscriptions: 1, retainedMessages: 1 });
  });

  Deno.test(`MQTT ${version}: retained messages that a session was still owed are not sent when rules were tightened`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits: { inflight: 1 } } });
    const topics = ["news/today/a", "news/today/b", "news/today/c"];
    await publishAll(broker, topics, true);
    const bob = await broker.connectAs("bob", lasting(level));
    await bob.subscribe("news/today/#", { qos: 1 });
    await bob.expect("publish");
    await leave(broker, bob);
    broker.acl.setRules([]);
    const back = await broker.connectAs("bob", lasting(level));
    await back.expectNothing();
    broker.acl.setRules(rules);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 1, retainedMessages: 3 });
  });

  Deno.test(`MQTT ${version}: rules that are tightened hold at once for who is connected`, async () => {
    await using broker = await startGuardedBroker();
    await broker.publish("news/today", "retained", { retain: true });
    const bob = await broker.connectAs("bob", { level });
    await bob.subscribe(["news/today", "news/today/#", "$share/readers/news/today"], { qos: 0 });
    for (let copy = 0; copy < 2; copy++) await bob.expect("publish");
    broker.acl.setRules(rules.filter(({ topicFilter }) => topicFilter !== "news/#"));
    await broker.publish("news/today", "live", { qos: 1, retain: true });
    assert.deepEqual(await granted(bob, ["news/today", "news/today/#", "$share/other/news/today"]), []);
    await bob.expectNothing();
    assert.equal((await broker.arrived()).length, 2);
    await broker.expectUnharmed({ retainedMessages: 1 });
  });

  Deno.test(`MQTT ${version}: a user who has been removed is sent nothing more, and does not come back`, async () => {
    await using broker = await startGuardedBroker();
    const bob = await broker.connectAs("bob", lasting(level));
    await bob.subscribe("home/bob/#", { qos: 1 });
    broker.auth.removeUser("bob");
    await broker.publish("home/bob/door", "open", { qos: 1 });
    if (level === 5) assert.equal((await bob.expect("disconnect")).reasonCode, 0x87);
    await bob.expectClosed();
    const login = { clientId: "bob", username: "bob", password: passwords.bob };
    assert.notEqual(await broker.attempt({ ...lasting(level), ...login }), 0);
    assert.deepEqual(await broker.arrived(), ["home/bob/door"]);
    const { queuedBytes } = broker.stats();
    await broker.expectUnharmed({ sessions: 1, subscriptions: 1, queuedMessages: 1, queuedBytes });
  });
}

Deno.test("[5.0] no way of asking for retained messages brings forbidden ones", async () => {
  await using broker = await startGuardedBroker({ acl: { rules, denyByDefault: true, wideSubscriptions: "filter" } });
  await publishAll(broker, forbiddenTopics, true);
  const bob = await broker.connectAs("bob", { properties: { topicAliasMaximum: 10, receiveMaximum: 1 } });
  for (const retainHandling of [0, 1, 2] as const) {
    for (const topicFilter of ["#", "+/#", "home/#", "news/#", "news/+", "+/+/door"]) {
      const properties = { subscriptionIdentifiers: [1 + retainHandling] };
      await bob.subscribe(topicFilter, { qos: 2, retainHandling, retainAsPublished: true, noLocal: true, properties });
    }
  }
  await publishAll(broker, forbiddenTopics, true);
  await bob.expectNothing();
  await broker.expectUnharmed({ retainedMessages: forbiddenTopics.length });
});
