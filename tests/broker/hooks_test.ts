import assert from "node:assert/strict";
import {
  Broker,
  type ClientInfo,
  type Hook,
  type HookContext,
  type MaybePromise,
  type PublishPacket,
  type Qos,
  ReasonCode,
  ReasonCodeError,
  type SubscriptionRequest,
} from "../../mod.ts";
import { connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "./receive.ts";
import { RecordingLogger } from "./recording_logger.ts";
import { lasting, versions } from "./versions.ts";

/** What a hook may do: the same thing at once, or later. */
const ways: [way: string, <T>(act: () => T) => MaybePromise<T>][] = [
  ["at once", (act) => act()],
  ["later", async (act) => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return act();
  }],
];

function refuse(error: Error): never {
  throw error;
}

function notAuthorized(): never {
  throw new ReasonCodeError(ReasonCode.NotAuthorized, "not for you");
}

// Adding and removing

Deno.test("a hook is told its broker and where to log when it is added", async () => {
  const logger = new RecordingLogger();
  await using broker = new Broker({ logger });
  const contexts: HookContext[] = [];
  assert.equal(await broker.use({ id: "a", init: (context) => void contexts.push(context) }), broker);
  assert.equal(contexts.length, 1);
  assert.equal(contexts[0].broker, broker);
  contexts[0].logger.info("{count} rules", { count: 3 });
  assert.deepEqual(logger.entries, ["info: 3 rules"]);
});

Deno.test("a hook is asked from the moment on when its init has settled", async () => {
  await using broker = await startBroker();
  const ready = Promise.withResolvers<void>();
  const asked: string[] = [];
  const added = broker.use({
    id: "a",
    init: () => ready.promise,
    onConnect: ({ clientId }) => void asked.push(clientId),
  });
  await broker.connect({ clientId: "before" });
  ready.resolve();
  await added;
  await broker.connect({ clientId: "after" });
  assert.deepEqual(asked, ["after"]);
});

for (const [way, act] of ways) {
  Deno.test(`a hook whose init fails ${way} is not added, and its id stays free`, async () => {
    await using broker = await startBroker();
    let stopped = false;
    const broken: Hook = {
      id: "a",
      init: () => act(() => refuse(new Error("no database"))),
      stop: () => void (stopped = true),
      onConnect: notAuthorized,
    };
    await assert.rejects(broker.use(broken), { message: "no database" });
    await broker.connect();
    await broker.use({ id: "a" });
    assert.equal(await broker.remove(broken.id), true);
    assert.equal(stopped, false);
  });
}

Deno.test("a second hook with the same id is refused by its name, and not even begun", async () => {
  await using broker = new Broker();
  await broker.use({ id: "acl" });
  let begun = false;
  await assert.rejects(broker.use({ id: "acl", init: () => void (begun = true) }), {
    name: "TypeError",
    message: 'there is a hook with the id "acl" already',
  });
  assert.equal(begun, false);
});

Deno.test("a second hook with the same id is not begun either while the first one's init takes its time", async () => {
  await using broker = new Broker();
  const ready = Promise.withResolvers<void>();
  const added = broker.use({ id: "acl", init: () => ready.promise });
  let begun = false;
  await assert.rejects(broker.use({ id: "acl", init: () => void (begun = true) }), {
    name: "TypeError",
    message: 'there is a hook with the id "acl" already',
  });
  assert.equal(begun, false);
  ready.resolve();
  await added;
  assert.equal(await broker.remove("acl"), true);
});

Deno.test("a hook whose init is under way when the broker closes is stopped, and not added", async () => {
  const broker = new Broker();
  const ready = Promise.withResolvers<void>();
  const events: string[] = [];
  await broker.use({ id: "first", stop: () => void events.push("stop first") });
  const added = broker.use({ id: "slow", init: () => ready.promise, stop: () => void events.push("stop slow") });
  const closed = broker.close().then(() => void events.push("closed"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.deepEqual(events, []);
  ready.resolve();
  await assert.rejects(added, { message: "the broker is closed" });
  await closed;
  assert.deepEqual(events, ["stop slow", "stop first", "closed"]);
});

Deno.test("a hook whose init fails while the broker closes is not stopped, and the broker is closed", async () => {
  const broker = new Broker();
  const ready = Promise.withResolvers<void>();
  let stopped = false;
  const added = broker.use({ id: "slow", init: () => ready.promise, stop: () => void (stopped = true) });
  const closed = broker.close();
  ready.reject(new Error("no database"));
  await assert.rejects(added, { message: "no database" });
  await closed;
  assert.equal(stopped, false);
});

Deno.test("a hook that fails to stop after its init has come too late is logged", async () => {
  const logger = new RecordingLogger();
  const broker = new Broker({ logger });
  const ready = Promise.withResolvers<void>();
  const added = broker.use({ id: "slow", init: () => ready.promise, stop: () => refuse(new Error("disk full")) });
  const closed = broker.close();
  ready.resolve();
  await assert.rejects(added, { message: "the broker is closed" });
  await closed;
  assert.deepEqual(logger.entries, ["error: hook slow failed to stop: Error: disk full"]);
});

Deno.test("a closed broker takes no hooks", async () => {
  const broker = new Broker();
  await broker.close();
  let begun = false;
  await assert.rejects(broker.use({ id: "late", init: () => void (begun = true) }), {
    message: "the broker is closed",
  });
  assert.equal(begun, false);
});

Deno.test("the broker is as well as its hooks are", async () => {
  await using broker = new Broker();
  assert.deepEqual(broker.health(), { ok: true, hooks: {} });
  let full = false;
  await broker.use({ id: "acl" });
  await broker.use({ id: "sqlite", health: () => full ? { ok: false, reason: "the disk is full" } : { ok: true } });
  await broker.use({ id: "redis", health: () => ({ ok: true }) });
  assert.deepEqual(broker.health(), { ok: true, hooks: { sqlite: { ok: true }, redis: { ok: true } } });
  full = true;
  assert.deepEqual(broker.health(), {
    ok: false,
    hooks: { sqlite: { ok: false, reason: "the disk is full" }, redis: { ok: true } },
  });
  await broker.remove("sqlite");
  assert.deepEqual(broker.health(), { ok: true, hooks: { redis: { ok: true } } });
});

Deno.test("a hook that fails to say how it is is not well", async () => {
  await using broker = new Broker();
  await broker.use({ id: "broken", health: () => refuse(new Error("no idea")) });
  assert.deepEqual(broker.health(), { ok: false, hooks: { broken: { ok: false, reason: "Error: no idea" } } });
});

Deno.test("a hook that is removed is not asked any more, and stopped once", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  let stopped = 0;
  const hook: Hook = { id: "closed", onPublish: notAuthorized, stop: () => void (stopped += 1) };
  for (const handle of [hook, hook.id]) {
    await broker.use(hook);
    assert.equal(await client.publish({ topic: "a", qos: 1 }), 0x87);
    assert.equal(await broker.remove(handle), true);
    assert.equal(await client.publish({ topic: "a", qos: 1 }), 0x10);
    assert.equal(await broker.remove(handle), false);
  }
  assert.equal(stopped, 2);
});

Deno.test("removing waits for the hook to stop, and passes on its error", async () => {
  await using broker = new Broker();
  const stopping = Promise.withResolvers<void>();
  await broker.use({ id: "slow", stop: () => stopping.promise });
  let removed = false;
  const removing = broker.remove("slow").finally(() => removed = true);
  await Promise.resolve();
  assert.equal(removed, false);
  stopping.reject(new Error("disk full"));
  await assert.rejects(removing, { message: "disk full" });
  assert.equal(await broker.remove("slow"), false);
});

Deno.test("at the end hooks are stopped one after the other, the last one first, whatever fails", async () => {
  const logger = new RecordingLogger();
  const broker = new Broker({ logger });
  const events: string[] = [];
  const hook = (id: string, error?: Error): Hook => ({
    id,
    async stop() {
      events.push(`stop ${id}`);
      await new Promise((resolve) => setTimeout(resolve, 1));
      events.push(`${id} stopped`);
      if (error !== undefined) throw error;
    },
  });
  for (const one of [hook("a"), hook("b", new Error("disk full")), hook("c")]) await broker.use(one);
  await Promise.all([broker.close(), broker.close()]);
  assert.deepEqual(events, ["stop c", "c stopped", "stop b", "b stopped", "stop a", "a stopped"]);
  assert.deepEqual(logger.entries, ["error: hook b failed to stop: Error: disk full"]);
});

for (
  const [event, act] of [
    ["onPublish", (client) => client.publish({ topic: "a", qos: 1 })],
    ["onPublishReceived", (client) => client.publish({ topic: "a", qos: 1 })],
    ["onSubscribe", async (client) => (await client.subscribe("a")).reasonCodes[0]],
  ] as [keyof Hook, (client: RawClient) => Promise<number>][]
) {
  Deno.test(`removing a hook while its ${event} is waited for takes no other hook's turn away`, async () => {
    await using broker = await startBroker();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    await broker.use({
      id: "slow",
      async [event](_client: ClientInfo, subject: unknown) {
        asked.resolve();
        await answer.promise;
        return subject;
      },
    });
    await broker.use({ id: "guard", [event]: notAuthorized });
    const client = await broker.connect();
    const outcome = act(client);
    await asked.promise;
    await broker.remove("slow");
    answer.resolve();
    assert.equal(await outcome, 0x87);
  });
}

Deno.test("removing a hook while its canRead is waited for takes no other hook's turn away", async () => {
  await using broker = await startBroker();
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<boolean>();
  await broker.use({
    id: "slow",
    canRead() {
      asked.resolve();
      return answer.promise;
    },
  });
  await broker.use({ id: "guard", canRead: () => false });
  const client = await broker.connect();
  await client.subscribe("a");
  const published = broker.publish("a", "secret");
  await asked.promise;
  await broker.remove("slow");
  answer.resolve(true);
  await published;
  await client.expectNothing();
});

// What each event is told

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: onConnect is told who the client is, and its whole CONNECT`, async () => {
    await using broker = await startBroker();
    const calls: [ClientInfo, unknown][] = [];
    await broker.use({ id: "watch", onConnect: (client, packet) => void calls.push([client, packet]) });
    const before = Date.now();
    const packet = connectPacket({
      level,
      clientId: "a",
      cleanStart: false,
      keepAlive: 30,
      username: "ann",
      password: "secret",
      will: { topic: "gone", payload: "x", qos: 1 },
      ...(level === 5 ? { properties: { sessionExpiryInterval: 10, userProperties: [["a", "b"]] } } : {}),
    });
    const raw = await broker.open();
    await raw.send(packet);
    await raw.expect("connack");
    const [[{ connectedAt, ...client }, connect]] = calls;
    assert.deepEqual(client, {
      clientId: "a",
      protocolLevel: level,
      username: "ann",
      remoteAddress: "127.0.0.1",
      certificateName: undefined,
      cleanStart: false,
      keepAlive: 30,
    });
    assert(connectedAt >= before && connectedAt <= Date.now());
    assert.deepEqual(connect, packet);
  });

  Deno.test(`MQTT ${version}: events come in the order of what happens to a client`, async () => {
    await using broker = await startBroker();
    const events: string[] = [];
    const infos = new Set<ClientInfo>();
    const seen = (event: string) => (client: ClientInfo) => {
      events.push(event);
      infos.add(client);
    };
    await broker.use({
      id: "watch",
      onConnect: seen("onConnect"),
      onSessionCreated: seen("onSessionCreated"),
      onSessionResumed: seen("onSessionResumed"),
      onConnected: seen("onConnected"),
      onSubscribe(client, subscriptions) {
        seen(`onSubscribe ${subscriptions.map(({ topicFilter }) => topicFilter)}`)(client);
        return subscriptions;
      },
      onPublish: (client, { topic }) => seen(`onPublish ${topic}`)(client),
      onPublishReceived: (client, { topic }) => seen(`onPublishReceived ${topic}`)(client),
      canRead(client, topic) {
        seen(`canRead ${topic}`)(client);
        return true;
      },
      onPublishDeliver: (client, { topic }) => seen(`onPublishDeliver ${topic}`)(client),
      onUnsubscribe: (client, filters) => seen(`onUnsubscribe ${filters}`)(client),
      onDisconnect: seen("onDisconnect"),
      onSessionEnded: (clientId) => void events.push(`onSessionEnded ${clientId}`),
    });
    const client = await broker.connect({ ...lasting(level), clientId: "a" });
    await client.subscribe(["a/#", "b"]);
    await client.publish({ topic: "a/c" });
    await receive(client);
    await client.unsubscribe(["a/#", "b"]);
    await client.disconnect();
    assert.deepEqual(events.splice(0), [
      ...["onConnect", "onSessionCreated", "onConnected", "onSubscribe a/#,b", "onPublish a/c"],
      ...["onPublishReceived a/c", "canRead a/c", "onPublishDeliver a/c", "onUnsubscribe a/#,b", "onDisconnect"],
    ]);
    assert.equal(infos.size, 1);
    const again = await broker.connect({ ...lasting(level), clientId: "a" });
    await again.disconnect();
    assert.deepEqual(events.splice(0), ["onConnect", "onSessionResumed", "onConnected", "onDisconnect"]);
    assert.equal(infos.size, 2);
    await broker.connect({ level, clientId: "a" });
    assert.deepEqual(events, ["onConnect", "onSessionEnded a", "onSessionCreated", "onConnected"]);
  });

  Deno.test(`MQTT ${version}: onDisconnect is told why a connection is over, unless the client said goodbye`, async () => {
    await using broker = await startBroker();
    const reasons: string[] = [];
    await broker.use({
      id: "watch",
      onDisconnect: ({ clientId }, error) => void reasons.push(`${clientId}: ${error?.message}`),
    });
    await (await broker.connect({ level, clientId: "polite" })).disconnect();
    await (await broker.connect({ level, clientId: "lost" })).close();
    await eventually(() => reasons.length === 2, "the end of the second connection");
    await broker.connect({ level, clientId: "banned" });
    broker.disconnect("banned", ReasonCode.AdministrativeAction, "go away");
    const bad = await broker.connect({ level, clientId: "bad" });
    await bad.sendBytes(new Uint8Array([0xf1, 0]));
    await eventually(() => reasons.length === 4, "the end of the last connection");
    assert.deepEqual(reasons.slice(0, 3), [
      "polite: undefined",
      "lost: the client closed the connection",
      "banned: go away",
    ]);
    assert.match(reasons[3], /^bad: (?!undefined)/);
  });
}

Deno.test("a client is connected when onConnected is called, and its next packet waits for it", async () => {
  await using broker = await startBroker();
  const connected = Promise.withResolvers<void>();
  const events: string[] = [];
  await broker.use({
    id: "slow",
    async onConnected() {
      await connected.promise;
      events.push("onConnected is done");
    },
    onPublish: () => void events.push("onPublish"),
  });
  const client = await broker.connect();
  const published = client.publish({ topic: "a", qos: 1 });
  connected.resolve();
  await published;
  assert.deepEqual(events, ["onConnected is done", "onPublish"]);
});

Deno.test("onPublish and onPublishReceived are told the whole message, the topic by its name", async () => {
  await using broker = await startBroker();
  const packets: PublishPacket[] = [];
  const keep = (_client: ClientInfo, packet: PublishPacket) => {
    packets.push({ ...packet, payload: packet.payload.slice() });
  };
  await broker.use({ id: "watch", onPublish: keep, onPublishReceived: keep });
  const client = await broker.connect();
  const properties = { contentType: "x", userProperties: [["a", "b"]] as [string, string][] };
  await client.publish({
    topic: "t",
    payload: "1",
    qos: 2,
    retain: true,
    properties: { ...properties, topicAlias: 1 },
  });
  await client.publish({ topic: "", payload: "2", qos: 1, properties: { ...properties, topicAlias: 1 } });
  const first = publishPacket({ topic: "t", payload: "1", qos: 2, retain: true, properties });
  const second = publishPacket({ topic: "t", payload: "2", qos: 1, properties });
  assert.deepEqual(packets, [first, first, second, second]);
});

Deno.test("onMessageDropped is told the client, the message and why", async () => {
  await using broker = await startBroker({ limits: { queueMessages: 1 } });
  const dropped: string[] = [];
  await broker.use({
    id: "watch",
    onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId} ${textOf(packet)} ${reason}`),
  });
  const away = await broker.connect({ ...lasting(5), clientId: "away" });
  await away.subscribe("t", { qos: 1 });
  await away.disconnect();
  const small = await broker.connect({ clientId: "small", properties: { maximumPacketSize: 30 } });
  await small.subscribe("t", { qos: 1 });
  for (const payload of ["1", "2", "3".repeat(30)]) await broker.publish("t", payload, { qos: 1 });
  assert.deepEqual(await receivedSoFar(small), ["1", "2"]);
  assert.deepEqual(dropped.sort(), [
    "away 1 queue-full",
    "away 2 queue-full",
    `small ${"3".repeat(30)} packet-too-large`,
  ]);
});

// The order of hooks

for (const [way, act] of ways) {
  Deno.test(`hooks that answer ${way} are asked one after the other, as they were added`, async () => {
    await using broker = await startBroker();
    const events: string[] = [];
    const done = Promise.withResolvers<void>();
    const hook = (id: string): Hook => {
      const seen = (event: string) => act(() => void events.push(`${event} ${id}`));
      return {
        id,
        onConnect: () => seen("onConnect"),
        onSessionCreated: () => seen("onSessionCreated"),
        onConnected: () => seen("onConnected"),
        onSubscribe(_client, subscriptions) {
          return act(() => {
            events.push(`onSubscribe ${id}`);
            return subscriptions;
          });
        },
        canWrite() {
          return act(() => {
            events.push(`canWrite ${id}`);
            return true;
          });
        },
        onPublish: () => seen("onPublish"),
        onPublishReceived: () => seen("onPublishReceived"),
        canRead() {
          return act(() => {
            events.push(`canRead ${id}`);
            return true;
          });
        },
        onPublishDeliver: () => seen("onPublishDeliver"),
        storeRetained: () => seen("storeRetained"),
        onUnsubscribe: () => seen("onUnsubscribe"),
        onSessionEnded() {
          if (id === "c") done.resolve();
        },
      };
    };
    for (const id of ["a", "b", "c"]) await broker.use(hook(id));
    const client = await broker.connect();
    await client.subscribe("t");
    await client.publish({ topic: "t", payload: "x" });
    await receive(client);
    await client.publish({ topic: "kept", payload: "x", retain: true, qos: 1 });
    await client.unsubscribe("t");
    await client.disconnect();
    await done.promise;
    const each = (...events: string[]) => events.flatMap((event) => ["a", "b", "c"].map((id) => `${event} ${id}`));
    // Each hook is asked all that it decides about a message before the next one is.
    const received = [
      ...["a", "b", "c"].flatMap((id) => [`canWrite ${id}`, `onPublish ${id}`]),
      ...each("onPublishReceived"),
    ];
    assert.deepEqual(events, [
      ...each("onConnect", "onSessionCreated", "onConnected", "onSubscribe"),
      ...received,
      ...each("canRead", "onPublishDeliver"),
      ...received,
      ...each("storeRetained", "onUnsubscribe"),
    ]);
  });

  Deno.test(`after a hook that refuses ${way} no other one is asked`, async () => {
    await using broker = await startBroker();
    const asked: string[] = [];
    const ask = (event: string) => () => void asked.push(event);
    await broker.use({
      id: "guard",
      canWrite: (_client, topic) => act(() => topic !== "c"),
      onPublish: (_client, { topic }) => act(() => topic === "a" ? notAuthorized() : undefined),
      onPublishReceived: (_client, { topic }) => act(() => topic === "b" ? notAuthorized() : undefined),
      onSubscribe: () => act(notAuthorized),
    });
    await broker.use({
      id: "watch",
      canWrite(_client, topic) {
        asked.push(`canWrite ${topic}`);
        return true;
      },
      onPublish: ask("onPublish"),
      onPublishReceived: ask("onPublishReceived"),
      onSubscribe(_client, subscriptions) {
        asked.push("onSubscribe");
        return subscriptions;
      },
      storeRetained: ask("storeRetained"),
    });
    const client = await broker.connect();
    for (const topic of ["a", "b", "c"]) {
      assert.equal(await client.publish({ topic, qos: 1, retain: true }), 0x87);
    }
    assert.deepEqual((await client.subscribe("a")).reasonCodes, [0x87]);
    assert.deepEqual(asked, ["canWrite b", "onPublish"]);
  });

  // Changing messages

  Deno.test(`onPublishReceived that answers ${way} changes all of a message, each hook what the one before left`, async () => {
    await using broker = await startBroker();
    const properties = { contentType: "new", userProperties: [["via", "hook"]] as [string, string][] };
    await broker.use({
      id: "first",
      onPublishReceived: (_client, packet) =>
        act(() => ({ ...packet, topic: `site/${packet.topic}`, qos: 2 as const, retain: true, properties })),
    });
    await broker.use({ id: "second", onPublishReceived: () => act(() => {}) });
    await broker.use({
      id: "third",
      onPublishReceived: (_client, packet) =>
        act(() => ({ ...packet, payload: new TextEncoder().encode(`${packet.topic} ${textOf(packet)}`) })),
    });
    const subscriber = await broker.connect();
    await subscriber.subscribe("#", { qos: 2, retainAsPublished: true });
    const publisher = await broker.connect();
    for (const qos of [0, 1, 2] as Qos[]) {
      await publisher.publish({ topic: "t", payload: "x", qos, properties: { contentType: "old" } });
      const packet = await receive(subscriber);
      assert.deepEqual([packet.topic, packet.text, packet.qos, packet.retain], ["site/t", "site/t x", 2, true]);
      assert.deepEqual(packet.properties, properties);
    }
    assert.equal(broker.stats().retainedMessages, 1);
    const late = await broker.connect();
    await late.subscribe("site/t");
    assert.equal((await receive(late)).text, "site/t x");
  });

  Deno.test(`onPublishDeliver that answers ${way} changes a message for one receiver, live, retained and shared`, async () => {
    await using broker = await startBroker();
    await broker.use({
      id: "greets",
      onPublishDeliver({ clientId }, packet) {
        return act(() => {
          if (clientId === "plain") return;
          return { ...packet, payload: new TextEncoder().encode(`${textOf(packet)} for ${clientId}`), qos: 0 as const };
        });
      },
    });
    const plain = await broker.connect({ clientId: "plain" });
    const changed = await broker.connect({ clientId: "changed" });
    const old = await broker.connect({ clientId: "old", level: 4 });
    for (const client of [plain, changed, old]) await client.subscribe("t", { qos: 1 });
    await broker.publish("t", "live", { qos: 1, retain: true });
    const seen = [];
    for (const client of [plain, changed, old]) {
      const { text, qos } = await receive(client);
      seen.push(`${text} at ${qos}`);
    }
    assert.deepEqual(seen, ["live at 1", "live for changed at 0", "live for old at 0"]);
    await changed.subscribe("t", { qos: 1 });
    const retained = await receive(changed);
    assert.deepEqual([retained.text, retained.retain], ["live for changed", true]);
    await changed.subscribe("$share/g/u");
    await broker.publish("u", "shared");
    assert.equal((await receive(changed)).text, "shared for changed");
  });

  // Filtering

  Deno.test(`canRead that answers ${way} keeps live, retained, queued and shared messages from who may not have them`, async () => {
    await using broker = await startBroker();
    await broker.use({ id: "acl", canRead: ({ clientId }, topic) => act(() => topic !== `not-for/${clientId}`) });
    const topics = ["not-for/a", "not-for/b", "both"];
    for (const topic of topics) await broker.publish(topic, topic, { retain: true });
    const [a, b] = [await broker.connect({ clientId: "a" }), await broker.connect({ clientId: "b" })];
    await a.subscribe("#");
    await b.subscribe("#");
    assert.deepEqual((await receiveTexts(a, 2)).sort(), ["both", "not-for/b"]);
    assert.deepEqual((await receiveTexts(b, 2)).sort(), ["both", "not-for/a"]);
    for (const topic of topics) await broker.publish(topic, topic);
    assert.deepEqual(await receiveTexts(a, 2), ["not-for/b", "both"]);
    assert.deepEqual(await receiveTexts(b, 2), ["not-for/a", "both"]);
    const away = await broker.connect({ ...lasting(5), clientId: "away" });
    await away.subscribe("#", { qos: 1 });
    await receiveTexts(away, 3);
    await away.disconnect();
    for (const topic of ["not-for/away", "queued"]) await broker.publish(topic, topic, { qos: 1 });
    assert.deepEqual(await receiveTexts(await broker.connect({ ...lasting(5), clientId: "away" }), 1), ["queued"]);
    const member = await broker.connect({ clientId: "member" });
    await member.subscribe("$share/g/#");
    for (const topic of ["not-for/member", "shared"]) await broker.publish(topic, topic);
    assert.deepEqual(await receiveTexts(member, 1), ["shared"]);
    for (const client of [a, b]) await receivedSoFar(client);
    await member.expectNothing();
  });

  Deno.test(`a message for a group goes to a member that canRead allows ${way}, whoever's turn it is`, async () => {
    await using broker = await startBroker();
    await broker.use({ id: "acl", canRead: ({ clientId }) => act(() => clientId === "may") });
    const [mayNot, may] = [await broker.connect({ clientId: "may not" }), await broker.connect({ clientId: "may" })];
    for (const client of [mayNot, may]) await client.subscribe("$share/g/t", { qos: 1 });
    for (const payload of ["1", "2", "3"]) await broker.publish("t", payload, { qos: 1 });
    assert.deepEqual(await receiveTexts(may, 3), ["1", "2", "3"]);
    await mayNot.expectNothing();
  });

  Deno.test(`all canRead hooks must allow a message ${way}`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect();
    await client.subscribe("#");
    await broker.use({ id: "a", canRead: (_client, topic) => act(() => topic.includes("a")) });
    await broker.use({ id: "b", canRead: (_client, topic) => act(() => topic.includes("b")) });
    for (const topic of ["a", "b", "ab", "c"]) await broker.publish(topic, topic);
    assert.deepEqual(await receivedSoFar(client), ["ab"]);
  });

  // Subscribing

  Deno.test(`onSubscribe that answers ${way} narrows what is granted, and lowers its QoS`, async () => {
    await using broker = await startBroker();
    const seen: string[][] = [];
    await broker.use({
      id: "narrows",
      onSubscribe: (_client, subscriptions) =>
        act(() => subscriptions.filter(({ topicFilter }) => !topicFilter.startsWith("secret"))),
    });
    await broker.use({
      id: "lowers",
      onSubscribe(_client, subscriptions) {
        seen.push(subscriptions.map(({ topicFilter }) => topicFilter));
        return act(() => [
          ...subscriptions.map((one) => ({ ...one, qos: 0 as const, retainHandling: 2 as const })).reverse(),
          { topicFilter: "not/asked/for", qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 },
        ]);
      },
    });
    await broker.publish("a", "kept", { retain: true });
    const client = await broker.connect();
    const { reasonCodes, properties } = await client.subscribe(["a", "secret/b", "c"], { qos: 2 });
    assert.deepEqual([reasonCodes, properties], [[0, 0x87, 0], undefined]);
    assert.deepEqual(seen, [["a", "c"]]);
    for (const topic of ["a", "secret/b", "not/asked/for"]) await broker.publish(topic, topic, { qos: 2 });
    assert.deepEqual(await receivedSoFar(client), ["a"]);
    assert.equal(broker.stats().subscriptions, 2);
  });
}

Deno.test("onSubscribe is told every option that the client asks for", async () => {
  await using broker = await startBroker();
  const seen: SubscriptionRequest[] = [];
  await broker.use({
    id: "watch",
    onSubscribe(_client, subscriptions) {
      seen.push(...subscriptions);
      return subscriptions;
    },
  });
  const options = { qos: 2, noLocal: true, retainAsPublished: true, retainHandling: 1 } as const;
  const client = await broker.connect();
  await client.subscribe("a/+", options);
  assert.deepEqual(seen, [{ topicFilter: "a/+", ...options }]);
});

// Refusing

for (const [level, version] of versions) {
  for (const [way, act] of ways) {
    Deno.test(`MQTT ${version}: a subscription that is refused ${way} fails with the hook's reason`, async () => {
      const logger = new RecordingLogger();
      await using broker = await startBroker({ logger });
      const errors = [new ReasonCodeError(ReasonCode.QuotaExceeded, "enough"), new Error("no database")];
      await broker.use({ id: "guard", onSubscribe: () => act(() => refuse(errors.shift()!)) });
      const client = await broker.connect({ level });
      for (const reasonCode of [ReasonCode.QuotaExceeded, ReasonCode.UnspecifiedError]) {
        const known = reasonCode === ReasonCode.QuotaExceeded;
        const suback = await client.subscribe(["a", "b"]);
        if (level === 5) {
          assert.deepEqual(suback.reasonCodes, [reasonCode, reasonCode]);
          const reason = known ? "enough" : "the subscription could not be handled";
          assert.deepEqual(suback.properties, { reasonString: reason });
        } else {
          assert.deepEqual(suback.reasonCodes, [0x80, 0x80]);
        }
      }
      assert.equal(broker.stats().subscriptions, 0);
      assert.equal(logger.entries.length, 1);
      assert.match(logger.entries[0], /^error: .*no database$/);
    });

    Deno.test(`MQTT ${version}: a message that is refused ${way} is acknowledged as its version can, and goes nowhere`, async () => {
      const logger = new RecordingLogger();
      await using broker = await startBroker({ logger });
      const subscriber = await broker.connect();
      await subscriber.subscribe("#");
      const client = await broker.connect({ level });
      for (const event of ["canWrite", "onPublish", "onPublishReceived"] as const) {
        const errors: Error[] = [];
        await broker.use({ id: event, [event]: () => act(() => refuse(errors.shift()!)) });
        for (const qos of [0, 1, 2] as Qos[]) {
          errors.push(new ReasonCodeError(ReasonCode.QuotaExceeded, "enough"), new Error("no database"));
          for (const reasonCode of [ReasonCode.QuotaExceeded, ReasonCode.UnspecifiedError]) {
            const answer = await client.publish({ topic: "a", payload: "x", qos, retain: true });
            assert.equal(answer, level === 5 && qos > 0 ? reasonCode : 0);
          }
          await client.expectNothing();
        }
        await broker.remove(event);
      }
      await subscriber.expectNothing();
      assert.equal(broker.stats().retainedMessages, 0);
      assert.equal(logger.entries.length, 9);
      for (const entry of logger.entries) assert.match(entry, /^error: .*no database$/);
    });

    Deno.test(`MQTT ${version}: where refused messages disconnect, they do so if their version has no other word`, async () => {
      await using broker = await startBroker({ refusedPublish: "disconnect" });
      await broker.use({ id: "guard", onPublish: () => act(notAuthorized) });
      for (const qos of [0, 1, 2] as Qos[]) {
        const client = await broker.connect({ level });
        if (level === 5) {
          assert.equal(await client.publish({ topic: "a", qos }), qos === 0 ? 0 : 0x87);
          await client.expectNothing();
        } else {
          await client.send(publishPacket({ topic: "a", qos, packetId: qos === 0 ? 0 : 1 }));
          await client.expectClosed();
        }
      }
    });

    Deno.test(`MQTT ${version}: a reason given ${way} that no acknowledgement can carry ends the connection`, async () => {
      await using broker = await startBroker();
      const moved = new ReasonCodeError(ReasonCode.UseAnotherServer, "full", { serverReference: "b.example:1883" });
      await broker.use({
        id: "guard",
        onPublish: () => act(() => refuse(moved)),
        onSubscribe: () => act(() => refuse(moved)),
      });
      const packets = [
        publishPacket({ topic: "a" }),
        publishPacket({ topic: "a", qos: 1, packetId: 1 }),
        publishPacket({ topic: "a", qos: 2, packetId: 1 }),
        {
          type: "subscribe" as const,
          packetId: 1,
          subscriptions: [
            { topicFilter: "a", qos: 0 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const },
          ],
        },
      ];
      for (const packet of packets) {
        const client = await broker.connect({ level });
        await client.send(packet);
        if (level === 5) {
          const properties = { reasonString: "full", serverReference: "b.example:1883" };
          assert.deepEqual(await client.expect("disconnect"), { type: "disconnect", reasonCode: 0x9c, properties });
        }
        await client.expectClosed();
      }
    });
  }

  Deno.test(`MQTT ${version}: nothing is published below $SYS, and no hook is asked`, async () => {
    await using broker = await startBroker();
    const asked: string[] = [];
    await broker.use({ id: "watch", onPublish: (_client, { topic }) => void asked.push(topic) });
    const client = await broker.connect({ level });
    await client.subscribe(["$SYS/#", "$SYSTEM/#"]);
    const refused = level === 5 ? ReasonCode.NotAuthorized : 0;
    for (const topic of ["$SYS/broker", "$SYS", "$SYS/"]) {
      for (const qos of [1, 2] as Qos[]) assert.equal(await client.publish({ topic, qos }), refused);
      await client.publish({ topic, qos: 0 });
    }
    await client.publish({ topic: "$SYSTEM/x", payload: "x" });
    assert.equal((await receive(client)).topic, "$SYSTEM/x");
    assert.deepEqual(asked, ["$SYSTEM/x"]);
  });
}

Deno.test("a reason is sent as the words of the error, and only with the error that a hook meant for the client", async () => {
  await using broker = await startBroker();
  const errors = [
    new ReasonCodeError(ReasonCode.NotAuthorized, "only below site/1"),
    new Error("SELECT * FROM users failed"),
  ];
  await broker.use({ id: "guard", onPublish: () => refuse(errors.shift()!) });
  const client = await broker.connect();
  for (const reasonString of ["only below site/1", "the message could not be handled"]) {
    await client.send(publishPacket({ topic: "a", qos: 1, packetId: 1 }));
    assert.deepEqual((await client.expect("puback")).properties, { reasonString });
  }
});

// Errors that harm nobody

for (const [way, act] of ways) {
  Deno.test(`errors of events that only observe, ${way}, are logged and do not reach the client`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    const fail = (event: string) => () => act(() => refuse(new Error(`${event} is broken`)));
    const observing = ["onConnected", "onDisconnect", "onUnsubscribe", "onSessionCreated", "onSessionResumed"]
      .concat("onSessionEnded", "onMessageDropped");
    await broker.use({ id: "broken", ...Object.fromEntries(observing.map((event) => [event, fail(event)])) });
    const options = { ...lasting(5), clientId: "a", properties: { sessionExpiryInterval: 100, maximumPacketSize: 50 } };
    const client = await broker.connect(options);
    await client.subscribe("a");
    await broker.publish("a", "x".repeat(100));
    assert.deepEqual((await client.unsubscribe("a")).reasonCodes, [0]);
    await client.disconnect();
    const again = await broker.connect(options);
    await again.expectNothing();
    await again.disconnect({ properties: { sessionExpiryInterval: 0 } });
    await eventually(() => logger.entries.length === 9, "nine errors in the log");
    const expected = observing.concat("onConnected", "onDisconnect").sort();
    assert.deepEqual(
      logger.entries.sort(),
      expected.map((event) => `error: ${event} of hook broken failed: Error: ${event} is broken`),
    );
  });

  for (const event of ["canRead", "onPublishDeliver"] as const) {
    Deno.test(`a message whose ${event} fails ${way} is kept back, that is logged, and others arrive`, async () => {
      const logger = new RecordingLogger();
      await using broker = await startBroker({ logger });
      await broker.publish("a", "retained", { retain: true });
      await broker.use({ id: "broken", [event]: () => act(() => refuse(new Error("no database"))) });
      const client = await broker.connect({ clientId: "c" });
      assert.deepEqual((await client.subscribe("a")).reasonCodes, [0]);
      const publisher = await broker.connect();
      assert.equal(await publisher.publish({ topic: "a", payload: "live", qos: 1 }), 0);
      await client.expectNothing();
      await broker.remove("broken");
      await publisher.publish({ topic: "a", payload: "later" });
      assert.equal((await receive(client)).text, "later");
      const entry = "error: a hook failed on a message on a for c: Error: no database";
      assert.deepEqual(logger.entries, [entry, entry]);
    });
  }

  Deno.test(`a will whose onWillPublish fails ${way} is not published, and that is logged`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    await broker.use({ id: "broken", onWillPublish: () => act(() => refuse(new Error("no database"))) });
    const watcher = await broker.connect();
    await watcher.subscribe("#");
    await (await broker.connect({ clientId: "c", will: { topic: "will" } })).close();
    await eventually(() => logger.entries.length === 1, "an error in the log");
    assert.match(logger.entries[0], /^error: .* of c .*no database$/);
    await watcher.expectNothing();
  });
}

// Asynchronous hooks

Deno.test("a slow hook keeps one client's packets in their order, whatever they are", async () => {
  await using broker = await startBroker();
  let calls = 0;
  // The first ones take longest.
  const slow = async <T>(value: T): Promise<T> => {
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, 10 - calls++)));
    return value;
  };
  await broker.use({
    id: "slow",
    onPublish: () => slow(undefined),
    onPublishReceived: (_client, packet) => slow({ ...packet }),
    onSubscribe: (_client, subscriptions) => slow(subscriptions),
    canRead: () => slow(true),
    onPublishDeliver: (_client, packet) => slow({ ...packet }),
  });
  const client = await broker.connect();
  const subscription = { noLocal: false, retainAsPublished: false, retainHandling: 0, qos: 1 } as const;
  for (let index = 1; index <= 10; index++) {
    const topicFilter = `${index}`;
    await client.send({ type: "subscribe", packetId: 100 + index, subscriptions: [{ topicFilter, ...subscription }] });
    await client.send(publishPacket({ topic: topicFilter, payload: topicFilter, qos: 1, packetId: index }));
    await client.send({ type: "pingreq" });
  }
  for (let index = 1; index <= 10; index++) {
    assert.equal((await client.expect("suback")).packetId, 100 + index);
    assert.equal(textOf(await client.expect("publish")), `${index}`);
    assert.equal((await client.expect("puback")).packetId, index);
    await client.expect("pingresp");
  }
});

for (const event of ["onConnect", "onPublish", "onPublishReceived", "onSubscribe", "onUnsubscribe"] as const) {
  Deno.test(`an ${event} that takes its time delays nobody but the client that it is about`, async () => {
    await using broker = await startBroker();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    await broker.use({
      id: "slow",
      [event]({ clientId }: ClientInfo, subject: unknown) {
        if (clientId !== "slow") return subject;
        asked.resolve();
        return answer.promise.then(() => subject);
      },
    });
    const slow = await broker.open();
    await slow.send(connectPacket({ clientId: "slow" }));
    if (event !== "onConnect") await slow.expect("connack");
    if (event === "onSubscribe") {
      const subscription = { noLocal: false, retainAsPublished: false, retainHandling: 0, qos: 1 } as const;
      await slow.send({ type: "subscribe", packetId: 1, subscriptions: [{ topicFilter: "a", ...subscription }] });
    } else if (event === "onUnsubscribe") {
      await slow.send({ type: "unsubscribe", packetId: 1, topicFilters: ["a"] });
    } else if (event !== "onConnect") {
      await slow.send(publishPacket({ topic: "a", payload: "slow" }));
    }
    await slow.send({ type: "pingreq" });
    await asked.promise;
    const other = await broker.connect({ clientId: "other" });
    await other.subscribe("a");
    await other.publish({ topic: "a", payload: "other" });
    assert.equal((await receive(other)).text, "other");
    await other.unsubscribe("b");
    answer.resolve();
    if (event === "onConnect") await slow.expect("connack");
    if (event === "onSubscribe") await slow.expect("suback");
    if (event === "onUnsubscribe") await slow.expect("unsuback");
    await slow.expect("pingresp");
  });
}

Deno.test("a canRead that takes its time for one receiver does not keep the message from another one", async () => {
  await using broker = await startBroker();
  const answer = Promise.withResolvers<boolean>();
  await broker.use({ id: "slow", canRead: ({ clientId }) => clientId === "slow" ? answer.promise : true });
  const [slow, quick] = [await broker.connect({ clientId: "slow" }), await broker.connect({ clientId: "quick" })];
  for (const client of [slow, quick]) await client.subscribe("a", { qos: 1 });
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: "a", payload: "x", qos: 1, packetId: 1 }));
  assert.equal((await receive(quick)).text, "x");
  await slow.expectNothing();
  answer.resolve(true);
  assert.equal((await receive(slow)).text, "x");
  await publisher.expect("puback");
});

for (const event of ["onPublish", "onSubscribe", "onUnsubscribe", "onConnect", "onConnected"] as const) {
  Deno.test(`a client that goes away while ${event} is waited for leaves nothing behind`, async () => {
    await using broker = await startBroker();
    const asked = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    await broker.use({
      id: "slow",
      [event](_client: ClientInfo, subject: unknown) {
        asked.resolve();
        return answer.promise.then(() => subject);
      },
    });
    const raw = await broker.open();
    await raw.send(connectPacket({ clientId: "a" }));
    const subscription = { noLocal: false, retainAsPublished: false, retainHandling: 0, qos: 1 } as const;
    if (event === "onPublish") await raw.send(publishPacket({ topic: "a", qos: 1, packetId: 1 }));
    if (event === "onUnsubscribe") await raw.send({ type: "unsubscribe", packetId: 1, topicFilters: ["a"] });
    if (event === "onSubscribe") {
      await raw.send({ type: "subscribe", packetId: 1, subscriptions: [{ topicFilter: "a", ...subscription }] });
    }
    await asked.promise;
    await raw.close();
    answer.resolve();
    await eventually(() => broker.stats().connections === 0, "the end of the connection");
    const { clients, sessions, subscriptions } = broker.stats();
    assert.deepEqual([clients, sessions, subscriptions], [0, 0, 0]);
  });
}

Deno.test("a hook can be an object of a class", async () => {
  class Counter implements Hook {
    readonly id = "counter";
    count = 0;

    onPublish(): void {
      this.count += 1;
    }
  }
  await using broker = await startBroker();
  const counter = new Counter();
  await broker.use(counter);
  const client = await broker.connect();
  await client.publish({ topic: "a", qos: 1 });
  assert.equal(counter.count, 1);
});
