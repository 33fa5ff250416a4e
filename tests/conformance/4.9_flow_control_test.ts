import assert from "node:assert/strict";
import { type Packet, ReasonCode } from "../../codec/mod.ts";
import { receive, receivedSoFar, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";

/** A client with this Receive Maximum, and a topic that it is subscribed to, on which so many messages have been published. */
async function subscribed(
  broker: ConformanceBroker,
  receiveMaximum: number,
  qos: 1 | 2,
  count: number,
): Promise<{ subscriber: RawClient; publisher: RawClient; topic: string }> {
  const topic = broker.unique("t");
  const subscriber = await broker.connect({ properties: { receiveMaximum } });
  await subscriber.subscribe(topic, { qos: 2 });
  const publisher = await broker.connect();
  for (let index = 0; index < count; index++) await publisher.publish({ topic, qos, payload: String(index) });
  return { subscriber, publisher, topic };
}

// "The Client or Server MUST set its initial send quota to a non-zero value not exceeding the Receive Maximum"
conformance(
  "[5.0 MQTT-4.9.0-1] a client is sent one message at least, and not more than its Receive Maximum",
  async (broker) => {
    for (const qos of [1, 2] as const) {
      for (const receiveMaximum of [1, 2, 10]) {
        const { subscriber } = await subscribed(broker, receiveMaximum, qos, 12);
        const { length } = await receivedSoFar(subscriber);
        assert(length >= 1 && length <= receiveMaximum, `${length} messages, Receive Maximum is ${receiveMaximum}`);
      }
    }
  },
);

// "The send quota and Receive Maximum value are not preserved across Network Connections, and are re-initialized with each new
// Network Connection"
conformance(
  "[5.0 MQTT-4.9.0-1] every connection has a Receive Maximum of its own",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const first = await broker.connect(options);
    await first.subscribe(topic, { qos: 1 });
    await first.disconnect();
    const publisher = await broker.connect();
    for (let index = 0; index < 5; index++) await publisher.publish({ topic, qos: 1, payload: String(index) });
    for (const [receiveMaximum, expected] of [[2, 2], [1, 1], [3, 3], [undefined, 5], [4, 4]] as const) {
      const again = await broker.connect({ ...options, properties: { ...options.properties, receiveMaximum } });
      assert.deepEqual(await receivedSoFar(again), ["0", "1", "2", "3", "4"].slice(0, expected));
      await again.close();
    }
  },
);

// "Each time the Client or Server sends a PUBLISH packet at QoS > 0, it decrements the send quota. If the send quota reaches zero,
// the Client or Server MUST NOT send any more PUBLISH packets with QoS > 0"; "The send quota is incremented by 1: Each time a
// PUBACK or PUBCOMP packet is received, regardless of whether the PUBACK or PUBCOMP carried an error code. Each time a PUBREC
// packet is received with a Return Code of 0x80 or greater."
conformance(
  "[5.0 MQTT-4.9.0-2] each PUBACK, with an error code or without, lets one more QoS 1 message be sent",
  async (broker) => {
    const { subscriber } = await subscribed(broker, 2, 1, 6);
    await subscriber.expect("publish");
    let last = await subscriber.expect("publish");
    await subscriber.expectNothing();
    for (const reasonCode of [0x00, 0x10, 0x80, 0x97]) {
      await subscriber.send({ type: "puback", packetId: last.packetId!, reasonCode });
      last = await subscriber.expect("publish");
      await subscriber.expectNothing();
    }
    assert.equal(textOf(last), "5");
  },
);

conformance(
  "[5.0 MQTT-4.9.0-2] each PUBCOMP, and each PUBREC with an error code, lets one more QoS 2 message be sent",
  async (broker) => {
    const { subscriber } = await subscribed(broker, 2, 2, 6);
    await subscriber.expect("publish");
    let last = await subscriber.expect("publish");
    await subscriber.expectNothing();
    for (const reasonCode of [0x00, 0x92]) {
      const packetId = last.packetId!;
      await subscriber.send({ type: "pubrec", packetId, reasonCode: 0x00 });
      await subscriber.expect("pubrel");
      await subscriber.expectNothing();
      await subscriber.send({ type: "pubcomp", packetId, reasonCode });
      last = await subscriber.expect("publish");
      await subscriber.expectNothing();
    }
    for (const reasonCode of [0x80, 0x97]) {
      await subscriber.send({ type: "pubrec", packetId: last.packetId!, reasonCode });
      last = await subscriber.expect("publish");
      await subscriber.expectNothing();
    }
    assert.equal(textOf(last), "5");
  },
);

// "The send quota is not incremented if it is already equal to the initial send quota."
conformance(
  "[5.0 MQTT-4.9.0-2] acknowledgements for nothing do not let more be sent than the Receive Maximum",
  async (broker) => {
    const { subscriber, publisher, topic } = await subscribed(broker, 2, 1, 0);
    for (let packetId = 1; packetId <= 5; packetId++) {
      await subscriber.send({ type: "puback", packetId, reasonCode: 0 });
      await subscriber.send({ type: "pubcomp", packetId, reasonCode: 0 });
      await subscriber.send({ type: "pubrec", packetId, reasonCode: 0x80 });
    }
    await subscriber.expectNothing();
    for (const payload of ["one", "two", "three"]) await publisher.publish({ topic, qos: 1, payload });
    assert.deepEqual(await receivedSoFar(subscriber), ["one", "two"]);
    for (const packetId of [100, 101]) await subscriber.send({ type: "puback", packetId, reasonCode: 0 });
    await subscriber.expectNothing();
  },
);

// "The attempt to increment above the initial send quota might be caused by the re-transmission of a PUBREL packet after a new
// Network Connection is established."
conformance(
  "[5.0 MQTT-4.9.0-2] a PUBCOMP for a PUBREL that was sent again does not let more be sent than the Receive Maximum",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    const released: number[] = [];
    for (let count = 0; count < 3; count++) {
      await publisher.publish({ topic, qos: 2, payload: "released" });
      const { packetId } = await before.expect("publish");
      await before.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
      released.push((await before.expect("pubrel")).packetId);
    }
    await before.close();
    const after = await broker.connect({ ...options, properties: { ...options.properties, receiveMaximum: 2 } });
    for (const packetId of released) assert.equal((await after.expect("pubrel")).packetId, packetId);
    for (const packetId of released) await after.send({ type: "pubcomp", packetId, reasonCode: 0 });
    await after.expectNothing();
    for (const payload of ["one", "two", "three", "four"]) await publisher.publish({ topic, qos: 2, payload });
    assert.deepEqual(await receivedSoFar(after), ["one", "two"]);
  },
);

conformance(
  "[5.0 MQTT-4.9.0-2] a PUBACK for what was sent on the connection before does not let more be sent than the Receive Maximum",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 1 });
    const publisher = await broker.connect();
    for (const payload of ["one", "two", "three", "four"]) await publisher.publish({ topic, qos: 1, payload });
    await before.expect("publish");
    const { packetId } = await before.expect("publish");
    await before.close();
    const after = await broker.connect({ ...options, properties: { ...options.properties, receiveMaximum: 1 } });
    assert.equal(textOf(await after.expect("publish")), "one");
    await after.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    assert.deepEqual(await receivedSoFar(after), []);
  },
);

// "It MAY continue to send PUBLISH packets with QoS 0": the quota is not about those.
conformance("[5.0] messages at QoS 0 use up nothing of the Receive Maximum", async (broker) => {
  const { subscriber, publisher, topic } = await subscribed(broker, 1, 1, 0);
  for (let count = 0; count < 5; count++) await publisher.publish({ topic, qos: 0, payload: "x" });
  await publisher.publish({ topic, qos: 1, payload: "y" });
  assert.deepEqual(await receivedSoFar(subscriber), ["x", "x", "x", "x", "x", "y"]);
});

// "The Client and Server MUST continue to process and respond to all other MQTT Control Packets even if the quota is zero"
conformance(
  "[5.0 MQTT-4.9.0-3] a client that may be sent no more messages is still heard and answered",
  async (broker) => {
    for (const qos of [1, 2] as const) {
      const { subscriber, publisher, topic } = await subscribed(broker, 1, qos, 3);
      const { packetId } = await subscriber.expect("publish");
      await subscriber.expectNothing();
      const other = broker.unique("t");
      const observer = await broker.connect();
      await observer.subscribe(other, { qos: 2 });
      assert.deepEqual((await subscriber.subscribe(`${topic}/a`, { qos: 2 })).reasonCodes, [2]);
      for (const qos of [0, 1, 2] as const) {
        assert.equal(await subscriber.publish({ topic: other, qos }), 0);
        assert.equal((await receive(observer)).qos, qos);
      }
      assert.deepEqual((await subscriber.unsubscribe([topic, `${topic}/a`])).reasonCodes, [0, 0]);
      assert.equal(await publisher.publish({ topic, qos: 1 }), ReasonCode.NoMatchingSubscribers);
      await subscriber.send({ type: qos === 1 ? "puback" : "pubrec", packetId: packetId!, reasonCode: 0 });
      if (qos === 2) assert.equal((await subscriber.expect("pubrel")).packetId, packetId);
      await subscriber.disconnect();
    }
  },
);

conformance(
  "[5.0 MQTT-4.9.0-3] a client that has used up the broker's Receive Maximum is still heard and answered",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    const receiveMaximum = publisher.connack.properties?.receiveMaximum ?? 0xffff;
    const packetIds = Array.from({ length: receiveMaximum }, (_, index) => index + 1);
    await publisher.send(...packetIds.map((packetId) => publishPacket({ topic, qos: 2, packetId })));
    for (const packetId of packetIds) assert.equal((await publisher.expect("pubrec")).packetId, packetId);
    await publisher.expectNothing();
    assert.deepEqual((await publisher.subscribe(topic)).reasonCodes, [0]);
    await publisher.publish({ topic, qos: 0, payload: "heard" });
    assert.equal(textOf(await publisher.expect("publish")), "heard");
    assert.deepEqual((await publisher.unsubscribe(topic)).reasonCodes, [0]);
    await publisher.send(...packetIds.map((packetId): Packet => ({ type: "pubrel", packetId, reasonCode: 0 })));
    for (const packetId of packetIds) assert.equal((await publisher.expect("pubcomp")).packetId, packetId);
    await publisher.publish({ topic, qos: 2 });
  },
);
