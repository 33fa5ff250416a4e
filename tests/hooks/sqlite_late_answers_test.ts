import assert from "node:assert/strict";
import type { Hook } from "../../mod.ts";
import { receivedSoFar } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { publishPacket } from "../support/raw_client.ts";
import { DatabaseFile } from "./sqlite_broker.ts";

// A hook answers when the session that it was asked about has ended: it is over, and so is all that was to be stored of it.

/** A broker whose first question about what "a" may read waits for an answer. */
async function startAsking(file: DatabaseFile) {
  const broker = await file.start();
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<boolean>();
  let isFirst = true;
  const hook: Hook = {
    id: "late",
    canRead({ clientId }) {
      if (clientId !== "a" || !isFirst) return true;
      isFirst = false;
      asked.resolve();
      return answer.promise;
    },
  };
  await broker.use(hook);
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  return { broker, client, asked: asked.promise, allow: () => answer.resolve(true) };
}

Deno.test("a message for a session that has ended meanwhile is not the next session's", async () => {
  await using file = new DatabaseFile();
  const { broker, client, asked, allow } = await startAsking(file);
  await client.subscribe("t", { qos: 1 });
  const published = broker.publish("t", "for the former session", { qos: 1 });
  await asked;
  await broker.connect({ ...lasting(5), clientId: "a", cleanStart: true });
  allow();
  await published;
  const after = await file.restart("crash");
  assert.deepEqual(await receivedSoFar(await after.connect({ ...lasting(5), clientId: "a" })), []);
});

Deno.test("nothing is left in the database of a session that has ended meanwhile", async () => {
  await using file = new DatabaseFile();
  const { broker, client, asked, allow } = await startAsking(file);
  await client.subscribe("t", { qos: 1 });
  const published = broker.publish("t", "for the former session", { qos: 1 });
  await asked;
  await (await broker.connect({ clientId: "a", cleanStart: true })).disconnect();
  allow();
  await published;
  await file.stop();
  assert.deepEqual(file.rows(), {});
});

Deno.test("a message for a member whose session has ended meanwhile goes to another one", async () => {
  await using file = new DatabaseFile();
  const { broker, client, asked, allow } = await startAsking(file);
  await client.subscribe("$share/g/t", { qos: 1 });
  const other = await broker.connect({ ...lasting(5), clientId: "b" });
  const published = broker.publish("t", "acknowledged", { qos: 1 });
  await asked;
  await other.subscribe("$share/g/t", { qos: 1 });
  await client.disconnect({ properties: { sessionExpiryInterval: 0 } });
  allow();
  await published;
  assert.deepEqual(await receivedSoFar(other), ["acknowledged"]);
});

Deno.test("a packet identifier of a publisher's session that has ended meanwhile is not the next session's", async () => {
  await using file = new DatabaseFile();
  const { broker, client, asked, allow } = await startAsking(file);
  await client.subscribe("t", { qos: 2 });
  const publisher = await broker.connect({ ...lasting(5), clientId: "p" });
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 5, payload: "first" }));
  await asked;
  await broker.connect({ ...lasting(5), clientId: "p", cleanStart: true });
  allow();
  await client.expect("publish");
  await broker.connect({ ...lasting(5), clientId: "witness" });
  const after = await file.restart("crash");
  const again = await after.connect({ ...lasting(5), clientId: "p" });
  await again.publish({ topic: "t", qos: 2, packetId: 5, payload: "second" });
  // "first" is in flight, "second" waits.
  assert.equal(after.stats().queuedMessages, 1);
});
