import assert from "node:assert/strict";
import { type ProtocolLevel, type Qos, ReasonCode } from "../../codec/mod.ts";
import { receive, receivedSoFar } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { binary, type Bytes, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MalformedPacket, NoSubscriptionExisted, ProtocolError, Success } = ReasonCode;

/** An UNSUBSCRIBE with packet identifier 10 and this payload. */
function unsubscribeBytes(level: ProtocolLevel, payload: Bytes[], firstByte = 0xa2): Uint8Array<ArrayBuffer> {
  return packetBytes(firstByte, [0, 10], level === 5 ? properties() : [], ...payload);
}

// "Bits 3,2,1 and 0 of the Fixed Header of the UNSUBSCRIBE packet are reserved and MUST be set to 0,0,1 and 0
// respectively. The Server MUST treat any other value as malformed and close the Network Connection."
conformance(
  "[5.0 MQTT-3.10.1-1] [3.1.1 MQTT-3.10.1-1] an UNSUBSCRIBE with other flags than 0010 is malformed",
  async (broker, level) => {
    for (let flags = 0; flags < 16; flags++) {
      const client = await broker.connect();
      await client.sendBytes(unsubscribeBytes(level, [text("t")], 0xa0 | flags));
      if (flags === 0x02) await client.expect("unsuback");
      else await expectDisconnected(client, MalformedPacket);
    }
  },
);

// "The Topic Filters in an UNSUBSCRIBE packet MUST be UTF-8 Encoded Strings."
conformance(
  "[5.0 MQTT-3.10.3-1] [3.1.1 MQTT-3.10.3-1] an UNSUBSCRIBE with a topic filter that is no UTF-8 is malformed",
  async (broker, level) => {
    for (
      const bytes of [[0xff], [0x61, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0xc3], [0]]
    ) {
      const client = await broker.connect();
      await client.sendBytes(unsubscribeBytes(level, [text("fine"), binary(bytes)]));
      await expectDisconnected(client, MalformedPacket);
    }
    const client = await broker.connect();
    const topic = `${broker.unique("t")}/ö/水/\u{10ffff}`;
    await client.subscribe(topic);
    await client.unsubscribe(topic);
    await client.send(publishPacket({ topic }));
    await client.expectNothing();
  },
);

// "The Payload of an UNSUBSCRIBE packet MUST contain at least one Topic Filter. An UNSUBSCRIBE packet with no Payload
// is a Protocol Error."
conformance(
  "[5.0 MQTT-3.10.3-2] [3.1.1 MQTT-3.10.3-2] an UNSUBSCRIBE without a topic filter is a protocol error",
  async (broker, level) => {
    const client = await broker.connect();
    await client.sendBytes(unsubscribeBytes(level, []));
    await expectDisconnected(client, ProtocolError);
  },
);

// "The Topic Filters (whether they contain wildcards or not) supplied in an UNSUBSCRIBE packet MUST be compared
// character-by-character with the current set of Topic Filters held by the Server for the Client. If any filter matches
// exactly then its owning Subscription MUST be deleted."
conformance(
  "[5.0 MQTT-3.10.4-1] [3.1.1 MQTT-3.10.4-1] an UNSUBSCRIBE deletes the subscriptions with exactly its filters, and no other",
  async (broker, level) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    const held = [`${topic}/é`, `${topic}/+`, `${topic}/#`];
    await client.subscribe(held, { qos: 1 });
    const others = [
      topic,
      `${topic}/e\u0301`, // the same letter in two characters
      `${topic}/É`,
      `${topic}/é/`,
      ` ${topic}/é`,
      `${topic}/x`,
      `${topic}/+/#`,
      "+/é",
      "#",
      `$share/g/${topic}/é`,
    ];
    const { reasonCodes } = await client.unsubscribe(others);
    assert.deepEqual(reasonCodes, level === 5 ? others.map(() => NoSubscriptionExisted) : []);
    const identifiers = async () => {
      await client.send(publishPacket({ topic: `${topic}/é`, payload: "m" }));
      return await receivedSoFar(client);
    };
    assert.deepEqual(await identifiers(), ["m"]);
    for (const filter of held) {
      assert.deepEqual((await client.unsubscribe(filter)).reasonCodes, level === 5 ? [Success] : []);
      assert.deepEqual(await identifiers(), filter === held.at(-1) ? [] : ["m"]);
    }
  },
);

// "When a Server receives UNSUBSCRIBE It MUST stop adding any new messages which match the Topic Filters, for delivery
// to the Client."
conformance(
  "[5.0 MQTT-3.10.4-2] [3.1.1 MQTT-3.10.4-2] behind an UNSUBACK no new message comes, and none is kept for later",
  async (broker, level) => {
    const [topic, clientId] = [broker.unique("t"), broker.unique("c")];
    const publisher = await broker.connect();
    const client = await broker.connect({ ...lasting(level), clientId });
    await client.subscribe(topic, { qos: 2 });
    await client.unsubscribe(topic);
    for (const qos of [0, 1, 2] as Qos[]) await publisher.publish({ topic, qos, payload: "new" });
    await client.expectNothing();
    await client.disconnect();
    for (const qos of [0, 1, 2] as Qos[]) await publisher.publish({ topic, qos, payload: "new" });
    const again = await broker.connect({ ...lasting(level), clientId });
    assert.equal(again.connack.sessionPresent, true);
    await again.expectNothing();
  },
);

// "When a Server receives UNSUBSCRIBE It MUST complete the delivery of any QoS 1 or QoS 2 messages which match the
// Topic Filters and it has started to send to the Client."
conformance(
  "[5.0 MQTT-3.10.4-3] [3.1.1 MQTT-3.10.4-3] what is on its way when a client unsubscribes is completed",
  async (broker, level) => {
    const [topic, clientId] = [broker.unique("t"), broker.unique("c")];
    const publisher = await broker.connect();
    const client = await broker.connect({ ...lasting(level), clientId });
    await client.subscribe(topic, { qos: 2 });
    for (const [qos, payload] of [[1, "one"], [2, "two"], [2, "three"]] as const) {
      await publisher.publish({ topic, qos, payload });
    }
    const [, , released] = [
      await client.expect("publish"),
      await client.expect("publish"),
      await client.expect("publish"),
    ];
    await client.send({ type: "pubrec", packetId: released.packetId!, reasonCode: 0 });
    await client.expect("pubrel");
    await client.unsubscribe(topic);
    await client.send({ type: "pubcomp", packetId: released.packetId!, reasonCode: 0 });
    await client.close();
    const again = await broker.connect({ ...lasting(level), clientId });
    for (const [qos, payload] of [[1, "one"], [2, "two"]] as const) {
      const message = await again.expect("publish");
      assert.deepEqual([message.qos, message.dup, new TextDecoder().decode(message.payload)], [qos, true, payload]);
      const packetId = message.packetId!;
      if (qos === 1) {
        await again.send({ type: "puback", packetId, reasonCode: 0 });
      } else {
        await again.send({ type: "pubrec", packetId, reasonCode: 0 });
        assert.equal((await again.expect("pubrel")).packetId, packetId);
        await again.send({ type: "pubcomp", packetId, reasonCode: 0 });
      }
    }
    await again.expectNothing();
  },
);

// "The Server MUST respond to an UNSUBSCRIBE request by sending an UNSUBACK packet." "The UNSUBACK packet MUST have the
// same Packet Identifier as the UNSUBSCRIBE packet. Even where no Topic Subscriptions are deleted, the Server MUST
// respond with an UNSUBACK." Of 3.1.1, the identifier is in the first of these.
conformance(
  "[5.0 MQTT-3.10.4-4 MQTT-3.10.4-5] [3.1.1 MQTT-3.10.4-4 MQTT-3.10.4-5] each UNSUBSCRIBE is answered, with its own " +
    "identifier, also if it deletes nothing",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    await client.subscribe(topic);
    const packetIds = [1, 2, 0xff, 0x100, 0x8000, 0xffff, 1];
    for (const packetId of packetIds) await client.send({ type: "unsubscribe", packetId, topicFilters: [topic] });
    for (const packetId of packetIds) assert.equal((await client.expect("unsuback")).packetId, packetId);
    await client.expectNothing();
  },
);

// "If a Server receives an UNSUBSCRIBE packet that contains multiple Topic Filters, it MUST process that packet as if
// it had received a sequence of multiple UNSUBSCRIBE packets, except that it sends just one UNSUBACK response."
conformance(
  "[5.0 MQTT-3.10.4-6] [3.1.1 MQTT-3.10.4-6] several topic filters are as several UNSUBSCRIBEs, but answered together",
  async (broker, level) => {
    const topic = broker.unique("t");
    const [a, b, c] = ["a", "b", "c"].map((name) => `${topic}/${name}`);
    const client = await broker.connect();
    await client.subscribe([a, b, c]);
    const { reasonCodes } = await client.unsubscribe([a, a, `${topic}/x`, c]);
    assert.deepEqual(
      reasonCodes,
      level === 5 ? [Success, NoSubscriptionExisted, NoSubscriptionExisted, Success] : [],
    );
    for (const topic of [a, b, c]) await client.send(publishPacket({ topic, payload: topic }));
    assert.equal((await receive(client)).text, b);
    await client.expectNothing();
  },
);

// "If a Topic Filter represents a Shared Subscription, this Session is detached from the Shared Subscription."
conformance("[5.0] unsubscribing from a shared subscription leaves it to the others", async (broker) => {
  const topic = broker.unique("t");
  const filter = `$share/g/${topic}`;
  const [leaving, staying] = [await broker.connect(), await broker.connect()];
  for (const client of [leaving, staying]) await client.subscribe(filter);
  assert.deepEqual((await leaving.unsubscribe(filter)).reasonCodes, [Success]);
  for (const payload of ["1", "2", "3"]) await leaving.publish({ topic, qos: 1, payload });
  assert.deepEqual(await receivedSoFar(staying), ["1", "2", "3"]);
  await leaving.expectNothing();
});
