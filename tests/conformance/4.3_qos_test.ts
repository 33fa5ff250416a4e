import assert from "node:assert/strict";
import { type Packet, type PublishPacket, type Qos, ReasonCode } from "../../codec/mod.ts";
import { receive, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { passSeconds } from "./pass_seconds.ts";

// 4.3.1 QoS 0

// "In the QoS 0 delivery protocol, the sender MUST send a PUBLISH packet with QoS 0 and DUP flag set to 0"
conformance(
  "[5.0 MQTT-4.3.1-1] [3.1.1 MQTT-4.3.1-1] [3.1] a message for a QoS 0 subscription is sent with QoS 0 and DUP 0",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic);
    const publisher = await broker.connect();
    for (const qos of [0, 1, 2] as const) {
      await publisher.publish({ topic, qos, payload: "x" });
      await subscriber.expectBytes(packetBytes(0x30, text(topic), level === 5 ? properties() : [], text("x").slice(2)));
    }
    await subscriber.expectNothing();
  },
);

// 4.3.2 QoS 1, and 4.3.3 QoS 2, to a client

// "In the QoS 1 delivery protocol, the sender MUST assign an unused Packet Identifier each time it has a new Application Message
// to publish", and the same for QoS 2
conformance(
  "[5.0 MQTT-4.3.2-1 MQTT-4.3.3-1] [3.1.1 MQTT-4.3.2-1 MQTT-4.3.3-1] a new message has a packet identifier that is not in use, also when all have been used once",
  async (broker) => {
    const topic = broker.unique("t");
    const [subscriber, publisher] = [await broker.connect(), await broker.connect()];
    await subscriber.subscribe(topic, { qos: 2 });
    const inUse = new Set<number>();
    const held: PublishPacket[] = [];
    for (const qos of [1, 2, 2] as const) {
      await publisher.publish({ topic, qos, payload: "held" });
      const packet = await subscriber.expect("publish");
      held.push(packet);
      inUse.add(packet.packetId!);
    }
    // One of them only waits for its PUBCOMP.
    await subscriber.send({ type: "pubrec", packetId: held[2].packetId!, reasonCode: 0 });
    await subscriber.expect("pubrel");
    assert.equal(inUse.size, 3);
    const used = new Set<number>();
    while (used.size < 0xffff - inUse.size) {
      const count = Math.min(1000, 0xffff - inUse.size - used.size);
      const batch = Array.from(
        { length: count },
        (_, index) => publishPacket({ topic, qos: 1, packetId: index + 1, payload: "x" }),
      );
      await publisher.send(...batch);
      const acknowledgements: Packet[] = [];
      for (let index = 0; index < count; index++) {
        const { packetId = 0 } = await subscriber.expect("publish");
        assert(packetId > 0 && !inUse.has(packetId), `packet identifier ${packetId}`);
        used.add(packetId);
        acknowledgements.push({ type: "puback", packetId, reasonCode: 0 });
      }
      await subscriber.send(...acknowledgements);
      for (let index = 0; index < count; index++) await publisher.expect("puback");
    }
    for (const qos of [1, 2, 1, 2, 1, 2] as Qos[]) {
      await publisher.publish({ topic, qos });
      assert(!inUse.has((await receive(subscriber)).packetId!));
    }
  },
);

// "In the QoS 1 delivery protocol, the sender MUST send a PUBLISH packet containing this Packet Identifier with QoS 1 and DUP flag
// set to 0", and the same for QoS 2
for (
  const [qos, brackets] of [
    [1, "[5.0 MQTT-4.3.2-2] [3.1.1 MQTT-4.3.2-1]"],
    [2, "[5.0 MQTT-4.3.3-2] [3.1.1 MQTT-4.3.3-1]"],
  ] as const
) {
  conformance(
    `${brackets} [3.1] a QoS ${qos} message is sent with its packet identifier, QoS ${qos} and DUP 0`,
    async (broker, level) => {
      const topic = broker.unique("t");
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic, { qos: 2 });
      const publisher = await broker.connect();
      const noProperties = level === 5 ? properties() : [];
      for (const packetId of [1, 2, 3]) {
        await publisher.publish({ topic, qos, payload: "x", dup: packetId === 2 });
        await subscriber.expectBytes(
          packetBytes(0x30 | (qos << 1), text(topic), [0, packetId], noProperties, text("x").slice(2)),
        );
      }
    },
  );
}

// "In the QoS 1 delivery protocol, the sender MUST treat the PUBLISH packet as 'unacknowledged' until it has received the
// corresponding PUBACK packet from the receiver"
conformance(
  "[5.0 MQTT-4.3.2-3] [3.1.1 MQTT-4.3.2-1] [3.1] a QoS 1 message comes again after every reconnect until its PUBACK, and then no more",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const first = await broker.connect(options);
    await first.subscribe(topic, { qos: 1 });
    const publisher = await broker.connect();
    for (const payload of ["one", "two"]) await publisher.publish({ topic, qos: 1, payload });
    const [one, two] = [await first.expect("publish"), await first.expect("publish")];
    await first.close();
    const second = await broker.connect(options);
    for (const packet of [one, two]) assert.deepEqual(await second.expect("publish"), { ...packet, dup: true });
    await second.send({ type: "puback", packetId: two.packetId!, reasonCode: 0 });
    await second.expectNothing();
    await second.close();
    const third = await broker.connect(options);
    assert.deepEqual(await third.expect("publish"), { ...one, dup: true });
    await third.expectNothing();
    await third.send({ type: "puback", packetId: one.packetId!, reasonCode: 0 });
    await third.expectNothing();
    await third.close();
    const fourth = await broker.connect(options);
    await fourth.expectNothing();
  },
);

// "In the QoS 2 delivery protocol, the sender MUST treat the PUBLISH packet as 'unacknowledged' until it has received the
// corresponding PUBREC packet from the receiver"
// "… MUST treat the PUBREL packet as 'unacknowledged' until it has received the corresponding PUBCOMP packet from the receiver"
// "… MUST NOT re-send the PUBLISH once it has sent the corresponding PUBREL packet"
conformance(
  "[5.0 MQTT-4.3.3-3 MQTT-4.3.3-5 MQTT-4.3.3-6] [3.1.1 MQTT-4.3.3-1] [3.1] a QoS 2 message comes again until its PUBREC, and then its PUBREL until its PUBCOMP",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const first = await broker.connect(options);
    await first.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 2, payload: "x" });
    const sent = await first.expect("publish");
    const packetId = sent.packetId!;
    await first.close();
    for (let time = 0; time < 2; time++) {
      const again = await broker.connect(options);
      assert.deepEqual(await again.expect("publish"), { ...sent, dup: true });
      await again.expectNothing();
      await again.close();
    }
    const received = await broker.connect(options);
    await received.expect("publish");
    await received.send({ type: "pubrec", packetId, reasonCode: 0 });
    await received.expect("pubrel");
    await received.expectNothing();
    await received.close();
    for (let time = 0; time < 2; time++) {
      const released = await broker.connect(options);
      assert.deepEqual(await released.expect("pubrel"), { type: "pubrel", packetId, reasonCode: 0 });
      await released.expectNothing();
      await released.close();
    }
    const last = await broker.connect(options);
    await last.expect("pubrel");
    await last.send({ type: "pubcomp", packetId, reasonCode: 0 });
    await last.expectNothing();
    await last.close();
    const after = await broker.connect(options);
    await after.expectNothing();
  },
);

// "In the QoS 2 delivery protocol, the sender MUST send a PUBREL packet when it receives a PUBREC packet from the receiver with a
// Reason Code value less than 0x80. This PUBREL packet MUST contain the same Packet Identifier as the original PUBLISH packet"
conformance(
  "[5.0 MQTT-4.3.3-4] [3.1.1 MQTT-4.3.3-1] [3.1] PUBREC is answered with PUBREL of the same packet identifier",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (let count = 0; count < 3; count++) await publisher.publish({ topic, qos: 2 });
    const packetIds: number[] = [];
    while (packetIds.length < 3) packetIds.push((await subscriber.expect("publish")).packetId!);
    for (const packetId of packetIds.toReversed()) {
      for (const reasonCode of level === 5 ? [0x00, 0x10] : [0]) {
        await subscriber.send({ type: "pubrec", packetId, reasonCode });
        await subscriber.expectBytes([0x62, 2, packetId >> 8, packetId & 0xff]);
      }
    }
  },
);

conformance(
  "[5.0 MQTT-4.3.3-4] a PUBREC that refuses ends the handshake without a PUBREL",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 2 });
    const packetId = (await before.expect("publish")).packetId!;
    await before.send({ type: "pubrec", packetId, reasonCode: 0x80 });
    await before.expectNothing();
    await before.close();
    await (await broker.connect(options)).expectNothing();
  },
);

// "In the QoS 2 delivery protocol, the sender MUST NOT apply Application Message expiry if a PUBLISH packet has been sent"
// "… the receiver MUST continue the QoS 2 acknowledgement sequence even if it has applied Application Message expiry"
conformance(
  "[5.0 MQTT-4.3.3-7 MQTT-4.3.3-13] the handshakes of a message go on when its expiry interval has passed",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const away = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const leaving = await broker.connect(away);
    await leaving.subscribe(topic, { qos: 2 });
    await leaving.disconnect();
    const publisher = await broker.connect();
    const expiring = publishPacket({
      topic,
      qos: 2,
      packetId: 7,
      payload: "x",
      properties: { messageExpiryInterval: 1 },
    });
    await publisher.send(expiring);
    await publisher.expect("pubrec");
    const { packetId } = await before.expect("publish");
    await before.close();
    await passSeconds(1);
    // The message has expired for who was away: the sequence with its publisher goes on all the same.
    await (await broker.connect(away)).expectNothing();
    await publisher.send({ ...expiring, dup: true });
    assert.deepEqual(await publisher.expect("pubrec"), { type: "pubrec", packetId: 7, reasonCode: 0 });
    await publisher.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    assert.deepEqual(await publisher.expect("pubcomp"), { type: "pubcomp", packetId: 7, reasonCode: 0 });
    // To the other one it has been sent.
    const after = await broker.connect(options);
    const again = await after.expect("publish");
    assert.deepEqual([again.packetId, again.dup, textOf(again)], [packetId, true, "x"]);
    await after.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    assert.deepEqual(await after.expect("pubrel"), { type: "pubrel", packetId, reasonCode: 0 });
  },
);

// 4.3.2 QoS 1, from a client

// "In the QoS 1 delivery protocol, the receiver MUST respond with a PUBACK packet containing the Packet Identifier from the
// incoming PUBLISH packet, having accepted ownership of the Application Message"
// "… after it has sent a PUBACK packet the receiver MUST treat any incoming PUBLISH packet that contains the same Packet
// Identifier as being a new Application Message, irrespective of the setting of its DUP flag"
conformance(
  "[5.0 MQTT-4.3.2-4 MQTT-4.3.2-5] [3.1.1 MQTT-4.3.2-2] [3.1] each PUBLISH with the same packet identifier is a new QoS 1 message, with DUP or not",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 1 });
    const publisher = await broker.connect();
    for (const packetId of [1, 0xffff, 1]) {
      for (const dup of [false, true, true, false]) {
        await publisher.send(publishPacket({ topic, qos: 1, packetId, dup, payload: "same" }));
        await publisher.expectBytes([0x40, 2, packetId >> 8, packetId & 0xff]);
        assert.equal((await receive(subscriber)).text, "same");
        await subscriber.expectNothing();
      }
    }
  },
);

// 4.3.3 QoS 2, from a client

// "In the QoS 2 delivery protocol, the receiver MUST respond with a PUBREC containing the Packet Identifier from the incoming
// PUBLISH packet, having accepted ownership of the Application Message"
// "… MUST respond to a PUBREL packet by sending a PUBCOMP packet containing the same Packet Identifier as the PUBREL"
// "… After it has sent a PUBCOMP, the receiver MUST treat any subsequent PUBLISH packet that contains that Packet Identifier as
// being a new Application Message"
conformance(
  "[5.0 MQTT-4.3.3-8 MQTT-4.3.3-11 MQTT-4.3.3-12] [3.1.1 MQTT-4.3.3-2] [3.1] QoS 2 is answered with PUBREC, PUBREL with PUBCOMP, and then the packet identifier means a new message",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const packetId of [1, 0xffff, 1]) {
      for (const dup of [false, true]) {
        await publisher.send(publishPacket({ topic, qos: 2, packetId, dup, payload: "same" }));
        await publisher.expectBytes([0x50, 2, packetId >> 8, packetId & 0xff]);
        await publisher.send({ type: "pubrel", packetId, reasonCode: 0 });
        await publisher.expectBytes([0x70, 2, packetId >> 8, packetId & 0xff]);
        assert.equal((await receive(subscriber)).text, "same");
        await subscriber.expectNothing();
      }
    }
  },
);

conformance(
  "[5.0 MQTT-4.3.3-11] [3.1.1 MQTT-4.3.3-2] [3.1] a PUBREL is answered with PUBCOMP although it comes a second time, or for nothing",
  async (broker, level) => {
    const options = { ...lasting(level), clientId: broker.unique("publisher") };
    const before = await broker.connect(options);
    await before.send(publishPacket({ topic: broker.unique("t"), qos: 2, packetId: 7 }));
    await before.expect("pubrec");
    await before.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    await before.expect("pubcomp");
    await before.close();
    const after = await broker.connect(options);
    for (const packetId of [7, 8]) {
      await after.send({ type: "pubrel", packetId, reasonCode: 0 });
      const reasonCode = level === 5 ? ReasonCode.PacketIdentifierNotFound : 0;
      assert.deepEqual(await after.expect("pubcomp"), { type: "pubcomp", packetId, reasonCode });
    }
  },
);

// "… if it has sent a PUBREC with a Reason Code of 0x80 or greater, the receiver MUST treat any subsequent PUBLISH packet that
// contains that Packet Identifier as being a new Application Message"
conformance(
  "[5.0 MQTT-4.3.3-9] after a PUBREC that refuses, the packet identifier means a new message",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const dup of [false, true]) {
      await publisher.send(publishPacket({ topic: "$SYS/forged", qos: 2, packetId: 7, dup }));
      assert.equal((await publisher.expect("pubrec")).reasonCode, ReasonCode.NotAuthorized);
    }
    await publisher.send(publishPacket({ topic, qos: 2, packetId: 7, dup: true, payload: "new" }));
    await publisher.expectBytes([0x50, 2, 0, 7]);
    assert.equal((await receive(subscriber)).text, "new");
  },
);

// "… until it has received the corresponding PUBREL packet, the receiver MUST acknowledge any subsequent PUBLISH packet with the
// same Packet Identifier by sending a PUBREC. It MUST NOT cause duplicate messages to be delivered to any onward recipients in
// this case"
conformance(
  "[5.0 MQTT-4.3.3-10] [3.1.1 MQTT-4.3.3-2] [3.1] until its PUBREL a QoS 2 message is acknowledged each time that it comes, and delivered once",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscribers: RawClient[] = [];
    for (const qos of [0, 1, 2] as const) {
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic, { qos });
      subscribers.push(subscriber);
    }
    const options = { ...lasting(level), clientId: broker.unique("publisher") };
    const before = await broker.connect(options);
    for (const dup of [false, true, false]) {
      await before.send(publishPacket({ topic, qos: 2, packetId: 7, dup }));
      await before.expectBytes([0x50, 2, 0, 7]);
    }
    await before.close();
    const after = await broker.connect(options);
    for (let time = 0; time < 2; time++) {
      await after.send(publishPacket({ topic, qos: 2, packetId: 7, dup: true }));
      await after.expectBytes([0x50, 2, 0, 7]);
    }
    await after.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
    await after.expectBytes([0x70, 2, 0, 7]);
    for (const subscriber of subscribers) {
      await receive(subscriber);
      await subscriber.expectNothing();
    }
  },
);

conformance(
  "[5.0 MQTT-4.3.3-10] [3.1.1 MQTT-4.3.3-2] [3.1] a QoS 2 message that comes twice in one write is delivered once",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic);
    const publisher = await broker.connect();
    const sent = publishPacket({ topic, qos: 2, packetId: 7 });
    await publisher.send(sent, { ...sent, dup: true }, { type: "pubrel", packetId: 7, reasonCode: 0 });
    await publisher.expectBytes([0x50, 2, 0, 7]);
    await publisher.expectBytes([0x50, 2, 0, 7]);
    await publisher.expectBytes([0x70, 2, 0, 7]);
    await subscriber.expect("publish");
    await subscriber.expectNothing();
  },
);
