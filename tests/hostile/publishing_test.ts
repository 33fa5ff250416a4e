/** Clients that try to publish what they may not. */

import assert from "node:assert/strict";
import { encode, type Qos } from "../../mod.ts";
import { textOf } from "../broker/receive.ts";
import { lasting, versions } from "../broker/versions.ts";
import { publishPacket } from "../support/raw_client.ts";
import { rules, startGuardedBroker } from "./guarded_broker.ts";

const forbiddenTopics = [
  ...[
    "home/ann/door",
    "home/ann",
    "home",
    "home/",
    "home//door",
    "home/Bob/door",
    "HOME/bob/door",
    "home/bobby",
    "/home/bob",
  ],
  ...["home/%u/door", "home/*/door", "\u{feff}home/bob/door", "home/b\u043eb/door", "home/bob\u{200b}/door"],
  ...[
    "news/today",
    "news/internal",
    "plans",
    "$internal/plans",
    "$share/group/home/bob/door",
    "$SYS",
    "$SYS/broker/version",
  ],
  ...["$sys/broker/version", "$SYSTEM/x", "$SYS/broker/bob", "/", " ", "home/ann\u{1f600}"],
];

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: nothing that is published on a forbidden topic reaches anybody, or is kept`, async () => {
    await using broker = await startGuardedBroker();
    const bob = await broker.connectAs("bob", { level });
    for (const topic of forbiddenTopics) {
      for (const qos of [0, 1, 2] as const) {
        const reasonCode = await bob.publish({ topic, qos, payload: "x", retain: true });
        assert.equal(reasonCode, qos > 0 && level === 5 ? 0x87 : 0, topic);
      }
    }
    assert.equal(await bob.publish({ topic: "home/bob/../ann/door", qos: 1 }), 0);
    assert.deepEqual(await broker.arrived(), ["home/bob/../ann/door"]);
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: nobody deletes or replaces a retained message on a forbidden topic`, async () => {
    await using broker = await startGuardedBroker();
    const topics = ["home/ann/door", "news/today", "plans"];
    for (const topic of topics) await broker.publish(topic, "original", { retain: true });
    const bob = await broker.connectAs("bob", { level });
    for (const topic of [...topics, "$SYS/broker/version"]) {
      for (const qos of [0, 1, 2] as const) {
        await bob.publish({ topic, qos, retain: true });
        await bob.publish({ topic, qos, retain: true, payload: "forged" });
      }
    }
    const reader = await broker.connectAs("admin");
    await reader.subscribe([...topics, "$SYS/broker/version"]);
    const payloads = [];
    for (let count = 0; count < 4; count++) payloads.push(textOf(await reader.expect("publish")));
    assert.deepEqual(payloads.slice(0, 3), ["original", "original", "original"]);
    assert.match(payloads[3], /^HookMQ /);
    assert.deepEqual(await broker.arrived(), topics);
    await broker.expectUnharmed({ retainedMessages: 3 });
  });

  Deno.test(`MQTT ${version}: not even who may do everything publishes on the broker's own topics`, async () => {
    await using broker = await startGuardedBroker();
    const admin = await broker.connectAs("admin", { level });
    for (const topic of ["$SYS", "$SYS/", "$SYS/broker/version", "$SYS/broker/clients/connected", "$SYS/x"]) {
      for (const qos of [0, 1, 2] as const) {
        const reasonCode = await admin.publish({ topic, qos, payload: "forged", retain: true });
        assert.equal(reasonCode, qos > 0 && level === 5 ? 0x87 : 0, topic);
      }
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: a QoS 2 handshake that began on an allowed topic ends on no other one`, async () => {
    await using broker = await startGuardedBroker();
    const bob = await broker.connectAs("bob", lasting(level));
    const allowed = publishPacket({ topic: "home/bob/door", qos: 2, packetId: 1 });
    const forbidden = { ...allowed, topic: "home/ann/door" };
    await bob.send(allowed);
    assert.equal((await bob.expect("pubrec")).reasonCode, 0);
    // The same packet identifier is the same message, whatever it says; also after a reconnect.
    for (const dup of [false, true]) {
      await bob.send({ ...forbidden, dup });
      await bob.expect("pubrec");
    }
    const back = await broker.connectAs("bob", lasting(level));
    await back.send({ ...forbidden, dup: true });
    await back.expect("pubrec");
    await back.send({ type: "pubrel", packetId: 1, reasonCode: 0 });
    await back.expect("pubcomp");
    // And a handshake that was refused releases nothing.
    await back.send({ ...forbidden, packetId: 2 });
    assert.equal((await back.expect("pubrec")).reasonCode, level === 5 ? 0x87 : 0);
    for (const packetId of [2, 3, 65_535]) {
      await back.send({ type: "pubrel", packetId, reasonCode: 0 });
      await back.expect("pubcomp");
    }
    assert.deepEqual(await broker.arrived(), ["home/bob/door"]);
    await broker.expectUnharmed({ sessions: 1 });
  });

  Deno.test(`MQTT ${version}: rules that are tightened hold for the next message, also for one that is sent again`, async () => {
    await using broker = await startGuardedBroker();
    const bob = await broker.connectAs("bob", { level });
    await bob.publish({ topic: "home/bob/door", qos: 1 });
    broker.acl.setRules(rules.slice(0, 1));
    for (const qos of [0, 1, 2] as Qos[]) {
      await bob.publish({ topic: "home/bob/door", qos, packetId: 9, dup: qos > 0, retain: true, payload: "x" });
    }
    await bob.expectNothing();
    assert.deepEqual(await broker.arrived(), ["home/bob/door"]);
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: a user has one limit, however many connections and client ids it uses`, async () => {
    await using broker = await startGuardedBroker();
    for (let connection = 0; connection < 4; connection++) {
      const bob = await broker.connectAs("bob", { level, clientId: `bob ${connection}` });
      const topic = connection === 0 ? "home/ann/door" : "home/bob/door";
      for (let count = 0; count < 300; count++) await bob.send(publishPacket({ topic, payload: `${count}` }));
      await bob.expectNothing();
      await bob.disconnect();
    }
    const { length } = await broker.arrived();
    // Those that were refused count as well. What is more than 200 came at the rate of 100 a second.
    assert.equal(broker.rateLimit.counters().dropped, 900 - length);
    assert.ok(length < 600, `${length} messages arrived`);
    await broker.expectUnharmed();
  });
}

// Topic aliases

/** Gives alias 1 to a topic, or uses it if there is none. */
function byAlias(topic = "") {
  return { topic, qos: 1, properties: { topicAlias: 1 } } as const;
}

Deno.test("[5.0] an alias of an allowed topic is refused as soon as the topic is", async () => {
  await using broker = await startGuardedBroker();
  const bob = await broker.connectAs("bob");
  assert.equal(await bob.publish(byAlias("home/bob/door")), 0);
  assert.equal(await bob.publish(byAlias()), 0);
  broker.acl.setRules(rules.slice(0, 1));
  assert.equal(await bob.publish(byAlias()), 0x87);
  await bob.publish({ ...byAlias(), qos: 0, retain: true, payload: "x" });
  assert.equal(await bob.publish({ ...byAlias(), qos: 2 }), 0x87);
  assert.deepEqual(await broker.arrived(), ["home/bob/door", "home/bob/door"]);
  await broker.expectUnharmed();
});

Deno.test("[5.0] an alias that a refused message gave to a forbidden topic is refused in every form", async () => {
  await using broker = await startGuardedBroker();
  const bob = await broker.connectAs("bob");
  for (const topic of ["home/ann/door", "$SYS/broker/version"]) {
    await bob.publish({ ...byAlias(topic), qos: 0 });
    await bob.publish({ ...byAlias(), qos: 0 });
    assert.equal(await bob.publish(byAlias()), 0x87);
    assert.equal(await bob.publish({ ...byAlias(), qos: 2, retain: true, payload: "x" }), 0x87);
    // Given to an allowed topic and back, with no PUBACK in between.
    await bob.publish({ ...byAlias("home/bob/door"), qos: 0 });
    await bob.publish({ ...byAlias(topic), qos: 0 });
    await bob.publish({ ...byAlias(), qos: 0 });
  }
  await bob.expectNothing();
  assert.deepEqual(await broker.arrived(), ["home/bob/door", "home/bob/door"]);
  await broker.expectUnharmed();
});

for (const [what, alias] of [["of an earlier connection", 1], ["0", 0], ["past the maximum", 257]] as const) {
  Deno.test(`[5.0] the alias ${what} means nothing`, async () => {
    await using broker = await startGuardedBroker();
    const admin = await broker.connectAs("admin", { ...lasting(5), clientId: "shared" });
    assert.equal(await admin.publish(byAlias("home/ann/door")), 0);
    const bob = await broker.connectAs("bob", { ...lasting(5), clientId: "shared" });
    const bytes = encode(publishPacket({ ...byAlias(), packetId: 1 }), 5);
    // The alias is the last of it, and we do not encode what is not valid.
    new DataView(bytes.buffer, bytes.byteOffset).setUint16(bytes.length - 2, alias);
    await bob.sendBytes(bytes);
    assert.equal((await bob.expect("disconnect")).reasonCode, alias === 1 ? 0x82 : 0x94);
    await bob.expectClosed();
    assert.deepEqual(await broker.arrived(), ["home/ann/door"]);
    await broker.expectUnharmed({ sessions: 1 });
  });
}
