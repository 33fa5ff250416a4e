import assert from "node:assert/strict";
import type { Hook } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import type { TestBroker } from "../support/start_broker.ts";
import { DatabaseFile, ends } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

// What a member of a shared subscription leaves, and who has it after that.

const FILTER = "$share/g/t";

/** A member whose session is stored, or was before, and that takes one message at a time. */
async function connected(broker: TestBroker, clientId: string): Promise<RawClient> {
  const properties = { sessionExpiryInterval: 0xffff_ffff, receiveMaximum: 1 };
  return await broker.connect({ clientId, cleanStart: false, properties });
}

async function joined(broker: TestBroker, clientId: string, qos: 1 | 2): Promise<RawClient> {
  const member = await connected(broker, clientId);
  await member.subscribe(FILTER, { qos });
  return member;
}

/** Returns when the database has everything that was handed to it before. */
async function written(broker: TestBroker): Promise<void> {
  await (await broker.connect({ ...lasting(5), clientId: "witness" })).disconnect();
}

for (const qos of [1, 2] as const) {
  for (const end of ends) {
    Deno.test(`QoS ${qos} messages are not passed on to a member whose session is not stored: they are there after a ${end}`, async () => {
      await using file = new DatabaseFile();
      const before = await file.start();
      const leaving = await joined(before, "a", qos);
      for (const text of ["in flight", "waiting"]) await before.publish("t", text, { qos });
      await leaving.expect("publish");
      const staying = await before.connect();
      await staying.subscribe(FILTER, { qos });
      await leaving.disconnect();
      await written(before);
      await staying.expectNothing();
      const after = await file.restart(end);
      const again = await connected(after, "a");
      assert.deepEqual(await receiveTexts(again, 2), ["in flight", "waiting"]);
      await again.expectNothing();
    });
  }

  Deno.test(`when its session ends, what a member has at QoS ${qos} goes to one whose session is not stored, too`, async () => {
    await using file = new DatabaseFile();
    const broker = await file.start();
    const leaving = await joined(broker, "a", qos);
    for (const text of ["in flight", "waiting"]) await broker.publish("t", text, { qos });
    await leaving.expect("publish");
    const staying = await broker.connect();
    await staying.subscribe(FILTER, { qos });
    await leaving.disconnect({ properties: { sessionExpiryInterval: 0 } });
    const texts = qos === 1 ? ["in flight", "waiting"] : ["waiting"];
    assert.deepEqual(await receiveTexts(staying, texts.length), texts);
    await staying.expectNothing();
    await written(broker);
    await file.stop();
    assert.deepEqual(file.rows(), { sessions: 1 });
  });
}

Deno.test("members find again what they had when the broker closes", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  for (const clientId of ["a", "b"]) await joined(before, clientId, 1);
  for (const text of ["1", "2"]) await before.publish("t", text, { qos: 1 });
  const after = await file.restart("shutdown");
  const members = [];
  for (const clientId of ["a", "b"]) members.push(await after.connect({ ...lasting(5), clientId }));
  assert.deepEqual((await Promise.all(members.map((member) => receivedSoFar(member)))).flat().sort(), ["1", "2"]);
});

Deno.test("a message that hooks change for each receiver stays with its member, and goes to another one when the session ends", async () => {
  const mark: Hook = {
    id: "mark",
    onPublishDeliver: ({ clientId }, packet) => ({ ...packet, payload: new TextEncoder().encode(`for ${clientId}`) }),
  };
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  await before.use(mark);
  const leaving = await joined(before, "leaving", 1);
  await before.publish("t", "", { qos: 1 });
  assert.equal(textOf(await leaving.expect("publish")), "for leaving");
  const staying = await joined(before, "staying", 1);
  await written(before);
  workers.fates.push({ error: "disk I/O error" });
  await leaving.disconnect();
  await written(before);
  await staying.expectNothing();
  const after = await file.restart("crash");
  await after.use(mark);
  const again = await connected(after, "leaving");
  assert.equal(textOf(await again.expect("publish")), "for leaving");
  const still = await connected(after, "staying");
  await again.disconnect({ properties: { sessionExpiryInterval: 0 } });
  assert.equal((await receive(still)).text, "for staying");
});

for (const [where, isCollected] of [["waits for the disk", true], ["is on its way to the disk", false]] as const) {
  Deno.test(`[3.1.1] a QoS 2 message that is passed on while it ${where}, and is refused then, arrives once`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    const broker = await file.start();
    const leaving = await joined(broker, "leaving", 2);
    const publisher = await broker.connect({ ...lasting(4), clientId: "p" });
    const witness = await broker.connect({ ...lasting(5), clientId: "w" });
    await publisher.publish({ topic: "t", qos: 2, payload: "1" });
    await leaving.expect("publish");
    const staying = await joined(broker, "staying", 2);
    await publisher.publish({ topic: "t", qos: 2, payload: "2" });
    workers.fates.push({ error: "disk I/O error" });
    workers.hold();
    if (isCollected) {
      await witness.send(publishPacket({ topic: "u", qos: 2, packetId: 1 }));
      await witness.expectNothing();
    }
    await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 9, payload: "once" }));
    await publisher.expectNothing();
    await leaving.disconnect();
    assert.equal(broker.stats().queuedMessages, 1);
    workers.release();
    await publisher.expectClosed();
    await eventually(() => file.hook.health().ok, "the database to be well again");
    const again = await broker.connect({ ...lasting(4), clientId: "p" });
    await again.send(publishPacket({ topic: "t", qos: 2, packetId: 9, dup: true, payload: "once" }));
    await again.expect("pubrec");
    assert.deepEqual(await receiveTexts(staying, 2), ["2", "once"]);
    await written(broker);
    await staying.expectNothing();
  });
}

Deno.test("what a member leaves goes to one that has subscribed after that one unsubscribed, also after a restart", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  const a = await joined(before, "a", 1);
  await before.publish("t", "m", { qos: 1 });
  await a.expect("publish");
  await a.unsubscribe(FILTER);
  await joined(before, "b", 1);
  await written(before);
  const after = await file.restart("crash");
  const b = await after.connect({ ...lasting(5), clientId: "b" });
  await after.connect({ clientId: "a", cleanStart: true });
  assert.deepEqual(await receivedSoFar(b), ["m"]);
});
