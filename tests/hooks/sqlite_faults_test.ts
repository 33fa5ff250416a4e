import assert from "node:assert/strict";
import { eventually } from "../broker/eventually.ts";
import { receive, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import type { TestBroker } from "../support/start_broker.ts";
import { DatabaseFile } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

const FULL = 256 * 1024;
const large = new Uint8Array(10_000);
const ioError = { error: "disk I/O error" };

async function subscribedBefore(broker: TestBroker, clientId: string, qos: 1 | 2 = 2): Promise<void> {
  const client = await broker.connect({ ...lasting(5), clientId });
  await client.subscribe("t", { qos });
  await client.disconnect();
}

/** Publishes until the disk is full. Returns the reason code of the refusal, and what was acknowledged before it. */
async function fill(publisher: RawClient, qos: 1 | 2): Promise<{ refusal: number; acknowledged: number }> {
  for (let acknowledged = 0;; acknowledged++) {
    const payload = large.fill(acknowledged);
    const reasonCode = await publisher.publish({ topic: "t", qos, payload });
    if (reasonCode >= 0x80) return { refusal: reasonCode, acknowledged };
  }
}

function isWell(file: DatabaseFile): boolean {
  return file.hook.health().ok;
}

for (const qos of [1, 2] as const) {
  Deno.test(`[5.0] QoS ${qos} messages are refused while the disk is full, and accepted again when it is not`, async () => {
    await using file = new DatabaseFile();
    const broker = await file.start({ maximumSize: FULL });
    await subscribedBefore(broker, "a");
    const publisher = await broker.connect({ ...lasting(5), clientId: "p" });
    const { refusal, acknowledged } = await fill(publisher, qos);
    assert.equal(refusal, 0x97);
    assert.ok(acknowledged > 10);
    assert.deepEqual(file.hook.health(), { ok: false, reason: `${file.path}: database or disk is full` });
    assert.equal(await publisher.publish({ topic: "t", qos, payload: "refused" }), 0x97);
    assert.equal(await publisher.publish({ topic: "t", qos: 0, payload: "QoS 0 goes on" }), 0);

    const properties = { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 1 };
    const subscriber = await broker.connect({ clientId: "a", cleanStart: false, properties });
    for (let count = 0; count < acknowledged; count++) {
      const { payload } = await receive(subscriber);
      assert.ok(payload.length === large.length && payload.every((byte) => byte === count % 256), `message ${count}`);
    }
    await subscriber.expectNothing();
    await eventually(() => isWell(file), "room to be found");
    assert.equal(await publisher.publish({ topic: "t", qos, payload: "accepted" }), 0);
    assert.equal((await receive(subscriber)).text, "accepted");
    await subscriber.expectNothing();
    await file.stop();
    assert.deepEqual(file.rows(), { sessions: 2, subscriptions: 1 });
    assert.deepEqual(file.problems(), []);
  });
}

Deno.test("[3.1.1] the client of a message that finds the disk full is disconnected, and has not lost it", async () => {
  await using file = new DatabaseFile();
  const broker = await file.start({ maximumSize: FULL });
  await subscribedBefore(broker, "a");
  await fill(await broker.connect(), 1);
  const publisher = await broker.connect({ level: 4, clientId: "p" });
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 1, payload: "late" }));
  await publisher.expectClosed();
  await broker.connect({ clientId: "a" });
  await eventually(() => isWell(file), "room to be found");
  await subscribedBefore(broker, "a");
  const again = await broker.connect({ level: 4, clientId: "p" });
  await again.publish({ topic: "t", qos: 1, packetId: 1, dup: true, payload: "late" });
  const subscriber = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal((await receive(subscriber)).text, "late");
});

Deno.test("what was acknowledged is there after a crash on a full disk, and what was refused is not", async () => {
  await using file = new DatabaseFile();
  const before = await file.start({ maximumSize: FULL });
  await subscribedBefore(before, "a");
  const publisher = await before.connect();
  const { acknowledged } = await fill(publisher, 2);
  const after = await file.restart("crash", { maximumSize: FULL });
  assert.equal(after.stats().queuedMessages, acknowledged);
  await file.stop();
  assert.deepEqual(file.rows(), {
    sessions: 1,
    subscriptions: 1,
    messages: acknowledged,
    outgoing: acknowledged,
  });
});

Deno.test("while the disk is full new sessions and subscriptions are refused, and old ones go on", async () => {
  await using file = new DatabaseFile();
  const broker = await file.start({ maximumSize: FULL });
  await subscribedBefore(broker, "a");
  const [subscriber, publisher] = [await broker.connect({ ...lasting(5), clientId: "b" }), await broker.connect()];
  await fill(publisher, 1);
  const newcomer = await broker.open();
  await newcomer.send(connectPacket({ ...lasting(5), clientId: "new" }));
  assert.equal((await newcomer.expect("connack")).reasonCode, 0x97);
  const clean = await broker.connect();
  await clean.subscribe("t");
  const old = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal(old.connack.sessionPresent, true);
  await assert.rejects(subscriber.subscribe("u"), { message: /got { type: "disconnect", reasonCode: 151/ });
});

Deno.test("a batch that fails is refused, and the next one accepted", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "a");
  const publisher = await broker.connect();
  workers.fates.push(ioError);
  assert.equal(await publisher.publish({ topic: "t", qos: 2, payload: "refused" }), 0x97);
  await eventually(() => isWell(file), "the database to be well again");
  assert.equal(await publisher.publish({ topic: "t", qos: 2, payload: "accepted" }), 0);
  const subscriber = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal((await receive(subscriber)).text, "accepted");
  await subscriber.expectNothing();
});

Deno.test("a retained message that was refused is not there after a restart, the one before is", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  const publisher = await before.connect();
  await publisher.publish({ topic: "t", qos: 1, retain: true, payload: "old" });
  workers.fates.push(ioError);
  assert.equal(await publisher.publish({ topic: "t", qos: 1, retain: true, payload: "new" }), 0x97);
  const after = await file.restart("crash");
  const client = await after.connect();
  await client.subscribe("t");
  assert.equal((await receive(client)).text, "old");
});

Deno.test("a message that waited is not lost when its sending cannot be stored: it is sent when it can", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  await subscribedBefore(before, "a");
  await before.publish("t", "waited", { qos: 2 });
  workers.hasRoom = false;
  // The session of the client who comes back is stored with the first, the packet identifier with the others.
  workers.fates.push("written", ioError, ioError);
  const client = await before.connect({ ...lasting(5), clientId: "a" });
  await eventually(() => workers.fates.length === 0, "the packet identifier to be refused");
  await client.expectNothing();
  workers.hasRoom = true;
  const { packetId } = await client.expect("publish");
  const after = await file.restart("crash");
  const again = await after.connect({ ...lasting(5), clientId: "a" });
  const resent = await again.expect("publish");
  assert.deepEqual([textOf(resent), resent.packetId, resent.dup], ["waited", packetId, true]);
});

Deno.test("what removes something is written late rather than never: nothing comes back that was done", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  const client = await before.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { qos: 2 });
  for (const text of ["one", "two"]) await before.publish("t", text, { qos: 1 });
  await client.send(publishPacket({ topic: "u", qos: 2, packetId: 7 }));
  const packets = [await client.expect("publish"), await client.expect("publish")];
  await client.expect("pubrec");
  workers.hasRoom = false;
  workers.fates.push(ioError, ioError);
  for (const { packetId } of packets) await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
  await client.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
  await eventually(() => workers.fates.length === 0, "the removals to be refused");
  await client.expectNothing();
  workers.hasRoom = true;
  await client.expect("pubcomp");
  await file.restart("crash");
  await file.stop();
  assert.deepEqual(file.rows(), { sessions: 1, subscriptions: 1 });
});

Deno.test("a client that comes back while nothing can be written is answered when it can, and its state is the last", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  const client = await before.connect({ ...lasting(5), clientId: "a", will: { topic: "w", payload: "first" } });
  const watcher = await before.connect({ ...lasting(5), clientId: "watcher" });
  await watcher.subscribe("w", { qos: 1 });
  await watcher.disconnect();
  workers.hasRoom = false;
  workers.fates.push(ioError, ioError);
  await client.disconnect();
  await eventually(() => workers.fates.length === 0, "the session's end to be refused twice");
  const again = await before.open();
  await again.send(connectPacket({ ...lasting(5), clientId: "a", will: { topic: "w", payload: "second", qos: 1 } }));
  workers.hasRoom = true;
  await again.expect("connack");
  const after = await file.restart("crash");
  const watching = await after.connect({ ...lasting(5), clientId: "watcher" });
  assert.equal((await receive(watching)).text, "second");
  await watching.expectNothing();
});

for (const fate of ["dies before", "dies after"] as const) {
  Deno.test(`nothing is lost, and nothing twice, when the writer ${fate} a batch is written`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    const before = await file.start();
    await subscribedBefore(before, "a");
    const publisher = await before.connect({ ...lasting(5), clientId: "p" });
    workers.fates.push(fate);
    for (const payload of ["one", "two"]) await publisher.publish({ topic: "t", qos: 2, payload });
    assert.equal(workers.started, 2);
    assert.equal(isWell(file), true);
    const after = await file.restart("crash");
    const client = await after.connect({ ...lasting(5), clientId: "a" });
    assert.deepEqual([textOf(await client.expect("publish")), textOf(await client.expect("publish"))], ["one", "two"]);
    await client.expectNothing();
  });
}

for (const level of [4, 5] as const) {
  Deno.test(`[MQTT level ${level}] a message is acknowledged when it was written, whatever comes after that`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    const broker = await file.start();
    await subscribedBefore(broker, "a");
    const publisher = await broker.connect({ ...lasting(5), level, clientId: "p" });
    workers.fates.push("dies after", ioError);
    await publisher.publish({ topic: "t", qos: 2, payload: "written" });
    workers.fates.length = 0;
    const after = await file.restart("crash");
    const client = await after.connect({ ...lasting(5), clientId: "a" });
    assert.equal((await receive(client)).text, "written");
    await client.expectNothing();
  });
}

Deno.test("nobody is told anything until it is known whether a batch was written, and meanwhile nothing is accepted", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "a");
  const [publisher, other] = [await broker.connect(), await broker.connect()];
  workers.canOpen = false;
  workers.fates.push("dies after");
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 1, payload: "written" }));
  await eventually(() => !isWell(file), "the database to be out of reach");
  assert.deepEqual(file.hook.health(), { ok: false, reason: `${file.path}: disk I/O error` });
  await publisher.expectNothing();
  assert.equal(await other.publish({ topic: "t", qos: 1, payload: "refused" }), 0x97);
  workers.canOpen = true;
  assert.equal((await publisher.expect("puback")).reasonCode, 0);
  await eventually(() => isWell(file), "the database to be well again");
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal((await receive(client)).text, "written");
  await client.expectNothing();
});

Deno.test("a broker closes in time while it is not known whether a batch was written", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "a");
  const publisher = await broker.connect();
  workers.canOpen = false;
  workers.fates.push("dies after");
  await publisher.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
  await eventually(() => !isWell(file), "the database to be out of reach");
  const startedAt = performance.now();
  await file.stop();
  assert.ok(performance.now() - startedAt < 2000);
});

Deno.test("a batch that kills its writer again and again is refused, and the next one accepted", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "a");
  const publisher = await broker.connect();
  workers.fates.push("dies before", "dies before", "dies before");
  assert.equal(await publisher.publish({ topic: "t", qos: 1, payload: "refused" }), 0x97);
  await eventually(() => isWell(file), "the database to be well again");
  assert.equal(await publisher.publish({ topic: "t", qos: 1, payload: "accepted" }), 0);
});

Deno.test("members of a group go on while nothing can be written: one gets what another one leaves behind", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  const properties = { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 1 };
  const [leaving, staying] = [await broker.connect({ properties }), await broker.connect({ properties })];
  for (const member of [leaving, staying]) await member.subscribe("$share/group/t", { qos: 1 });
  for (const text of ["one", "two", "three", "four"]) await broker.publish("t", text, { qos: 1 });
  const [left, first] = [await leaving.expect("publish"), await staying.expect("publish")];
  workers.hasRoom = false;
  workers.fates.push(ioError);
  assert.equal(await (await broker.connect()).publish({ topic: "t", qos: 1 }), 0x97);
  await leaving.disconnect();
  await staying.send({ type: "puback", packetId: first.packetId!, reasonCode: 0 });
  const texts = [textOf(left), textOf(first), ...await receiveTexts(staying, 2)];
  assert.deepEqual(new Set([...texts, (await receive(staying)).text]), new Set(["one", "two", "three", "four"]));
});

// A QoS 2 message in flight stays where it is [MQTT-4.8.2-5].
const leftBehind = [
  { qos: 1, expected: { staying: ["in flight", "waiting"], leaving: [] } },
  { qos: 2, expected: { staying: ["waiting"], leaving: ["in flight"] } },
] as const;

for (const { qos, expected } of leftBehind) {
  Deno.test(`a QoS ${qos} message that a member leaves behind while nothing can be written is there after a crash`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    const before = await file.start();
    const properties = { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 1 };
    const leaving = await before.connect({ clientId: "leaving", properties });
    await leaving.subscribe("$share/group/t", { qos });
    const publisher = await before.connect({ ...lasting(5), clientId: "publisher" });
    for (const payload of ["in flight", "waiting"]) await publisher.publish({ topic: "t", qos, payload });
    await leaving.expect("publish");
    const staying = await before.connect({ clientId: "staying", properties });
    await staying.subscribe("$share/group/t", { qos });
    workers.hasRoom = false;
    workers.fates.push(ioError, "written");
    await leaving.disconnect();
    await eventually(() => workers.fates.length === 0, "the rest of a refused batch to be tried again");
    // Its answer waits for the writer, behind that.
    await before.connect({ ...lasting(5), clientId: "publisher" });
    const after = await file.restart("crash");
    for (const [clientId, texts] of Object.entries(expected)) {
      const client = await after.connect({ ...lasting(5), clientId });
      assert.deepEqual(await receiveTexts(client, texts.length), texts, clientId);
      await client.expectNothing();
    }
  });
}

Deno.test("a broker closes in time while nothing can be written", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "a");
  const publisher = await broker.connect();
  workers.hasRoom = false;
  workers.fates.push(...Array.from({ length: 20 }, () => ioError));
  assert.equal(await publisher.publish({ topic: "t", qos: 1 }), 0x97);
  const waiting = await broker.open();
  await waiting.send(connectPacket({ ...lasting(5), clientId: "a" }));
  const startedAt = performance.now();
  await file.stop();
  assert.ok(performance.now() - startedAt < 2000);
});

Deno.test("whatever happens to the batches, what was acknowledged is delivered: QoS 1 at least once, QoS 2 once", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  await subscribedBefore(broker, "offline");
  const publisher = await broker.connect({ ...lasting(5), clientId: "p" });
  // A pattern with no period in common with that of the messages.
  const accidents = ["written", ioError, "written", "dies after", "written", "written", "dies before"] as const;
  const acknowledged: string[] = [];
  const refused: string[] = [];
  for (let count = 0; count < 60; count++) {
    workers.fates.push(accidents[count % accidents.length]);
    const qos = count % 2 === 0 ? 1 : 2;
    const reasonCode = await publisher.publish({ topic: "t", qos, payload: `${count}` });
    (reasonCode < 0x80 ? acknowledged : refused).push(`${count}`);
    await eventually(() => isWell(file), "the database to be well again");
  }
  assert.ok(acknowledged.length > 20 && refused.length > 5, `${acknowledged.length} and ${refused.length}`);
  workers.fates.length = 0;
  const after = await file.restart("crash");
  const properties = { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 1 };
  const client = await after.connect({ clientId: "offline", cleanStart: false, properties });
  assert.deepEqual(await receiveTexts(client, acknowledged.length), acknowledged);
  await client.expectNothing();
});
