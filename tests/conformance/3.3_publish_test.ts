import assert from "node:assert/strict";
import {
  type PublishPacket,
  type PublishProperties,
  type Qos,
  ReasonCode,
  type UserProperty,
} from "../../codec/mod.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { binary, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { passSeconds } from "./pass_seconds.ts";

const { MalformedPacket, ProtocolError, ReceiveMaximumExceeded, TopicAliasInvalid } = ReasonCode;

const qualities: readonly Qos[] = [0, 1, 2];

/** A broker that allows little, and says so in its CONNACK. */
const tight = { config: "limits: { topicAliasMaximum: 0, receiveMaximum: 2 }" };

// 3.3.1 Fixed header

// "The DUP flag MUST be set to 1 by the Client or Server when it attempts to re-deliver a PUBLISH packet"
conformance(
  "[5.0 MQTT-3.3.1-1] [3.1.1 MQTT-3.3.1.-1] DUP is set in a PUBLISH that is sent again",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const qos of [1, 2] as const) {
      await publisher.publish({ topic, qos });
      assert.equal((await before.expect("publish")).dup, false);
    }
    await before.close();
    const after = await broker.connect(options);
    for (const qos of [1, 2] as const) {
      const packet = await after.expect("publish");
      assert.deepEqual([packet.qos, packet.dup], [qos, true]);
    }
  },
);

// "The DUP flag MUST be set to 0 for all QoS 0 messages"
conformance(
  "[5.0 MQTT-3.3.1-2] [3.1.1 MQTT-3.3.1-2] DUP is not set at QoS 0, not even if it was set by the publisher",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic);
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic }));
    for (const qos of [1, 2] as const) {
      await publisher.send(publishPacket({ topic, qos, packetId: qos, dup: true }));
    }
    const noProperties = level === 5 ? properties() : [];
    for (let count = 0; count < 3; count++) {
      await subscriber.expectBytes(packetBytes(0x30, text(topic), noProperties));
    }
  },
);

// "The DUP flag in the outgoing PUBLISH packet is set independently to the incoming PUBLISH packet, its value MUST be
// determined solely by whether the outgoing PUBLISH packet is a retransmission"
conformance(
  "[5.0 MQTT-3.3.1-3] [3.1.1 MQTT-3.3.1-3] a publisher's DUP is not passed on",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const qos of [1, 2] as const) {
      for (const dup of [true, false]) {
        await publisher.publish({ topic, qos, dup });
        const packet = await receive(subscriber);
        assert.deepEqual([packet.qos, packet.dup], [qos, false]);
      }
    }
    await publisher.publish({ topic, qos: 1, dup: true, retain: true, payload: "retained" });
    await receive(subscriber);
    const late = await broker.connect();
    await late.subscribe(topic, { qos: 1 });
    assert.equal((await receive(late)).dup, false);
  },
);

// "A PUBLISH Packet MUST NOT have both QoS bits set to 1. If a Server or Client receives a PUBLISH packet which has both QoS
// bits set to 1 it is a Malformed Packet."; of 3.1.1: "… it MUST close the Network Connection"
conformance(
  "[5.0 MQTT-3.3.1-4] [3.1.1 MQTT-3.3.1-4] a PUBLISH with both QoS bits ends the connection, and nobody gets it",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    for (const flags of [0b0110, 0b0111, 0b1110, 0b1111]) {
      const publisher = await broker.connect();
      await publisher.sendBytes(packetBytes(0x30 | flags, text(topic), [0, 1], level === 5 ? properties() : []));
      await expectDisconnected(publisher, MalformedPacket);
    }
    await subscriber.expectNothing();
  },
);

// "If the RETAIN flag is set to 1 in a PUBLISH packet sent by a Client to a Server, the Server MUST replace any existing
// retained message for this topic and store the Application Message"; of 3.1.1: "… the Server MUST store the Application
// Message and its QoS, so that it can be delivered to future subscribers whose subscriptions match its topic name"
conformance(
  "[5.0 MQTT-3.3.1-5] [3.1.1 MQTT-3.3.1-5] a retained message is kept with its QoS in the place of the one before",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    await publisher.publish({ topic, retain: true, payload: "first" });
    for (const qos of [2, 1, 0] as const) {
      await publisher.publish({ topic, qos, retain: true, payload: `at ${qos}` });
      await publisher.expectNothing();
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic, { qos: 2 });
      const packet = await receive(subscriber);
      assert.deepEqual([packet.topic, packet.text, packet.qos], [topic, `at ${qos}`, qos]);
      await subscriber.expectNothing();
    }
  },
);

// "When a new subscription is established, the last retained message, if any, on each matching topic name MUST be sent to the
// subscriber"
conformance(
  "[5.0] [3.1.1 MQTT-3.3.1-6] a new subscription brings the last retained message of each matching topic",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    const others = [topic, `${topic}/b/c`, broker.unique("t")];
    for (const name of [`${topic}/a`, `${topic}/b`, ...others, `${topic}/a`]) {
      await publisher.publish({ topic: name, qos: 1, retain: true, payload: `${name} again` });
    }
    const subscriber = await broker.connect();
    await subscriber.subscribe(`${topic}/+`);
    assert.deepEqual((await receivedSoFar(subscriber)).sort(), [`${topic}/a again`, `${topic}/b again`]);
    await subscriber.subscribe(`${topic}/b/c`);
    assert.deepEqual(await receivedSoFar(subscriber), [`${topic}/b/c again`]);
  },
);

// "If the Server receives a QoS 0 message with the RETAIN flag set to 1 it MUST discard any message previously retained for
// that topic. It SHOULD store the new QoS 0 message as the new retained message for that topic"
conformance(
  "[5.0] [3.1.1 MQTT-3.3.1-7] a QoS 0 message takes the place of one that was retained before",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 2, retain: true, payload: "old" });
    await publisher.publish({ topic, qos: 0, retain: true, payload: "new" });
    await publisher.expectNothing();
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    assert.deepEqual(await receivedSoFar(subscriber), ["new"]);
  },
);

// "When sending a PUBLISH Packet to a Client the Server MUST set the RETAIN flag to 1 if a message is sent as a result of a new
// subscription being made by a Client"; of 5.0: "These messages are sent with the RETAIN flag set to 1."
conformance(
  "[5.0] [3.1.1 MQTT-3.3.1-8] what a new subscription brings has RETAIN set",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    for (const qos of qualities) await publisher.publish({ topic: `${topic}/${qos}`, qos, retain: true, payload: "x" });
    for (const granted of qualities) {
      const subscriber = await broker.connect();
      await subscriber.subscribe(`${topic}/#`, { qos: granted });
      for (let count = 0; count < 3; count++) assert.equal((await receive(subscriber)).retain, true);
    }
  },
);

// "It MUST set the RETAIN flag to 0 when a PUBLISH Packet is sent to a Client because it matches an established subscription
// regardless of how the flag was set in the message it received"
conformance(
  "[3.1.1 MQTT-3.3.1-9] what an established subscription brings has RETAIN not set",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const away = await broker.connect(options);
    await away.subscribe(topic, { qos: 2 });
    await away.disconnect();
    const publisher = await broker.connect();
    for (const qos of qualities) {
      for (const retain of [true, false]) {
        await publisher.publish({ topic, qos, retain, payload: "x" });
        assert.equal((await receive(subscriber)).retain, false);
      }
    }
    const back = await broker.connect(options);
    for (let count = 0; count < 4; count++) assert.equal((await back.expect("publish")).retain, false);
  },
);

// "If the Payload contains zero bytes it is processed normally by the Server but any retained message with the same topic name
// MUST be removed and any future subscribers for the topic will not receive a retained message"
conformance(
  "[5.0 MQTT-3.3.1-6] [3.1.1 MQTT-3.3.1-10] an empty retained message is delivered, and removes what was retained",
  async (broker) => {
    for (const qos of qualities) {
      const topic = broker.unique("t");
      const publisher = await broker.connect();
      await publisher.publish({ topic, qos: 1, retain: true, payload: "retained" });
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic, { qos: 2 });
      assert.equal((await receive(subscriber)).text, "retained");
      await publisher.publish({ topic, qos, retain: true });
      const packet = await receive(subscriber);
      assert.deepEqual([packet.topic, packet.text, packet.qos], [topic, "", qos]);
      const late = await broker.connect();
      await late.subscribe(topic, { qos: 2 });
      await late.expectNothing();
    }
  },
);

// "A retained message with a Payload containing zero bytes MUST NOT be stored as a retained message on the Server"; of 3.1.1
// also: "`As normal` means that the RETAIN flag is not set in the message received by existing Clients."
conformance(
  "[5.0 MQTT-3.3.1-7] [3.1.1 MQTT-3.3.1-11] an empty retained message is not retained, and sent on without RETAIN",
  async (broker) => {
    const topic = broker.unique("t");
    const early = await broker.connect();
    await early.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const qos of qualities) {
      await publisher.publish({ topic, qos, retain: true });
      const packet = await receive(early);
      assert.deepEqual([packet.text, packet.retain], ["", false]);
      const late = await broker.connect();
      await late.subscribe(topic, { qos: 2 });
      await late.expectNothing();
    }
  },
);

// "If the RETAIN flag is 0 in a PUBLISH packet sent by a Client to a Server, the Server MUST NOT store the message as a
// retained message and MUST NOT remove or replace any existing retained message"
conformance(
  "[5.0 MQTT-3.3.1-8] [3.1.1 MQTT-3.3.1-12] a message without RETAIN is not kept, and leaves what is",
  async (broker) => {
    const topic = broker.unique("t");
    const [kept, empty] = [`${topic}/kept`, `${topic}/empty`];
    const publisher = await broker.connect();
    await publisher.publish({ topic: kept, qos: 1, retain: true, payload: "retained" });
    for (const qos of qualities) {
      for (const payload of ["passing", ""]) {
        await publisher.publish({ topic: kept, qos, payload });
        await publisher.publish({ topic: empty, qos, payload });
      }
    }
    await publisher.expectNothing();
    const subscriber = await broker.connect();
    await subscriber.subscribe(`${topic}/+`);
    assert.deepEqual(await receivedSoFar(subscriber), ["retained"]);
  },
);

// "If Retain Handling is set to 0 the Server MUST send the retained messages matching the Topic Filter of the subscription to
// the Client"
conformance("[5.0 MQTT-3.3.1-9] with Retain Handling 0 every subscription brings what is retained", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  for (const name of ["a", "b"]) {
    await publisher.publish({ topic: `${topic}/${name}`, qos: 1, retain: true, payload: name });
  }
  const subscriber = await broker.connect();
  for (let time = 0; time < 2; time++) {
    await subscriber.subscribe(`${topic}/#`, { retainHandling: 0 });
    assert.deepEqual((await receivedSoFar(subscriber)).sort(), ["a", "b"]);
  }
});

// "If Retain Handling is set to 1 then if the subscription did not already exist, the Server MUST send all retained message
// matching the Topic Filter of the subscription to the Client, and if the subscription did exist the Server MUST NOT send the
// retained messages"
conformance(
  "[5.0 MQTT-3.3.1-10] with Retain Handling 1 only a subscription that did not exist brings what is retained",
  async (broker, level) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    for (const name of ["a", "b"]) {
      await publisher.publish({ topic: `${topic}/${name}`, qos: 1, retain: true, payload: name });
    }
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const subscriber = await broker.connect(options);
    await subscriber.subscribe(`${topic}/#`, { retainHandling: 1 });
    assert.deepEqual((await receivedSoFar(subscriber)).sort(), ["a", "b"]);
    await subscriber.subscribe(`${topic}/#`, { retainHandling: 1, qos: 1 });
    await subscriber.expectNothing();
    await subscriber.subscribe(`${topic}/+`, { retainHandling: 1 });
    assert.deepEqual((await receivedSoFar(subscriber)).sort(), ["a", "b"]);
    await subscriber.unsubscribe(`${topic}/+`);
    await subscriber.disconnect();
    const back = await broker.connect(options);
    await back.subscribe(`${topic}/#`, { retainHandling: 1 });
    await back.expectNothing();
    await back.unsubscribe(`${topic}/#`);
    await back.subscribe(`${topic}/#`, { retainHandling: 1 });
    assert.deepEqual((await receivedSoFar(back)).sort(), ["a", "b"]);
  },
);

// "If Retain Handling is set to 2, the Server MUST NOT send the retained messages"
conformance("[5.0 MQTT-3.3.1-11] with Retain Handling 2 no subscription brings what is retained", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  await publisher.publish({ topic, qos: 1, retain: true, payload: "retained" });
  const subscriber = await broker.connect();
  for (const filter of [topic, topic, "+", `${topic}/#`]) {
    await subscriber.subscribe(filter, { retainHandling: 2 });
    await subscriber.expectNothing();
  }
});

// "If the value of Retain As Published subscription option is set to 0, the Server MUST set the RETAIN flag to 0 when
// forwarding an Application Message regardless of how the RETAIN flag was set in the received PUBLISH packet"
// "If the value of Retain As Published subscription option is set to 1, the Server MUST set the RETAIN flag equal to the RETAIN
// flag in the received PUBLISH packet"
for (const [id, retainAsPublished] of [["MQTT-3.3.1-12", false], ["MQTT-3.3.1-13", true]] as const) {
  conformance(
    `[5.0 ${id}] with Retain As Published ${retainAsPublished ? 1 : 0}, RETAIN is ${
      retainAsPublished ? "as published" : "0"
    }`,
    async (broker, level) => {
      const topic = broker.unique("t");
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic, { qos: 2, retainAsPublished });
      const options = { ...lasting(level), clientId: broker.unique("subscriber") };
      const away = await broker.connect(options);
      await away.subscribe(topic, { qos: 2, retainAsPublished });
      await away.disconnect();
      const publisher = await broker.connect();
      for (const qos of qualities) {
        for (const retain of [true, false]) {
          await publisher.publish({ topic, qos, retain, payload: "x" });
          assert.equal((await receive(subscriber)).retain, retain && retainAsPublished);
        }
      }
      const back = await broker.connect(options);
      for (const retain of [true, false, true, false]) {
        assert.equal((await back.expect("publish")).retain, retain && retainAsPublished);
      }
    },
  );
}

// 3.3.2 Variable header

// "The Topic Name MUST be present as the first field in the PUBLISH packet Variable Header. It MUST be a UTF-8 Encoded String"
conformance(
  "[5.0 MQTT-3.3.2-1] [3.1.1 MQTT-3.3.2-1] the topic name is the first field, in UTF-8",
  async (broker, level) => {
    const topic = `${broker.unique("t")}/ö/水/𐍈`;
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 1 });
    const publisher = await broker.connect();
    const noProperties = level === 5 ? properties() : [];
    await publisher.sendBytes(packetBytes(0x30, text(topic), noProperties, [1, 2, 3]));
    await subscriber.expectBytes(packetBytes(0x30, text(topic), noProperties, [1, 2, 3]));
    await publisher.sendBytes(packetBytes(0x32, text(topic), [0xab, 0xcd], noProperties, [1, 2, 3]));
    await subscriber.expectBytes(packetBytes(0x32, text(topic), [0, 1], noProperties, [1, 2, 3]));
  },
);

conformance(
  "[5.0 MQTT-3.3.2-1] [3.1.1 MQTT-3.3.2-1] a PUBLISH without a topic name, or with one that is no UTF-8, is malformed",
  async (broker, level) => {
    const noProperties = level === 5 ? properties() : [];
    const invalid = [[0xff], [0x61, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0xc3], [0]];
    for (const bytes of invalid) {
      const publisher = await broker.connect();
      await publisher.sendBytes(packetBytes(0x30, binary(bytes), noProperties));
      await expectDisconnected(publisher, MalformedPacket);
    }
    for (const body of [[], [0], [0, 4, 0x61]]) {
      const publisher = await broker.connect();
      await publisher.sendBytes(packetBytes(0x30, body));
      await expectDisconnected(publisher, MalformedPacket);
    }
  },
);

// "It is a Protocol Error if the Topic Name is zero length and there is no Topic Alias."
conformance("[5.0] a PUBLISH with neither topic name nor topic alias is a protocol error", async (broker) => {
  const publisher = await broker.connect();
  await publisher.sendBytes(packetBytes(0x30, text(""), properties()));
  await expectDisconnected(publisher, ProtocolError);
});

// "The Topic Name in the PUBLISH packet MUST NOT contain wildcard characters"
conformance(
  "[5.0 MQTT-3.3.2-2] [3.1.1 MQTT-3.3.2-2] a PUBLISH with a wildcard in its topic name ends the connection",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(`${topic}/#`);
    for (const name of [`${topic}/+`, `${topic}/#`, `${topic}/a+b`, `${topic}/a#`, `${topic}/+/b`, "+", "#"]) {
      const publisher = await broker.connect();
      await publisher.sendBytes(packetBytes(0x32, text(name), [0, 1], level === 5 ? properties() : []));
      await expectDisconnected(publisher, MalformedPacket);
    }
    await subscriber.expectNothing();
  },
);

// "The Topic Name in a PUBLISH packet sent by a Server to a subscribing Client MUST match the Subscription's Topic Filter"
conformance(
  "[5.0 MQTT-3.3.2-3] [3.1.1 MQTT-3.3.2-3] a subscriber gets the messages whose topic name matches its filters, under that name",
  async (broker) => {
    const topic = broker.unique("t");
    const names = [
      ...["", "/a", "/a/x", "/a/x/y", "/b", "/b/x/y", "/c", "/c/x", "/d/x/e", "/d/x/y/e", "/", "/A/x"],
    ].map((rest) => topic + rest);
    const publisher = await broker.connect();
    for (const name of names) await publisher.publish({ topic: name, qos: 1, retain: true, payload: name });
    const subscriber = await broker.connect();
    await subscriber.subscribe(["/a/+", "/b/#", "/c", "/d/+/e"].map((rest) => topic + rest));
    const expected = ["/a/x", "/b", "/b/x/y", "/c", "/d/x/e"].map((rest) => topic + rest);
    const received = async () => {
      const packets: PublishPacket[] = [];
      while (packets.length < expected.length) packets.push(await subscriber.expect("publish"));
      await subscriber.expectNothing();
      for (const packet of packets) assert.equal(textOf(packet), packet.topic);
      return packets.map((packet) => packet.topic);
    };
    assert.deepEqual((await received()).sort(), expected, "retained messages");
    for (const name of names) await publisher.publish({ topic: name, qos: 1, payload: name });
    assert.deepEqual(await received(), expected, "new messages");
  },
);

/**
 * The properties of one message as they are sent on: at the QoS of the publisher and below it, with a subscription identifier,
 * with a topic alias and without one, to a client that was away, and for a new subscription.
 */
async function forwarded(broker: ConformanceBroker, properties: PublishProperties): Promise<PublishProperties[]> {
  const topic = broker.unique("t");
  const same = await broker.connect();
  await same.subscribe(topic, { qos: 1 });
  const lower = await broker.connect();
  await lower.subscribe(topic, { qos: 0 });
  const identified = await broker.connect({ properties: { topicAliasMaximum: 5 } });
  await identified.subscribe(topic, { qos: 1, properties: { subscriptionIdentifiers: [5] } });
  const options = { ...lasting(5), clientId: broker.unique("subscriber") };
  const away = await broker.connect(options);
  await away.subscribe(topic, { qos: 1 });
  await away.disconnect();
  const publisher = await broker.connect();
  const subscribers = [same, lower, identified];
  const received: PublishPacket[] = [];
  await publisher.publish({ topic, qos: 1, properties: { ...properties, topicAlias: 1 } });
  for (const subscriber of subscribers) received.push(await receive(subscriber));
  await publisher.publish({ topic, qos: 1, retain: true, payload: "x", properties });
  for (const subscriber of subscribers) received.push(await receive(subscriber));
  const back = await broker.connect(options);
  received.push(await receive(back), await receive(back));
  const late = await broker.connect();
  await late.subscribe(topic, { qos: 1 });
  received.push(await receive(late));
  return received.map((packet) => packet.properties ?? {});
}

// "A Server MUST send the Payload Format Indicator unaltered to all subscribers receiving the message"
conformance("[5.0 MQTT-3.3.2-4] the Payload Format Indicator is passed on as it came", async (broker) => {
  for (const payloadFormatIndicator of [0, 1, undefined] as const) {
    const received = await forwarded(broker, payloadFormatIndicator === undefined ? {} : { payloadFormatIndicator });
    for (const properties of received) assert.equal(properties.payloadFormatIndicator, payloadFormatIndicator);
  }
});

// "If the Message Expiry Interval has passed and the Server has not managed to start onward delivery to a matching subscriber,
// then it MUST delete the copy of the message for that subscriber"
conformance(
  "[5.0 MQTT-3.3.2-5] a message that has expired before it could be sent is not sent any more",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const away = await broker.connect(options);
    await away.subscribe(topic, { qos: 2 });
    await away.disconnect();
    const busy = await broker.connect({ properties: { receiveMaximum: 1 } });
    await busy.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 1, payload: "before" });
    const expiring = { messageExpiryInterval: 1 };
    for (const qos of [1, 2] as const) await publisher.publish({ topic, qos, payload: "late", properties: expiring });
    await publisher.publish({ topic, qos: 1, payload: "retained", retain: true, properties: expiring });
    await passSeconds(1);
    await publisher.publish({ topic, qos: 1, payload: "after" });
    assert.deepEqual(await receiveTexts(await broker.connect(options), 2), ["before", "after"]);
    assert.deepEqual(await receiveTexts(busy, 2), ["before", "after"]);
    await busy.expectNothing();
    const late = await broker.connect();
    await late.subscribe(topic);
    await late.expectNothing();
  },
);

// "The PUBLISH packet sent to a Client by the Server MUST contain a Message Expiry Interval set to the received value minus the
// time that the message has been waiting in the Server"
conformance(
  "[5.0 MQTT-3.3.2-6] the Message Expiry Interval is less by the time that the message has waited",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 1 });
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const away = await broker.connect(options);
    await away.subscribe(topic, { qos: 1 });
    await away.disconnect();
    const publisher = await broker.connect();
    const published = performance.now();
    const longest = () => Math.ceil((performance.now() - published) / 1000);
    await publisher.publish({
      topic,
      qos: 1,
      payload: "x",
      retain: true,
      properties: { messageExpiryInterval: 100 },
    });
    const left = async (client: typeof subscriber) => (await receive(client)).properties?.messageExpiryInterval ?? NaN;
    const atOnce = await left(subscriber);
    assert(atOnce <= 100 && atOnce >= 100 - longest(), `${atOnce} seconds are left at once`);
    await passSeconds(1);
    const late = await broker.connect();
    await late.subscribe(topic, { qos: 1 });
    for (const client of [await broker.connect(options), late]) {
      const afterASecond = await left(client);
      assert(afterASecond <= 99 && afterASecond >= 100 - longest(), `${afterASecond} seconds are left after a second`);
    }
  },
);

conformance("[5.0 MQTT-3.3.2-6] a message without a Message Expiry Interval is sent on without one", async (broker) => {
  for (const { messageExpiryInterval } of await forwarded(broker, {})) assert.equal(messageExpiryInterval, undefined);
});

// "A receiver MUST NOT carry forward any Topic Alias mappings from one Network Connection to another"
conformance(
  "[5.0 MQTT-3.3.2-7] a topic alias means nothing on the next connection",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("publisher") };
    const before = await broker.connect(options);
    await before.publish({ topic, qos: 1, properties: { topicAlias: 1 } });
    await before.publish({ topic: "", qos: 1, properties: { topicAlias: 1 } });
    await before.disconnect();
    const after = await broker.connect(options);
    await after.send(publishPacket({ topic: "", qos: 1, packetId: 1, properties: { topicAlias: 1 } }));
    await expectDisconnected(after, ProtocolError);
  },
);

conformance(
  "[5.0 MQTT-3.3.2-7] the broker does not rely on a topic alias from the connection before",
  async (broker, level) => {
    const topic = broker.unique("t");
    const fields = lasting(level);
    const properties = { ...fields.properties, topicAliasMaximum: 3 };
    const options = { ...fields, properties, clientId: broker.unique("subscriber") };
    const publisher = await broker.connect();
    for (let connection = 0; connection < 2; connection++) {
      const subscriber = await broker.connect(options);
      await subscriber.subscribe(topic, { qos: 1 });
      await publisher.publish({ topic, qos: 1 });
      const first = await receive(subscriber);
      assert.deepEqual([first.topic, first.properties?.topicAlias], [topic, 1]);
      await publisher.publish({ topic, qos: 1 });
      const second = await receive(subscriber);
      assert.deepEqual([second.topic, second.properties?.topicAlias], ["", 1]);
      await subscriber.disconnect();
    }
  },
);

// "A Topic Alias of 0 is not permitted. A sender MUST NOT send a PUBLISH packet containing a Topic Alias which has the value 0";
// "A Topic Alias value of 0 or greater than the Maximum Topic Alias is a Protocol Error, the receiver uses DISCONNECT with
// Reason Code of 0x94 (Topic Alias invalid)"
conformance("[5.0 MQTT-3.3.2-8] a topic alias of 0 is refused with 0x94", async (broker) => {
  const publisher = await broker.connect();
  await publisher.sendBytes(packetBytes(0x30, text(broker.unique("t")), properties([0x23, 0, 0])));
  await expectDisconnected(publisher, TopicAliasInvalid);
});

// "A Client MUST NOT send a PUBLISH packet with a Topic Alias greater than the Topic Alias Maximum value returned by the Server
// in the CONNACK packet"
conformance("[5.0 MQTT-3.3.2-9] a topic alias above the broker's maximum is refused with 0x94", async (broker) => {
  const publisher = await broker.connect();
  const topicAlias = publisher.connack.properties!.topicAliasMaximum! + 1;
  await publisher.send(publishPacket({ topic: broker.unique("t"), properties: { topicAlias } }));
  await expectDisconnected(publisher, TopicAliasInvalid);
});

conformance(
  "[5.0 MQTT-3.3.2-9] a broker that returns no Topic Alias Maximum refuses every topic alias with 0x94",
  async (broker) => {
    const publisher = await broker.connect();
    assert.equal(publisher.connack.properties?.topicAliasMaximum ?? 0, 0);
    await publisher.send(publishPacket({ topic: broker.unique("t"), properties: { topicAlias: 1 } }));
    await expectDisconnected(publisher, TopicAliasInvalid);
  },
  tight,
);

// "A sender MUST NOT send a PUBLISH packet containing a Topic Alias which has the value 0"
// "A Client MUST accept all Topic Alias values greater than 0 and less than or equal to the Topic Alias Maximum value that it
// sent in the CONNECT packet": what a client need not accept is not sent.
// "A Server MUST NOT send a PUBLISH packet with a Topic Alias greater than the Topic Alias Maximum value sent by the Client in
// the CONNECT packet"
conformance(
  "[5.0 MQTT-3.3.2-8 MQTT-3.3.2-10 MQTT-3.3.2-11] the broker's topic aliases are from 1 to the client's maximum",
  async (broker) => {
    const topic = broker.unique("t");
    const names = ["a", "b", "c", "d"].map((name) => `${topic}/${name}`);
    const publisher = await broker.connect();
    for (const topicAliasMaximum of [undefined, 0, 1, 2, 0xffff]) {
      const subscriber = await broker.connect({
        properties: topicAliasMaximum === undefined ? {} : { topicAliasMaximum },
      });
      await subscriber.subscribe(`${topic}/+`, { qos: 1 });
      const byAlias = new Map<number, string>();
      for (const name of [...names, ...names.toReversed()]) {
        await publisher.publish({ topic: name, qos: 1 });
        const packet = await receive(subscriber);
        const alias = packet.properties?.topicAlias;
        if (alias === undefined) {
          assert.equal(packet.topic, name);
          continue;
        }
        assert(alias >= 1 && alias <= (topicAliasMaximum ?? 0), `alias ${alias} of at most ${topicAliasMaximum}`);
        if (packet.topic !== "") byAlias.set(alias, packet.topic);
        assert.equal(byAlias.get(alias), name);
      }
    }
  },
);

// "A Server MUST accept all Topic Alias values greater than 0 and less than or equal to the Topic Alias Maximum value that it
// returned in the CONNACK packet"
conformance("[5.0 MQTT-3.3.2-12] every topic alias up to the broker's maximum is accepted", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(`${topic}/+`, { qos: 0 });
  const publisher = await broker.connect();
  const maximum = publisher.connack.properties!.topicAliasMaximum!;
  assert(maximum > 0);
  const aliases = Array.from({ length: maximum }, (_, index) => index + 1);
  for (const topicAlias of aliases) {
    await publisher.send(publishPacket({ topic: `${topic}/${topicAlias}`, properties: { topicAlias } }));
  }
  for (const topicAlias of aliases) {
    await publisher.send(publishPacket({ topic: "", properties: { topicAlias } }));
  }
  for (const alias of [...aliases, ...aliases]) {
    assert.equal((await subscriber.expect("publish")).topic, `${topic}/${alias}`);
  }
});

// "A sender can modify the Topic Alias mapping by sending another PUBLISH in the same Network Connection with the same Topic
// Alias value and a different non-zero length Topic Name."
conformance("[5.0] a topic alias means the topic that it was given last", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(`${topic}/+`);
  const publisher = await broker.connect();
  for (const name of ["a", "b"]) {
    for (const given of [`${topic}/${name}`, ""]) {
      await publisher.send(publishPacket({ topic: given, properties: { topicAlias: 7 } }));
      const packet = await subscriber.expect("publish");
      assert.deepEqual([packet.topic, packet.properties], [`${topic}/${name}`, undefined]);
    }
  }
});

// "If the packet has a zero length Topic Name field it is a Protocol Error and the receiver uses DISCONNECT with Reason Code of
// 0x82 (Protocol Error)"
conformance("[5.0] a topic alias that no topic was given to is a protocol error", async (broker) => {
  const publisher = await broker.connect();
  await publisher.send(publishPacket({ topic: broker.unique("t"), properties: { topicAlias: 1 } }));
  await publisher.send(publishPacket({ topic: "", properties: { topicAlias: 2 } }));
  await expectDisconnected(publisher, ProtocolError);
});

// "The Response Topic MUST be a UTF-8 Encoded String"
// "The Content Type MUST be a UTF-8 Encoded String"
for (
  const [id, name, property] of [["MQTT-3.3.2-13", "Response Topic", 0x08], [
    "MQTT-3.3.2-19",
    "Content Type",
    0x03,
  ]] as const
) {
  conformance(
    `[5.0 ${id}] a ${name} in UTF-8 is passed on so, and one that is no UTF-8 is malformed`,
    async (broker) => {
      const topic = broker.unique("t");
      const subscriber = await broker.connect();
      await subscriber.subscribe(topic);
      const publisher = await broker.connect();
      const packet = packetBytes(0x30, text(topic), properties([property], text("a/ö/水/𐍈")), [1, 2, 3]);
      await publisher.sendBytes(packet);
      await subscriber.expectBytes(packet);
      for (const invalid of [[0xff], [0x61, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0]]) {
        const other = await broker.connect();
        await other.sendBytes(packetBytes(0x30, text(topic), properties([property], binary(invalid))));
        await expectDisconnected(other, MalformedPacket);
      }
      await subscriber.expectNothing();
    },
  );
}

// "The Response Topic MUST NOT contain wildcard characters"
conformance("[5.0 MQTT-3.3.2-14] a Response Topic with a wildcard ends the connection", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  for (const responseTopic of ["+", "#", "a/+", "a/#", "a+", "a#b"]) {
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic, properties: { responseTopic: "a" } }));
    assert.equal((await subscriber.expect("publish")).properties?.responseTopic, "a");
    await publisher.sendBytes(packetBytes(0x30, text(topic), properties([0x08], text(responseTopic))));
    await expectDisconnected(publisher, MalformedPacket);
  }
  await subscriber.expectNothing();
});

// "The Server MUST send the Response Topic unaltered to all subscribers receiving the Application Message"
conformance("[5.0 MQTT-3.3.2-15] the Response Topic is passed on as it came", async (broker) => {
  for (const responseTopic of ["a", "/ö//$ 水/", "x".repeat(65535)]) {
    for (const properties of await forwarded(broker, { responseTopic })) {
      assert(properties.responseTopic === responseTopic);
    }
  }
  for (const properties of await forwarded(broker, {})) assert.equal(properties.responseTopic, undefined);
});

// "The Server MUST send the Correlation Data unaltered to all subscribers receiving the Application Message"
conformance("[5.0 MQTT-3.3.2-16] the Correlation Data is passed on as it came", async (broker) => {
  for (const correlationData of [new Uint8Array(), new Uint8Array(256).map((_, index) => index)]) {
    for (const properties of await forwarded(broker, { correlationData })) {
      assert.deepEqual(properties.correlationData && [...properties.correlationData], [...correlationData]);
    }
  }
  for (const properties of await forwarded(broker, {})) assert.equal(properties.correlationData, undefined);
});

// "The Server MUST send all User Properties unaltered in a PUBLISH packet when forwarding the Application Message to a Client"
// "The Server MUST maintain the order of User Properties when forwarding the Application Message"
conformance(
  "[5.0 MQTT-3.3.2-17 MQTT-3.3.2-18] all User Properties are passed on as they came, in their order",
  async (broker) => {
    const userProperties: UserProperty[] = [["b", "2"], ["a", "1"], ["b", "2"], ["b", "1"], ["", ""], ["ö", "水"], [
      "B",
      "0",
    ]];
    for (const properties of await forwarded(broker, { userProperties })) {
      assert.deepEqual(properties.userProperties, userProperties);
    }
    for (const properties of await forwarded(broker, {})) assert.equal(properties.userProperties, undefined);
  },
);

// "A Server MUST send the Content Type unaltered to all subscribers receiving the Application Message"
conformance("[5.0 MQTT-3.3.2-20] the Content Type is passed on as it came", async (broker) => {
  for (const contentType of ["", "text/plain; charset=utf-8", "ö 水 + #"]) {
    for (const properties of await forwarded(broker, { contentType })) {
      assert.equal(properties.contentType, contentType);
    }
  }
  for (const properties of await forwarded(broker, {})) assert.equal(properties.contentType, undefined);
});

// 3.3.4 Actions

// "The receiver of a PUBLISH Packet MUST respond with the packet as determined by the QoS in the PUBLISH Packet"
conformance(
  "[5.0 MQTT-3.3.4-1] [3.1.1 MQTT-3.3.4-1] QoS 0 is not answered, QoS 1 with PUBACK, and QoS 2 with PUBREC",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    const noProperties = level === 5 ? properties() : [];
    await publisher.sendBytes(packetBytes(0x30, text(topic), noProperties));
    await publisher.expectNothing();
    await publisher.sendBytes(packetBytes(0x32, text(topic), [0xab, 0xcd], noProperties));
    await publisher.expectBytes([0x40, 2, 0xab, 0xcd]);
    await publisher.sendBytes(packetBytes(0x34, text(topic), [0xab, 0xce], noProperties));
    await publisher.expectBytes([0x50, 2, 0xab, 0xce]);
    await publisher.expectNothing();
    for (const qos of qualities) assert.equal((await receive(subscriber)).qos, qos);
  },
);

// "When Clients make subscriptions with Topic Filters that include wildcards, it is possible for a Client's subscriptions to
// overlap so that a published message might match multiple filters. In this case the Server MUST deliver the message to the
// Client respecting the maximum QoS of all the matching subscriptions"
conformance(
  "[5.0 MQTT-3.3.4-2] [3.1.1 MQTT-3.3.5-1] overlapping subscriptions bring a message once, at the highest QoS of them",
  async (broker) => {
    const filters = ["/a/b", "/+/b", "/#"];
    for (const granted of [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0]] as Qos[][]) {
      const topic = broker.unique("t");
      const subscriber = await broker.connect();
      for (const [index, qos] of granted.entries()) await subscriber.subscribe(topic + filters[index], { qos });
      const publisher = await broker.connect();
      for (const qos of qualities) {
        await publisher.publish({ topic: `${topic}/a/b`, qos });
        assert.equal((await receive(subscriber)).qos, Math.min(qos, Math.max(...granted)));
      }
      await subscriber.expectNothing();
    }
  },
);

// "If the Client specified a Subscription Identifier for any of the overlapping subscriptions the Server MUST send those
// Subscription Identifiers in the message which is published as the result of the subscriptions"
// "If the Server sends a single copy of the message it MUST include in the PUBLISH packet the Subscription Identifiers for all
// matching subscriptions which have a Subscription Identifiers, their order is not significant"
conformance(
  "[5.0 MQTT-3.3.4-3 MQTT-3.3.4-4] a message has the Subscription Identifiers of all subscriptions that brought it",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    const subscribe = (filter: string, identifier: number | undefined, qos: Qos) =>
      subscriber.subscribe(topic + filter, {
        qos,
        properties: identifier === undefined ? undefined : { subscriptionIdentifiers: [identifier] },
      });
    await subscribe("/a/b", 1, 0);
    await subscribe("/+/b", 268_435_455, 1);
    await subscribe("/#", undefined, 2);
    await subscribe("/a/#", 1, 0);
    await subscribe("/c", 4, 2);
    const publisher = await broker.connect();
    for (
      const [name, expected] of [
        ["/a/b", [1, 1, 268_435_455]],
        ["/c/b", [268_435_455]],
        ["/d", undefined],
        ["/c", [4]],
      ] as const
    ) {
      for (const qos of qualities) {
        await publisher.publish({ topic: topic + name, qos });
        const identifiers = (await receive(subscriber)).properties?.subscriptionIdentifiers;
        assert.deepEqual(identifiers?.sort((a, b) => a - b), expected);
        await subscriber.expectNothing();
      }
    }
  },
);

conformance(
  "[5.0 MQTT-3.3.4-3] a retained message, and one for a client that was away, have their Subscription Identifier",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 1, retain: true, payload: "x" });
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 1, properties: { subscriptionIdentifiers: [9] } });
    assert.deepEqual((await receive(before)).properties?.subscriptionIdentifiers, [9]);
    await before.disconnect();
    await publisher.publish({ topic, qos: 1 });
    const after = await broker.connect(options);
    assert.deepEqual((await receive(after)).properties?.subscriptionIdentifiers, [9]);
    await publisher.publish({ topic, qos: 1 });
    assert.deepEqual((await receive(after)).properties?.subscriptionIdentifiers, [9]);
  },
);

// "If the Server sends multiple PUBLISH packets it MUST send, in each of them, the Subscription Identifier of the matching
// subscription if it has a Subscription Identifier"
conformance(
  "[5.0 MQTT-3.3.4-5] where several copies are sent, each has the Subscription Identifier of its subscription",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    const identify = (identifier: number) => ({ properties: { subscriptionIdentifiers: [identifier] } });
    // A shared subscription is one of its own: it brings a copy besides that of the others.
    await subscriber.subscribe(topic, identify(1));
    await subscriber.subscribe(`$share/${topic}-a/${topic}`, identify(2));
    await subscriber.subscribe(`$share/${topic}-b/${topic}`, identify(3));
    await subscriber.subscribe(`$share/${topic}-c/${topic}`);
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 1 });
    const identifiers: (readonly number[] | undefined)[] = [];
    while (identifiers.length < 4) identifiers.push((await receive(subscriber)).properties?.subscriptionIdentifiers);
    assert.deepEqual(identifiers.map((each) => each?.join() ?? "none").sort(), ["1", "2", "3", "none"]);
    await subscriber.expectNothing();
  },
);

// "A PUBLISH packet sent from a Client to a Server MUST NOT contain a Subscription Identifier"; "It is a Protocol Error …"
conformance("[5.0 MQTT-3.3.4-6] a PUBLISH with a Subscription Identifier is a protocol error", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic, { properties: { subscriptionIdentifiers: [1] } });
  for (const qos of qualities) {
    const publisher = await broker.connect();
    await publisher.send(
      publishPacket({ topic, qos, packetId: qos === 0 ? undefined : 1, properties: { subscriptionIdentifiers: [1] } }),
    );
    await expectDisconnected(publisher, ProtocolError);
  }
  await subscriber.expectNothing();
});

// "The Client MUST NOT send more than Receive Maximum QoS 1 and QoS 2 PUBLISH packets for which it has not received PUBACK,
// PUBCOMP, or PUBREC with a Reason Code of 128 or greater from the Server"; "… the Server uses a DISCONNECT packet with Reason
// Code 0x93 (Receive Maximum exceeded)"
conformance(
  "[5.0 MQTT-3.3.4-7] a client that exceeds the broker's Receive Maximum is disconnected with 0x93",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    const { receiveMaximum } = publisher.connack.properties!;
    assert.equal(receiveMaximum, 2);
    for (let packetId = 1; packetId <= receiveMaximum; packetId++) {
      await publisher.send(publishPacket({ topic, qos: 2, packetId }));
      await publisher.expect("pubrec");
    }
    await publisher.send(publishPacket({ topic, qos: 1, packetId: 3 }));
    await expectDisconnected(publisher, ReceiveMaximumExceeded);
  },
  tight,
);

conformance(
  "[5.0 MQTT-3.3.4-7] a client that keeps to the broker's Receive Maximum publishes as much as it likes",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic, qos: 2, packetId: 100 }));
    await publisher.expect("pubrec");
    for (let time = 0; time < 5; time++) {
      for (const qos of qualities) await publisher.publish({ topic, qos });
      // Refused, which gives the quota back as well.
      assert.equal(await publisher.publish({ topic: "$SYS/no", qos: 2 }), ReasonCode.NotAuthorized);
    }
    // Sent again, it is the same message.
    await publisher.send(publishPacket({ topic, qos: 2, packetId: 100, dup: true }));
    await publisher.expect("pubrec");
    assert.equal(await publisher.publish({ topic, qos: 1 }), ReasonCode.NoMatchingSubscribers);
  },
  tight,
);

// "The Client MUST NOT delay the sending of any packets other than PUBLISH packets due to having sent Receive Maximum PUBLISH
// packets without receiving acknowledgements for them": a server must then take them.
conformance(
  "[5.0 MQTT-3.3.4-8] other packets than PUBLISH are taken from a client that has used up the broker's Receive Maximum",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    for (const packetId of [101, 102]) {
      await publisher.send(publishPacket({ topic, qos: 2, packetId }));
      await publisher.expect("pubrec");
    }
    await publisher.expectNothing();
    await publisher.subscribe(topic, { qos: 2 });
    const other = await broker.connect();
    for (const qos of qualities) {
      await other.publish({ topic, qos });
      assert.equal((await receive(publisher)).qos, qos);
    }
    await publisher.send(publishPacket({ topic }));
    await publisher.expect("publish");
    await publisher.unsubscribe(topic);
    for (const packetId of [101, 102]) {
      await publisher.send({ type: "pubrel", packetId, reasonCode: 0 });
      assert.deepEqual(await publisher.expect("pubcomp"), { type: "pubcomp", packetId, reasonCode: 0 });
    }
    await publisher.disconnect();
  },
  tight,
);

// "The Server MUST NOT send more than Receive Maximum QoS 1 and QoS 2 PUBLISH packets for which it has not received PUBACK,
// PUBCOMP, or PUBREC with a Reason Code of 128 or greater from the Client"
for (const qos of [1, 2] as const) {
  conformance(
    `[5.0 MQTT-3.3.4-9] at QoS ${qos} a client is not sent more than its Receive Maximum before it acknowledges`,
    async (broker) => {
      for (const receiveMaximum of [1, 3]) {
        const topic = broker.unique("t");
        const subscriber = await broker.connect({ properties: { receiveMaximum } });
        await subscriber.subscribe(topic, { qos });
        const publisher = await broker.connect();
        const payloads = ["one", "two", "three", "four", "five"];
        for (const payload of payloads) await publisher.publish({ topic, qos, payload });
        assert.deepEqual(await receivedSoFar(subscriber), payloads.slice(0, receiveMaximum));
      }
    },
  );
}

conformance(
  "[5.0 MQTT-3.3.4-9] what is sent again after a reconnect, and what is retained, counts against the Receive Maximum",
  async (broker, level) => {
    const topic = broker.unique("t");
    const fields = lasting(level);
    const properties = { ...fields.properties, receiveMaximum: 3 };
    const options = { ...fields, properties, clientId: broker.unique("subscriber") };
    const publisher = await broker.connect();
    for (let index = 0; index < 5; index++) {
      await publisher.publish({ topic: `${topic}/${index}`, qos: 1, retain: true, payload: `${index}` });
    }
    const before = await broker.connect(options);
    await before.subscribe(`${topic}/+`, { qos: 2 });
    assert.equal((await receivedSoFar(before)).length, 3);
    await publisher.publish({ topic: `${topic}/5`, qos: 2, payload: "new" });
    await before.close();
    const after = await broker.connect({ ...options, properties: { ...properties, receiveMaximum: 2 } });
    const first = [await after.expect("publish"), await after.expect("publish")];
    assert.deepEqual(first.map(({ dup }) => dup), [true, true]);
    await after.expectNothing();
    await after.send({ type: "puback", packetId: first[0].packetId!, reasonCode: 0 });
    assert.equal((await after.expect("publish")).dup, true);
    await after.expectNothing();
  },
);

// "The Server MUST NOT delay the sending of any packets other than PUBLISH packets due to having sent Receive Maximum PUBLISH
// packets without receiving acknowledgements for them"
conformance(
  "[5.0 MQTT-3.3.4-10] a client that acknowledges nothing is still sent all other packets",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect({ properties: { receiveMaximum: 1 } });
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 2, payload: "one" });
    await publisher.publish({ topic, qos: 2, payload: "two" });
    const { packetId } = await subscriber.expect("publish");
    await subscriber.expectNothing();
    const other = broker.unique("t");
    assert.deepEqual((await subscriber.subscribe(other, { qos: 1 })).reasonCodes, [1]);
    assert.deepEqual((await subscriber.unsubscribe(other)).reasonCodes, [0]);
    for (const qos of [1, 2] as const) {
      assert.equal(await subscriber.publish({ topic: other, qos }), ReasonCode.NoMatchingSubscribers);
    }
    await subscriber.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    assert.equal((await subscriber.expect("pubrel")).packetId, packetId);
    await subscriber.expectNothing();
  },
);

conformance(
  "[5.0 MQTT-3.3.4-10] a PUBREL is sent again although the PUBLISHes before it have used up the Receive Maximum",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (const qos of [2, 2] as const) await publisher.publish({ topic, qos });
    const [first, second] = [await before.expect("publish"), await before.expect("publish")];
    await before.send({ type: "pubrec", packetId: second.packetId!, reasonCode: 0 });
    await before.expect("pubrel");
    await before.close();
    const after = await broker.connect({ ...options, properties: { ...options.properties, receiveMaximum: 1 } });
    assert.deepEqual(await after.expect("publish"), { ...first, dup: true });
    assert.deepEqual(await after.expect("pubrel"), { type: "pubrel", packetId: second.packetId, reasonCode: 0 });
  },
);

// "If a Server implementation does not authorize a PUBLISH to be performed by a Client; it has no way of informing that Client.
// It MUST either make a positive acknowledgement, according to the normal QoS rules, or close the Network Connection"
conformance(
  "[3.1.1 MQTT-3.3.5-2] a PUBLISH that is not authorized is acknowledged as if it were, and delivered to nobody",
  async (broker) => {
    const subscriber = await broker.connect();
    await subscriber.subscribe("$SYS/forged", { qos: 2 });
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic: "$SYS/forged" }));
    await publisher.expectNothing();
    await publisher.send(publishPacket({ topic: "$SYS/forged", qos: 1, packetId: 7 }));
    await publisher.expectBytes([0x40, 2, 0, 7]);
    for (const dup of [false, true]) {
      await publisher.send(publishPacket({ topic: "$SYS/forged", qos: 2, packetId: 8, dup }));
      await publisher.expectBytes([0x50, 2, 0, 8]);
    }
    await publisher.send({ type: "pubrel", packetId: 8, reasonCode: 0 });
    await publisher.expectBytes([0x70, 2, 0, 8]);
    await subscriber.expectNothing();
  },
);

conformance(
  "[3.1.1 MQTT-3.3.5-2] a broker that is told to closes the connection for a PUBLISH that is not authorized",
  async (broker) => {
    const subscriber = await broker.connect();
    await subscriber.subscribe("denied/#", { qos: 2 });
    for (const qos of qualities) {
      const publisher = await broker.connect();
      await publisher.send(publishPacket({ topic: "denied/t", qos, packetId: qos === 0 ? undefined : 7 }));
      await publisher.expectClosed();
    }
    await subscriber.expectNothing();
  },
  {
    config: `refusedPublish: disconnect
hooks: { acl: { rules: [{ permission: deny, topicFilter: denied/#, access: write }] } }`,
  },
);

// What the CONNACK has told a client

// "If the Server included a Maximum QoS in its CONNACK response to a Client and it receives a PUBLISH packet with a QoS greater
// than this, then it uses DISCONNECT with Reason Code 0x9B (QoS not supported)"
// "If the Server included Retain Available in its CONNACK response to a Client with its value set to 0 and it receives a PUBLISH
// packet with the RETAIN flag is set to 1, then it uses the DISCONNECT Reason Code of 0x9A (Retain not supported)"
conformance(
  "[5.0] a QoS above the broker's maximum, and RETAIN where it is switched off, end the connection",
  async (broker) => {
    const topic = broker.unique("t");
    for (
      const [fields, reasonCode] of [
        [{ qos: 2, packetId: 1 }, ReasonCode.QosNotSupported],
        [{ retain: true }, ReasonCode.RetainNotSupported],
      ] as const
    ) {
      const publisher = await broker.connect();
      assert.equal(publisher.connack.properties?.maximumQos, 1);
      assert.equal(publisher.connack.properties?.retainAvailable, false);
      assert.equal(await publisher.publish({ topic, qos: 1 }), ReasonCode.NoMatchingSubscribers);
      await publisher.send(publishPacket({ topic, ...fields }));
      await expectDisconnected(publisher, reasonCode);
    }
  },
  { config: "maximumQos: 1\nretainAvailable: false" },
);
