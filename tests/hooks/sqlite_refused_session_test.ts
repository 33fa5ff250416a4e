import assert from "node:assert/strict";
import { sqliteHook } from "../../hooks/mod.ts";
import { eventually } from "../broker/eventually.ts";
import { lasting } from "../broker/versions.ts";
import { connectPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { DatabaseFile } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

const ioError = { error: "disk I/O error" };

Deno.test("clients that try to get in while nothing can be written leave nothing to be written", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  const broker = await file.start();
  workers.hasRoom = false;
  workers.fates.push(ioError, ioError);
  for (let attempt = 0; attempt < 20; attempt++) {
    const client = await broker.open();
    await client.send(connectPacket({ ...lasting(5), clientId: `${attempt % 10}` }));
    assert.equal((await client.expect("connack")).reasonCode, 0x97);
    await client.expectClosed();
  }
  await file.stop();
  assert.deepEqual(workers.batches.flat().map(([name]) => name), ["session"]);
  assert.deepEqual(file.rows(), {});
});

for (const fate of ["written", ioError] as const) {
  const outcome = fate === "written" ? "is" : "cannot be";
  Deno.test(`of a session that ends before it ${outcome} written nothing stays`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    const broker = await file.start();
    workers.fates.push(fate);
    workers.hold();
    const first = await broker.open();
    await first.send(connectPacket({ ...lasting(5), clientId: "a" }));
    await eventually(() => workers.batches.length === 1, "the session to be under way");
    const next = await broker.open();
    await next.send(connectPacket({ clientId: "a", cleanStart: true }));
    await (await broker.connect()).expectNothing();
    workers.release();
    assert.equal((await next.expect("connack")).reasonCode, 0);
    await file.stop();
    assert.deepEqual(file.rows(), {});
  });
}

Deno.test("of a session that was refused when the hook was added nothing stays when it ends", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  await using broker = await startBroker();
  const a = await broker.connect({ ...lasting(5), clientId: "a" });
  workers.fates.push({ error: "disk I/O error" });
  workers.hold();
  const hook = sqliteHook({ path: file.path });
  await broker.use(hook);
  await eventually(() => workers.batches.length === 1, "the session to be under way");
  await a.close();
  await eventually(() => broker.stats().clients === 0, "the client to be gone");
  workers.release();
  await eventually(() => workers.batches.length > 1, "what is lasting to be tried again");
  await eventually(() => hook.health().ok, "the database to be well again");
  const again = await broker.connect({ clientId: "a", cleanStart: true });
  await again.disconnect();
  await eventually(() => broker.stats().sessions === 0, "the session to be over");
  await broker.close();
  assert.deepEqual(file.rows(), {});
});
