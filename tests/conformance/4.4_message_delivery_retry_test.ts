import assert from "node:assert/strict";
import type { PublishPacket, Qos } from "../../codec/mod.ts";
import { receivedSoFar, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { conformance } from "./conformance.ts";

// "When a Client reconnects with Clean Start set to 0 and a session is present, both the Client and Server MUST resend any
// unacknowledged PUBLISH packets (where QoS > 0) and PUBREL packets using their original Packet Identifiers."; of 3.1.1: "When a
// Client reconnects with CleanSession set to 0 …"
conformance(
  "[5.0 MQTT-4.4.0-1] [3.1.1 MQTT-4.4.0-1] [3.1] after a reconnect what is unacknowledged comes again with its packet identifiers",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    const sent: PublishPacket[] = [];
    for (const qos of [1, 2, 2, 0, 2, 1, 1] as Qos[]) {
      await publisher.publish({ topic, qos, payload: `at ${qos}` });
      sent.push(await before.expect("publish"));
    }
    const [one, two, three, , five, six, seven] = sent;
    await before.send({ type: "puback", packetId: one.packetId!, reasonCode: 0 });
    for (const { packetId } of [three, five]) {
      await before.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
      await before.expect("pubrel");
    }
    await before.send({ type: "pubcomp", packetId: five.packetId!, reasonCode: 0 });
    await before.expectNothing();
    await before.close();

    const after = await broker.connect(options);
    assert.deepEqual(await after.expect("publish"), { ...two, dup: true });
    assert.deepEqual(await after.expect("pubrel"), { type: "pubrel", packetId: three.packetId, reasonCode: 0 });
    assert.deepEqual(await after.expect("publish"), { ...six, dup: true });
    assert.deepEqual(await after.expect("publish"), { ...seven, dup: true });
    await after.expectNothing();
  },
);

conformance(
  "[5.0 MQTT-4.4.0-1] [3.1.1 MQTT-4.4.0-1] [3.1] a client that takes its session over is sent again what is unacknowledged",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const publisher = await broker.connect();
    const first = await broker.connect(options);
    await first.subscribe(topic, { qos: 2 });
    await publisher.publish({ topic, qos: 1, payload: "one" });
    await publisher.publish({ topic, qos: 2, payload: "two" });
    const sent = [await first.expect("publish"), await first.expect("publish")];
    const second = await broker.connect(options);
    for (const packet of sent) assert.deepEqual(await second.expect("publish"), { ...packet, dup: true });
    await second.expectNothing();
  },
);

// "This is the only circumstance where a Client or Server is REQUIRED to resend messages. Clients and Servers MUST NOT resend
// messages at any other time"
conformance(
  "[5.0 MQTT-4.4.0-1] nothing is sent again while the connection is open, whatever else happens on it",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    const publisher = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    for (const qos of [1, 2, 2] as const) await publisher.publish({ topic, qos, payload: "held" });
    const held = [
      await subscriber.expect("publish"),
      await subscriber.expect("publish"),
      await subscriber.expect("publish"),
    ];
    await subscriber.send({ type: "pubrec", packetId: held[2].packetId!, reasonCode: 0 });
    await subscriber.expect("pubrel");
    await subscriber.subscribe([topic, `${topic}/#`], { qos: 2 });
    await subscriber.unsubscribe(`${topic}/#`);
    for (const qos of [0, 1, 2] as const) await subscriber.publish({ topic: broker.unique("t"), qos });
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish({ topic, qos, payload: "new" });
      const packet = await subscriber.expect("publish");
      assert.deepEqual([textOf(packet), packet.dup], ["new", false]);
      if (qos === 1) await subscriber.send({ type: "puback", packetId: packet.packetId!, reasonCode: 0 });
    }
    await subscriber.expectNothing();
  },
);

conformance(
  "[5.0 MQTT-4.4.0-1] [3.1.1 MQTT-4.4.0-1] [3.1] a client that begins anew is not sent what it had before",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const qos of [1, 2] as const) {
      await publisher.publish({ topic, qos });
      await before.expect("publish");
    }
    await before.close();
    await publisher.publish({ topic, qos: 1 });
    const after = await broker.connect({ ...options, cleanStart: true });
    assert.equal(after.connack.sessionPresent, false);
    assert.deepEqual(await receivedSoFar(after), []);
  },
);

// "If PUBACK or PUBREC is received containing a Reason Code of 0x80 or greater the corresponding PUBLISH packet is treated as
// acknowledged, and MUST NOT be retransmitted"
for (const [qos, type] of [[1, "puback"], [2, "pubrec"]] as const) {
  conformance(
    `[5.0 MQTT-4.4.0-2] a QoS ${qos} message that ${type.toUpperCase()} refuses is not sent again`,
    async (broker, level) => {
      const topic = broker.unique("t");
      const options = { ...lasting(level), clientId: broker.unique("subscriber") };
      const before = await broker.connect(options);
      await before.subscribe(topic, { qos });
      const publisher = await broker.connect();
      const reasonCodes = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
      for (const reasonCode of reasonCodes) {
        await publisher.publish({ topic, qos });
        const { packetId } = await before.expect("publish");
        await before.send({ type, packetId: packetId!, reasonCode });
      }
      await before.expectNothing();
      await before.close();
      const after = await broker.connect(options);
      await after.expectNothing();
    },
  );
}
