import assert from "node:assert/strict";
import { type BrokerOptions, type ConnackPacket, encode, type Hook, type Packet, ReasonCodeError } from "../../mod.ts";
import { type ConnectOptions, connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { RecordingLogger } from "./recording_logger.ts";
import { textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

/** A hook that refuses every CONNECT in this way. */
function refuses(error: Error): Hook {
  return {
    id: "refuses",
    onConnect() {
      throw error;
    },
  };
}

/** What a broker that refuses answers to a CONNECT; `undefined` if it closes the connection without a word. */
async function answerTo(broker: TestBroker, options: ConnectOptions): Promise<ConnackPacket | undefined> {
  const client = await broker.open();
  await client.send(connectPacket(options));
  return await answer(client);
}

/** The one CONNACK that comes before the connection is closed, if one does. */
async function answer(client: RawClient): Promise<ConnackPacket | undefined> {
  const connack = await client.expect("connack").catch((error) => {
    assert.match(error.message, /the connection was closed/);
    return undefined;
  });
  await client.expectClosed();
  return connack;
}

/** A CONNECT with this protocol name and level; the name is as long as that of one of the versions. */
function connectBytes(level: number, name = "MQTT"): Uint8Array {
  const bytes = encode(connectPacket({ level: name.length === 4 ? 4 : 3, clientId: "a" }), 4);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes[4 + name.length] = level;
  return bytes;
}

// Sessions

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a client that has not been here before has no session present`, async () => {
    await using broker = await startBroker();
    const { connack } = await broker.connect({ ...lasting(level), clientId: "a" });
    assert.equal(connack.sessionPresent, false);
  });

  Deno.test(`MQTT ${version}: a session outlives its connection, with its subscriptions and its messages`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect({ ...lasting(level), clientId: "a" });
    await before.subscribe("t", { qos: 1 });
    await before.disconnect();
    await broker.publish("t", "while away", { qos: 1 });
    const after = await broker.open();
    // Not `connect`, to see that the CONNACK comes first.
    await after.send(connectPacket({ ...lasting(level), clientId: "a" }));
    assert.equal((await after.expect("connack")).sessionPresent, level > 3);
    const { packetId } = await after.expect("publish");
    await after.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    await broker.publish("t", "when back");
    assert.equal(textOf(await after.expect("publish")), "when back");
  });

  Deno.test(`MQTT ${version}: a clean start throws the session away`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect({ ...lasting(level), clientId: "a" });
    await before.subscribe("t", { qos: 1 });
    await before.disconnect();
    await broker.publish("t", "while away", { qos: 1 });
    const after = await broker.connect({ level, clientId: "a", cleanStart: true });
    assert.equal(after.connack.sessionPresent, false);
    await broker.publish("t", "when back", { qos: 1 });
    await after.expectNothing();
    assert.deepEqual([broker.stats().sessions, broker.stats().subscriptions], [1, 0]);
  });

  Deno.test(`MQTT ${version}: a session that began clean ends with its connection`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect({ level, clientId: "a", cleanStart: true });
    await before.subscribe("t", { qos: 1 });
    await before.disconnect();
    assert.deepEqual([broker.stats().sessions, broker.stats().subscriptions], [0, 0]);
    const after = await broker.connect({ level, clientId: "a", cleanStart: false });
    assert.equal(after.connack.sessionPresent, false);
    await broker.publish("t", "x", { qos: 1 });
    await after.expectNothing();
  });

  Deno.test(`MQTT ${version}: a session belongs to its client id alone`, async () => {
    await using broker = await startBroker();
    const one = await broker.connect({ ...lasting(level), clientId: "a" });
    await one.subscribe("t", { qos: 1 });
    await one.disconnect();
    const other = await broker.connect({ ...lasting(level), clientId: "A" });
    assert.equal(other.connack.sessionPresent, false);
    await broker.publish("t", "x", { qos: 1 });
    await other.expectNothing();
  });

  for (const [next, nextVersion] of versions) {
    if (next === level) continue;
    Deno.test(`a session that was made in MQTT ${version} goes on in MQTT ${nextVersion}`, async () => {
      await using broker = await startBroker();
      const before = await broker.connect({ ...lasting(level), clientId: "a" });
      await before.subscribe("t", { qos: 1 });
      await before.disconnect();
      await broker.publish("t", "x", { qos: 1, properties: { contentType: "text/plain" } });
      const after = await broker.connect({ ...lasting(next), clientId: "a" });
      assert.equal(after.connack.sessionPresent, next > 3);
      const packet = await after.expect("publish");
      assert.deepEqual(packet.properties, next === 5 ? { contentType: "text/plain" } : undefined);
    });
  }
}

Deno.test("[5.0 MQTT-3.1.2-23] without a session expiry interval a session ends with its connection", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ clientId: "a", cleanStart: false });
  await before.disconnect();
  assert.equal(broker.stats().sessions, 0);
  const after = await broker.connect({ clientId: "a", cleanStart: false });
  assert.equal(after.connack.sessionPresent, false);
});

Deno.test("[5.0 MQTT-3.1.2-4] a clean start with an expiry begins a session that lasts", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({
    clientId: "a",
    cleanStart: true,
    properties: { sessionExpiryInterval: 100 },
  });
  await before.disconnect();
  const after = await broker.connect({ clientId: "a", cleanStart: false });
  assert.equal(after.connack.sessionPresent, true);
});

Deno.test("[5.0 MQTT-4.1.0-2] a session ends when its expiry interval has passed after the connection", async () => {
  await using broker = await startBroker();
  const ended: string[] = [];
  await broker.use({ id: "watch", onSessionEnded: (clientId) => void ended.push(clientId) });
  const client = await broker.connect({ clientId: "a", properties: { sessionExpiryInterval: 1 } });
  await client.subscribe("t", { qos: 1 });
  const disconnectedAt = performance.now();
  await client.disconnect();
  await eventually(() => ended.length === 1, "the end of the session");
  assert(performance.now() - disconnectedAt >= 1000);
  assert.deepEqual(ended, ["a"]);
  assert.deepEqual([broker.stats().sessions, broker.stats().subscriptions], [0, 0]);
  const after = await broker.connect({ clientId: "a", cleanStart: false });
  assert.equal(after.connack.sessionPresent, false);
});

Deno.test("[5.0 MQTT-4.1.0-1] a session does not expire while its client is connected, nor after its return", async () => {
  await using broker = await startBroker();
  const ended: string[] = [];
  await broker.use({ id: "watch", onSessionEnded: (clientId) => void ended.push(clientId) });
  const expiring: ConnectOptions = { cleanStart: false, properties: { sessionExpiryInterval: 1 } };
  const stays = await broker.connect({ ...expiring, clientId: "stays" });
  const returns = await broker.connect({ ...expiring, clientId: "returns" });
  await returns.disconnect();
  const returned = await broker.connect({ ...expiring, clientId: "returns" });
  const goes = await broker.connect({ ...expiring, clientId: "goes" });
  await goes.disconnect();
  await eventually(() => ended.length > 0, "the end of a session");
  assert.deepEqual(ended, ["goes"]);
  await stays.expectNothing();
  await returned.expectNothing();
});

Deno.test("the server's maximum shortens a session's expiry, and CONNACK says so", async () => {
  await using broker = await startBroker({ maximumSessionExpiry: 30 });
  const granted = async (sessionExpiryInterval?: number) => {
    const { connack } = await broker.connect({ properties: { sessionExpiryInterval } });
    return connack.properties?.sessionExpiryInterval;
  };
  assert.equal(await granted(31), 30);
  assert.equal(await granted(0xffff_ffff), 30);
  assert.equal(await granted(30), undefined);
  assert.equal(await granted(0), undefined);
  assert.equal(await granted(), undefined);
});

Deno.test("a session ends when the server's maximum has passed, whatever the version", async () => {
  await using broker = await startBroker({ maximumSessionExpiry: 1 });
  for (const [level, version] of versions) {
    const client = await broker.connect({ ...lasting(level), clientId: version });
    await client.disconnect();
  }
  assert.equal(broker.stats().sessions, 3);
  await eventually(() => broker.stats().sessions === 0, "the end of the sessions");
});

// Client identifiers

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a client id has 1 to 23 letters and digits at least`, async () => {
    await using broker = await startBroker();
    for (const clientId of ["0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"]) {
      await broker.connect({ level, clientId });
    }
    assert.equal(broker.stats().clients, 4);
  });

  Deno.test(`MQTT ${version}: a client id may hold any characters but U+0000`, async () => {
    await using broker = await startBroker();
    for (const clientId of ["a b", "a/+/#", "$SYS", "größe 🦕", "\ufeffa"]) await broker.connect({ level, clientId });
    assert.equal(broker.stats().clients, 5);
    const client = await broker.open();
    const bytes = encode(connectPacket({ level, clientId: "ab" }), level);
    bytes[bytes.length - 1] = 0;
    client.level = level;
    await client.sendBytes(bytes);
    assert.equal((await answer(client))?.reasonCode, level === 5 ? 0x81 : undefined);
  });
}

for (const cleanStart of [true, false]) {
  Deno.test(`[5.0 MQTT-3.2.2-16] an empty client id gets a new one, clean start ${cleanStart}`, async () => {
    await using broker = await startBroker();
    const options = { clientId: "", cleanStart, properties: { sessionExpiryInterval: 100 } };
    const first = (await broker.connect(options)).connack.properties!.assignedClientIdentifier!;
    const second = (await broker.connect(options)).connack.properties!.assignedClientIdentifier!;
    assert.match(first, /./);
    assert.notEqual(first, second);
    assert.equal(broker.stats().clients, 2);
  });
}

Deno.test("[5.0 MQTT-3.1.3-6] an assigned client id is the client's for later connections", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ clientId: "", properties: { sessionExpiryInterval: 100 } });
  await before.disconnect();
  const clientId = before.connack.properties!.assignedClientIdentifier!;
  const after = await broker.connect({ clientId, cleanStart: false });
  assert.equal(after.connack.sessionPresent, true);
  assert.equal(after.connack.properties!.assignedClientIdentifier, undefined);
});

Deno.test("[3.1.1 MQTT-3.1.3-6] an empty client id with a clean session is a client of its own", async () => {
  await using broker = await startBroker();
  const first = await broker.connect({ level: 4, clientId: "" });
  const second = await broker.connect({ level: 4, clientId: "" });
  assert.equal(broker.stats().clients, 2);
  await first.expectNothing();
  await second.expectNothing();
});

Deno.test("[3.1.1 MQTT-3.1.3-8] an empty client id without a clean session is refused with 2", async () => {
  await using broker = await startBroker();
  const connack = await answerTo(broker, { level: 4, clientId: "", cleanStart: false });
  assert.deepEqual(connack, { type: "connack", sessionPresent: false, reasonCode: 2 });
});

for (const clientId of ["", "123456789012345678901234"]) {
  Deno.test(`MQTT 3.1: a client id of ${clientId.length} characters is refused with 2`, async () => {
    await using broker = await startBroker();
    const connack = await answerTo(broker, { level: 3, clientId });
    assert.deepEqual(connack, { type: "connack", sessionPresent: false, reasonCode: 2 });
  });
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a client id is refused when it is longer than the limit in UTF-8`, async () => {
    await using broker = await startBroker({ limits: { clientIdLength: 8 } });
    await broker.connect({ level, clientId: "12345678" });
    await broker.connect({ level, clientId: "ääää" });
    assert.equal((await answerTo(broker, { level, clientId: "ääää5" }))?.reasonCode, level === 5 ? 0x85 : 2);
  });
}

// Versions

for (const level of [6, 7, 0x7f]) {
  Deno.test(`[5.0 MQTT-3.1.2-2] protocol level ${level} is answered in MQTT 5 with 0x84`, async () => {
    await using broker = await startBroker();
    const client = await broker.open();
    await client.sendBytes(connectBytes(level));
    const connack = await answer(client);
    assert.deepEqual([connack?.sessionPresent, connack?.reasonCode], [false, 0x84]);
    assert.match(connack!.properties!.reasonString!, new RegExp(`level ${level} is not supported`));
  });
}

const unknown = [["MQTT", 0], ["MQTT", 1], ["MQTT", 2], ["MQTT", 3], ["MQTT", 0x84], ["MQIsdp", 2], [
  "MQIsdp",
  4,
]] as const;

for (const [name, level] of unknown) {
  Deno.test(`[3.1.1 MQTT-3.1.2-2] protocol ${name} level ${level} is answered in MQTT 3.1.1 with 1`, async () => {
    await using broker = await startBroker();
    const client = await broker.open();
    client.level = 4;
    await client.sendBytes(connectBytes(level, name));
    assert.deepEqual(await answer(client), { type: "connack", sessionPresent: false, reasonCode: 1 });
  });
}

Deno.test("[5.0 MQTT-3.1.2-1] a protocol name that is not MQTT is refused", async () => {
  await using broker = await startBroker();
  const four = await broker.open();
  four.level = 4;
  await four.sendBytes(connectBytes(4, "mqtt"));
  assert.equal((await answer(four))?.reasonCode, 1);
  const five = await broker.open();
  await five.sendBytes(connectBytes(5, "MQIsdp"));
  assert.equal((await answer(five))?.reasonCode, 0x84);
});

// What CONNACK says

for (const [level, version] of versions) {
  if (level === 5) continue;
  Deno.test(`MQTT ${version}: CONNACK has no properties`, async () => {
    await using broker = await startBroker({ maximumKeepAlive: 10, maximumQos: 0 });
    const { connack } = await broker.connect({ level });
    assert.deepEqual(connack, { type: "connack", sessionPresent: false, reasonCode: 0 });
  });
}

Deno.test("CONNACK says what the broker accepts at most", async () => {
  await using broker = await startBroker();
  const { connack } = await broker.connect();
  assert.deepEqual(connack.properties, {
    receiveMaximum: 1024,
    maximumPacketSize: 16 * 1024 * 1024,
    topicAliasMaximum: 256,
  });
});

const announced: [string, BrokerOptions, NonNullable<ConnackPacket["properties"]>][] = [
  ["receive maximum", { limits: { receiveMaximum: 7 } }, { receiveMaximum: 7 }],
  ["maximum packet size", { limits: { packetSize: 5000 } }, { maximumPacketSize: 5000 }],
  ["topic alias maximum", { limits: { topicAliasMaximum: 9 } }, { topicAliasMaximum: 9 }],
  ["missing topic aliases", { limits: { topicAliasMaximum: 0 } }, { topicAliasMaximum: undefined }],
  ["maximum QoS of 1", { maximumQos: 1 }, { maximumQos: 1 }],
  ["maximum QoS of 0", { maximumQos: 0 }, { maximumQos: 0 }],
  ["missing retained messages", { retainAvailable: false }, { retainAvailable: false }],
  ["missing wildcards", { wildcardSubscriptionAvailable: false }, { wildcardSubscriptionAvailable: false }],
  ["missing identifiers", { subscriptionIdentifiersAvailable: false }, { subscriptionIdentifiersAvailable: false }],
  ["missing shared subscriptions", { sharedSubscriptionAvailable: false }, { sharedSubscriptionAvailable: false }],
];

for (const [what, options, properties] of announced) {
  Deno.test(`CONNACK announces the ${what}`, async () => {
    await using broker = await startBroker(options);
    const { connack } = await broker.connect();
    const expected = {
      receiveMaximum: 1024,
      maximumPacketSize: 16 * 1024 * 1024,
      topicAliasMaximum: 256,
      ...properties,
    };
    assert.deepEqual({ topicAliasMaximum: undefined, ...connack.properties }, expected);
  });
}

Deno.test("[5.0 MQTT-3.2.2-22] CONNACK has a server keep alive only if it is not the client's", async () => {
  await using broker = await startBroker({ maximumKeepAlive: 30 });
  const announced = async (keepAlive: number) => {
    const { connack } = await broker.connect({ keepAlive });
    return connack.properties?.serverKeepAlive;
  };
  assert.equal(await announced(31), 30);
  assert.equal(await announced(0), 30);
  assert.equal(await announced(30), undefined);
  assert.equal(await announced(1), undefined);
});

Deno.test("[5.0 MQTT-3.1.2-28] CONNACK has response information if there is some and the client wants it", async () => {
  const options: BrokerOptions = {
    responseInformation: ({ clientId }) => clientId === "b" ? undefined : `responses/${clientId}`,
  };
  await using broker = await startBroker(options);
  const information = async (clientId: string, requestResponseInformation?: boolean) => {
    const { connack } = await broker.connect({ clientId, properties: { requestResponseInformation } });
    return connack.properties?.responseInformation;
  };
  assert.equal(await information("a", true), "responses/a");
  assert.equal(await information("a", false), undefined);
  assert.equal(await information("a"), undefined);
  assert.equal(await information("b", true), undefined);
});

Deno.test("[5.0 MQTT-3.1.2-24] a client that accepts no packet as large as CONNACK is gone without a trace", async () => {
  await using broker = await startBroker();
  const connected: string[] = [];
  await broker.use({ id: "watch", onConnected: ({ clientId }) => void connected.push(clientId) });
  const watcher = await broker.connect({ clientId: "watcher" });
  await watcher.subscribe("will");
  // As large as a DISCONNECT without words, which must not come before CONNACK [MQTT-3.14.0-1].
  const properties = { maximumPacketSize: 4, sessionExpiryInterval: 0 };
  assert.equal(await answerTo(broker, { clientId: "a", properties, will: { topic: "will" } }), undefined);
  await watcher.expectNothing();
  assert.deepEqual([broker.stats().clients, broker.stats().sessions], [1, 1]);
  assert.deepEqual(connected, ["watcher"]);
});

// The order of things

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a second CONNECT ends the connection [MQTT-3.1.0-2]`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level, clientId: "a" });
    await client.send(connectPacket({ level, clientId: "a" }));
    if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
    await client.expectClosed();
  });

  Deno.test(`MQTT ${version}: packets that follow the CONNECT in one write are handled after it, in order`, async () => {
    await using broker = await startBroker();
    const connectAndMore: Packet[] = [
      connectPacket({ level, clientId: "a" }),
      {
        type: "subscribe",
        packetId: 1,
        subscriptions: [{ topicFilter: "t", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
      },
      publishPacket({ topic: "t", payload: "x" }),
      { type: "pingreq" },
    ];
    const client = await broker.open();
    await client.send(...connectAndMore);
    await expectAnswers(client);
    await broker.use({ id: "slow", onConnect: () => new Promise((resolve) => setTimeout(resolve, 20)) });
    const waiting = await broker.open();
    await waiting.send(...connectAndMore);
    await expectAnswers(waiting);

    async function expectAnswers(client: RawClient): Promise<void> {
      assert.equal((await client.expect("connack")).reasonCode, 0);
      await client.expect("suback");
      await client.expect("publish");
      await client.expect("pingresp");
    }
  });

  Deno.test(`MQTT ${version}: a first packet that is not a CONNECT ends the connection without a word`, async () => {
    await using broker = await startBroker();
    const packets = [
      encode({ type: "pingreq" }, level),
      encode(publishPacket({ topic: "t", payload: "x" }), level),
      encode({ type: "disconnect", reasonCode: 0 }, level),
      encode({ type: "unsubscribe", packetId: 1, topicFilters: ["t"] }, level),
      encode({ type: "connack", sessionPresent: false, reasonCode: 0 }, level),
    ];
    for (const packet of packets) {
      const client = await broker.open();
      // The CONNECT comes too late.
      await client.sendBytes(new Uint8Array([...packet, ...encode(connectPacket({ level, clientId: "a" }), level)]));
      await client.expectClosed();
    }
    assert.equal(broker.stats().messagesReceived, 0);
  });

  Deno.test(`MQTT ${version}: a CONNECT with its reserved flag set is refused [MQTT-3.1.2-3]`, async () => {
    await using broker = await startBroker();
    const client = await broker.open();
    client.level = level;
    const bytes = encode(connectPacket({ level, clientId: "a" }), level);
    bytes[level === 3 ? 11 : 9] |= 0x01;
    await client.sendBytes(bytes);
    assert.equal((await answer(client))?.reasonCode, level === 5 ? 0x81 : undefined);
  });
}

Deno.test("[3.1.1 MQTT-3.1.2-22] a password needs a user name before MQTT 5", async () => {
  await using broker = await startBroker();
  assert.equal(await answerTo(broker, { level: 4, clientId: "a", password: "p" }), undefined);
  const { connack } = await broker.connect({ level: 5, clientId: "a", password: "p" });
  assert.equal(connack.reasonCode, 0);
});

// Refusals

const returnCodes = new Map([
  [0x84, 1],
  [0x85, 2],
  [0x88, 3],
  [0x89, 3],
  [0x97, 3],
  [0x9c, 3],
  [0x9d, 3],
  [0x9f, 3],
  [0x86, 4],
  [0x87, 5],
  [0x8a, 5],
  [0x8c, 5],
]);
const connackReasons = [
  ...[0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b],
  ...[0x9c, 0x9d, 0x9f],
] as const;

for (const reasonCode of connackReasons) {
  const hex = `0x${reasonCode.toString(16)}`;
  Deno.test(`[5.0 MQTT-3.2.2-7] a hook's refusal with ${hex} is in the CONNACK, before the end`, async () => {
    await using broker = await startBroker();
    await broker.use(refuses(new ReasonCodeError(reasonCode, "not today")));
    assert.deepEqual(await answerTo(broker, { clientId: "a" }), {
      type: "connack",
      sessionPresent: false,
      reasonCode,
      properties: { reasonString: "not today" },
    });
  });

  const returnCode = returnCodes.get(reasonCode);
  const answered = returnCode === undefined ? "is a close without a CONNACK" : `is return code ${returnCode}`;
  Deno.test(`[3.1.1 MQTT-3.2.2-5, MQTT-3.2.2-6] a hook's refusal with ${hex} ${answered}`, async () => {
    await using broker = await startBroker();
    await broker.use(refuses(new ReasonCodeError(reasonCode, "not today")));
    const expected = returnCode === undefined
      ? undefined
      : { type: "connack", sessionPresent: false, reasonCode: returnCode };
    for (const level of [3, 4] as const) assert.deepEqual(await answerTo(broker, { level, clientId: "a" }), expected);
  });
}

Deno.test("[5.0 MQTT-3.2.2-8] a refusal with a reason that CONNACK does not have is 0x80", async () => {
  await using broker = await startBroker();
  await broker.use(refuses(new ReasonCodeError(0x8e, "not today")));
  assert.equal((await answerTo(broker, { clientId: "a" }))?.reasonCode, 0x80);
});

Deno.test("a hook that fails refuses with 0x80, and its error is for the log only", async () => {
  const logger = new RecordingLogger();
  await using broker = await startBroker({ logger });
  await broker.use(refuses(new Error("the password of the database is 1234")));
  const connack = await answerTo(broker, { clientId: "a" });
  assert.equal(connack?.reasonCode, 0x80);
  assert.doesNotMatch(connack.properties!.reasonString!, /1234/);
  assert.equal(await answerTo(broker, { level: 4, clientId: "a" }), undefined);
  assert.equal(logger.entries.length, 2);
  for (const entry of logger.entries) assert.match(entry, /^error: .*the password of the database is 1234/);
});

Deno.test("a hook may refuse later, with a promise", async () => {
  await using broker = await startBroker();
  await broker.use({
    id: "slow",
    async onConnect() {
      await new Promise((resolve) => setTimeout(resolve, 10));
      throw new ReasonCodeError(0x87, "not today");
    },
  });
  assert.equal((await answerTo(broker, { clientId: "a" }))?.reasonCode, 0x87);
});

for (const reasonCode of [0x9c, 0x9d] as const) {
  Deno.test(`a refusal with 0x${reasonCode.toString(16)} says which server to use`, async () => {
    await using broker = await startBroker();
    const serverReference = "other.example.org:1883";
    await broker.use(refuses(new ReasonCodeError(reasonCode, "moved", { serverReference })));
    const connack = await answerTo(broker, { clientId: "a" });
    assert.deepEqual(connack?.properties, { reasonString: "moved", serverReference });
    assert.equal((await answerTo(broker, { level: 4, clientId: "a" }))?.reasonCode, 3);
  });
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: nothing that follows a refused CONNECT is processed [MQTT-3.1.4-6]`, async () => {
    await using broker = await startBroker();
    await broker.use(refuses(new ReasonCodeError(0x87, "not today")));
    const client = await broker.open();
    await client.send(
      connectPacket({ level, clientId: "a" }),
      publishPacket({ topic: "t", payload: "x", retain: true }),
      { type: "pingreq" },
    );
    assert.equal((await answer(client))?.reasonCode, level === 5 ? 0x87 : 5);
    assert.deepEqual([broker.stats().messagesReceived, broker.stats().retainedMessages], [0, 0]);
  });

  Deno.test(`MQTT ${version}: a refused CONNECT leaves the client with that id, its session and its will alone`, async () => {
    await using broker = await startBroker();
    const will = { topic: "will", payload: "gone" };
    const client = await broker.connect({ ...lasting(level), clientId: "a", will });
    await client.subscribe("t");
    await broker.use(refuses(new ReasonCodeError(0x87, "not today")));
    const connack = await answerTo(broker, { level, clientId: "a", cleanStart: true, will });
    assert.equal(connack?.reasonCode, level === 5 ? 0x87 : 5);
    await broker.publish("t", "x");
    await client.expect("publish");
    await client.expectNothing();
    assert.deepEqual([broker.stats().clients, broker.stats().sessions], [1, 1]);
  });
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a client whose session cannot be stored is refused, and leaves no session`, async () => {
    await using broker = await startBroker({ logger: new RecordingLogger() });
    await broker.use({
      id: "fails",
      storeSession: () => Promise.reject(new Error("the disk is broken")),
      storeOutgoing: () => {},
    });
    const connack = await answerTo(broker, { ...lasting(level), clientId: "a" });
    assert.equal(connack?.reasonCode, level === 5 ? 0x80 : undefined);
    assert.equal(broker.stats().sessions, 0);
    await broker.connect({ level, clientId: "a", cleanStart: true });
  });
}

// Words about problems

Deno.test("[5.0 MQTT-3.1.2-29] only a client that wants problem information gets reason strings", async () => {
  await using broker = await startBroker();
  const refuse = () => {
    throw new ReasonCodeError(0x87, "not today");
  };
  await broker.use({ id: "refuses", onPublish: refuse, onSubscribe: refuse });
  for (const requestProblemInformation of [undefined, true, false]) {
    const properties = requestProblemInformation === false ? undefined : { reasonString: "not today" };
    const client = await broker.connect({ properties: { requestProblemInformation } });
    await client.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
    assert.deepEqual((await client.expect("puback")).properties, properties);
    await client.send(publishPacket({ topic: "t", qos: 2, packetId: 2 }));
    assert.deepEqual((await client.expect("pubrec")).properties, properties);
    assert.deepEqual((await client.subscribe("t")).properties, properties);
  }
});

Deno.test("[5.0 MQTT-3.2.2-19] a reason string that is too long for the client is left out", async () => {
  await using broker = await startBroker({ maximumQos: 0 });
  const properties = { maximumPacketSize: 40 };
  const reasonString = "x".repeat(100);
  await broker.use(refuses(new ReasonCodeError(0x87, reasonString)));
  const connack = await answerTo(broker, { clientId: "a", properties });
  assert.deepEqual(connack, { type: "connack", sessionPresent: false, reasonCode: 0x87 });
  assert.deepEqual((await answerTo(broker, { clientId: "a" }))?.properties, { reasonString });
  // What the broker itself refuses, before any hook is asked.
  const refused = await answerTo(broker, { clientId: "a", properties, will: { topic: "t", qos: 1 } });
  assert.deepEqual(refused, { type: "connack", sessionPresent: false, reasonCode: 0x9b });
});

// Time to connect

Deno.test("a connection that sends no CONNECT in time is closed, however slowly it goes on", async () => {
  await using broker = await startBroker({ limits: { connectTimeout: 1 } });
  const openedAt = performance.now();
  const silent = await broker.open();
  const slow = await broker.open();
  const connected = await broker.connect();
  const trickle = setInterval(() => slow.sendBytes(new Uint8Array([0x10])).catch(() => {}), 200);
  await slow.sendBytes(encode(connectPacket({ clientId: "a" }), 5).subarray(0, 10));
  await silent.expectClosed();
  clearInterval(trickle);
  assert(performance.now() - openedAt >= 900);
  await slow.expectClosed();
  await connected.expectNothing();
});

Deno.test("a client whose hooks do not decide in time is refused with 0x88: another broker may be faster", async () => {
  await using broker = await startBroker({ limits: { connectTimeout: 1 } });
  let decide = () => {};
  await broker.use({ id: "slow", onConnect: () => new Promise<void>((resolve) => decide = resolve) });
  assert.equal((await answerTo(broker, { clientId: "a" }))?.reasonCode, 0x88);
  decide();
  assert.deepEqual([broker.stats().clients, broker.stats().sessions], [0, 0]);
});
