import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { StoredOutgoing, StoredSession } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { DatabaseFile } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

const message = {
  packet: { type: "publish", topic: "t", payload: new Uint8Array(3), qos: 1, retain: false, dup: false },
  receivedAt: 0,
} as const;

/** The message on its way to some session. */
function outgoing(id: number, fields: Partial<StoredOutgoing> = {}): StoredOutgoing {
  const shareFilter = "$share/g/t";
  return {
    id,
    message,
    qos: 1,
    retain: false,
    identifiers: undefined,
    shareFilter,
    packetId: 0,
    released: false,
    ...fields,
  };
}

const sessions = ["a", "b", "c"];

function session(clientId: string): StoredSession {
  const connection = { protocolLevel: 5, username: undefined, disconnectedAt: 0, will: undefined } as const;
  return { clientId, expiryInterval: 0xffff_ffff, ...connection };
}

/** What is stored of the message in the end, when the steps were made: each of them is written, or all together. */
async function outcome(
  steps: ((hook: DatabaseFile["hook"]) => unknown)[],
  isWrittenAtOnce: boolean,
): Promise<{ outgoing: unknown[]; messages: number }> {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  await file.start();
  const { hook } = file;
  for (const clientId of sessions) await hook.storeSession!(session(clientId));
  if (!isWrittenAtOnce) workers.hold();
  // Written first, so that what follows is collected behind it.
  const first = hook.storeReceived!("c", 1);
  if (isWrittenAtOnce) await first;
  for (const step of steps) {
    const stored = step(hook);
    if (isWrittenAtOnce) await stored;
  }
  workers.release();
  await hook.storeReceived!("c", 2);
  await file.stop();
  using database = new DatabaseSync(file.path);
  const rows = database.prepare("SELECT id, client_id, packet_id, identifiers, share_filter FROM outgoing").all();
  return { outgoing: rows.map((row) => Object.values(row)), messages: file.rows().messages ?? 0 };
}

const store = (clientId: string, stored: StoredOutgoing) => (hook: DatabaseFile["hook"]) =>
  hook.storeOutgoing!(clientId, stored);
const remove = (clientId: string, id: number) => (hook: DatabaseFile["hook"]) =>
  hook.removeOutgoing!(clientId, outgoing(id));

const passedOn = [store("b", outgoing(2, { replaces: 1, packetId: 7, identifiers: [5] })), remove("a", 1)];

const cases = [
  ["is the other session's", [], [[2, "b", 7, "[5]", "$share/g/t"]], 1],
  ["gets a packet identifier there", [store("b", outgoing(2, { packetId: 8, identifiers: [5] }))], [
    [2, "b", 8, "[5]", "$share/g/t"],
  ], 1],
  ["is passed on once more", [store("c", outgoing(3, { replaces: 2 })), remove("b", 2)], [
    [3, "c", 0, null, "$share/g/t"],
  ], 1],
  ["is acknowledged", [remove("b", 2)], [], 0],
  ["is acknowledged by a third", [store("c", outgoing(3, { replaces: 2 })), remove("b", 2), remove("c", 3)], [], 0],
] as const;

for (const [name, further, rows, messages] of cases) {
  for (const isWrittenAtOnce of [true, false]) {
    const when = isWrittenAtOnce ? "was written before" : "waits to be written";
    Deno.test(`a message that is passed on and ${name}, when it ${when}`, async () => {
      const steps = [store("a", outgoing(1)), ...passedOn, ...further];
      assert.deepEqual(await outcome(steps, isWrittenAtOnce), { outgoing: rows, messages });
    });
  }
  Deno.test(`a message that is passed on and ${name}, all in one batch behind the one with the message`, async () => {
    const together = (hook: DatabaseFile["hook"]) => Promise.all([...passedOn, ...further].map((step) => step(hook)));
    assert.deepEqual(await outcome([store("a", outgoing(1)), together], true), { outgoing: rows, messages });
  });
}

Deno.test("what is passed on while it is being written, and refused then, is stored nowhere", async () => {
  using workers = new WatchedWorkers();
  await using file = new DatabaseFile();
  await file.start();
  const { hook } = file;
  for (const clientId of sessions) await hook.storeSession!(session(clientId));
  workers.fates.push({ error: "disk I/O error" });
  workers.hold();
  const first = hook.storeOutgoing!("a", outgoing(1));
  await eventually(() => workers.batches.length === sessions.length + 1, "the message to be on its way to the disk");
  const moved = Promise.all(passedOn.map((step) => step(hook)));
  workers.release();
  for (const refused of [first, moved]) {
    await assert.rejects(async () => await refused, { message: /cannot take it now/ });
  }
  await eventually(() => hook.health().ok, "the database to be well again");
  // The same message for another session comes with its bytes.
  await hook.storeOutgoing!("c", outgoing(3));
  await file.stop();
  assert.deepEqual(file.rows(), { sessions: 3, messages: 1, outgoing: 1 });
});

Deno.test("what is passed on in another form is stored in that", async () => {
  const changed = { ...message, packet: { ...message.packet, payload: new Uint8Array(5) } };
  const steps = [store("a", outgoing(1)), store("b", outgoing(2, { replaces: 1, message: changed })), remove("a", 1)];
  for (const isWrittenAtOnce of [true, false]) {
    const { outgoing, messages } = await outcome(steps, isWrittenAtOnce);
    assert.deepEqual([outgoing, messages], [[[2, "b", 0, null, "$share/g/t"]], 1]);
  }
});
