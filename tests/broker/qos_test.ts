import assert from "node:assert/strict";
import { encode, type Packet, type PublishPacket, type Qos, ReasonCodeError } from "../../mod.ts";
import { publishPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive, textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

// From a client

for (const [level, version] of versions) {
  const publisher = { level, clientId: "publisher" };
  const lastingPublisher = { ...lasting(level), clientId: "publisher" };
  const subscriber = { level, clientId: "subscriber" };

  Deno.test(`MQTT ${version}: QoS 0 is not answered [MQTT-3.3.4-1]`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect(publisher);
    await client.send(publishPacket({ topic: "t" }));
    await client.expectNothing();
    assert.equal(broker.stats().messagesReceived, 1);
  });

  Deno.test(`MQTT ${version}: QoS 1 is answered with PUBACK [MQTT-3.3.4-1]`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 1 });
    const client = await broker.connect(publisher);
    await client.send(publishPacket({ topic: "t", payload: "x", qos: 1, packetId: 0xabcd }));
    assert.deepEqual(await client.expect("puback"), { type: "puback", packetId: 0xabcd, reasonCode: 0 });
    assert.equal(textOf(await receive(receiver)), "x");
  });

  Deno.test(`MQTT ${version}: QoS 2 is answered with PUBREC, and PUBREL with PUBCOMP [MQTT-4.3.3-11]`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 2 });
    const client = await broker.connect(publisher);
    await client.send(publishPacket({ topic: "t", payload: "x", qos: 2, packetId: 0xabcd }));
    assert.deepEqual(await client.expect("pubrec"), { type: "pubrec", packetId: 0xabcd, reasonCode: 0 });
    await client.send({ type: "pubrel", packetId: 0xabcd, reasonCode: 0 });
    assert.deepEqual(await client.expect("pubcomp"), { type: "pubcomp", packetId: 0xabcd, reasonCode: 0 });
    assert.equal(textOf(await receive(receiver)), "x");
    await receiver.expectNothing();
  });

  Deno.test(`MQTT ${version}: after PUBACK a packet identifier means a new message, with DUP or not`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 0 });
    const client = await broker.connect(publisher);
    for (const dup of [false, true, false]) {
      await client.send(publishPacket({ topic: "t", qos: 1, packetId: 7, dup }));
      await client.expect("puback");
      await receiver.expect("publish");
    }
  });

  Deno.test(`MQTT ${version}: until its PUBREL a QoS 2 message is delivered once [MQTT-4.3.3-10]`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 0 });
    const client = await broker.connect(publisher);
    for (const dup of [false, true, true]) {
      await client.send(publishPacket({ topic: "t", qos: 2, packetId: 7, dup }));
      assert.equal((await client.expect("pubrec")).packetId, 7);
    }
    await receiver.expect("publish");
    await receiver.expectNothing();
  });

  Deno.test(`MQTT ${version}: a QoS 2 message that is sent again after a reconnect is delivered once`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 0 });
    const before = await broker.connect(lastingPublisher);
    await before.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
    await before.expect("pubrec");
    await before.close();
    const after = await broker.connect(lastingPublisher);
    await after.send(publishPacket({ topic: "t", qos: 2, packetId: 7, dup: true }));
    assert.deepEqual(await after.expect("pubrec"), { type: "pubrec", packetId: 7, reasonCode: 0 });
    await after.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    assert.deepEqual(await after.expect("pubcomp"), { type: "pubcomp", packetId: 7, reasonCode: 0 });
    await receiver.expect("publish");
    await receiver.expectNothing();
  });

  Deno.test(`MQTT ${version}: a PUBREL that comes after a reconnect completes its message`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect(lastingPublisher);
    await before.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
    await before.expect("pubrec");
    await before.close();
    const after = await broker.connect(lastingPublisher);
    await after.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    assert.deepEqual(await after.expect("pubcomp"), { type: "pubcomp", packetId: 7, reasonCode: 0 });
  });

  Deno.test(`MQTT ${version}: after PUBCOMP a packet identifier means a new message [MQTT-4.3.3-12]`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 0 });
    const client = await broker.connect(publisher);
    for (const payload of ["one", "two"]) {
      await client.send(publishPacket({ topic: "t", payload, qos: 2, packetId: 7 }));
      await client.expect("pubrec");
      await client.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
      await client.expect("pubcomp");
      assert.equal(textOf(await receiver.expect("publish")), payload);
    }
  });

  Deno.test(`MQTT ${version}: an unknown PUBREL is completed`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect(publisher);
    await client.send({ type: "pubrel", packetId: 9, reasonCode: 0 });
    const reasonCode = level === 5 ? 0x92 : 0;
    assert.deepEqual(await client.expect("pubcomp"), { type: "pubcomp", packetId: 9, reasonCode });
  });

  Deno.test(`MQTT ${version}: DUP is the sender's own, and not passed on [MQTT-3.3.1-3]`, async () => {
    await using broker = await startBroker();
    const receiver = await broker.connect(subscriber);
    await receiver.subscribe("t", { qos: 2 });
    const client = await broker.connect(publisher);
    for (const qos of [1, 2] as const) {
      await client.send(publishPacket({ topic: "t", qos, packetId: qos, dup: true }));
      assert.equal((await receive(receiver)).dup, false);
    }
  });
}

Deno.test("[5.0 3.4.2.1] PUBACK and PUBREC say whether anybody is subscribed", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  assert.equal(await client.publish({ topic: "t", qos: 1 }), 0x10);
  assert.equal(await client.publish({ topic: "t", qos: 2 }), 0x10);
  const receiver = await broker.connect();
  await receiver.subscribe("t", { qos: 0 });
  assert.equal(await client.publish({ topic: "t", qos: 1 }), 0);
  assert.equal(await client.publish({ topic: "t", qos: 2 }), 0);
});

Deno.test("[5.0 MQTT-4.3.3-9] after a PUBREC that refuses, the packet identifier means a new message", async () => {
  await using broker = await startBroker();
  let refuse = true;
  await broker.use({
    id: "refuses once",
    onPublish() {
      if (refuse) throw new ReasonCodeError(0x99, "not like this");
    },
  });
  const receiver = await broker.connect();
  await receiver.subscribe("t");
  const client = await broker.connect();
  await client.send(publishPacket({ topic: "t", qos: 2, packetId: 7 }));
  assert.equal((await client.expect("pubrec")).reasonCode, 0x99);
  refuse = false;
  await client.send(publishPacket({ topic: "t", qos: 2, packetId: 7, dup: true }));
  assert.equal((await client.expect("pubrec")).reasonCode, 0);
  await receiver.expect("publish");
});

// To a client

for (const [level, version] of versions) {
  const subscriber = { ...lasting(level), clientId: "subscriber" };

  Deno.test(`MQTT ${version}: a message has the lower QoS of the publisher's and the subscription's`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect(subscriber);
    for (const granted of [0, 1, 2] as Qos[]) {
      await client.subscribe("t", { qos: granted });
      for (const qos of [0, 1, 2] as Qos[]) {
        await broker.publish("t", "", { qos });
        const packet = await receive(client);
        assert.deepEqual([packet.qos, packet.dup], [Math.min(qos, granted), false]);
        assert.equal(packet.packetId !== undefined, packet.qos > 0);
      }
    }
  });

  Deno.test(`MQTT ${version}: PUBREC is answered with PUBREL, also when it comes again [MQTT-4.3.3-4]`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect(subscriber);
    await client.subscribe("t", { qos: 2 });
    await broker.publish("t", "", { qos: 2 });
    const packetId = (await client.expect("publish")).packetId!;
    for (let time = 0; time < 2; time++) {
      await client.send({ type: "pubrec", packetId, reasonCode: 0 });
      assert.deepEqual(await client.expect("pubrel"), { type: "pubrel", packetId, reasonCode: 0 });
    }
  });

  Deno.test(`MQTT ${version}: what was acknowledged is not sent again`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect(subscriber);
    await before.subscribe("t", { qos: 2 });
    for (const qos of [0, 1, 2] as Qos[]) {
      await broker.publish("t", "", { qos });
      await receive(before);
    }
    await before.expectNothing();
    await before.close();
    const after = await broker.connect(subscriber);
    await after.expectNothing();
  });

  Deno.test(`MQTT ${version}: after a reconnect what is unacknowledged comes again, in order [MQTT-4.4.0-1]`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect(subscriber);
    await before.subscribe("t", { qos: 2 });
    for (const qos of [1, 2, 2, 1, 2, 1] as Qos[]) await broker.publish("t", `at ${qos}`, { qos });
    const sent: PublishPacket[] = [];
    for (let count = 0; count < 6; count++) sent.push(await before.expect("publish"));
    const [one, two, three, four, five, six] = sent.map(({ packetId }) => packetId!);
    await before.send({ type: "puback", packetId: one, reasonCode: 0 });
    await before.send({ type: "pubrec", packetId: three, reasonCode: 0 });
    await before.expect("pubrel");
    await before.disconnect();
    await broker.publish("t", "new", { qos: 1 });

    const after = await broker.connect(subscriber);
    assert.deepEqual(await after.expect("publish"), { ...sent[1], dup: true });
    assert.deepEqual(await after.expect("pubrel"), { type: "pubrel", packetId: three, reasonCode: 0 });
    assert.deepEqual(await after.expect("publish"), { ...sent[3], dup: true });
    assert.deepEqual(await after.expect("publish"), { ...sent[4], dup: true });
    assert.deepEqual(await after.expect("publish"), { ...sent[5], dup: true });
    const last = await after.expect("publish");
    assert.deepEqual([textOf(last), last.dup], ["new", false]);
    assert(![two, three, four, five, six].includes(last.packetId!));
  });

  Deno.test(`MQTT ${version}: a PUBREL that is sent again ends with its PUBCOMP [MQTT-4.3.3-5]`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect(subscriber);
    await before.subscribe("t", { qos: 2 });
    await broker.publish("t", "", { qos: 2 });
    const packetId = (await before.expect("publish")).packetId!;
    await before.send({ type: "pubrec", packetId, reasonCode: 0 });
    await before.expect("pubrel");
    await before.close();
    const after = await broker.connect(subscriber);
    await after.expect("pubrel");
    await after.send({ type: "pubcomp", packetId, reasonCode: 0 });
    await after.expectNothing();
    await after.close();
    const last = await broker.connect(subscriber);
    await last.expectNothing();
  });

  Deno.test(`MQTT ${version}: acknowledgements for nothing do no harm`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect(subscriber);
    await client.send({ type: "puback", packetId: 9, reasonCode: 0 });
    await client.send({ type: "pubcomp", packetId: 9, reasonCode: 0 });
    await client.expectNothing();
    await client.send({ type: "pubrec", packetId: 9, reasonCode: 0 });
    const reasonCode = level === 5 ? 0x92 : 0;
    assert.deepEqual(await client.expect("pubrel"), { type: "pubrel", packetId: 9, reasonCode });
  });

  for (
    const [qos, type] of [[1, "pubrec"], [1, "pubcomp"], [2, "puback"], [2, "pubcomp"]] as const
  ) {
    Deno.test(`MQTT ${version}: ${type.toUpperCase()} for a QoS ${qos} message is a protocol error`, async () => {
      await using broker = await startBroker();
      const client = await broker.connect(subscriber);
      await client.subscribe("t", { qos: 2 });
      await broker.publish("t", "", { qos });
      const packetId = (await client.expect("publish")).packetId!;
      await client.send({ type, packetId, reasonCode: 0 });
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
      await client.expectClosed();
    });
  }
}

for (const [qos, type] of [[1, "puback"], [2, "pubrec"]] as const) {
  Deno.test(`[5.0 MQTT-4.4.0-2] a message that ${type.toUpperCase()} refuses is not sent again`, async () => {
    await using broker = await startBroker();
    const options = { ...lasting(5), clientId: "a" };
    const before = await broker.connect(options);
    await before.subscribe("t", { qos });
    await broker.publish("t", "", { qos });
    const packetId = (await before.expect("publish")).packetId!;
    await before.send({ type, packetId, reasonCode: 0x83 });
    await before.expectNothing();
    await before.close();
    const after = await broker.connect(options);
    await after.expectNothing();
  });
}

Deno.test("[5.0 MQTT-2.2.1-4] a packet identifier is used again only when its message is acknowledged", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ level: 4 });
  await client.subscribe("t", { qos: 1 });
  await broker.publish("t", "kept", { qos: 1 });
  const kept = (await client.expect("publish")).packetId!;
  let last = kept;
  for (let sent = 0; sent < 0x10000; sent += 1023) {
    for (let count = 0; count < 1023; count++) broker.publish("t", "", { qos: 1 });
    const acknowledgements: Packet[] = [];
    for (let count = 0; count < 1023; count++) {
      const packetId = (await client.expect("publish")).packetId!;
      assert(packetId !== 0 && packetId !== kept && packetId !== last);
      acknowledgements.push({ type: "puback", packetId, reasonCode: 0 });
      last = packetId;
    }
    await client.send(...acknowledgements);
    await client.expectNothing();
  }
  assert(last < 1023, `${last} does not come after all identifiers have been used`);
});

// How many at a time

for (const qos of [1, 2] as const) {
  Deno.test(`[5.0 MQTT-3.3.4-9] the client's receive maximum holds at QoS ${qos}`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect({ properties: { receiveMaximum: 2 } });
    await client.subscribe("t", { qos: 2 });
    for (const payload of ["one", "two", "three", "four"]) await broker.publish("t", payload, { qos });
    const first = await client.expect("publish");
    const second = await client.expect("publish");
    await client.expectNothing();
    // QoS 0 and other packets are not held back [MQTT-3.3.4-10].
    await broker.publish("t", "zero");
    assert.equal(textOf(await client.expect("publish")), "zero");
    await client.subscribe("other");

    if (qos === 1) {
      await client.send({ type: "puback", packetId: first.packetId!, reasonCode: 0 });
      assert.equal(textOf(await client.expect("publish")), "three");
      await client.expectNothing();
      await client.send({ type: "puback", packetId: second.packetId!, reasonCode: 0x80 });
    } else {
      await client.send({ type: "pubrec", packetId: first.packetId!, reasonCode: 0 });
      await client.expect("pubrel");
      await client.expectNothing();
      await client.send({ type: "pubcomp", packetId: first.packetId!, reasonCode: 0 });
      assert.equal(textOf(await client.expect("publish")), "three");
      await client.expectNothing();
      await client.send({ type: "pubrec", packetId: second.packetId!, reasonCode: 0x80 });
    }
    assert.equal(textOf(await client.expect("publish")), "four");
    await client.expectNothing();
  });
}

Deno.test("[5.0 4.9] the receive maximum is that of the connection, and holds for what is sent again", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { qos: 1 });
  for (const payload of ["one", "two", "three"]) await broker.publish("t", payload, { qos: 1 });
  for (let count = 0; count < 3; count++) await before.expect("publish");
  await before.close();
  const after = await broker.connect({
    clientId: "a",
    cleanStart: false,
    properties: { receiveMaximum: 1, sessionExpiryInterval: 100 },
  });
  for (const payload of ["one", "two", "three"]) {
    const packet = await after.expect("publish");
    assert.deepEqual([textOf(packet), packet.dup], [payload, true]);
    await after.expectNothing();
    await after.send({ type: "puback", packetId: packet.packetId!, reasonCode: 0 });
  }
});

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: the broker's own limit of messages in flight holds`, async () => {
    await using broker = await startBroker({ limits: { inflight: 2 } });
    const client = await broker.connect({ level });
    await client.subscribe("t", { qos: 1 });
    for (const payload of ["one", "two", "three"]) await broker.publish("t", payload, { qos: 1 });
    const { packetId } = await client.expect("publish");
    await client.expect("publish");
    await client.expectNothing();
    await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    assert.equal(textOf(await client.expect("publish")), "three");
  });
}

Deno.test("[5.0 MQTT-3.3.4-7] a client that exceeds the broker's receive maximum is disconnected with 0x93", async () => {
  await using broker = await startBroker({ limits: { receiveMaximum: 2 } });
  const client = await broker.connect();
  for (const packetId of [1, 2]) {
    await client.send(publishPacket({ topic: "t", qos: 2, packetId }));
    await client.expect("pubrec");
  }
  await client.send(publishPacket({ topic: "t", qos: 1, packetId: 3 }));
  assert.equal((await client.expect("disconnect")).reasonCode, 0x93);
  await client.expectClosed();
});

Deno.test("[5.0 4.9] PUBACK, PUBCOMP and a PUBREC that refuses let the client send more", async () => {
  await using broker = await startBroker({ limits: { receiveMaximum: 1 } });
  await broker.use({
    id: "refuses",
    onPublish(_client, { topic }) {
      if (topic === "refused") throw new ReasonCodeError(0x87, "not here");
    },
  });
  const client = await broker.connect();
  for (let round = 0; round < 3; round++) {
    assert.equal(await client.publish({ topic: "t", qos: 1 }), 0x10);
    assert.equal(await client.publish({ topic: "refused", qos: 1 }), 0x87);
    assert.equal(await client.publish({ topic: "t", qos: 2 }), 0x10);
    assert.equal(await client.publish({ topic: "refused", qos: 2 }), 0x87);
    assert.equal(await client.publish({ topic: "refused", qos: 2 }), 0x87);
    // Again what has been completed, which gives no more than there was.
    await client.send({ type: "pubrel", packetId: 1, reasonCode: 0 });
    await client.expect("pubcomp");
  }
  await client.send(publishPacket({ topic: "t", qos: 2, packetId: 100 }));
  await client.expect("pubrec");
  await client.send(publishPacket({ topic: "t", qos: 2, packetId: 101 }));
  assert.equal((await client.expect("disconnect")).reasonCode, 0x93);
});

Deno.test("[5.0 4.9] what a client receives does not let it send more", async () => {
  await using broker = await startBroker({ limits: { receiveMaximum: 1 } });
  const client = await broker.connect();
  await client.subscribe("t", { qos: 2 });
  await client.send(publishPacket({ topic: "other", qos: 2, packetId: 100 }));
  await client.expect("pubrec");
  await broker.publish("t", "", { qos: 2 });
  await receive(client);
  await client.send(publishPacket({ topic: "other", qos: 2, packetId: 101 }));
  assert.equal((await client.expect("disconnect")).reasonCode, 0x93);
});

Deno.test("[5.0 4.9] the broker's receive maximum begins anew with every connection", async () => {
  await using broker = await startBroker({ limits: { receiveMaximum: 2 } });
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  for (const packetId of [1, 2]) {
    await before.send(publishPacket({ topic: "t", qos: 2, packetId }));
    await before.expect("pubrec");
  }
  await before.close();
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  for (const packetId of [3, 4]) {
    await after.send(publishPacket({ topic: "t", qos: 2, packetId }));
    assert.equal((await after.expect("pubrec")).packetId, packetId);
  }
  await after.send(publishPacket({ topic: "t", qos: 2, packetId: 5 }));
  assert.equal((await after.expect("disconnect")).reasonCode, 0x93);
});

for (const qos of [1, 2] as const) {
  Deno.test(`[5.0 MQTT-4.9.0-3] a client may have a receive maximum of QoS ${qos} messages stored, and is still heard`, async () => {
    await using broker = await startBroker({ limits: { receiveMaximum: 2 } });
    const stored = Promise.withResolvers<void>();
    await broker.use({ id: "slow", storeRetained: () => stored.promise });
    const client = await broker.connect();
    for (const packetId of [1, 2]) {
      await client.send(publishPacket({ topic: "t", payload: "x", qos, packetId, retain: true }));
    }
    await client.expectNothing();
    stored.resolve();
    for (const packetId of [1, 2]) {
      assert.equal((await client.expect(qos === 1 ? "puback" : "pubrec")).packetId, packetId);
    }
  });
}

for (const [level, version] of versions) {
  if (level === 5) continue;
  Deno.test(`MQTT ${version}: a client is heard more slowly, but not disconnected, when storing is slow`, async () => {
    await using broker = await startBroker({ limits: { receiveMaximum: 2 } });
    await broker.use({ id: "slow", storeRetained: () => new Promise((resolve) => setTimeout(resolve, 1)) });
    const client = await broker.connect({ level });
    const packetIds = Array.from({ length: 20 }, (_, index) => index + 1);
    await client.send(
      ...packetIds.map((packetId) => publishPacket({ topic: "t", payload: "x", qos: 2, packetId, retain: true })),
    );
    for (const packetId of packetIds) assert.equal((await client.expect("pubrec")).packetId, packetId);
  });
}

// Order

for (const [level, version] of versions) {
  for (const qos of [0, 1, 2] as const) {
    for (const [inflight, how] of [[1024, "all at once"], [1, "one at a time"]] as const) {
      Deno.test(`MQTT ${version}: messages of QoS ${qos} keep their order ${how} [MQTT-4.6.0-5]`, async () => {
        await using broker = await startBroker({ limits: { inflight } });
        const receiver = await broker.connect({ level });
        await receiver.subscribe("t", { qos: 2 });
        const client = await broker.connect({ level });
        await client.send(...numbered(100, qos));
        for (let number = 1; number <= 100; number++) {
          const packet = inflight === 1 ? await receive(receiver) : await receiver.expect("publish");
          assert.equal(textOf(packet), `${number}`);
        }
      });
    }
  }
}

/** Messages `"1"`, `"2"`, … on topic t, whose packet identifiers are the same numbers. */
function numbered(count: number, qos: Qos, retain = false): PublishPacket[] {
  return Array.from({ length: count }, (_, index) => {
    const packetId = index + 1;
    return publishPacket({ topic: "t", payload: `${packetId}`, qos, retain, ...(qos > 0 ? { packetId } : {}) });
  });
}

/** A hook's delay: long and short ones follow each other, so that what is not kept in order gets out of it. */
function delay(call: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, [8, 0, 4, 12, 2][call % 5]));
}

for (const qos of [1, 2] as const) {
  const answer = qos === 1 ? "puback" : "pubrec";

  Deno.test(`[5.0 4.6] an asynchronous onPublish keeps messages and ${answer.toUpperCase()}s in order`, async () => {
    await using broker = await startBroker();
    let calls = 0;
    await broker.use({ id: "slow", onPublish: () => calls % 2 === 0 ? delay(calls++) : void calls++ });
    const receiver = await broker.connect();
    await receiver.subscribe("t", { qos });
    const client = await broker.connect();
    await client.send(...numbered(20, qos));
    for (let number = 1; number <= 20; number++) {
      assert.equal((await client.expect(answer)).packetId, number);
      assert.equal(textOf(await receiver.expect("publish")), `${number}`);
    }
  });

  Deno.test(`${answer.toUpperCase()}s come when storing is done, and in order, whichever is stored first`, async () => {
    await using broker = await startBroker();
    let calls = 0;
    const stored = new Set<string>();
    await broker.use({
      id: "slow",
      async storeRetained(_topic, packet) {
        await delay(calls++);
        stored.add(textOf(packet));
      },
    });
    const client = await broker.connect();
    await client.send(...numbered(20, qos, true));
    for (let number = 1; number <= 20; number++) {
      assert.equal((await client.expect(answer)).packetId, number);
      assert(stored.has(`${number}`), `${number} is acknowledged before it is stored`);
    }
  });

  Deno.test(`messages that need no storing wait with their ${answer.toUpperCase()} for those before them`, async () => {
    await using broker = await startBroker();
    const stored = Promise.withResolvers<void>();
    await broker.use({ id: "slow", storeRetained: () => stored.promise });
    const client = await broker.connect();
    await client.send(publishPacket({ topic: "t", payload: "x", qos, packetId: 1, retain: true }));
    await client.send(publishPacket({ topic: "t", payload: "x", qos, packetId: 2 }));
    await client.expectNothing();
    stored.resolve();
    assert.equal((await client.expect(answer)).packetId, 1);
    assert.equal((await client.expect(answer)).packetId, 2);
  });

  Deno.test(`[5.0] a message that cannot be stored is refused in its ${answer.toUpperCase()}`, async () => {
    await using broker = await startBroker();
    await broker.use({
      id: "fails",
      async storeRetained(topic) {
        await delay(0);
        if (topic === "full") throw new ReasonCodeError(0x97, "the disk is full");
        throw new Error("the disk is broken");
      },
    });
    const client = await broker.connect();
    for (let round = 0; round < 2; round++) {
      assert.equal(await client.publish({ topic: "t", payload: "x", qos, retain: true }), 0x80);
      assert.equal(await client.publish({ topic: "full", payload: "x", qos, retain: true }), 0x97);
      assert.equal(await client.publish({ topic: "t", payload: "x", qos }), 0x10);
    }
  });

  Deno.test(`[5.0 MQTT-4.3.3-9] a QoS ${qos} message that could not be stored may be sent again`, async () => {
    await using broker = await startBroker();
    let broken = true;
    await broker.use({
      id: "fails once",
      async storeRetained() {
        await delay(0);
        if (broken) throw new ReasonCodeError(0x97, "the disk is full");
      },
    });
    const client = await broker.connect();
    for (const reasonCode of [0x97, 0x10]) {
      await client.send(publishPacket({ topic: "t", payload: "x", qos, packetId: 7, retain: true }));
      assert.equal((await client.expect(answer)).reasonCode, reasonCode);
      broken = false;
    }
  });

  Deno.test(`${answer.toUpperCase()}s come when a message is stored for all sessions that last, and in order`, async () => {
    await using broker = await startBroker();
    let calls = 0;
    const stored: string[] = [];
    await broker.use({
      id: "slow",
      async storeOutgoing(clientId, { message }) {
        await delay(calls++);
        stored.push(`${textOf(message.packet)} for ${clientId}`);
      },
    });
    for (const clientId of ["here", "away"]) {
      const client = await broker.connect({ ...lasting(5), clientId });
      await client.subscribe("t", { qos });
      if (clientId === "away") await client.disconnect();
    }
    const client = await broker.connect();
    await client.send(...numbered(20, qos));
    for (let number = 1; number <= 20; number++) {
      assert.equal((await client.expect(answer)).packetId, number);
      for (const clientId of ["here", "away"]) {
        assert(
          stored.includes(`${number} for ${clientId}`),
          `${number} is not stored for the client that is ${clientId}`,
        );
      }
    }
  });

  Deno.test(`[5.0] a message that cannot be stored for one session is refused in its ${answer.toUpperCase()}`, async () => {
    await using broker = await startBroker();
    await broker.use({
      id: "fails",
      storeOutgoing: () => Promise.reject(new ReasonCodeError(0x97, "the disk is full")),
    });
    const away = await broker.connect({ ...lasting(5), clientId: "away" });
    await away.subscribe("t", { qos });
    await away.disconnect();
    const client = await broker.connect();
    assert.equal(await client.publish({ topic: "t", payload: "x", qos }), 0x97);
    assert.equal(broker.stats().queuedMessages, 0);
  });

  for (const [level, version] of versions) {
    if (level === 5) continue;
    Deno.test(`MQTT ${version}: a message that cannot be stored gets no ${answer.toUpperCase()} but a close`, async () => {
      await using broker = await startBroker();
      await broker.use({ id: "fails", storeRetained: () => Promise.reject(new Error("the disk is broken")) });
      const client = await broker.connect({ level });
      await client.send(publishPacket({ topic: "t", payload: "x", qos, packetId: 1, retain: true }));
      await client.expectClosed();
    });
  }
}

Deno.test("a QoS 0 message that cannot be stored does no harm", async () => {
  await using broker = await startBroker();
  let calls = 0;
  let failures = 0;
  await broker.use({
    id: "fails",
    async storeRetained() {
      await delay(calls++);
      failures += 1;
      throw new Error("the disk is broken");
    },
  });
  const client = await broker.connect();
  await client.send(...numbered(5, 0, true));
  await eventually(() => failures === 5, "the failures");
  await client.expectNothing();
});

Deno.test("[5.0 MQTT-4.3.3-10] a QoS 2 message that comes again while it is stored is delivered once", async () => {
  await using broker = await startBroker();
  const stored = Promise.withResolvers<void>();
  await broker.use({ id: "slow", storeRetained: () => stored.promise });
  const receiver = await broker.connect();
  await receiver.subscribe("t");
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  const packet = publishPacket({ topic: "t", payload: "x", qos: 2, packetId: 7, retain: true });
  await before.send(packet);
  await receiver.expect("publish");
  await before.close();
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  await after.send({ ...packet, dup: true });
  await after.expectNothing();
  stored.resolve();
  assert.deepEqual(await after.expect("pubrec"), { type: "pubrec", packetId: 7, reasonCode: 0 });
  await receiver.expectNothing();
});

// Sizes

for (const qos of [0, 1, 2] as const) {
  Deno.test(`[5.0 MQTT-3.1.2-25] a QoS ${qos} message that is too large for the client counts as delivered`, async () => {
    await using broker = await startBroker();
    const dropped: string[] = [];
    await broker.use({
      id: "watch",
      onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId} ${packet.topic} ${reason}`),
    });
    const client = await broker.connect({
      clientId: "small",
      properties: { maximumPacketSize: 100, receiveMaximum: 1 },
    });
    await client.subscribe("#", { qos: 2 });
    for (let count = 0; count < 3; count++) await broker.publish("large", "x".repeat(100), { qos });
    await broker.publish("small", "y", { qos });
    assert.equal(textOf(await receive(client)), "y");
    assert.deepEqual(dropped, Array(3).fill("small large packet-too-large"));
    assert.equal(broker.stats().messagesDropped, 3);
    await client.expectNothing();
  });
}

Deno.test("[5.0 MQTT-3.1.2-24] a message of exactly the client's maximum packet size is delivered", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ properties: { maximumPacketSize: 100 } });
  await client.subscribe("t");
  const overhead = 6; // Two bytes of fixed header, three of the topic, one of the property length.
  await broker.publish("t", "x".repeat(100 - overhead + 1));
  await broker.publish("t", "y".repeat(100 - overhead));
  const packet = await client.expect("publish");
  assert.equal(encode(packet, 5).length, 100);
  await client.expectNothing();
});

Deno.test("[5.0 MQTT-3.1.2-24] the maximum packet size of a new connection holds for what is sent again", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { qos: 2 });
  await broker.publish("t", "x".repeat(200), { qos: 1 });
  await broker.publish("t", "y", { qos: 1 });
  await before.expect("publish");
  await before.expect("publish");
  await before.close();
  const after = await broker.connect({ clientId: "a", cleanStart: false, properties: { maximumPacketSize: 100 } });
  assert.equal(textOf(await after.expect("publish")), "y");
  await after.expectNothing();
  assert.equal(broker.stats().messagesDropped, 1);
});

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a packet that is larger than the broker accepts ends the connection`, async () => {
    await using broker = await startBroker({ limits: { packetSize: 100 } });
    const client = await broker.connect({ level });
    const overhead = encode(publishPacket({ topic: "t" }), level).length;
    await client.send(publishPacket({ topic: "t", payload: "x".repeat(100 - overhead) }));
    await client.expectNothing();
    await client.send(publishPacket({ topic: "t", payload: "x".repeat(101 - overhead) }));
    if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x95);
    await client.expectClosed();
    assert.equal(broker.stats().messagesReceived, 1);
  });
}

Deno.test("a packet that only claims to be too large is not waited for", async () => {
  await using broker = await startBroker({ limits: { packetSize: 100 } });
  const client = await broker.connect();
  await client.sendBytes(new Uint8Array([0x30, 0xff, 0xff, 0xff, 0x7f]));
  assert.equal((await client.expect("disconnect")).reasonCode, 0x95);
  await client.expectClosed();
});
