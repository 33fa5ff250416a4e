import assert from "node:assert/strict";
import type { HookContext, RestoredSession, StoredMessage, StoredOutgoing } from "../../broker/hooks.ts";
import type { PublishPacket } from "../../mod.ts";
import { publishPacket } from "../support/raw_client.ts";
import { eventually } from "./eventually.ts";
import { passingTimers } from "./passing_time.ts";
import { receive, textOf } from "./receive.ts";
import { startStoring, type StoringBroker } from "./storing_broker.ts";
import { lasting } from "./versions.ts";

const FOREVER = 0xffff_ffff;

const everything = { qos: 2, noLocal: false, retainAsPublished: false, identifiers: undefined } as const;

/** A broker to which these sessions are given back; all that it stores succeeds. */
async function startRestored(
  ...sessions: (Partial<RestoredSession> & { clientId: string })[]
): Promise<StoringBroker> {
  const storing = await startStoring({
    restore: (context: HookContext) => {
      for (const session of sessions) {
        context.restoreSession({
          protocolLevel: 5,
          username: undefined,
          expiryInterval: FOREVER,
          disconnectedAt: Date.now(),
          will: undefined,
          subscriptions: [],
          outgoing: [],
          received: [],
          ...session,
        });
      }
    },
  });
  storing.storage.succeeds = true;
  return storing;
}

function message(payload: string, fields: Partial<PublishPacket> = {}, receivedAt = Date.now()): StoredMessage {
  const packet = { ...publishPacket({ topic: "t", payload, qos: 2 }), ...fields };
  return { packet, receivedAt };
}

function outgoing(id: number, message: StoredMessage, fields: Partial<StoredOutgoing> = {}): StoredOutgoing {
  const { qos, retain } = message.packet;
  const common = { id, message, qos, retain, identifiers: undefined, shareFilter: undefined };
  return { ...common, packetId: 0, released: false, ...fields };
}

Deno.test("a client finds its session again, with its subscriptions", async () => {
  await using storing = await startRestored({
    clientId: "a",
    subscriptions: [{ ...everything, topicFilter: "t/+", retainAsPublished: true, identifiers: [7] }],
  });
  const { broker } = storing;
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal(client.connack.sessionPresent, true);
  await broker.publish("t/1", "one", { qos: 1, retain: true });
  const { retain, properties } = await receive(client);
  assert.deepEqual([retain, properties?.subscriptionIdentifiers], [true, [7]]);
});

Deno.test("what waited is sent in its order, behind what was in flight: that has its packet identifiers and DUP", async () => {
  await using storing = await startRestored({
    clientId: "a",
    outgoing: [
      outgoing(3, message("one"), { packetId: 9 }),
      outgoing(4, message("two", { qos: 1 }), { packetId: 10 }),
      outgoing(7, message("three")),
      outgoing(8, message("four", { qos: 1 })),
    ],
  });
  const client = await storing.broker.connect({ ...lasting(5), clientId: "a" });
  const received: [string, number, boolean, number][] = [];
  for (let count = 0; count < 4; count++) {
    const packet = await client.expect("publish");
    received.push([textOf(packet), packet.qos, packet.dup, packet.packetId!]);
  }
  assert.deepEqual(received.slice(0, 2), [["one", 2, true, 9], ["two", 1, true, 10]]);
  assert.deepEqual(received.slice(2).map(([text, qos, dup]) => [text, qos, dup]), [["three", 2, false], [
    "four",
    1,
    false,
  ]]);
  assert.equal(new Set(received.map(([, , , packetId]) => packetId)).size, 4);
});

Deno.test("a packet identifier that comes free is not the next one to be used", async () => {
  await using storing = await startRestored({
    clientId: "a",
    outgoing: [outgoing(3, message("one", { qos: 1 }), { packetId: 1 })],
  });
  const client = await storing.broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal((await receive(client)).packetId, 1);
  await client.subscribe("t", { qos: 1 });
  await storing.broker.publish("t", "two", { qos: 1 });
  assert.equal((await receive(client)).packetId, 2);
});

Deno.test("a handshake goes on with PUBREL when the client had the message", async () => {
  await using storing = await startRestored({
    clientId: "a",
    outgoing: [outgoing(3, message("one"), { packetId: 9, released: true })],
  });
  const client = await storing.broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal((await client.expect("pubrel")).packetId, 9);
  storing.storage.rest();
  await client.send({ type: "pubcomp", packetId: 9, reasonCode: 0 });
  assert.equal((await storing.storage.expect("removeOutgoing")).args[1].id, 3);
});

Deno.test("a QoS 2 message that the client had sent before is answered and not delivered again", async () => {
  await using storing = await startRestored(
    { clientId: "a", received: [9] },
    { clientId: "b", subscriptions: [{ ...everything, topicFilter: "t" }] },
  );
  const publisher = await storing.broker.connect({ ...lasting(5), clientId: "a" });
  const subscriber = await storing.broker.connect({ ...lasting(5), clientId: "b" });
  await publisher.send(publishPacket({ topic: "t", qos: 2, packetId: 9, dup: true }));
  await publisher.expect("pubrec");
  await publisher.send({ type: "pubrel", packetId: 9, reasonCode: 0 });
  assert.equal((await publisher.expect("pubcomp")).reasonCode, 0);
  await subscriber.expectNothing();
});

Deno.test("new messages get higher numbers than those that were stored, and follow them", async () => {
  await using storing = await startRestored({
    clientId: "a",
    subscriptions: [{ ...everything, topicFilter: "t" }],
    outgoing: [outgoing(41, message("one"))],
  });
  const { broker, storage } = storing;
  await broker.publish("t", "two", { qos: 1 });
  assert.equal((await storage.expect("storeOutgoing")).args[1].id, 42);
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.deepEqual([textOf(await client.expect("publish")), textOf(await client.expect("publish"))], ["one", "two"]);
});

Deno.test("a message for several sessions is one message again", async () => {
  const shared = message("one");
  await using storing = await startRestored(
    { clientId: "a", outgoing: [outgoing(1, shared)] },
    { clientId: "b", outgoing: [outgoing(2, shared)] },
  );
  const { broker, storage } = storing;
  const calls = [];
  for (const clientId of ["a", "b"]) {
    await broker.connect({ ...lasting(5), clientId });
    await storage.expect("storeSession");
    calls.push(await storage.expect("storeOutgoing"));
  }
  assert.deepEqual(calls.map(({ args: [, { message }] }) => message === shared), [true, true]);
});

Deno.test("what is left of a message's lifetime counts from when it was received", async () => {
  const properties = { messageExpiryInterval: 60 };
  await using storing = await startRestored({
    clientId: "a",
    outgoing: [
      outgoing(1, message("too late", { properties }, Date.now() - 61_000)),
      outgoing(2, message("in time", { properties }, Date.now() - 20_000)),
    ],
  });
  const client = await storing.broker.connect({ ...lasting(5), clientId: "a" });
  const received = await receive(client);
  assert.equal(received.text, "in time");
  assert.ok(Math.abs(received.properties!.messageExpiryInterval! - 40) <= 1);
  await client.expectNothing();
});

Deno.test("the queue's limits hold for what was stored", async () => {
  await using storing = await startRestored({
    clientId: "a",
    subscriptions: [{ ...everything, topicFilter: "t" }],
    outgoing: [1, 2, 3].map((id) => outgoing(id, message(`${id}`))),
  });
  assert.equal(storing.broker.stats().queuedMessages, 3);
  assert.ok(storing.broker.stats().queuedBytes > 3 * 256);
});

Deno.test("a retained message is there again, unless its lifetime has passed", async () => {
  await using storing = await startStoring({
    restore: ({ restoreRetained }) => {
      const { packet } = message("kept", { topic: "r/1", properties: { messageExpiryInterval: 60 } });
      restoreRetained(packet, Date.now() - 20_000);
      restoreRetained({ ...packet, topic: "r/2" }, Date.now() - 61_000);
    },
  });
  const client = await storing.broker.connect();
  await client.subscribe("r/#");
  const { topic, retain, properties, ...received } = await receive(client);
  assert.deepEqual([topic, received.text, retain], ["r/1", "kept", true]);
  assert.ok(Math.abs(properties!.messageExpiryInterval! - 40) <= 1);
  await client.expectNothing();
});

Deno.test("what waited for a member of a group is passed on when that is gone for good", async () => {
  const shared = { ...everything, topicFilter: "$share/g/t" };
  const waiting = outgoing(1, message("one"), { shareFilter: "$share/g/t" });
  await using storing = await startRestored(
    { clientId: "a", subscriptions: [shared], outgoing: [waiting] },
    { clientId: "b", subscriptions: [shared] },
  );
  await storing.broker.connect({ clientId: "a" });
  const client = await storing.broker.connect({ ...lasting(5), clientId: "b" });
  assert.equal((await receive(client)).text, "one");
});

Deno.test("a session that is there already stays as it is", async () => {
  await using storing = await startRestored();
  const { broker, storage } = storing;
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { qos: 1 });
  storage.context.restoreSession({
    clientId: "a",
    protocolLevel: 5,
    username: undefined,
    expiryInterval: 1,
    disconnectedAt: 1,
    will: undefined,
    subscriptions: [],
    outgoing: [outgoing(1, message("old"))],
    received: [],
  });
  await broker.publish("t", "new", { qos: 1 });
  assert.equal((await receive(client)).text, "new");
  assert.equal(broker.stats().sessions, 1);
});

Deno.test("a session whose time has passed meanwhile ends at once, and its will is published", async () => {
  const ended: string[] = [];
  await using storing = await startStoring();
  const { broker } = storing;
  await broker.use({ id: "observer", onSessionEnded: (clientId) => void ended.push(clientId) });
  const watcher = await broker.connect();
  await watcher.subscribe("w");
  const restored: RestoredSession = {
    clientId: "a",
    protocolLevel: 5,
    username: undefined,
    expiryInterval: 60,
    disconnectedAt: Date.now() - 61_000,
    will: { topic: "w", payload: new TextEncoder().encode("gone"), qos: 0, retain: false },
    subscriptions: [],
    outgoing: [outgoing(1, message("one"))],
    received: [],
  };
  await broker.use({ id: "store", init: (context) => context.restoreSession(restored) });
  assert.equal((await receive(watcher)).text, "gone");
  assert.deepEqual(ended, ["a"]);
  assert.deepEqual(storing.storage.rest(), ["removeOutgoing a", "removeSession a"]);
});

Deno.test("a session expires when its time is over, counted from the end of its connection", async () => {
  const disconnectedAt = Date.now() - 59_000;
  await using storing = await startRestored({ clientId: "a", expiryInterval: 60, disconnectedAt });
  assert.equal(storing.broker.stats().sessions, 1);
  await storing.storage.expect("removeSession");
  assert.ok(Date.now() >= disconnectedAt + 60_000);
  assert.equal(storing.broker.stats().sessions, 0);
});

Deno.test("who was connected when the process died is disconnected since the start", async () => {
  const before = Date.now();
  await using storing = await startRestored({ clientId: "a", expiryInterval: 60, disconnectedAt: undefined });
  const [{ clientId, disconnectedAt }] = (await storing.storage.expect("storeSession")).args;
  assert.equal(clientId, "a");
  assert.ok(disconnectedAt! >= before);
  assert.equal(storing.broker.stats().sessions, 1);
});

Deno.test("the will of a client that was connected when the process died is published at the start", async () => {
  const will = { topic: "t", payload: new Uint8Array(1), qos: 1, retain: false } as const;
  await using storing = await startRestored(
    { clientId: "a", subscriptions: [{ ...everything, topicFilter: "t" }] },
    { clientId: "b", disconnectedAt: undefined, will },
  );
  const { storage } = storing;
  assert.deepEqual((await storage.expect("storeSession")).args[0].will, will);
  assert.equal((await storage.expect("storeOutgoing")).args[0], "a");
  assert.equal((await storage.expect("storeSession")).args[0].will, undefined);
});

Deno.test("the wills of clients that the broker disconnected itself wait half a minute for these to come back", async () => {
  const will = { topic: "t", payload: new Uint8Array(1), qos: 0, retain: false } as const;
  const disconnectedAt = Date.now() - 1000;
  await using storing = await startRestored({ clientId: "a", disconnectedAt, will }, {
    clientId: "b",
    disconnectedAt,
    will: { ...will, topic: "u" },
  });
  storing.storage.succeeds = true;
  const { broker } = storing;
  const watcher = await broker.connect();
  for (const topic of ["t", "u"]) await watcher.subscribe(topic);
  await broker.connect({ ...lasting(5), clientId: "a" });
  await watcher.expectNothing();
  using _passing = passingTimers(30);
  assert.equal((await watcher.expect("publish")).topic, "u");
  await watcher.expectNothing();
});

Deno.test("a will is published when the rest of its delay has passed, unless its client is back", async () => {
  const disconnectedAt = Date.now() - 59_000;
  const will = {
    topic: "t",
    payload: new Uint8Array(1),
    qos: 1,
    retain: false,
    properties: { willDelayInterval: 60 },
  } as const;
  await using storing = await startRestored(
    { clientId: "a", subscriptions: [{ ...everything, topicFilter: "t" }] },
    { clientId: "b", disconnectedAt, will },
    { clientId: "c", disconnectedAt, will },
  );
  const { storage, broker } = storing;
  const watcher = await broker.connect();
  await watcher.subscribe("t");
  await broker.connect({ ...lasting(5), clientId: "c" });
  await storage.expect("storeSession");
  assert.equal((await storage.expect("storeOutgoing")).args[0], "a");
  assert.ok(Date.now() >= disconnectedAt + 60_000);
  assert.equal((await storage.expect("storeSession")).args[0].clientId, "b");
  await receive(watcher);
  await watcher.expectNothing();
});

Deno.test("a client that is back before all has been restored keeps its session", async () => {
  await using storing = await startStoring();
  const { broker } = storing;
  const restored = Promise.withResolvers<void>();
  const added = broker.use({
    id: "slow",
    async init(context) {
      context.restoreSession({
        clientId: "a",
        protocolLevel: 4,
        username: undefined,
        expiryInterval: 60,
        disconnectedAt: Date.now() - 61_000,
        will: undefined,
        subscriptions: [],
        outgoing: [],
        received: [],
      });
      await restored.promise;
    },
  });
  await eventually(() => broker.stats().sessions === 1, "the session to be restored");
  storing.storage.succeeds = true;
  const client = await broker.connect({ ...lasting(4), clientId: "a" });
  restored.resolve();
  await added;
  await client.expectNothing();
  assert.equal(broker.stats().sessions, 1);
});
