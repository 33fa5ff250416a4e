import assert from "node:assert/strict";
import type { Qos } from "../../mod.ts";
import type { RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { passingTime } from "./passing_time.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

const FILTER = "$share/g/t";

/** So many members of one group, which are called `member-0`, `member-1`, … */
async function join(broker: TestBroker, count: number, qos: Qos = 1, filter = FILTER): Promise<RawClient[]> {
  const members: RawClient[] = [];
  for (let index = 0; index < count; index++) {
    const member = await broker.connect({ clientId: `member-${index}` });
    await member.subscribe(filter, { qos });
    members.push(member);
  }
  return members;
}

/** A member whose session outlives its connection, as it is left when the client has disconnected. */
async function leaveSession(broker: TestBroker, clientId: string, qos: Qos = 1): Promise<void> {
  const member = await broker.connect({ ...lasting(5), clientId });
  await member.subscribe(FILTER, { qos });
  await member.disconnect();
}

/** So many messages, whose payloads are their numbers. */
async function publishAll(broker: TestBroker, count: number, qos: Qos = 1, topic = "t"): Promise<string[]> {
  const texts = Array.from({ length: count }, (_, index) => `${index}`);
  for (const text of texts) await broker.publish(topic, text, { qos });
  return texts;
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: each message goes to exactly one member, in fair turns`, async () => {
    await using broker = await startBroker();
    const members: RawClient[] = [];
    for (let index = 0; index < 3; index++) {
      const member = await broker.connect({ level });
      assert.deepEqual((await member.subscribe("$share/g/a/+", { qos: 1 })).reasonCodes, [1]);
      members.push(member);
    }
    for (const qos of [0, 1, 2] as Qos[]) {
      const texts = await publishAll(broker, 30, qos, "a/b");
      const all = await Promise.all(members.map((member) => receivedSoFar(member)));
      assert.deepEqual(all.map(({ length }) => length), [10, 10, 10]);
      assert.deepEqual(all.flat().sort(), texts.sort());
    }
  });

  Deno.test(`MQTT ${version}: who unsubscribes from a shared subscription gets nothing more of it`, async () => {
    await using broker = await startBroker();
    const [stays, leaves] = [await broker.connect({ level }), await broker.connect({ level })];
    for (const client of [stays, leaves]) await client.subscribe(["$share/g/t", "$share/h/t", "u"]);
    const { reasonCodes } = await leaves.unsubscribe(["$share/g/t", "$share/x/t", "t"]);
    assert.deepEqual(reasonCodes, level === 5 ? [0, 0x11, 0x11] : []);
    await leaves.unsubscribe("$share/h/t");
    const texts = await publishAll(broker, 3);
    assert.deepEqual(await receivedSoFar(stays), texts.flatMap((text) => [text, text]));
    assert.deepEqual(await receivedSoFar(leaves), []);
    await stays.unsubscribe(["$share/g/t", "$share/h/t"]);
    await publishAll(broker, 3);
    assert.deepEqual(await receivedSoFar(stays), []);
    assert.equal(broker.stats().subscriptions, 2);
  });

  for (const filter of ["$share/", "$share/g", "$share//t", "$share/g+/t", "$share/#/t", "$share/g/", "$share/g/t#"]) {
    Deno.test(`MQTT ${version}: "${filter}" is no shared subscription, and ends the connection`, async () => {
      await using broker = await startBroker();
      const client = await broker.connect({ level });
      const request = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
      await client.send({ type: "subscribe", packetId: 1, subscriptions: [{ topicFilter: filter, ...request }] });
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x81);
      await client.expectClosed();
    });
  }
}

Deno.test("the filter of a shared subscription matches as it would without its group", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe(["$share/g//finance", "$share/g/#", "$share/g/$SYS/+", "$share/a b/+/c"]);
  for (const topic of ["/finance", "finance", "$SYS/x", "b/c"]) await broker.publish(topic, topic);
  assert.deepEqual(
    (await receivedSoFar(client)).sort(),
    ["$SYS/x", "/finance", "/finance", "b/c", "b/c", "finance"].sort(),
  );
});

Deno.test("[5.0 MQTT-4.8.2-3] each member gets messages at the QoS that was granted to it", async () => {
  await using broker = await startBroker();
  const members: RawClient[] = [];
  for (const qos of [0, 1, 2] as Qos[]) {
    const member = await broker.connect();
    await member.subscribe(FILTER, { qos });
    members.push(member);
  }
  for (let turn = 0; turn < 2; turn++) {
    await publishAll(broker, 3, 2);
    for (const [qos, member] of members.entries()) assert.equal((await receive(member)).qos, qos);
  }
});

Deno.test("a member gets its own subscription identifier", async () => {
  await using broker = await startBroker();
  for (const identifier of [1, 2]) {
    const member = await broker.connect({ clientId: `${identifier}` });
    await member.subscribe(FILTER, { properties: { subscriptionIdentifiers: [identifier] } });
    await broker.publish("t", "x");
    assert.deepEqual((await receive(member)).properties, { subscriptionIdentifiers: [identifier] });
    await member.unsubscribe(FILTER);
  }
});

Deno.test("subscribing again to a shared subscription changes its terms and counts once", async () => {
  await using broker = await startBroker();
  const [first, second] = await join(broker, 2, 0);
  for (let time = 0; time < 3; time++) await first.subscribe(FILTER, { qos: 1 });
  await publishAll(broker, 10, 2);
  assert.deepEqual([(await receivedSoFar(first)).length, (await receivedSoFar(second)).length], [5, 5]);
  await first.unsubscribe(FILTER);
  await publishAll(broker, 4, 0);
  assert.deepEqual([(await receivedSoFar(first)).length, (await receivedSoFar(second)).length], [0, 4]);
});

Deno.test("a member that is not connected gets nothing while another one is", async () => {
  await using broker = await startBroker();
  await leaveSession(broker, "away");
  const [member] = await join(broker, 1);
  const texts = await publishAll(broker, 6);
  assert.deepEqual(await receivedSoFar(member), texts);
  assert.equal(broker.stats().queuedMessages, 0);
});

Deno.test("when no member is connected, messages wait for the sessions that are left, in turns", async () => {
  await using broker = await startBroker();
  await leaveSession(broker, "a");
  await leaveSession(broker, "b");
  const texts = await publishAll(broker, 6);
  assert.equal(broker.stats().queuedMessages, 6);
  const all: string[] = [];
  for (const clientId of ["a", "b"]) {
    const member = await broker.connect({ ...lasting(5), clientId });
    all.push(...await receiveTexts(member, 3));
    await member.expectNothing();
    await member.disconnect();
  }
  assert.deepEqual(all.sort(), texts);
});

Deno.test("a message waits for a member that keeps it, not for one that subscribed at QoS 0", async () => {
  await using broker = await startBroker();
  await leaveSession(broker, "forgets", 0);
  await leaveSession(broker, "keeps", 1);
  const texts = await publishAll(broker, 4);
  const member = await broker.connect({ ...lasting(5), clientId: "keeps" });
  assert.deepEqual(await receiveTexts(member, 4), texts);
});

Deno.test("a QoS 0 message waits for nobody", async () => {
  await using broker = await startBroker();
  await leaveSession(broker, "a");
  await publishAll(broker, 3, 0);
  const member = await broker.connect({ ...lasting(5), clientId: "a" });
  await member.expectNothing();
});

Deno.test("a member that has as much unacknowledged as it accepts is passed over", async () => {
  await using broker = await startBroker();
  const busy = await broker.connect({ properties: { receiveMaximum: 1 } });
  const ready = await broker.connect();
  for (const member of [busy, ready]) await member.subscribe(FILTER, { qos: 1 });
  await publishAll(broker, 5);
  const kept = await busy.expect("publish");
  assert.equal((await receivedSoFar(busy)).length, 0);
  assert.deepEqual(await receivedSoFar(ready), ["1", "2", "3", "4"]);
  await busy.send({ type: "puback", packetId: kept.packetId!, reasonCode: 0 });
  await busy.expectNothing();
  await publishAll(broker, 2);
  assert.deepEqual([(await receivedSoFar(busy)).length, (await receivedSoFar(ready)).length], [1, 1]);
});

Deno.test("when all members are busy, messages wait for them and arrive when they have room", async () => {
  await using broker = await startBroker();
  const members: RawClient[] = [];
  for (let index = 0; index < 2; index++) {
    const member = await broker.connect({ properties: { receiveMaximum: 1 } });
    await member.subscribe(FILTER, { qos: 1 });
    members.push(member);
  }
  const texts = await publishAll(broker, 10);
  const all = await Promise.all(members.map((member) => receiveTexts(member, 5)));
  assert.deepEqual(all.flat().sort(), texts);
});

Deno.test("what a member leaves unacknowledged at QoS 1 goes to another one when its connection ends", async () => {
  await using broker = await startBroker();
  const leaving = await broker.connect({ ...lasting(5), clientId: "leaving" });
  await leaving.subscribe(FILTER, { qos: 1 });
  const texts = await publishAll(broker, 5);
  assert.deepEqual(await receivedSoFar(leaving), texts);
  const [staying] = await join(broker, 1);
  await leaving.close();
  assert.deepEqual(await receiveTexts(staying, 5), texts);
  const again = await broker.connect({ ...lasting(5), clientId: "leaving" });
  await again.expectNothing();
});

Deno.test("what waited for a member goes to another one when its connection ends", async () => {
  await using broker = await startBroker();
  const leaving = await broker.connect({ properties: { sessionExpiryInterval: 100, receiveMaximum: 1 } });
  await leaving.subscribe(FILTER, { qos: 1 });
  const texts = await publishAll(broker, 5);
  assert.deepEqual(await receivedSoFar(leaving), ["0"]);
  assert.equal(broker.stats().queuedMessages, 4);
  const [staying] = await join(broker, 1);
  await leaving.close();
  assert.deepEqual((await receiveTexts(staying, 5)).sort(), texts);
  assert.equal(broker.stats().queuedMessages, 0);
});

Deno.test("what nobody else can take stays with the member, and is sent again when it comes back", async () => {
  await using broker = await startBroker();
  const member = await broker.connect({ ...lasting(5), clientId: "a" });
  await member.subscribe(FILTER, { qos: 1 });
  const texts = await publishAll(broker, 3);
  assert.deepEqual(await receivedSoFar(member), texts);
  await member.close();
  const again = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.deepEqual(await receiveTexts(again, 3), texts);
});

Deno.test("when a session ends, what it left unacknowledged at QoS 1 waits for a member that is away", async () => {
  await using broker = await startBroker();
  const ending = await broker.connect({ clientId: "ending" });
  await ending.subscribe(FILTER, { qos: 1 });
  await publishAll(broker, 2);
  assert.deepEqual(await receivedSoFar(ending), ["0", "1"]);
  await leaveSession(broker, "away");
  await ending.disconnect();
  const member = await broker.connect({ ...lasting(5), clientId: "away" });
  assert.deepEqual(await receiveTexts(member, 2), ["0", "1"]);
});

Deno.test("[5.0 MQTT-4.8.2-4] a QoS 2 message in flight is completed with its member when that comes back", async () => {
  await using broker = await startBroker();
  const leaving = await broker.connect({ ...lasting(5), clientId: "leaving" });
  await leaving.subscribe(FILTER, { qos: 2 });
  await publishAll(broker, 2, 2);
  const first = await leaving.expect("publish");
  const second = await leaving.expect("publish");
  await leaving.send({ type: "pubrec", packetId: first.packetId!, reasonCode: 0 });
  await leaving.expect("pubrel");
  const [staying] = await join(broker, 1, 2);
  await leaving.close();
  await eventually(() => broker.stats().clients === 1, "the end of the first connection");
  await staying.expectNothing();
  const again = await broker.connect({ ...lasting(5), clientId: "leaving" });
  assert.equal((await again.expect("pubrel")).packetId, first.packetId);
  await again.send({ type: "pubcomp", packetId: first.packetId!, reasonCode: 0 });
  const resent = await receive(again);
  assert.deepEqual([resent.packetId, resent.text, resent.dup], [second.packetId, "1", true]);
  await again.expectNothing();
  await staying.expectNothing();
});

Deno.test("[5.0 MQTT-4.8.2-5] a QoS 2 message in flight goes to nobody else when its member's session ends", async () => {
  await using broker = await startBroker();
  const dropped: string[] = [];
  await broker.use({
    id: "dropped",
    onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId} ${textOf(packet)} ${reason}`),
  });
  const ending = await broker.connect({ clientId: "ending" });
  await ending.subscribe(FILTER, { qos: 2 });
  await publishAll(broker, 1, 2);
  await ending.expect("publish");
  const [staying] = await join(broker, 1, 2);
  await ending.close();
  await eventually(() => broker.stats().sessions === 1, "the end of the session");
  await staying.expectNothing();
  assert.deepEqual(dropped, ["ending 0 session-ended"]);
});

for (const [qos, type] of [[1, "puback"], [2, "pubrec"]] as const) {
  Deno.test(`[5.0 MQTT-4.8.2-6] a message that a member refuses with a ${type.toUpperCase()} goes to nobody`, async () => {
    await using broker = await startBroker();
    const [first, second] = await join(broker, 2, qos);
    await publishAll(broker, 1, qos);
    const { packetId } = await first.expect("publish");
    await first.send({ type, packetId: packetId!, reasonCode: 0x83 });
    await first.expectNothing();
    await second.expectNothing();
    await first.close();
    await eventually(() => broker.stats().clients === 1, "the end of the first connection");
    await second.expectNothing();
  });
}

Deno.test("a shared subscription brings no retained messages, whatever its retain handling", async () => {
  await using broker = await startBroker();
  await broker.publish("t", "kept", { retain: true });
  for (const retainHandling of [0, 1] as const) {
    const [member] = await join(broker, 1);
    await member.subscribe(FILTER, { retainHandling });
    await member.expectNothing();
  }
});

Deno.test("a shared and a plain subscription of one client bring a copy each", async () => {
  await using broker = await startBroker();
  const [first, second] = await join(broker, 2);
  await first.subscribe("t", { properties: { subscriptionIdentifiers: [1] } });
  await publishAll(broker, 4);
  assert.deepEqual(await receivedSoFar(second).then((texts) => texts.length), 2);
  const texts = await receivedSoFar(first);
  assert.equal(texts.length, 6);
  assert.equal(new Set(texts).size, 4);
});

Deno.test("two groups with one filter each get a copy", async () => {
  await using broker = await startBroker();
  const members: RawClient[] = [];
  for (const group of ["g", "g", "h", "h"]) {
    const member = await broker.connect();
    await member.subscribe(`$share/${group}/t`, { qos: 1 });
    members.push(member);
  }
  const texts = await publishAll(broker, 6);
  const [g1, g2, h1, h2] = await Promise.all(members.map(receivedSoFar));
  assert.deepEqual([...g1, ...g2].sort(), texts);
  assert.deepEqual([...h1, ...h2].sort(), texts);
});

Deno.test("one group name with overlapping filters is two shared subscriptions", async () => {
  await using broker = await startBroker();
  const [plain, wildcard] = [await broker.connect(), await broker.connect()];
  await plain.subscribe("$share/g/a/b");
  await wildcard.subscribe("$share/g/a/+");
  await broker.publish("a/b", "x");
  assert.deepEqual([await receivedSoFar(plain), await receivedSoFar(wildcard)], [["x"], ["x"]]);
});

Deno.test("the embedding program takes its turn as a member", async () => {
  await using broker = await startBroker();
  const local: string[] = [];
  const subscription = await broker.subscribe(FILTER, (packet) => void local.push(textOf(packet)));
  const [member] = await join(broker, 1);
  const texts = await publishAll(broker, 6);
  const remote = await receivedSoFar(member);
  assert.deepEqual([local.length, remote.length], [3, 3]);
  assert.deepEqual([...local, ...remote].sort(), texts);
  subscription.unsubscribe();
  await publishAll(broker, 3);
  assert.equal((await receivedSoFar(member)).length, 3);
  assert.equal(local.length, 3);
});

Deno.test("a member that ends in the middle of a stream of messages leaves none of them undelivered", async () => {
  await using broker = await startBroker();
  const leaving = await broker.connect({ properties: { receiveMaximum: 10 } });
  const staying = await broker.connect({ properties: { receiveMaximum: 10 } });
  for (const member of [leaving, staying]) await member.subscribe(FILTER, { qos: 1 });
  const texts = await publishAll(broker, 100);
  const early = await receiveTexts(leaving, 15);
  await leaving.close();
  const rest: string[] = [];
  const missing = () => texts.filter((text) => !early.includes(text) && !rest.includes(text)).length;
  while (missing() > 0) rest.push((await receive(staying)).text);
  await staying.expectNothing();
});

Deno.test("what no other member may read stays with the one that leaves, and is told as dropped when its session ends", async () => {
  await using broker = await startBroker();
  const dropped: string[] = [];
  await broker.use({
    id: "rules",
    canRead: ({ clientId }) => clientId !== "b",
    onMessageDropped: (_clientId, _packet, reason) => void dropped.push(reason),
  });
  const leaving = await broker.connect({ ...lasting(5), clientId: "a" });
  await leaving.subscribe(FILTER, { qos: 1 });
  await (await broker.connect({ clientId: "b" })).subscribe(FILTER, { qos: 1 });
  await publishAll(broker, 2);
  assert.deepEqual(await receivedSoFar(leaving), ["0", "1"]);
  await leaving.disconnect();
  const again = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.deepEqual(await receivedSoFar(again), ["0", "1"]);
  assert.deepEqual(dropped, []);
  await again.disconnect({ properties: { sessionExpiryInterval: 0 } });
  await eventually(() => dropped.length === 2, "both to be dropped");
  assert.deepEqual(dropped, ["session-ended", "session-ended"]);
});

for (const isBack of [false, true]) {
  const owner = isBack ? "the member that has come back meanwhile" : "another one";
  Deno.test(`what a member leaves is ${owner}'s when a hook has taken its time over the other one`, async () => {
    await using broker = await startBroker();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<boolean>();
    await broker.use({
      id: "late",
      canRead({ clientId }) {
        if (clientId !== "b") return true;
        asked.resolve();
        return answer.promise;
      },
    });
    const properties = { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 1 };
    const leaving = await broker.connect({ clientId: "a", cleanStart: false, properties });
    await leaving.subscribe(FILTER, { qos: 2 });
    await publishAll(broker, 2, 2);
    await leaving.expect("publish");
    const other = await broker.connect({ clientId: "b" });
    await other.subscribe(FILTER, { qos: 2 });
    await leaving.disconnect();
    await asked.promise;
    const back = isBack ? await broker.connect({ clientId: "a", cleanStart: false, properties }) : undefined;
    answer.resolve(true);
    // A QoS 2 message in flight stays where it is [MQTT-4.8.2-5].
    assert.deepEqual(await receivedSoFar(other), isBack ? [] : ["1"]);
    const again = back ?? await broker.connect({ clientId: "a", cleanStart: false, properties });
    assert.deepEqual(await receiveTexts(again, isBack ? 2 : 1), isBack ? ["0", "1"] : ["0"]);
    await again.expectNothing();
  });
}

Deno.test("[5.0 MQTT-3.3.2-5] what has expired in a member's queue is not passed on", async () => {
  await using broker = await startBroker();
  const leaving = await broker.connect({
    clientId: "leaving",
    properties: { sessionExpiryInterval: 100, receiveMaximum: 1 },
  });
  await leaving.subscribe(FILTER, { qos: 1 });
  await broker.publish("t", "0", { qos: 1 });
  await broker.publish("t", "1", { qos: 1, properties: { messageExpiryInterval: 5 } });
  await leaving.expect("publish");
  const staying = await broker.connect({ clientId: "staying" });
  await staying.subscribe(FILTER, { qos: 1 });
  using _later = passingTime(10);
  await leaving.close();
  await eventually(() => broker.stats().clients === 1, "the member to be gone");
  assert.deepEqual(await receivedSoFar(staying), ["0"]);
});

Deno.test("a member that ends while hooks are asked about other messages takes nothing with it", async () => {
  await using broker = await startBroker();
  const later = Promise.withResolvers<boolean>();
  const asked = Promise.withResolvers<void>();
  let slow = false;
  const dropped: string[] = [];
  await broker.use({
    id: "slow",
    canRead: (_client, topic) => {
      if (!slow) return true;
      if (topic === "t/1") return Promise.resolve(true);
      asked.resolve();
      return later.promise;
    },
    onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId} ${textOf(packet)} ${reason}`),
  });
  const a = await broker.connect({ ...lasting(5), clientId: "a" });
  await a.subscribe("$share/g/t/+", { qos: 1 });
  for (const text of ["1", "2"]) await broker.publish(`t/${text}`, text, { qos: 1 });
  assert.deepEqual(await receivedSoFar(a), ["1", "2"]);
  const b = await broker.connect({ clientId: "b" });
  await b.subscribe("$share/g/t/+", { qos: 1 });
  slow = true;
  await a.close();
  await asked.promise;
  await b.close();
  await eventually(() => broker.stats().sessions === 1, "b's session to be over");
  slow = false;
  later.resolve(true);
  await later.promise;
  const again = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.deepEqual([await receivedSoFar(again), dropped], [["1", "2"], []]);
});
