import assert from "node:assert/strict";
import { eventually } from "../broker/eventually.ts";
import { receive } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { connectPacket } from "../support/raw_client.ts";
import type { TestBroker } from "../support/start_broker.ts";
import { DatabaseFile, ends } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

/** A client that is away, and that wills wait for. */
async function watchedBefore(broker: TestBroker): Promise<void> {
  const watcher = await broker.connect({ ...lasting(5), clientId: "watcher" });
  await watcher.subscribe("w", { qos: 2 });
  await watcher.disconnect();
}

/** From now on a hook takes its time for every will. */
async function beSlow(broker: TestBroker): Promise<{ asked: Promise<void>; answer: () => void }> {
  const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  await broker.use({
    id: "slow",
    onWillPublish: () => {
      asked.resolve();
      return answer.promise;
    },
  });
  return { asked: asked.promise, answer: answer.resolve };
}

async function assertOneWill(broker: TestBroker): Promise<void> {
  const watcher = await broker.connect({ ...lasting(5), clientId: "watcher" });
  assert.equal((await receive(watcher)).text, "gone");
  await watcher.expectNothing();
}

/** The retained message of the wills' topic. */
async function retainedOf(broker: TestBroker): Promise<string> {
  const client = await broker.connect();
  await client.subscribe("w");
  return (await receive(client)).text;
}

for (const end of ends) {
  Deno.test(`a will that a hook is asked about is published after a ${end}, once`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    const before = await file.start();
    await watchedBefore(before);
    const { asked, answer } = await beSlow(before);
    const client = await before.connect({
      ...lasting(5),
      clientId: "a",
      will: { topic: "w", payload: "gone", qos: 2 },
    });
    await client.close();
    await asked;
    const after = await file.restart(end);
    answer();
    await assertOneWill(after);
    assert.equal(workers.started, 2);
  });
}

Deno.test("the will of a session that ends is there after a crash while a hook is asked about it, and so is the session", async () => {
  await using file = new DatabaseFile();
  const before = await file.start();
  await watchedBefore(before);
  const { asked, answer } = await beSlow(before);
  const will = { topic: "w", payload: "gone", qos: 2, properties: { willDelayInterval: 60 } } as const;
  const client = await before.connect({ ...lasting(5), clientId: "a", will });
  await client.disconnect({ reasonCode: 0x04 });
  const next = await before.open();
  await next.send(connectPacket({ clientId: "a", cleanStart: true }));
  await asked;
  // What was written before is on the disk when this is.
  await before.connect({ ...lasting(5), clientId: "witness" });
  const after = await file.restart("crash");
  await after.connect({ clientId: "a", cleanStart: true });
  await assertOneWill(after);
  answer();
});

Deno.test("a will that cannot be stored is lost for who is away, and not retained, and does not come late", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const before = await file.start();
  await before.publish("w", "before", { qos: 1, retain: true });
  await watchedBefore(before);
  const will = { topic: "w", payload: "gone", qos: 2, retain: true } as const;
  const client = await before.connect({ ...lasting(5), clientId: "a", will });
  const online = await before.connect({ ...lasting(5), clientId: "online" });
  await online.subscribe("w", { qos: 1 });
  assert.equal((await receive(online)).text, "before");
  workers.hasRoom = false;
  workers.fates.push({ error: "disk I/O error" });
  await client.close();
  assert.equal((await receive(online)).text, "gone");
  await eventually(() => !file.hook.health().ok, "the will to be refused");
  assert.deepEqual([await retainedOf(before), before.stats().queuedMessages], ["before", 0]);
  workers.hasRoom = true;
  await eventually(() => file.hook.health().ok, "the database to be well again");
  const after = await file.restart("crash");
  assert.deepEqual([await retainedOf(after), after.stats().queuedMessages], ["before", 0]);
});
