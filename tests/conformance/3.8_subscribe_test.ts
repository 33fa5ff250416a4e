import assert from "node:assert/strict";
import { type ProtocolLevel, type Qos, ReasonCode } from "../../codec/mod.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { binary, type Bytes, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket, type RawClient, type SubscribeOptions } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MalformedPacket, ProtocolError } = ReasonCode;

const requested = { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;

/** A SUBSCRIBE with packet identifier 10 and this payload. */
function subscribeBytes(level: ProtocolLevel, payload: Bytes[], firstByte = 0x82): Uint8Array<ArrayBuffer> {
  return packetBytes(firstByte, [0, 10], level === 5 ? properties() : [], ...payload);
}

/** Sends a SUBSCRIBE without waiting for the answer. */
async function request(client: RawClient, packetId: number, topicFilter: string, options: SubscribeOptions = {}) {
  const { properties, ...wanted } = options;
  await client.send({
    type: "subscribe",
    packetId,
    subscriptions: [{ topicFilter, ...requested, ...wanted }],
    properties,
  });
}

// "Bits 3,2,1 and 0 of the Fixed Header of the SUBSCRIBE packet are reserved and MUST be set to 0,0,1 and 0
// respectively. The Server MUST treat any other value as malformed and close the Network Connection."
conformance(
  "[5.0 MQTT-3.8.1-1] [3.1.1 MQTT-3.8.1-1] a SUBSCRIBE with other flags than 0010 is malformed",
  async (broker, level) => {
    const topic = broker.unique("t");
    for (let flags = 0; flags < 16; flags++) {
      const client = await broker.connect();
      await client.sendBytes(subscribeBytes(level, [text(topic), 0], 0x80 | flags));
      if (flags === 0x02) await client.expect("suback");
      else await expectDisconnected(client, MalformedPacket);
    }
  },
);

// "The Topic Filters MUST be a UTF-8 Encoded String."
conformance(
  "[5.0 MQTT-3.8.3-1] [3.1.1 MQTT-3.8.3-1] a topic filter that is no UTF-8 is malformed, and one of any other characters is not",
  async (broker, level) => {
    for (
      const bytes of [[0xff], [0x61, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf4, 0x90, 0x80, 0x80], [0xc3], [0]]
    ) {
      const client = await broker.connect();
      await client.sendBytes(subscribeBytes(level, [binary(bytes), 0]));
      await expectDisconnected(client, MalformedPacket);
    }
    const client = await broker.connect();
    const topic = `${broker.unique("t")}/ö/水/𐍈/\u{10ffff}`;
    await client.subscribe(topic);
    await client.send(publishPacket({ topic, payload: "here" }));
    assert.equal((await receive(client)).text, "here");
  },
);

// "The Payload MUST contain at least one Topic Filter and Subscription Options pair. A SUBSCRIBE packet with no Payload
// is a Protocol Error."
conformance(
  "[5.0 MQTT-3.8.3-2] [3.1.1 MQTT-3.8.3-3] a SUBSCRIBE without a payload is a protocol error",
  async (broker, level) => {
    const client = await broker.connect();
    await client.sendBytes(subscribeBytes(level, []));
    await expectDisconnected(client, ProtocolError);
  },
);

conformance(
  "[5.0 MQTT-3.8.3-2] [3.1.1 MQTT-3.8.3-3] a SUBSCRIBE whose only topic filter has no options is malformed",
  async (broker, level) => {
    const client = await broker.connect();
    await client.sendBytes(subscribeBytes(level, [text("t")]));
    await expectDisconnected(client, MalformedPacket);
  },
);

// "A Server SHOULD support Topic filters that contain the wildcard characters …. If it chooses not to support topic
// filters that contain wildcard characters it MUST reject any Subscription request whose filter contains them"
conformance(
  "[3.1.1 MQTT-3.8.3-2] filters with wildcards are supported",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    assert.deepEqual((await client.subscribe([`${topic}/+/c`, `${topic}/x/#`])).reasonCodes, [0, 0]);
    await client.send(publishPacket({ topic: `${topic}/b/c`, payload: "plus" }));
    await client.send(publishPacket({ topic: `${topic}/x/y/z`, payload: "number sign" }));
    assert.deepEqual(await receiveTexts(client, 2), ["plus", "number sign"]);
  },
);

conformance(
  "[3.1.1 MQTT-3.8.3-2] where filters with wildcards are switched off, subscribing with them is rejected",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    const { reasonCodes } = await client.subscribe([`${topic}/+`, `${topic}/a`, `${topic}/#`, "#", "+"]);
    assert.deepEqual(reasonCodes, [0x80, 0, 0x80, 0x80, 0x80]);
    await client.send(publishPacket({ topic: `${topic}/b` }));
    await client.send(publishPacket({ topic: `${topic}/a`, payload: "plain" }));
    assert.deepEqual(await receivedSoFar(client), ["plain"]);
  },
  { config: "wildcardSubscriptionAvailable: false" },
);

// "Bit 2 of the Subscription Options represents the No Local option. If the value is 1, Application Messages MUST NOT
// be forwarded to a connection with a ClientID equal to the ClientID of the publishing connection."
conformance(
  "[5.0 MQTT-3.8.3-3] a subscription with No Local brings no messages of the client itself, and those of all others",
  async (broker) => {
    const topic = broker.unique("t");
    const [client, other] = [await broker.connect(), await broker.connect()];
    await client.subscribe(topic, { qos: 2, noLocal: true });
    for (const qos of [0, 1, 2] as Qos[]) await client.publish({ topic, qos, payload: "own" });
    await other.publish({ topic, qos: 1, payload: "another's" });
    assert.equal((await receive(client)).text, "another's");
    await client.expectNothing();
    await client.subscribe(topic, { qos: 2, noLocal: false });
    await client.send(publishPacket({ topic, payload: "own" }));
    assert.equal((await receive(client)).text, "own");
  },
);

conformance(
  "[5.0 MQTT-3.8.3-3] No Local holds for the client id: for a later connection, a will, and a retained message, too",
  async (broker) => {
    const [topic, clientId] = [broker.unique("t"), broker.unique("c")];
    const first = await broker.connect({ ...lasting(5), clientId, will: { topic, payload: "own will", qos: 1 } });
    await first.subscribe(topic, { qos: 1, noLocal: true });
    const witness = await broker.connect();
    await witness.subscribe(topic);
    await first.close();
    assert.equal((await receive(witness)).text, "own will");
    const second = await broker.connect({ ...lasting(5), clientId });
    assert.equal(second.connack.sessionPresent, true);
    await second.expectNothing();
    await second.publish({ topic, qos: 1, retain: true, payload: "own, retained" });
    await second.subscribe(topic, { noLocal: true, retainHandling: 0 });
    await second.expectNothing();
    await second.publish({ topic, qos: 1, retain: true });
  },
);

// "It is a Protocol Error to set the No Local bit to 1 on a Shared Subscription."
conformance("[5.0 MQTT-3.8.3-4] No Local on a shared subscription is a protocol error", async (broker) => {
  const client = await broker.connect();
  await client.sendBytes(subscribeBytes(5, [text(`$share/g/${broker.unique("t")}`), 0x04]));
  await expectDisconnected(client, ProtocolError);
});

// "The Server MUST treat a SUBSCRIBE packet as malformed if any of Reserved bits in the Payload are non-zero." And of
// 3.1.1, as [MQTT-3-8.3-4]: "… and close the Network Connection if any of Reserved bits in the payload are non-zero, or
// QoS is not 0,1 or 2"
conformance(
  "[5.0 MQTT-3.8.3-5] [3.1.1 MQTT-3.8.3-4] a SUBSCRIBE with a reserved bit in its options is malformed, also behind one without",
  async (broker, level) => {
    for (const bit of level === 5 ? [6, 7] : [2, 3, 4, 5, 6, 7]) {
      const client = await broker.connect();
      await client.sendBytes(subscribeBytes(level, [text("a"), 0, text("b"), 1 << bit]));
      await expectDisconnected(client, MalformedPacket);
    }
  },
);

// "It is a Protocol Error if the Maximum QoS field has the value 3."
conformance("[5.0] [3.1.1 MQTT-3.8.3-4] a SUBSCRIBE that asks for QoS 3 ends the connection", async (broker, level) => {
  const client = await broker.connect();
  await client.sendBytes(subscribeBytes(level, [text("t"), 3]));
  await expectDisconnected(client, ProtocolError);
});

// "It is a Protocol Error to send a Retain Handling value of 3."
conformance("[5.0] a SUBSCRIBE with retain handling 3 is a protocol error", async (broker) => {
  const client = await broker.connect();
  await client.sendBytes(subscribeBytes(5, [text("t"), 0x30]));
  await expectDisconnected(client, ProtocolError);
});

// "0 = Send retained messages at the time of the subscribe, 1 = Send retained messages at subscribe only if the
// subscription does not currently exist, 2 = Do not send retained messages at the time of the subscribe"
conformance("[5.0] retain handling says when a subscription brings retained messages", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.publish({ topic, qos: 1, retain: true, payload: "kept" });
  const received = async (retainHandling: 0 | 1 | 2) => {
    await client.subscribe(topic, { retainHandling });
    return await receivedSoFar(client);
  };
  assert.deepEqual(await received(2), []);
  assert.deepEqual(await received(1), []);
  assert.deepEqual(await received(0), ["kept"]);
  await client.unsubscribe(topic);
  assert.deepEqual(await received(1), ["kept"]);
  await client.unsubscribe(topic);
  await client.publish({ topic, qos: 1, retain: true });
});

// "If 1, Application Messages forwarded using this subscription keep the RETAIN flag they were published with. If 0,
// …have the RETAIN flag set to 0. Retained messages sent when the subscription is established have the RETAIN flag set
// to 1."
conformance("[5.0] retain as published says whether messages keep their retain flag", async (broker) => {
  const topic = broker.unique("t");
  const [client, publisher] = [await broker.connect(), await broker.connect()];
  for (const retainAsPublished of [false, true]) {
    await client.subscribe(topic, { retainAsPublished, retainHandling: 2 });
    for (const retain of [true, false]) {
      await publisher.publish({ topic, qos: 1, retain, payload: "m" });
      assert.equal((await receive(client)).retain, retain && retainAsPublished);
    }
    await client.subscribe(topic, { retainAsPublished, retainHandling: 0 });
    assert.equal((await receive(client)).retain, true);
  }
  await publisher.publish({ topic, qos: 1, retain: true });
});

// "When the Server receives a SUBSCRIBE packet from a Client, the Server MUST respond with a SUBACK packet."
// "The SUBACK packet MUST have the same Packet Identifier as the SUBSCRIBE packet that it is acknowledging."
conformance(
  "[5.0 MQTT-3.8.4-1 MQTT-3.8.4-2] [3.1.1 MQTT-3.8.4-1 MQTT-3.8.4-2] each SUBSCRIBE is answered, with its own identifier",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    const packetIds = [1, 2, 0xff, 0x100, 0x8000, 0xffff, 1];
    for (const packetId of packetIds) await request(client, packetId, topic);
    for (const packetId of packetIds) assert.equal((await client.expect("suback")).packetId, packetId);
    await client.expectNothing();
  },
);

// "If a Server receives a SUBSCRIBE packet containing a Topic Filter that is identical to a Non-shared Subscription's
// Topic Filter for the current Session then it MUST replace that existing Subscription with a new Subscription." And of
// 3.1.1, as [MQTT-3.8.4-3]: "… it MUST completely replace that existing Subscription with a new Subscription."
conformance(
  "[5.0 MQTT-3.8.4-3] [3.1.1 MQTT-3.8.4-3] subscribing again replaces the subscription, with all its options",
  async (broker, level) => {
    const topic = broker.unique("t");
    const [client, publisher] = [await broker.connect(), await broker.connect()];
    const identifier = (value: number) => level === 5 ? { properties: { subscriptionIdentifiers: [value] } } : {};
    await client.subscribe(topic, { qos: 2, ...identifier(1) });
    await client.subscribe(topic, { qos: 1, ...identifier(2) });
    await publisher.publish({ topic, qos: 2, payload: "once" });
    const message = await receive(client);
    assert.deepEqual([message.qos, message.properties?.subscriptionIdentifiers], [1, level === 5 ? [2] : undefined]);
    await client.subscribe(topic, { qos: 0 });
    await publisher.publish({ topic, qos: 2, payload: "once" });
    const last = await receive(client);
    assert.deepEqual([last.qos, last.properties?.subscriptionIdentifiers], [0, undefined]);
    await client.expectNothing();
    await client.unsubscribe(topic);
    await publisher.publish({ topic, qos: 2, payload: "none" });
    await client.expectNothing();
  },
);

// "If the Retain Handling option is 0, any existing retained messages matching the Topic Filter MUST be re-sent, but
// Application Messages MUST NOT be lost due to replacing the Subscription." And of 3.1.1, as [MQTT-3.8.4-3]: "Any
// existing retained messages matching the Topic Filter MUST be re-sent, but the flow of publications MUST NOT be
// interrupted"
conformance(
  "[5.0 MQTT-3.8.4-4] [3.1.1 MQTT-3.8.4-3] subscribing again brings the retained messages again",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    for (const name of ["a", "b"]) {
      await client.publish({ topic: `${topic}/${name}`, qos: 1, retain: true, payload: name });
    }
    for (let time = 0; time < 3; time++) {
      await client.subscribe(`${topic}/#`);
      assert.deepEqual((await receivedSoFar(client)).sort(), ["a", "b"]);
    }
    await client.unsubscribe(`${topic}/#`);
    for (const name of ["a", "b"]) await client.publish({ topic: `${topic}/${name}`, qos: 1, retain: true });
  },
);

conformance(
  "[5.0 MQTT-3.8.4-4] what a subscription still has to bring comes when it is replaced by one that brings nothing retained",
  async (broker) => {
    const topic = broker.unique("t");
    const [client, publisher] = [await broker.connect({ properties: { receiveMaximum: 1 } }), await broker.connect()];
    const names = ["a", "b", "c"];
    for (const name of names) {
      await publisher.publish({ topic: `${topic}/${name}`, qos: 1, retain: true, payload: name });
    }
    await client.subscribe(`${topic}/+`, { qos: 1, retainHandling: 0 });
    const first = await client.expect("publish");
    await client.subscribe(`${topic}/+`, { qos: 1, retainHandling: 2 });
    await client.send({ type: "puback", packetId: first.packetId!, reasonCode: 0 });
    assert.deepEqual([textOf(first), ...await receiveTexts(client, 2)].sort(), names);
    await client.expectNothing();
    for (const name of names) await publisher.publish({ topic: `${topic}/${name}`, qos: 1, retain: true });
  },
);

conformance(
  "[5.0 MQTT-3.8.4-4] [3.1.1 MQTT-3.8.4-3] no message is lost while a subscription is replaced again and again",
  async (broker) => {
    const topic = broker.unique("t");
    const [client, publisher] = [await broker.connect(), await broker.connect()];
    await client.subscribe(topic, { qos: 1 });
    const texts = Array.from({ length: 60 }, (_, number) => `${number}`);
    const received: string[] = [];
    for (const [index, payload] of texts.entries()) {
      await publisher.send(publishPacket({ topic, qos: 1, packetId: index + 1, payload }));
      await request(client, index + 1, topic, { qos: 1 });
    }
    await client.send({ type: "pingreq" });
    for (let answered = 0; received.length < texts.length || answered < texts.length + 1;) {
      const message = await client.expect("publish").catch((error: Error) => {
        assert.match(error.message, /^awaited publish: got { type: "(suback|pingresp)"/);
        answered += 1;
      });
      if (message === undefined) continue;
      received.push(new TextDecoder().decode(message.payload));
      await client.send({ type: "puback", packetId: message.packetId!, reasonCode: 0 });
    }
    assert.deepEqual(received, texts);
  },
);

// "If a Server receives a SUBSCRIBE packet that contains multiple Topic Filters it MUST handle that packet as if it had
// received a sequence of multiple SUBSCRIBE packets, except that it combines their responses into a single SUBACK
// response."
conformance(
  "[5.0 MQTT-3.8.4-5] [3.1.1 MQTT-3.8.4-4] several topic filters are as several SUBSCRIBEs, but answered together",
  async (broker) => {
    const topic = broker.unique("t");
    const [client, publisher] = [await broker.connect(), await broker.connect()];
    for (const name of ["a", "b"]) {
      await publisher.publish({ topic: `${topic}/${name}`, qos: 1, retain: true, payload: `retained ${name}` });
    }
    const subscriptions = [[`${topic}/a`, 0], [`${topic}/b`, 1], [`${topic}/a`, 2]] as [string, Qos][];
    await client.send({
      type: "subscribe",
      packetId: 7,
      subscriptions: subscriptions.map(([topicFilter, qos]) => ({ topicFilter, ...requested, qos })),
    });
    const { packetId, reasonCodes } = await client.expect("suback");
    assert.deepEqual([packetId, reasonCodes], [7, [0, 1, 2]]);
    // The second subscription to a topic filter replaces the first, and brings the retained message again.
    assert.deepEqual(await receiveTexts(client, 3), ["retained a", "retained b", "retained a"]);
    await publisher.publish({ topic: `${topic}/a`, qos: 2, payload: "new" });
    assert.equal((await receive(client)).qos, 2);
    await client.expectNothing();
    for (const name of ["a", "b"]) await publisher.publish({ topic: `${topic}/${name}`, qos: 1, retain: true });
  },
);

// "The SUBACK packet sent by the Server to the Client MUST contain a Reason Code for each Topic Filter/Subscription
// Option pair." "This Reason Code MUST either show the maximum QoS that was granted for that Subscription or indicate
// that the subscription failed." Of 3.1.1 as [MQTT-3.8.4-5].
conformance(
  "[5.0 MQTT-3.8.4-6 MQTT-3.8.4-7] [3.1.1 MQTT-3.8.4-5] SUBACK says for each filter which QoS was granted, or that it failed",
  async (broker, level) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    const subscriptions = (["a", "denied", "b", "c", "denied"] as const).map((name, index) => (
      { topicFilter: `${topic}/${name}`, ...requested, qos: Math.min(index, 2) as Qos }
    ));
    await client.send({ type: "subscribe", packetId: 1, subscriptions });
    const failed = level === 5 ? ReasonCode.NotAuthorized : 0x80;
    assert.deepEqual((await client.expect("suback")).reasonCodes, [0, failed, 2, 2, failed]);
    const publisher = await broker.connect();
    for (const [name, qos] of [["a", 0], ["b", 2], ["c", 2]] as const) {
      await publisher.publish({ topic: `${topic}/${name}`, qos: 2, payload: name });
      const message = await receive(client);
      assert.deepEqual([message.text, message.qos], [name, qos]);
    }
    await publisher.publish({ topic: `${topic}/denied`, qos: 2 });
    await client.expectNothing();
  },
  { config: "hooks: {acl: {rules: [{permission: deny, access: read, topicFilter: +/denied}]}}" },
);

// "The Server might grant a lower Maximum QoS than the subscriber requested."
conformance(
  "[5.0 MQTT-3.8.4-7] [3.1.1 MQTT-3.8.4-5] SUBACK shows a granted QoS that is lower than the one asked for",
  async (broker) => {
    const client = await broker.connect();
    for (const [qos, granted] of [[0, 0], [1, 1], [2, 1]] as [Qos, Qos][]) {
      assert.deepEqual((await client.subscribe(broker.unique("t"), { qos })).reasonCodes, [granted]);
    }
  },
  { config: "maximumQos: 1" },
);

// "The QoS of Payload Messages sent in response to a Subscription MUST be the minimum of the QoS of the originally
// published message and the Maximum QoS granted by the Server." Of 3.1.1 as [MQTT-3.8.4-6].
conformance(
  "[5.0 MQTT-3.8.4-8] [3.1.1 MQTT-3.8.4-6] a message goes out at the lower of the QoS published with and the QoS granted",
  async (broker) => {
    const topic = broker.unique("t");
    const [client, publisher] = [await broker.connect(), await broker.connect()];
    for (const granted of [0, 1, 2] as Qos[]) {
      for (const published of [0, 1, 2] as Qos[]) {
        const retained = `${topic}/retained/${granted}/${published}`;
        await publisher.publish({ topic: retained, qos: published, retain: true, payload: "retained" });
        await client.subscribe([topic, retained], { qos: granted });
        assert.equal((await receive(client)).qos, Math.min(granted, published));
        await publisher.publish({ topic, qos: published, payload: "live" });
        assert.equal((await receive(client)).qos, Math.min(granted, published));
        await client.unsubscribe(retained);
        await publisher.publish({ topic: retained, qos: 1, retain: true });
      }
    }
    await client.expectNothing();
  },
);

// "It is a Protocol Error if the Subscription Identifier has a value of 0. It is a Protocol Error to include the
// Subscription Identifier more than once."
conformance(
  "[5.0] a SUBSCRIBE with subscription identifier 0, or with two of them, is a protocol error",
  async (broker) => {
    for (const identifiers of [[0x0b, 0], [0x0b, 1, 0x0b, 1]]) {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(0x82, [0, 10], properties(identifiers), text("t"), 0));
      await expectDisconnected(client, ProtocolError);
    }
  },
);

// "The Subscription Identifiers … are removed from the Server's Session State when the Server receives an UNSUBSCRIBE
// packet, when the Server receives a SUBSCRIBE packet … for the same Topic Filter but with a different Subscription
// Identifier or with no Subscription Identifier"
conformance("[5.0] a subscription identifier holds for the subscription that it was given with", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  const identifiersNow = async () => {
    await client.send(publishPacket({ topic }));
    return (await receive(client)).properties?.subscriptionIdentifiers;
  };
  await client.subscribe(topic, { properties: { subscriptionIdentifiers: [1] } });
  assert.deepEqual(await identifiersNow(), [1]);
  await client.subscribe(topic, { properties: { subscriptionIdentifiers: [268_435_455] } });
  assert.deepEqual(await identifiersNow(), [268_435_455]);
  await client.subscribe(topic);
  assert.equal(await identifiersNow(), undefined);
  await client.subscribe(topic, { properties: { subscriptionIdentifiers: [2] } });
  await client.unsubscribe(topic);
  await client.subscribe(topic);
  assert.equal(await identifiersNow(), undefined);
});
