import assert from "node:assert/strict";
import type { BrokerOptions, Qos, WillProperties } from "../../mod.ts";
import { type ConnectOptions, connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { connectPatiently } from "./patient_client.ts";
import { RecordingLogger } from "./recording_logger.ts";
import { receive, textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

const will = { topic: "will", payload: "gone" };

/** A CONNECT of a client with a lasting session, and with a will that has to wait so many seconds. */
function delayed(seconds: number, payload = "gone"): ConnectOptions {
  return { ...lasting(5), will: { topic: "will", payload, properties: { willDelayInterval: seconds } } };
}

/** A client that is sent every will. */
async function watch(broker: TestBroker): Promise<RawClient> {
  const watcher = await connectPatiently(broker, { clientId: "watcher" });
  await watcher.subscribe("will/#", { qos: 2, retainAsPublished: true });
  return watcher;
}

// When

const ends: [string, (client: RawClient, broker: TestBroker) => unknown][] = [
  ["its connection is cut", (client) => client.close()],
  ["it sends a malformed packet", (client) => client.sendBytes(new Uint8Array([0x00, 0x00]))],
  ["it violates the protocol", (client) => client.send(connectPacket({ level: client.level, clientId: "a" }))],
  ["another connection takes over", (client, broker) => broker.connect({ level: client.level, clientId: "a" })],
  ["the operator disconnects it", (_client, broker) => broker.disconnect("a")],
];

for (const [level, version] of versions) {
  for (const [what, end] of ends) {
    Deno.test(`MQTT ${version}: a client's will is published when ${what} [MQTT-3.1.2-8]`, async () => {
      await using broker = await startBroker();
      await using watcher = await watch(broker);
      const client = await broker.connect({ level, clientId: "a", will });
      await watcher.expectNothing();
      await end(client, broker);
      assert.equal(textOf(await watcher.expect("publish")), "gone");
      await watcher.expectNothing();
    });
  }

  Deno.test(`MQTT ${version}: a client's will is discarded when it says goodbye [MQTT-3.1.2-10]`, async () => {
    await using broker = await startBroker();
    await using watcher = await watch(broker);
    const client = await broker.connect({ ...lasting(level), clientId: "a", will });
    await client.disconnect();
    await watcher.expectNothing();
    // Nor is it there for the next connection.
    const next = await broker.connect({ ...lasting(level), clientId: "a" });
    broker.disconnect("a");
    if (level === 5) await next.expect("disconnect");
    await next.expectClosed();
    await watcher.expectNothing();
  });

  Deno.test(`MQTT ${version}: a will is published once, however long its session lasts`, async () => {
    await using broker = await startBroker();
    await using watcher = await watch(broker);
    const client = await broker.connect({ ...lasting(level), clientId: "a", will });
    await client.close();
    await watcher.expect("publish");
    await broker.connect({ ...lasting(level), clientId: "a" });
    broker.disconnect("a");
    await broker.connect({ level, clientId: "a", cleanStart: true });
    await watcher.expectNothing();
  });
}

Deno.test("[5.0 MQTT-3.1.2-22] a client's will is published when its keep alive has passed", async () => {
  await using broker = await startBroker();
  await using watcher = await watch(broker);
  await using client = await connectPatiently(broker, { clientId: "a", keepAlive: 1, will });
  assert.equal((await client.expect("disconnect")).reasonCode, 0x8d);
  assert.equal(textOf(await watcher.expect("publish")), "gone");
});

for (const reasonCode of [0x04, 0x80, 0x83] as const) {
  Deno.test(`[5.0 MQTT-3.14.4-3] a client's will is published when it leaves with 0x${reasonCode.toString(16)}`, async () => {
    await using broker = await startBroker();
    await using watcher = await watch(broker);
    const client = await broker.connect({ clientId: "a", will });
    await client.disconnect({ reasonCode });
    assert.equal(textOf(await watcher.expect("publish")), "gone");
    await watcher.expectNothing();
  });
}

Deno.test("a broker that closes publishes no wills", async () => {
  await using broker = await startBroker();
  const received: string[] = [];
  await broker.subscribe("will", (packet) => void received.push(textOf(packet)));
  const client = await broker.connect({ clientId: "a", will });
  await Promise.all([broker.close(), client.expect("disconnect").then(() => client.close())]);
  assert.deepEqual(received, []);
});

// Will delay

const departures: [string, (client: RawClient) => Promise<void>][] = [
  ["is cut off", (client) => client.close()],
  ["leaves with 0x04", (client) => client.disconnect({ reasonCode: 0x04 })],
];

for (const [what, leave] of departures) {
  Deno.test(`[5.0 MQTT-3.1.2-8] the will of a client that ${what} waits for its delay`, async () => {
    await using broker = await startBroker();
    await using watcher = await watch(broker);
    const client = await broker.connect({ ...delayed(1), clientId: "a" });
    const leftAt = performance.now();
    await leave(client);
    assert.equal(textOf(await watcher.expect("publish")), "gone");
    const waited = performance.now() - leftAt;
    assert(waited >= 1000, `published after ${waited} ms already`);
    const after = await broker.connect({ ...lasting(5), clientId: "a" });
    assert.equal(after.connack.sessionPresent, true);
    await watcher.expectNothing();
  });
}

Deno.test("[5.0 MQTT-3.1.3-9] a will is forgotten when its client is back before the delay has passed", async () => {
  await using broker = await startBroker();
  await using watcher = await watch(broker);
  const before = await broker.connect({ ...delayed(1), clientId: "a" });
  await before.disconnect({ reasonCode: 0x04 });
  const after = await broker.connect({ ...delayed(1, "of the new connection"), clientId: "a" });
  // Its will comes when that of the other one would have come, or later.
  const later = await broker.connect({ ...delayed(1, "later"), clientId: "b" });
  await later.close();
  assert.equal(textOf(await watcher.expect("publish")), "later");
  await after.close();
  await watcher.expectNothing();
});

Deno.test("[5.0 MQTT-3.1.2-8] a will does not wait longer than its session lasts", async () => {
  await using broker = await startBroker();
  await using watcher = await watch(broker);
  const client = await broker.connect({ ...delayed(100), clientId: "a", properties: { sessionExpiryInterval: 1 } });
  const closedAt = performance.now();
  await client.close();
  await watcher.expectNothing();
  assert.equal(textOf(await watcher.expect("publish")), "gone");
  assert(performance.now() - closedAt >= 1000);
  assert.equal(broker.stats().sessions, 1);
});

const sessionEnds: [string, ConnectOptions, (client: RawClient, broker: TestBroker) => unknown][] = [
  [
    "that is only as long as the connection",
    { properties: undefined },
    (client) => client.close(),
  ],
  [
    "that its DISCONNECT cuts short",
    {},
    (client) => client.disconnect({ reasonCode: 0x04, properties: { sessionExpiryInterval: 0 } }),
  ],
  [
    "that the next connection throws away",
    {},
    async (client, broker) => {
      await client.disconnect({ reasonCode: 0x04 });
      await broker.connect({ clientId: "a", cleanStart: true });
    },
  ],
];

for (const [which, options, end] of sessionEnds) {
  Deno.test(`[5.0 MQTT-3.1.2-8] a will's delay ends with a session ${which}`, async () => {
    await using broker = await startBroker();
    await using watcher = await watch(broker);
    const client = await broker.connect({ ...delayed(100), ...options, clientId: "a" });
    await end(client, broker);
    assert.equal(textOf(await watcher.expect("publish")), "gone");
    await watcher.expectNothing();
  });
}

// What

for (const [level, version] of versions) {
  for (const qos of [0, 1, 2] as Qos[]) {
    Deno.test(`MQTT ${version}: a will of QoS ${qos} is published at it, without RETAIN [MQTT-3.1.2-14]`, async () => {
      await using broker = await startBroker();
      await using watcher = await watch(broker);
      const client = await broker.connect({ level, clientId: "a", will: { ...will, qos } });
      await client.close();
      const packet = await receive(watcher);
      assert.deepEqual([packet.topic, packet.text, packet.qos, packet.retain], ["will", "gone", qos, false]);
      assert.equal(broker.stats().retainedMessages, 0);
    });

    Deno.test(`MQTT ${version}: a retained will of QoS ${qos} is there for later subscribers [MQTT-3.1.2-15]`, async () => {
      await using broker = await startBroker();
      await using watcher = await watch(broker);
      const client = await broker.connect({ level, clientId: "a", will: { ...will, qos, retain: true } });
      await client.close();
      assert.equal((await receive(watcher)).retain, true);
      const later = await broker.connect();
      await later.subscribe("will", { qos: 2 });
      const packet = await receive(later);
      assert.deepEqual([packet.text, packet.qos, packet.retain], ["gone", qos, true]);
    });
  }

  Deno.test(`MQTT ${version}: a retained will without a payload removes the retained message`, async () => {
    await using broker = await startBroker();
    await broker.publish("will", "here", { retain: true });
    const client = await broker.connect({ level, clientId: "a", will: { topic: "will", retain: true } });
    await using watcher = await watch(broker);
    assert.equal(textOf(await watcher.expect("publish")), "here");
    await client.close();
    assert.equal(textOf(await watcher.expect("publish")), "");
    assert.equal(broker.stats().retainedMessages, 0);
  });

  Deno.test(`MQTT ${version}: a will is as it was in the CONNECT, whatever came after that`, async () => {
    await using broker = await startBroker();
    await using watcher = await watch(broker);
    const client = await broker.connect({ level, clientId: "a", will });
    for (let count = 0; count < 20; count++) {
      await client.send(publishPacket({ topic: "other", payload: "x".repeat(400), qos: 1, packetId: 1 }));
      await client.expect("puback");
    }
    await client.close();
    const packet = await watcher.expect("publish");
    assert.deepEqual([packet.topic, textOf(packet)], ["will", "gone"]);
  });
}

Deno.test("[5.0 MQTT-3.1.3-10] a will is published with its properties, in their order, but for its delay", async () => {
  await using broker = await startBroker();
  await using watcher = await watch(broker);
  const properties: WillProperties = {
    payloadFormatIndicator: 1,
    messageExpiryInterval: 100,
    contentType: "text/plain",
    responseTopic: "answers",
    correlationData: new Uint8Array([1, 2, 3]),
    userProperties: [["b", "1"], ["a", "2"], ["b", "1"], ["", ""]],
  };
  const client = await broker.connect({
    clientId: "a",
    will: { ...will, properties: { ...properties, willDelayInterval: 100 } },
  });
  await client.close();
  assert.deepEqual((await watcher.expect("publish")).properties, properties);
});

Deno.test("[5.0 3.1.3.2.4] a will's expiry interval begins when it is published", async () => {
  await using broker = await startBroker();
  await using watcher = await watch(broker);
  const client = await broker.connect({
    ...lasting(5),
    clientId: "a",
    will: { ...will, properties: { willDelayInterval: 1, messageExpiryInterval: 1 } },
  });
  await client.close();
  assert.deepEqual((await watcher.expect("publish")).properties, { messageExpiryInterval: 1 });
});

Deno.test("a will of QoS 1 waits for a subscriber that is away", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "subscriber" });
  await before.subscribe("will", { qos: 1 });
  await before.disconnect();
  const client = await broker.connect({ clientId: "a", will: { ...will, qos: 1 } });
  await client.disconnect({ reasonCode: 0x04 });
  const after = await broker.connect({ ...lasting(5), clientId: "subscriber" });
  assert.equal((await receive(after)).text, "gone");
});

// Which wills are accepted

const refusals: [string, BrokerOptions, ConnectOptions["will"], number][] = [
  ["[MQTT-3.2.2-12] whose QoS is not supported", { maximumQos: 1 }, { ...will, qos: 2 }, 0x9b],
  ["[MQTT-3.2.2-13] to be retained where that is not supported", { retainAvailable: false }, {
    ...will,
    retain: true,
  }, 0x9a],
  ["below $SYS", {}, { ...will, topic: "$SYS/broker" }, 0x90],
  ["on a topic of too many levels", { limits: { topicLevels: 3 } }, { ...will, topic: "a/b/c/d" }, 0x90],
];

for (const [level, version] of versions) {
  for (const [which, options, will, reasonCode] of refusals) {
    Deno.test(`MQTT ${version}: a client with a will is refused ${which}`, async () => {
      await using broker = await startBroker(options);
      const client = await broker.open();
      await client.send(connectPacket({ level, clientId: "a", will }));
      if (level === 5) assert.equal((await client.expect("connack")).reasonCode, reasonCode);
      await client.expectClosed();
      await broker.connect({ level, clientId: "a", will: { topic: "a/b/$SYS", qos: 0, retain: false } });
    });
  }
}

// What hooks make of it

Deno.test("a hook can change a will, also with a promise", async () => {
  await using broker = await startBroker();
  await using watcher = await watch(broker);
  const seen: string[] = [];
  await broker.use({
    id: "sees",
    onWillPublish(clientId, packet) {
      seen.push(`${clientId} ${packet.topic} ${textOf(packet)} ${packet.qos} ${packet.retain}`);
    },
  });
  await broker.use({
    id: "changes",
    onWillPublish: (_clientId, packet) => Promise.resolve({ ...packet, topic: "will/changed", retain: true }),
  });
  await broker.use({
    id: "changes that",
    onWillPublish: (_clientId, packet) => ({ ...packet, payload: new TextEncoder().encode(`${packet.topic}!`) }),
  });
  const client = await broker.connect({ clientId: "a", will: { ...will, qos: 1 } });
  await client.close();
  const packet = await receive(watcher);
  assert.deepEqual([packet.topic, packet.text, packet.qos, packet.retain], ["will/changed", "will/changed!", 1, true]);
  assert.deepEqual(seen, ["a will gone 1 false"]);
  assert.equal(broker.stats().retainedMessages, 1);
});

for (const how of ["throws", "rejects"] as const) {
  Deno.test(`a hook that ${how} keeps a will back, and nothing else`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    await using watcher = await watch(broker);
    await broker.use({
      id: "fails",
      onWillPublish(clientId) {
        if (clientId !== "a") return;
        if (how === "throws") throw new Error("not that one");
        return Promise.reject(new Error("not that one"));
      },
    });
    const one = await broker.connect({ clientId: "a", will });
    await one.close();
    const other = await broker.connect({ clientId: "b", will: { ...will, payload: "another" } });
    await other.close();
    assert.equal(textOf(await watcher.expect("publish")), "another");
    await watcher.expectNothing();
    assert.deepEqual(logger.entries, ["error: the will of a is not published: Error: not that one"]);
    assert.equal(broker.stats().clients, 1);
  });
}

for (const how of ["fails", "is full"] as const) {
  Deno.test(`a retained will is sent to its subscribers also where storing it ${how}`, async () => {
    await using broker = await startBroker({ limits: { retainedMessages: how === "is full" ? 0 : 10 } });
    if (how === "fails") {
      await broker.use({ id: "fails", storeRetained: () => Promise.reject(new Error("the disk is broken")) });
    }
    await using watcher = await watch(broker);
    const client = await broker.connect({ clientId: "a", will: { ...will, retain: true } });
    await client.close();
    assert.equal(textOf(await watcher.expect("publish")), "gone");
  });
}

Deno.test("canWrite is asked about a will when its client connects, and again when it is published", async () => {
  await using broker = await startBroker();
  let forbidden = "x";
  await broker.use({ id: "rules", canWrite: (_client, topic) => topic !== forbidden });
  const watcher = await broker.connect();
  await watcher.subscribe("#");
  const refused = await broker.open();
  await refused.send(connectPacket({ will: { topic: "x" } }));
  assert.equal((await refused.expect("connack")).reasonCode, 0x87);
  const accepted = await broker.connect({ will: { topic: "y" } });
  forbidden = "y";
  await accepted.close();
  await eventually(() => broker.stats().clients === 1, "the client to be gone");
  await watcher.expectNothing();
});

Deno.test("a will is published before its session is told to have ended", async () => {
  await using broker = await startBroker();
  const events: string[] = [];
  await broker.use({
    id: "observer",
    onWillPublish: () => void events.push("onWillPublish"),
    onSessionEnded: () => void events.push("onSessionEnded"),
    onDisconnect: () => void events.push("onDisconnect"),
  });
  const a = await broker.connect({ clientId: "a", will: { topic: "w", payload: "gone" } });
  await a.close();
  await eventually(() => events.length === 3, "the end");
  assert.deepEqual(events, ["onWillPublish", "onSessionEnded", "onDisconnect"]);
});
