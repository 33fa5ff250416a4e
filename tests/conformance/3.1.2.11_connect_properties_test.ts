import assert from "node:assert/strict";
import { ReasonCode } from "../../codec/mod.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";

// "The Server MUST NOT send packets exceeding Maximum Packet Size to the Client." "Where a Packet is too large to send,
// the Server MUST discard it without sending it and then behave as if it had completed sending that Application
// Message."
for (const qos of [0, 1, 2] as const) {
  conformance(
    `[5.0 MQTT-3.1.2-24 MQTT-3.1.2-25] a QoS ${qos} message that is too large for a client is not sent to it, and takes no room`,
    async (broker) => {
      const topic = broker.unique("t");
      const properties = { maximumPacketSize: 100, receiveMaximum: 1, sessionExpiryInterval: 60 };
      const clientId = broker.unique("id");
      const subscriber = await broker.connect({ clientId, properties });
      await subscriber.subscribe(topic, { qos });
      const other = await broker.connect();
      await other.subscribe(topic);
      const publisher = await broker.connect();
      const headerSize = 2 + 2 + topic.length + (qos > 0 ? 2 : 0) + 1;
      const sizes = [100 - headerSize + 1, 100 - headerSize, 5000, 0];
      for (const size of sizes) await publisher.publish({ topic, qos, payload: "a".repeat(size) });
      for (const size of sizes) assert.equal((await other.expect("publish")).payload.length, size);
      for (const size of [sizes[1], sizes[3]]) {
        const { payload, packetId = 0 } = await subscriber.expect("publish");
        assert.equal(payload.length, size);
        if (qos === 1) await subscriber.send({ type: "puback", packetId, reasonCode: 0 });
        if (qos === 2) {
          await subscriber.send({ type: "pubrec", packetId, reasonCode: 0 });
          await subscriber.expect("pubrel");
          await subscriber.send({ type: "pubcomp", packetId, reasonCode: 0 });
        }
      }
      await subscriber.expectNothing();
      await subscriber.disconnect();
      const unlimited = await broker.connect({ clientId, cleanStart: false });
      assert.equal(unlimited.connack.sessionPresent, true);
      await unlimited.expectNothing();
    },
  );
}

// "The Server MUST NOT send packets exceeding Maximum Packet Size to the Client."
conformance(
  "[5.0 MQTT-3.1.2-24] a client is closed rather than sent an answer that is too large for it",
  async (broker) => {
    const client = await broker.connect({ properties: { maximumPacketSize: 60 } });
    const topicFilters = Array.from({ length: 100 }, () => broker.unique("t"));
    const subscriptions = topicFilters.map((topicFilter) => ({
      topicFilter,
      qos: 0 as const,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0 as const,
    }));
    await client.send({ type: "subscribe", packetId: 1, subscriptions });
    assert.equal((await client.expect("disconnect")).reasonCode, ReasonCode.PacketTooLarge);
    await client.expectClosed();
  },
);

// "The Server MUST NOT send a Topic Alias in a PUBLISH packet to the Client greater than Topic Alias Maximum."
conformance(
  "[5.0 MQTT-3.1.2-26] topic aliases to a client go up to its maximum, and stand for their topics",
  async (broker) => {
    const subscriber = await broker.connect({ properties: { topicAliasMaximum: 2 } });
    const root = broker.unique("t");
    await subscriber.subscribe(`${root}/#`);
    const publisher = await broker.connect();
    const topics = ["a", "b", "c", "d"].map((level) => `${root}/${level}`);
    const sent = [...topics, ...topics, ...topics.toReversed()];
    for (const topic of sent) await publisher.publish({ topic });
    const known = new Map<number, string>();
    for (const topic of sent) {
      const packet = await subscriber.expect("publish");
      const alias = packet.properties?.topicAlias;
      assert(alias === undefined || alias === 1 || alias === 2, `topic alias ${alias}`);
      if (alias !== undefined && packet.topic !== "") known.set(alias, packet.topic);
      assert.equal(packet.topic || known.get(alias!), topic);
    }
    assert.equal(known.size, 2);
  },
);

// "If Topic Alias Maximum is absent or zero, the Server MUST NOT send any Topic Aliases to the Client."
conformance("[5.0 MQTT-3.1.2-27] a client that has not asked for topic aliases gets none", async (broker) => {
  for (const properties of [undefined, {}, { topicAliasMaximum: 0 }]) {
    const topic = broker.unique("t");
    const client = await broker.connect({ properties });
    await client.subscribe(topic);
    for (let count = 0; count < 3; count++) {
      await client.send(publishPacket({ topic, properties: { topicAlias: 1 } }));
      const packet = await client.expect("publish");
      assert.deepEqual([packet.topic, packet.properties?.topicAlias], [topic, undefined]);
    }
  }
});

// "A value of 0 indicates that the Server MUST NOT return Response Information."
conformance("[5.0 MQTT-3.1.2-28] only who asks for response information gets it", async (broker) => {
  for (const properties of [undefined, { requestResponseInformation: false }]) {
    const { connack } = await broker.connect({ properties });
    assert.equal(connack.properties?.responseInformation, undefined);
  }
  const clientId = broker.unique("id");
  const { connack } = await broker.connect({ clientId, properties: { requestResponseInformation: true } });
  assert.equal(connack.properties?.responseInformation, `responses/${clientId}`);
}, { script: "obliging_broker.ts" });

// "If the value of Request Problem Information is 0, the Server … MUST NOT send a Reason String or User Properties on
// any packet other than PUBLISH, CONNACK, or DISCONNECT."
conformance(
  "[5.0 MQTT-3.1.2-29] who does not want problem information gets no reason string in an acknowledgement",
  async (broker) => {
    for (const requestProblemInformation of [true, false]) {
      const client = await broker.connect({ properties: { requestProblemInformation } });
      await client.send(publishPacket({ topic: "denied", qos: 1, packetId: 1 }));
      const puback = await client.expect("puback");
      await client.send(publishPacket({ topic: "denied", qos: 2, packetId: 2 }));
      const pubrec = await client.expect("pubrec");
      const suback = await client.subscribe("denied");
      for (const { properties } of [puback, pubrec, suback]) {
        assert.equal(properties?.reasonString !== undefined, requestProblemInformation);
        assert.equal(properties?.userProperties, undefined);
      }
      assert.deepEqual(
        [puback.reasonCode, pubrec.reasonCode, suback.reasonCodes],
        [ReasonCode.NotAuthorized, ReasonCode.NotAuthorized, [ReasonCode.NotAuthorized]],
      );
    }
  },
  { config: "hooks: {acl: {rules: [{permission: deny, topicFilter: denied}]}}" },
);

// "If the value of Request Problem Information is 0, the Server … MUST NOT send a Reason String or User Properties on
// any packet other than PUBLISH, CONNACK, or DISCONNECT."
conformance(
  "[5.0 MQTT-3.1.2-29] a PUBLISH keeps its user properties also for who wants no problem information",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect({ properties: { requestProblemInformation: false } });
    await client.subscribe(topic);
    await client.send(publishPacket({ topic, properties: { userProperties: [["a", "b"]] } }));
    assert.deepEqual((await client.expect("publish")).properties?.userProperties, [["a", "b"]]);
  },
);
