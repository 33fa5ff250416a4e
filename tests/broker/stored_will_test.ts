import assert from "node:assert/strict";
import type { Hook } from "../../mod.ts";
import { connectPacket } from "../support/raw_client.ts";
import { eventually } from "./eventually.ts";
import { textOf } from "./receive.ts";
import { startStoring } from "./storing_broker.ts";
import { lasting } from "./versions.ts";

const will = { topic: "w", payload: "gone", qos: 2 } as const;

/** A hook that takes its time for an answer about a will. */
class SlowHook {
  readonly hook: Hook;
  readonly #asked = Promise.withResolvers<void>();
  readonly #answer = Promise.withResolvers<void>();

  constructor(event: "onWillPublish" | "canRead") {
    const ask = () => {
      this.#asked.resolve();
      return this.#answer.promise;
    };
    this.hook = event === "canRead"
      ? { id: "slow", canRead: () => ask().then(() => true) }
      : { id: "slow", onWillPublish: () => ask() };
  }

  get asked(): Promise<void> {
    return this.#asked.promise;
  }

  answer(): void {
    this.#answer.resolve();
  }

  refuse(): void {
    this.#answer.reject(new Error("not that one"));
  }
}

/** A storing broker with a watcher of wills, a client "a" that has one, and a hook that is slow about it. */
async function startSlow(event: "onWillPublish" | "canRead" = "onWillPublish", willDelayInterval = 0) {
  const storing = await startStoring();
  const { broker, storage } = storing;
  await storing.subscribed(["watcher"], "w");
  const client = await storing.connected("a", { will: { ...will, properties: { willDelayInterval } } });
  const slow = new SlowHook(event);
  await broker.use(slow.hook);
  return { storing, broker, storage, client, slow, [Symbol.asyncDispose]: () => storing[Symbol.asyncDispose]() };
}

for (const event of ["onWillPublish", "canRead"] as const) {
  Deno.test(`a will that ${event} takes its time for is stored with its session, in one go`, async () => {
    await using started = await startSlow(event);
    const { storage, client, slow } = started;
    await client.close();
    await slow.asked;
    assert.deepEqual(storage.rest(), []);
    slow.answer();
    const message = await storage.expect("storeOutgoing");
    const session = await storage.expect("storeSession");
    assert.equal(message.go, session.go);
    assert.deepEqual([session.args[0].clientId, session.args[0].will], ["a", undefined]);
  });

  Deno.test(`a will that ${event} takes its time for is stored with the end of its session, in one go`, async () => {
    await using started = await startSlow(event, 60);
    const { broker, storage, client, slow } = started;
    await client.close();
    (await storage.expect("storeSession")).succeed();
    const next = await broker.open();
    await next.send(connectPacket({ ...lasting(5), clientId: "a", cleanStart: true }));
    await slow.asked;
    assert.deepEqual(storage.rest(), []);
    slow.answer();
    const [message, removal, session] = await storage.expectAll("storeOutgoing", "removeSession", "storeSession");
    assert.equal(message.go, removal.go);
    session.succeed();
    removal.succeed();
    assert.equal((await next.expect("connack")).sessionPresent, false);
  });
}

Deno.test("the end of a session is stored with its will, in one go", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.subscribed(["watcher"], "w");
  const client = await storing.connected("a", { will: { ...will, properties: { willDelayInterval: 60 } } });
  await client.close();
  (await storage.expect("storeSession")).succeed();
  const next = broker.connect({ clientId: "a", cleanStart: true });
  const [message, removal] = await storage.expectAll("storeOutgoing", "removeSession");
  assert.equal(message.go, removal.go);
  removal.succeed();
  await next;
});

/** A CONNECT to the same session, with another will. */
const withWill = (payload: string) => connectPacket({ ...lasting(5), clientId: "a", will: { ...will, payload } });

Deno.test("a client that is back while a hook is asked about its will is let in when that is stored, with its next one", async () => {
  await using started = await startSlow();
  const { broker, storage, slow } = started;
  const next = await broker.open();
  await next.send(withWill("next"));
  await slow.asked;
  assert.deepEqual(storage.rest(), []);
  slow.answer();
  const message = await storage.expect("storeOutgoing");
  const sessions = [await storage.expect("storeSession"), await storage.expect("storeSession")];
  assert.equal(textOf(message.args[1].message.packet), "gone");
  assert.equal(message.go, sessions[0].go);
  for (const { args: [session], succeed } of sessions) {
    assert.equal(new TextDecoder().decode(session.will?.payload), "next");
    succeed();
  }
  assert.equal((await next.expect("connack")).sessionPresent, true);
});

Deno.test("of several connections that wait for a hook's answer about a will the last one is let in", async () => {
  await using started = await startSlow();
  const { broker, storage, slow } = started;
  const [second, third] = [await broker.open(), await broker.open()];
  await second.send(withWill("second"));
  await slow.asked;
  await third.send(withWill("third"));
  await second.expectClosed();
  slow.answer();
  await storage.expect("storeOutgoing");
  for (
    const { args: [session], succeed } of [await storage.expect("storeSession"), await storage.expect("storeSession")]
  ) {
    assert.equal(new TextDecoder().decode(session.will?.payload), "third");
    succeed();
  }
  await third.expect("connack");
  await third.expectNothing();
  assert.deepEqual(storage.rest(), []);
});

Deno.test("a session that expires while a hook is asked about its will ends with that, in one go", async () => {
  await using storing = await startStoring();
  const { broker, storage } = storing;
  await storing.subscribed(["watcher"], "w");
  const client = await storing.connected("a", { will, properties: { sessionExpiryInterval: 1 } });
  const slow = new SlowHook("onWillPublish");
  await broker.use(slow.hook);
  await client.close();
  await slow.asked;
  await eventually(() => broker.stats().sessions === 1, "the session to be over");
  assert.deepEqual(storage.rest(), []);
  slow.answer();
  const [message, removal] = await storage.expectAll("storeOutgoing", "removeSession");
  assert.equal(message.go, removal.go);
});

Deno.test("a will that a hook refuses late is forgotten all the same", async () => {
  await using started = await startSlow();
  const { storage, client, slow } = started;
  await client.close();
  await slow.asked;
  slow.refuse();
  const { args: [session] } = await storage.expect("storeSession");
  assert.deepEqual([session.clientId, session.will], ["a", undefined]);
});

Deno.test("a session whose will a hook refuses late is forgotten all the same", async () => {
  await using started = await startSlow("onWillPublish", 60);
  const { broker, storage, client, slow } = started;
  await client.close();
  (await storage.expect("storeSession")).succeed();
  const next = broker.connect({ clientId: "a", cleanStart: true });
  await slow.asked;
  slow.refuse();
  (await storage.expect("removeSession")).succeed();
  await next;
});

Deno.test("a session that is not stored ends at once, whatever a hook is asked about its will", async () => {
  await using storing = await startStoring();
  const { broker } = storing;
  const ended: string[] = [];
  await broker.use({ id: "observer", onSessionEnded: (clientId) => void ended.push(clientId) });
  const client = await broker.connect({ clientId: "a", will });
  const slow = new SlowHook("onWillPublish");
  await broker.use(slow.hook);
  await client.close();
  await slow.asked;
  assert.deepEqual(ended, ["a"]);
  await broker.connect({ clientId: "a" });
});

// Where several brokers are one, the others know of sessions that are not stored, too, and of their wills.

Deno.test("other brokers are told that a session is over when its will is published, and asked for it after that", async () => {
  await using storing = await startStoring();
  const { broker } = storing;
  const events: string[] = [];
  await broker.use({
    id: "others",
    claimSession: ({ clientId }) => {
      events.push(`claimed ${clientId}`);
      return Promise.resolve(undefined);
    },
    onSessionEnded: (clientId) => void events.push(`ended ${clientId}`),
  });
  const client = await broker.connect({ clientId: "a", will });
  await broker.subscribe("w", () => void events.push("will"));
  const slow = new SlowHook("onWillPublish");
  await broker.use(slow.hook);
  await client.close();
  await slow.asked;
  const next = broker.connect({ clientId: "a" });
  await (await broker.connect({ clientId: "b" })).expectNothing();
  assert.deepEqual(events, ["claimed a", "claimed b"]);
  slow.answer();
  await next;
  assert.deepEqual(events, ["claimed a", "claimed b", "will", "ended a", "claimed a"]);
});
