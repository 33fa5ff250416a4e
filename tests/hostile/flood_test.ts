/** Clients that send too much, too slowly, or what is no MQTT, also after they have logged in. */

import assert from "node:assert/strict";
import { encode, type Packet, type UserProperty } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { lasting, versions } from "../broker/versions.ts";
import { type ConnectOptions, connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { granted, type GuardedBroker, passwords, startGuardedBroker } from "./guarded_broker.ts";

const bob: ConnectOptions = { clientId: "bob", username: "bob", password: passwords.bob };

/** Small enough that going past them takes no time. */
const limits = {
  packetSize: 20_000,
  clientIdLength: 23,
  topicLength: 200,
  topicLevels: 10,
  subscriptions: 5,
  receiveMaximum: 5,
  inflight: 5,
  queueMessages: 5,
  queueBytes: 10_000,
  userProperties: 5,
  retainedMessages: 100,
  topicAliasMaximum: 5,
};

const manyProperties = Array.from({ length: 6 }, (): UserProperty => ["name", "value"]);
const deep = `home/bob${"/x".repeat(9)}`;
const long = `home/bob/${"x".repeat(192)}`;

function subscribeTo(topicFilters: string[], userProperties?: UserProperty[]): Packet {
  const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const subscriptions = topicFilters.map((topicFilter) => ({ topicFilter, ...options }));
  return { type: "subscribe", packetId: 1, subscriptions, properties: { userProperties } };
}

// Too much

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a CONNECT that is too much of anything lets nobody in`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits } });
    const connects: [what: string, fields: ConnectOptions, reasonCode?: number][] = [
      ["client id", { clientId: "x".repeat(24) }, 0x85],
      ["levels of the will's topic", { will: { topic: deep } }, 0x90],
      ["length of the will's topic", { will: { topic: long } }, 0x90],
      ["payload of the will", { will: { topic: "home/bob/will", payload: "x".repeat(20_000) } }],
      ["password", { password: "x".repeat(20_000) }],
    ];
    if (level === 5) {
      const will = { topic: "home/bob/will", properties: { userProperties: manyProperties } };
      connects.push(["user properties", { properties: { userProperties: manyProperties } }, 0x97]);
      connects.push(["user properties of the will", { will }, 0x97]);
    }
    for (const [what, fields, reasonCode] of connects) {
      const client = broker.open();
      await client.send(connectPacket({ ...bob, level, ...fields })).catch(() => {});
      // What is too large is not read as far as to where it says which version it speaks.
      if (level === 5 && reasonCode !== undefined) {
        assert.equal((await client.expect("connack")).reasonCode, reasonCode, what);
      } else if (what === "client id") {
        assert.equal((await client.expect("connack")).reasonCode, 2);
      }
      await client.expectClosed();
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: a message that is too much of anything goes nowhere and ends the connection`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits } });
    const messages: [fields: Parameters<typeof publishPacket>[0], reasonCode: number][] = [
      [{ topic: deep }, 0x90],
      [{ topic: long }, 0x90],
      [{ topic: "home/bob/x", payload: "x".repeat(20_000) }, 0x95],
    ];
    if (level === 5) {
      messages.push([{ topic: "home/bob/x", properties: { userProperties: manyProperties } }, 0x97]);
      messages.push([{ topic: "home/bob/x", properties: { topicAlias: 6 } }, 0x94]);
    }
    for (const [fields, reasonCode] of messages) {
      const client = await broker.connectAs("bob", { level });
      await client.send(publishPacket({ ...fields, retain: true }));
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, reasonCode);
      await client.expectClosed();
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: filters that are too long, too deep or too many are not subscribed to`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits } });
    const client = await broker.connectAs("bob", { level });
    assert.deepEqual(await granted(client, [deep, long, `${deep}/#`, `$share/g/${deep}`]), []);
    const many = Array.from({ length: 10 }, (_, index) => `home/bob/${index}`);
    const shared = many.map((filter) => `$share/g/${filter}`);
    assert.deepEqual(await granted(client, [...many, ...shared]), many.slice(0, 5));
    const { reasonCodes } = await client.subscribe([...shared, ...many]);
    assert.equal(reasonCodes.filter((code) => code < 0x80).length, 5);
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: what waits for a client that never acknowledges is bounded`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits } });
    const client = await broker.connectAs("bob", lasting(level));
    await client.subscribe("home/bob/#", { qos: 2 });
    const other = await broker.connectAs("bob", { level, clientId: "other" });
    for (let count = 0; count < 100; count++) {
      await other.publish({ topic: "home/bob/x", qos: 1, payload: "x".repeat(1000) });
    }
    const { queuedMessages, queuedBytes } = broker.stats();
    assert.equal(queuedMessages, 5);
    assert.ok(queuedBytes <= 10_000, `${queuedBytes} bytes`);
    for (let count = 0; count < 5; count++) await client.expect("publish");
    await client.expectNothing();
    assert.equal((await broker.arrived()).length, 100);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 1, queuedMessages, queuedBytes });
  });

  Deno.test(`MQTT ${version}: QoS 2 messages that are never released take no more than their packet identifiers`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits: { receiveMaximum: 5 } } });
    const client = await broker.connectAs("bob", { level });
    const message = publishPacket({ topic: "home/bob/x", qos: 2 });
    for (let packetId = 1; packetId <= 20; packetId++) await client.send({ ...message, packetId });
    const allowed = level === 5 ? 5 : 20;
    for (let packetId = 1; packetId <= allowed; packetId++) await client.expect("pubrec");
    if (level === 5) {
      assert.equal((await client.expect("disconnect")).reasonCode, 0x93);
      await client.expectClosed();
    }
    assert.equal((await broker.arrived()).length, allowed);
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: retained messages past the limit are not kept`, async () => {
    await using broker = await startGuardedBroker({ broker: { limits } });
    const client = await broker.connectAs("bob", { level });
    for (let count = 0; count < 150; count++) {
      await client.publish({ topic: `home/bob/${count}`, payload: "x", retain: true });
    }
    await client.expectNothing();
    const { retainedMessages } = broker.stats();
    assert.equal(retainedMessages, 100);
    await client.close();
    // The same by dying.
    for (let count = 150; count < 160; count++) {
      const will = { topic: `home/bob/${count}`, payload: "x", retain: true };
      await (await broker.connectAs("bob", { level, will })).close();
    }
    await eventually(() => broker.stats().connections === 1, "the end of all connections");
    assert.equal(broker.stats().retainedMessages, 100);
  });
}

Deno.test("[5.0] packets with too many user properties end the connection", async () => {
  await using broker = await startGuardedBroker({ broker: { limits } });
  const properties = { userProperties: manyProperties };
  const packets: Packet[] = [
    subscribeTo(["home/bob/x"], manyProperties),
    { type: "unsubscribe", packetId: 1, topicFilters: ["home/bob/x"], properties },
    publishPacket({ topic: "home/bob/x", qos: 1, packetId: 1, properties }),
  ];
  for (const packet of packets) {
    const client = await broker.connectAs("bob");
    await client.send(packet);
    assert.equal((await client.expect("disconnect")).reasonCode, 0x97);
    await client.expectClosed();
  }
  await broker.expectUnharmed();
});

Deno.test("a packet that claims to be too large is refused before it comes", async () => {
  await using broker = await startGuardedBroker({ broker: { limits } });
  for (const first of [0x30, 0x32, 0x82, 0xa2, 0xe0]) {
    const client = await broker.connectAs("bob");
    await client.sendBytes(new Uint8Array([first, 0xff, 0xff, 0xff, 0x7f]));
    assert.equal((await client.expect("disconnect")).reasonCode, 0x95);
    await client.expectClosed();
  }
  const stranger = broker.open();
  await stranger.sendBytes(new Uint8Array([0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4]));
  await stranger.expectClosed();
  await broker.expectUnharmed();
});

Deno.test("[5.0] nobody's session lasts longer than the operator allows", async () => {
  await using broker = await startGuardedBroker({ broker: { maximumSessionExpiry: 60 } });
  const properties = { sessionExpiryInterval: 0xffff_ffff };
  const client = await broker.connectAs("bob", { properties });
  assert.equal(client.connack.properties?.sessionExpiryInterval, 60);
  const fleeting = await broker.connectAs("bob", { clientId: "fleeting" });
  await fleeting.send({ type: "disconnect", reasonCode: 0, properties });
  assert.equal((await fleeting.expect("disconnect")).reasonCode, 0x82);
  await fleeting.expectClosed();
  await broker.expectUnharmed({ sessions: 1 });
});

// Too slow, too often

Deno.test("a CONNECT that comes byte by byte is not waited for longer than any other", async () => {
  await using broker = await startGuardedBroker({ broker: { limits: { connectTimeout: 1 } } });
  const bytes = encode(connectPacket({ ...bob, password: "x".repeat(10_000) }), 5);
  const slow = Array.from({ length: 20 }, () => broker.open());
  let sent = 0;
  const trickle = setInterval(() => {
    // Before its end, so that it never is a CONNECT.
    if (sent < bytes.length - 1) sent += 1;
    for (const client of slow) client.sendBytes(bytes.subarray(sent - 1, sent)).catch(() => {});
  }, 10);
  try {
    const other = await broker.connectAs("bob");
    await eventually(() => broker.stats().connections === 2, "the end of all that are too slow");
    await other.expectNothing();
  } finally {
    clearInterval(trickle);
  }
  for (const client of slow) await client.expectClosed();
  assert.ok(sent > 10, `${sent} bytes were sent`);
  await broker.expectUnharmed();
});

Deno.test("connections past what an address may have are closed, also where they would log in", async () => {
  await using broker = await startGuardedBroker({ broker: { limits: { connectionsPerAddress: 10 } } });
  const clients = Array.from({ length: 100 }, () => broker.open());
  const answers = await Promise.all(clients.map(async (client, number) => {
    await client.send(connectPacket({ ...bob, clientId: `bob ${number}` })).catch(() => {});
    return await client.expect("connack").then(({ reasonCode }) => reasonCode, () => "closed");
  }));
  assert.deepEqual(answers, [...Array(10).fill(0), ...Array(90).fill("closed")]);
  assert.equal(broker.stats().connectionsRefused, 90);
  const ann = await broker.connectAs("ann");
  await ann.expectNothing();
  await broker.expectUnharmed();
});

Deno.test("a thousand logins after each other, with sessions that end, leave nothing behind", async () => {
  await using broker = await startGuardedBroker();
  const ann = await broker.connectAs("ann");
  const batch = 50;
  for (let round = 0; round < 1000 / batch; round++) {
    const clients = await Promise.all(Array.from({ length: batch }, async (_, number) => {
      const will = { topic: "home/bob/will", payload: "gone" };
      const client = await broker.connectAs("bob", { clientId: `bob ${number % 20}`, will }).catch(() => undefined);
      await client?.send(subscribeTo(["home/bob/#", "$share/g/home/bob/#"])).catch(() => {});
      return client;
    }));
    await ann.expectNothing();
    for (const client of clients) await client?.close();
  }
  await eventually(() => broker.stats().connections === 2, "the end of all connections");
  const topics = new Set(await broker.arrived());
  assert.deepEqual([...topics], ["home/bob/will"]);
  await broker.expectUnharmed();
});

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a storm of subscriptions leaves nothing behind and keeps nobody waiting`, async () => {
    await using broker = await startGuardedBroker();
    const ann = await broker.connectAs("ann", { level });
    const client = await broker.connectAs("bob", { level });
    const filters = ["home/bob/#", "home/bob/+", "$share/g/home/bob/#", "news/today", "home/ann/#", "#", "$SYS/#"];
    const rounds = 300;
    const storm = async () => {
      for (let round = 0; round < rounds; round++) {
        const topicFilters = filters.map((filter) => filter.replace("bob", `bob/${round}`));
        await client.subscribe(topicFilters);
        await client.unsubscribe(topicFilters);
      }
    };
    let storming = true;
    const over = storm().finally(() => storming = false);
    while (storming) await ann.expectNothing();
    await over;
    assert.equal(broker.stats().subscriptions, 2);
    await broker.publish("home/ann/door", "x");
    await client.expectNothing();
    assert.deepEqual(await broker.arrived(), ["home/ann/door"]);
    await broker.expectUnharmed();
  });
}

// What is no MQTT

/** What no client may send, with what is behind it. */
const malformed: [what: string, bytes: number[]][] = [
  ["a PUBLISH at QoS 3", [0x36, 7, 0, 1, 97, 0, 1, 0, 120]],
  ["a PUBLISH with packet identifier 0", [0x32, 6, 0, 1, 97, 0, 0, 0]],
  ["a PUBLISH with a wildcard in its topic", [0x30, 4, 0, 1, 35, 0]],
  ["a PUBLISH with U+0000 in its topic", [0x30, 4, 0, 1, 0, 0]],
  ["a PUBLISH whose topic is no UTF-8", [0x30, 5, 0, 2, 0xc0, 0x80, 0]],
  ["a PUBLISH whose topic is longer than itself", [0x30, 4, 0xff, 0xff, 97, 0]],
  ["a PUBLISH without a topic", [0x30, 3, 0, 0, 0]],
  ["an empty PUBLISH", [0x30, 0]],
  ["a SUBSCRIBE without a filter", [0x82, 3, 0, 1, 0]],
  ["a SUBSCRIBE with flags of another packet", [0x80, 7, 0, 1, 0, 0, 1, 97, 0]],
  ["a SUBSCRIBE with a malformed filter", [0x82, 8, 0, 1, 0, 0, 2, 35, 35, 0]],
  ["an UNSUBSCRIBE without a filter", [0xa2, 3, 0, 1, 0]],
  ["a PUBREL with flags of another packet", [0x60, 2, 0, 1]],
  ["a PUBACK without a packet identifier", [0x40, 0]],
  ["a remaining length of five bytes", [0x30, 0xff, 0xff, 0xff, 0xff, 0x01]],
  ["the packet type 0", [0x00, 0]],
  ["a PINGREQ with a body", [0xc0, 2, 0, 0]],
  ["a CONNACK", [0x20, 3, 0, 0, 0]],
];

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: who has logged in and sends what is malformed is gone, and what follows it goes nowhere`, async () => {
    await using broker = await startGuardedBroker();
    const message = encode(publishPacket({ topic: "home/bob/x", payload: "x", retain: true }), level);
    for (const [what, bytes] of malformed) {
      const client = await broker.connectAs("bob", { level });
      await client.sendBytes(new Uint8Array([...bytes, ...message, ...message]));
      await expectEnd(client, level, what);
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: malformed packets before the login and during it reach nobody`, async () => {
    await using broker = await startGuardedBroker();
    for (const [what, bytes] of malformed) {
      const before = broker.open();
      await before.sendBytes(new Uint8Array(bytes));
      await expectNoAnswer(before, broker, what);
      const during = broker.open();
      const will = { topic: "home/bob/will", payload: "gone" };
      const connect = encode(connectPacket({ ...bob, level, password: "wrong", will }), level);
      await during.sendBytes(new Uint8Array([...connect, ...bytes]));
      during.level = level;
      assert.notEqual((await during.expect("connack")).reasonCode, 0, what);
      await during.expectClosed();
    }
    await broker.expectUnharmed();
  });
}

async function expectEnd(client: RawClient, level: number, what: string): Promise<void> {
  if (level === 5) assert.ok((await client.expect("disconnect")).reasonCode >= 0x80, what);
  await client.expectClosed();
}

async function expectNoAnswer(client: RawClient, broker: GuardedBroker, what: string): Promise<void> {
  await client.expectClosed();
  assert.equal(broker.stats().clients, 1, what);
}
