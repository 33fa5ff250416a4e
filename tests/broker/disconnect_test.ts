import assert from "node:assert/strict";
import type { Hook } from "../../mod.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

/** A hook that remembers how connections ended: `undefined` for a client that said goodbye. */
function watcher(ends: [clientId: string, reason: string | undefined][]): Hook {
  return { id: "watcher", onDisconnect: ({ clientId }, error) => void ends.push([clientId, error?.message]) };
}

// By the client

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: after a client's DISCONNECT the connection is closed, without a word`, async () => {
    await using broker = await startBroker();
    const ends: [string, string | undefined][] = [];
    await broker.use(watcher(ends));
    const client = await broker.connect({ level, clientId: "a" });
    await client.send({ type: "disconnect", reasonCode: 0 });
    await client.expectClosed();
    assert.deepEqual(ends, [["a", undefined]]);
    assert.equal(broker.stats().clients, 0);
  });

  Deno.test(`MQTT ${version}: what follows a client's DISCONNECT is not processed`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level });
    await client.send({ type: "disconnect", reasonCode: 0 });
    await client.send(publishPacket({ topic: "t", payload: "late", retain: true }));
    await client.expectClosed();
    assert.equal(broker.stats().messagesReceived, 0);
  });

  Deno.test(`MQTT ${version}: a DISCONNECT with reserved flags is malformed [MQTT-3.14.1-1]`, async () => {
    await using broker = await startBroker();
    const listener = await broker.connect();
    await listener.subscribe("will");
    const client = await broker.connect({ level, will: { topic: "will", payload: "gone" } });
    await client.sendBytes(new Uint8Array([0xe1, 0x00]));
    if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x81);
    await client.expectClosed();
    assert.equal(textOf(await listener.expect("publish")), "gone");
  });

  Deno.test(`MQTT ${version}: messages that were on their way still arrive after a client's DISCONNECT`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect({ level });
    await receiver.subscribe("t");
    const client = await broker.connect({ level });
    await client.send(publishPacket({ topic: "t", payload: "last words" }));
    await client.send({ type: "disconnect", reasonCode: 0 });
    assert.equal(textOf(await receiver.expect("publish")), "last words");
  });
}

Deno.test("[5.0 3.14.2.2.2] DISCONNECT can shorten and lengthen the session", async () => {
  await using broker = await startBroker();
  const ended: string[] = [];
  await broker.use({ id: "watcher", onSessionEnded: (clientId) => void ended.push(clientId) });
  const leaves = async (clientId: string, before: number, after: number | undefined) => {
    const client = await broker.connect({ clientId, properties: { sessionExpiryInterval: before } });
    await client.disconnect({ properties: { sessionExpiryInterval: after } });
  };
  await leaves("at once", 100, 0);
  assert.deepEqual(ended, ["at once"]);
  await leaves("as it was", 100, undefined);
  await leaves("longer", 1, 100);
  await leaves("for ever", 1, 0xffff_ffff);
  await leaves("shorter", 100, 1);
  await eventually(() => ended.length > 1, "the end of a session");
  assert.deepEqual(ended, ["at once", "shorter"]);
  assert.equal(broker.stats().sessions, 3);
});

Deno.test("[5.0 3.14.2.2.2] DISCONNECT cannot make a session last that was to end with its connection", async () => {
  await using broker = await startBroker();
  const listener = await broker.connect();
  await listener.subscribe("will");
  const client = await broker.connect({ clientId: "a", will: { topic: "will", payload: "gone" } });
  await client.send({ type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 1 } });
  assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
  await client.expectClosed();
  // It is not a valid DISCONNECT, so the will is not discarded.
  assert.equal(textOf(await listener.expect("publish")), "gone");
  assert.equal(broker.stats().sessions, 1);
});

Deno.test("[5.0 3.14.2.2.2] DISCONNECT may say that a session is to end which was to end anyway", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.send({ type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 0 } });
  await client.expectClosed();
});

Deno.test("DISCONNECT cannot lengthen a session beyond the server's maximum", async () => {
  await using broker = await startBroker({ maximumSessionExpiry: 1 });
  const client = await broker.connect({ properties: { sessionExpiryInterval: 1 } });
  await client.disconnect({ properties: { sessionExpiryInterval: 100 } });
  await eventually(() => broker.stats().sessions === 0, "the end of the session");
});

// By the operator

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: an operator can disconnect a client, which keeps its session`, async () => {
    await using broker = await startBroker();
    const ends: [string, string | undefined][] = [];
    await broker.use(watcher(ends));
    const client = await broker.connect({ ...lasting(level), clientId: "a" });
    assert.equal(broker.disconnect("a"), true);
    if (level === 5) {
      const { reasonCode, properties } = await client.expect("disconnect");
      assert.deepEqual([reasonCode, properties], [0x98, { reasonString: "disconnected by the operator" }]);
    }
    await client.expectClosed();
    assert.deepEqual(ends, [["a", "disconnected by the operator"]]);
    assert.deepEqual([broker.stats().clients, broker.stats().sessions], [0, 1]);
    assert.equal(broker.disconnect("a"), false);
    assert.equal(broker.disconnect("b"), false);
  });

  Deno.test(`MQTT ${version}: a client gets what was sent to it before it is disconnected`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ level, clientId: "a" });
    await client.subscribe("t");
    for (let count = 0; count < 100; count++) broker.publish("t", `${count}`);
    broker.disconnect("a");
    broker.publish("t", "too late");
    for (let count = 0; count < 100; count++) assert.equal(textOf(await client.expect("publish")), `${count}`);
    if (level === 5) await client.expect("disconnect");
    await client.expectClosed();
  });
}

for (const reasonCode of [0x9c, 0x9d] as const) {
  Deno.test(`an operator can send a client to another server with 0x${reasonCode.toString(16)}`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ clientId: "a" });
    broker.disconnect("a", reasonCode, "moving house", "other.example.org:1883");
    const packet = await client.expect("disconnect");
    assert.equal(packet.reasonCode, reasonCode);
    assert.deepEqual(packet.properties, { reasonString: "moving house", serverReference: "other.example.org:1883" });
  });
}

Deno.test("[5.0 MQTT-3.14.2-1] a reason that DISCONNECT does not have is 0x80", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ clientId: "a" });
  broker.disconnect("a", 0x86);
  assert.equal((await client.expect("disconnect")).reasonCode, 0x80);
});

Deno.test("[5.0 MQTT-3.14.2-3] a reason string that is too long for the client is left out", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ clientId: "a", properties: { maximumPacketSize: 40 } });
  broker.disconnect("a", 0x98, "x".repeat(40));
  assert.deepEqual(await client.expect("disconnect"), { type: "disconnect", reasonCode: 0x98 });
  await client.expectClosed();
});

// By closing the broker

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a broker that closes says so to its clients, and closes their connections`, async () => {
    await using broker = await startBroker();
    const stopped: string[] = [];
    await broker.use({ id: "one", stop: () => void stopped.push("one") });
    await broker.use({ id: "two", stop: () => void stopped.push("two") });
    const client = await broker.connect({ level });
    await client.subscribe("t");
    broker.publish("t", "last words");
    const closing = broker.close();
    assert.equal(textOf(await client.expect("publish")), "last words");
    if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x8b);
    await client.expectClosed();
    await client.close();
    await closing;
    assert.equal(broker.stats().connections, 0);
    assert.deepEqual(stopped, ["two", "one"]);
    await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port: broker.port }), Deno.errors.ConnectionRefused);
  });
}

Deno.test("a broker closes within its time also when clients neither read nor close, and leaves nothing behind", async () => {
  await using broker = await startBroker();
  await broker.connect({ level: 5 });
  await broker.connect({ level: 4 });
  await broker.open();
  const half = await broker.open();
  await half.sendBytes(new Uint8Array([0x10, 0x20, 0x00]));
  const deaf = await broker.connect();
  await deaf.subscribe("t");
  for (let count = 0; count < 3; count++) broker.publish("t", new Uint8Array(4_000_000));
  const begin = performance.now();
  await broker.close();
  assert(performance.now() - begin < 4000);
  assert.equal(broker.stats().connections, 0);
});

Deno.test("a broker that is closed accepts nothing more, and can be closed again", async () => {
  await using broker = await startBroker();
  await broker.close();
  await broker.close();
  await assert.rejects(broker.listen({ port: 0 }), { message: "the broker is closed" });
  await assert.rejects(broker.publish("t", ""), { message: "the broker is closed" });
  await assert.rejects(broker.subscribe("t", () => {}), { message: "the broker is closed" });
});

Deno.test("a CONNECT that a hook still looks at while the broker closes is not accepted", async () => {
  await using broker = await startBroker();
  let decide = () => {};
  const connected: string[] = [];
  await broker.use({
    id: "slow",
    onConnect: () => new Promise<void>((resolve) => decide = resolve),
    onConnected: ({ clientId }) => void connected.push(clientId),
  });
  const client = await broker.open();
  await client.send(connectPacket({ clientId: "a" }));
  await eventually(() => broker.stats().bytesReceived > 0, "the CONNECT");
  const closing = broker.close();
  decide();
  await client.expectClosed();
  await client.close();
  await closing;
  assert.deepEqual(connected, []);
});
