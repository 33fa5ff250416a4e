import assert from "node:assert/strict";
import { ReasonCode } from "../../codec/mod.ts";
import { receive, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { passSeconds } from "./pass_seconds.ts";

// "The Client and Server MUST NOT discard the Session State while the Network Connection is open"
conformance(
  "[5.0 MQTT-4.1.0-1] a session is kept while its connection is open, longer than its expiry interval",
  async (broker) => {
    const topic = broker.unique("t");
    const options = {
      clientId: broker.unique("client"),
      cleanStart: false,
      properties: { sessionExpiryInterval: 1, receiveMaximum: 1 },
    };
    const before = await broker.connect(options);
    const [observer, publisher] = [await broker.connect(), await broker.connect()];
    await observer.subscribe(`${topic}/up`);
    await before.subscribe(topic, { qos: 1 });
    await before.send(publishPacket({ topic: `${topic}/up`, qos: 2, packetId: 7 }));
    await before.expect("pubrec");
    await observer.expect("publish");
    for (const payload of ["sent", "waiting"]) await publisher.publish({ topic, qos: 1, payload });
    assert.equal(textOf(await before.expect("publish")), "sent");
    await passSeconds(1.5);
    await publisher.publish({ topic, qos: 1, payload: "late" });
    await before.close();

    const after = await broker.connect(options);
    assert.equal(after.connack.sessionPresent, true);
    assert.deepEqual(await receiveTexts(after, 3), ["sent", "waiting", "late"]);
    await after.send(publishPacket({ topic: `${topic}/up`, qos: 2, packetId: 7, dup: true }));
    await after.expect("pubrec");
    await observer.expectNothing();
  },
);

// "A Session MUST last at least as long it has an active Network Connection"; "The Client and Server MUST NOT discard the Session
// State while the Network Connection is open"
conformance(
  "[5.0 MQTT-4.1.0-1] [3.1.1 MQTT-4.1.0-2] a session that ends with its connection is kept as long as that is open",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect({ cleanStart: true });
    const other = await broker.connect();
    await other.subscribe(`${topic}/up`);
    await client.subscribe(topic, { qos: 2 });
    await client.send(publishPacket({ topic: `${topic}/up`, qos: 2, packetId: 7 }));
    await client.expect("pubrec");
    await other.expect("publish");
    await other.publish({ topic, qos: 2, payload: "sent" });
    const { packetId } = await client.expect("publish");
    await other.publish({ topic, qos: 1, payload: "late" });
    assert.equal((await receive(client)).text, "late");
    await client.send(publishPacket({ topic: `${topic}/up`, qos: 2, packetId: 7, dup: true }));
    await client.expect("pubrec");
    await other.expectNothing();
    await client.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    assert.deepEqual(await client.expect("pubrel"), { type: "pubrel", packetId, reasonCode: 0 });
  },
);

// "The Client and Server MUST store Session state for the entire duration of the Session"
conformance(
  "[5.0] [3.1.1 MQTT-4.1.0-1] a session that outlives its connection keeps all of its state",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("client") };
    const before = await broker.connect(options);
    assert.equal(before.connack.sessionPresent, false);
    const other = await broker.connect();
    await other.subscribe(`${topic}/up`);
    await before.subscribe(topic, { qos: 2 });
    await before.send(publishPacket({ topic: `${topic}/up`, qos: 2, packetId: 7 }));
    await before.expect("pubrec");
    await other.expect("publish");
    for (const payload of ["released", "sent"]) await other.publish({ topic, qos: 2, payload });
    const [released, sent] = [await before.expect("publish"), await before.expect("publish")];
    await before.send({ type: "pubrec", packetId: released.packetId!, reasonCode: 0 });
    await before.expect("pubrel");
    await before.close();
    await other.publish({ topic, qos: 1, payload: "pending" });

    const after = await broker.connect(options);
    assert.equal(after.connack.sessionPresent, true);
    // Sent to the client, but not completely acknowledged.
    assert.deepEqual(await after.expect("pubrel"), { type: "pubrel", packetId: released.packetId, reasonCode: 0 });
    assert.deepEqual(await after.expect("publish"), { ...sent, dup: true });
    // Pending transmission to the client.
    assert.equal((await receive(after)).text, "pending");
    // Received from the client, but not completely acknowledged.
    await after.send(publishPacket({ topic: `${topic}/up`, qos: 2, packetId: 7, dup: true }));
    await after.expect("pubrec");
    await other.expectNothing();
    // The client's subscriptions.
    await other.publish({ topic, qos: 1, payload: "subscribed" });
    assert.equal((await receive(after)).text, "subscribed");
  },
);

// "The Server MUST discard the Session State when the Network Connection is closed and the Session Expiry Interval has passed"
for (
  const [sessionExpiryInterval, when] of [[0, "when its connection is closed"], [1, "a second after that"]] as const
) {
  conformance(
    `[5.0 MQTT-4.1.0-2] with a Session Expiry Interval of ${sessionExpiryInterval} a session is discarded ${when}`,
    async (broker) => {
      const topic = broker.unique("t");
      const options = { clientId: broker.unique("client"), cleanStart: false };
      const observer = await broker.connect();
      await observer.subscribe(`${topic}/will`);
      const before = await broker.connect({
        ...options,
        properties: { sessionExpiryInterval },
        // It is published when the session ends, long before its delay is over.
        will: { topic: `${topic}/will`, properties: { willDelayInterval: 1000 } },
      });
      await before.subscribe(topic, { qos: 2 });
      await before.send(publishPacket({ topic, qos: 2, packetId: 7 }));
      await before.expect("publish");
      await before.expect("pubrec");
      await before.close();
      await observer.expect("publish");
      assert.equal(await observer.publish({ topic, qos: 1 }), ReasonCode.NoMatchingSubscribers);

      const after = await broker.connect(options);
      assert.equal(after.connack.sessionPresent, false);
      await after.expectNothing();
      await after.send({ type: "pubrel", packetId: 7, reasonCode: 0 });
      assert.equal((await after.expect("pubcomp")).reasonCode, ReasonCode.PacketIdentifierNotFound);
    },
  );
}

// "Retained messages do not form part of the Session State in the Server, they are not deleted as a result of a Session ending."
conformance("[5.0] [3.1.1] the end of a session leaves the retained messages", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  await publisher.publish({ topic, qos: 1, retain: true, payload: "retained" });
  await publisher.disconnect();
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  assert.equal((await receive(subscriber)).text, "retained");
});
