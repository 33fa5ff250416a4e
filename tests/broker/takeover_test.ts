import assert from "node:assert/strict";
import { type ConnectOptions, connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receiveTexts, textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

/** A client that another connection has taken over from: the end, with 0x8E where the version has words for it. */
async function expectTakenOver(client: RawClient): Promise<void> {
  if (client.level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x8e);
  await client.expectClosed();
}

for (const [level, version] of versions) {
  for (const [next, nextVersion] of versions) {
    Deno.test(`a client of MQTT ${nextVersion} closes the connection of one of MQTT ${version} with its client id`, async () => {
      await using broker = await startBroker();
      const first = await broker.connect({ level, clientId: "a" });
      const second = await broker.connect({ level: next, clientId: "a" });
      await expectTakenOver(first);
      await second.expectNothing();
      assert.deepEqual([broker.stats().clients, broker.stats().sessions], [1, 1]);
    });
  }

  Deno.test(`MQTT ${version}: the second connection goes on with the session of the first`, async () => {
    await using broker = await startBroker();
    const first = await broker.connect({ ...lasting(level), clientId: "a" });
    await first.subscribe("t", { qos: 1 });
    await broker.publish("t", "not acknowledged", { qos: 1 });
    const { packetId } = await first.expect("publish");
    const second = await broker.connect({ ...lasting(level), clientId: "a" });
    // MQTT 3.1 has no word for it.
    assert.equal(second.connack.sessionPresent, level > 3);
    const resent = await second.expect("publish");
    assert.deepEqual([resent.packetId, resent.dup], [packetId, true]);
    await broker.publish("t", "new");
    assert.equal(textOf(await second.expect("publish")), "new");
    await expectTakenOver(first);
  });

  Deno.test(`MQTT ${version}: a second connection that starts clean throws the session of the first away`, async () => {
    await using broker = await startBroker();
    const first = await broker.connect({ ...lasting(level), clientId: "a" });
    await first.subscribe("t");
    const second = await broker.connect({ level, clientId: "a", cleanStart: true });
    assert.equal(second.connack.sessionPresent, false);
    await broker.publish("t", "x");
    await second.expectNothing();
    await expectTakenOver(first);
  });

  Deno.test(`MQTT ${version}: what the first connection still sends is not processed`, async () => {
    await using broker = await startBroker();
    const first = await broker.connect({ level, clientId: "a" });
    await broker.connect({ level, clientId: "a" });
    await first.send(publishPacket({ topic: "t", payload: "late", retain: true }));
    await expectTakenOver(first);
    assert.equal(broker.stats().messagesReceived, 0);
  });
}

const will = { topic: "will", payload: "taken over" };
const delayed = { ...will, properties: { willDelayInterval: 100 } };
const wills: [string, boolean, ConnectOptions, ConnectOptions][] = [
  ["without a delay is published", true, { ...lasting(5), will }, lasting(5)],
  ["with a delay is forgotten", false, { ...lasting(5), will: delayed }, lasting(5)],
  ["with a delay is published if the second starts clean", true, { ...lasting(5), will: delayed }, {
    cleanStart: true,
  }],
  ["with a delay is published if the session ends with the first", true, { will: delayed }, { cleanStart: false }],
  ["of MQTT 3.1.1 is published", true, { level: 4, will }, { level: 4 }],
  ["of MQTT 3.1 is published", true, { level: 3, will }, { level: 3 }],
];

for (const [what, isPublished, first, second] of wills) {
  Deno.test(`a will ${what} when another connection takes over`, async () => {
    await using broker = await startBroker();
    const watcher = await broker.connect();
    await watcher.subscribe("will");
    await broker.connect({ ...first, clientId: "a" });
    await broker.connect({ ...second, clientId: "a" });
    if (isPublished) assert.equal(textOf(await watcher.expect("publish")), will.payload);
    await watcher.expectNothing();
  });
}

Deno.test("the second connection's will is its own", async () => {
  await using broker = await startBroker();
  const watcher = await broker.connect();
  await watcher.subscribe("+");
  await broker.connect({
    ...lasting(5),
    clientId: "a",
    will: { topic: "first", properties: { willDelayInterval: 1 } },
  });
  const second = await broker.connect({ ...lasting(5), clientId: "a", will: { topic: "second" } });
  await second.close();
  assert.equal((await watcher.expect("publish")).topic, "second");
});

Deno.test("the first connection's will comes before what the second publishes, also where storing is slow", async () => {
  await using broker = await startBroker();
  let calls = 0;
  let stored = 0;
  await broker.use({
    id: "slow",
    async storeRetained() {
      // The first one takes the longest.
      await new Promise((resolve) => setTimeout(resolve, 20 >> calls++));
      stored += 1;
    },
  });
  const watcher = await broker.connect();
  await watcher.subscribe("state");
  await broker.connect({ clientId: "a", will: { topic: "state", payload: "offline", retain: true } });
  const second = await broker.connect({ clientId: "a" });
  await second.publish({ topic: "state", payload: "online", retain: true, qos: 1 });
  assert.deepEqual(await receiveTexts(watcher, 2), ["offline", "online"]);
  const later = await broker.connect();
  await later.subscribe("state");
  assert.deepEqual(await receiveTexts(later, 1), ["online"]);
  await eventually(() => stored === 2, "the end of storing");
});

for (const event of ["onConnect", "onSessionCreated", "onConnected"] as const) {
  Deno.test(`of many simultaneous connections with one client id one is left, with a slow ${event}`, async () => {
    const count = 20;
    await using broker = await startBroker();
    let asked = 0;
    // The first ones wait the longest, the last one not at all.
    const slow = () => new Promise<void>((resolve) => setTimeout(resolve, 2 * (count - ++asked)));
    await broker.use({ id: "slow", [event]: slow });
    const clients = await Promise.all(Array.from({ length: count }, () => broker.open()));
    await Promise.all(clients.map((client) => client.send(connectPacket({ clientId: "a" }))));
    for (const client of clients) await client.expect("connack");
    const ends = await Promise.allSettled(clients.map((client) => client.expectNothing()));
    assert.equal(ends.filter(({ status }) => status === "fulfilled").length, 1);
    assert.deepEqual([broker.stats().clients, broker.stats().sessions], [1, 1]);
  });
}

Deno.test("hooks are told that the first connection is over before they are told of the second", async () => {
  await using broker = await startBroker();
  const events: string[] = [];
  await broker.use({
    id: "watch",
    onConnected: ({ keepAlive }) => void events.push(`connected ${keepAlive}`),
    onDisconnect: ({ keepAlive }) => void events.push(`disconnected ${keepAlive}`),
  });
  await broker.connect({ clientId: "a", keepAlive: 10 });
  const second = await broker.connect({ clientId: "a", keepAlive: 20 });
  await second.disconnect();
  assert.deepEqual(events, ["connected 10", "disconnected 10", "connected 20", "disconnected 20"]);
});

Deno.test("a client that is waiting for a hook can be taken over from, and gets no answer any more", async () => {
  await using broker = await startBroker();
  let decide = () => {};
  await broker.use({ id: "slow", onPublish: () => new Promise<void>((resolve) => decide = resolve) });
  const first = await broker.connect({ ...lasting(5), clientId: "a" });
  await first.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }), { type: "pingreq" });
  await eventually(() => broker.stats().messagesReceived === 1, "the message");
  const second = await broker.connect({ ...lasting(5), clientId: "a" });
  decide();
  await expectTakenOver(first);
  await second.expectNothing();
});

Deno.test("[5.0 MQTT-4.3.3-10] a QoS 2 message that comes again while a hook looks at the first one is delivered once", async () => {
  await using broker = await startBroker();
  let decide = () => {};
  const decision = new Promise<void>((resolve) => decide = resolve);
  const watcher = await broker.connect();
  await watcher.subscribe("t");
  await broker.use({ id: "slow", onPublish: () => decision });
  const first = await broker.connect({ ...lasting(5), clientId: "a" });
  await first.send(publishPacket({ topic: "t", payload: "x", qos: 2, packetId: 1 }));
  await eventually(() => broker.stats().messagesReceived === 1, "the message");
  const second = await broker.connect({ ...lasting(5), clientId: "a" });
  await second.send(publishPacket({ topic: "t", payload: "x", qos: 2, packetId: 1, dup: true }));
  await eventually(() => broker.stats().messagesReceived === 2, "the message again");
  decide();
  assert.equal((await second.expect("pubrec")).reasonCode, 0);
  await watcher.expect("publish");
  await watcher.expectNothing();
});

for (const cleanStart of [false, true]) {
  Deno.test(`a client that is taken over from before it was answered is closed, its will forgotten (clean start ${cleanStart})`, async () => {
    await using broker = await startBroker();
    const stored: (() => void)[] = [];
    await broker.use({
      id: "slow",
      storeSession: () => new Promise<void>((resolve) => stored.push(resolve)),
      storeOutgoing: () => {},
    });
    const watcher = await broker.connect();
    await watcher.subscribe("will");
    const first = await broker.open();
    await first.send(connectPacket({ ...lasting(5), clientId: "a", will }));
    await eventually(() => stored.length === 1, "the first session to be stored");
    const second = await broker.open();
    await second.send(connectPacket({ ...lasting(5), clientId: "a", cleanStart }));
    await eventually(() => stored.length === 2, "the second session to be stored");
    for (const resolve of stored) resolve();
    await first.expectClosed();
    assert.equal((await second.expect("connack")).sessionPresent, false);
    await second.expectNothing();
    await watcher.expectNothing();
    assert.deepEqual([broker.stats().clients, broker.stats().sessions], [2, 2]);
    await broker.remove("slow");
  });
}

Deno.test("a client that is taken over from before it was answered takes nothing from the one that comes after it", async () => {
  await using broker = await startBroker();
  const watcher = await broker.connect();
  await watcher.subscribe("#");
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.disconnect();
  const stored: (() => void)[] = [];
  await broker.use({
    id: "slow",
    storeSession: () => new Promise<void>((resolve) => stored.push(resolve)),
    storeOutgoing: () => {},
  });
  const first = await broker.open();
  await first.send(connectPacket({ ...lasting(5), clientId: "a", will: { topic: "first" } }));
  await eventually(() => stored.length === 2, "the session to be stored, and again with the first connection");
  const second = await broker.open();
  await second.send(connectPacket({ ...lasting(5), clientId: "a", will: { topic: "second" } }));
  await eventually(() => stored.length === 3, "the second connection's session to be stored");
  for (const resolve of stored) resolve();
  await first.expectClosed();
  assert.equal((await second.expect("connack")).sessionPresent, true);
  await broker.remove("slow");
  await second.close();
  assert.equal((await watcher.expect("publish")).topic, "second");
  await watcher.expectNothing();
});
