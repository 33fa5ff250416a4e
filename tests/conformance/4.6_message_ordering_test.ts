import assert from "node:assert/strict";
import type { Packet, PublishPacket, Qos } from "../../codec/mod.ts";
import { receivedSoFar, receiveTexts, textOf } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";

/** What is published in most of these tests, in this order. */
const payloads = Array.from({ length: 200 }, (_, index) => String(index));

/** Messages with these payloads, which can be sent in one write. */
function messages(topic: string, qos: Qos): PublishPacket[] {
  return payloads.map((payload, index) =>
    publishPacket({ topic, qos, packetId: qos === 0 ? undefined : index + 1, payload })
  );
}

// "When the Client re-sends any PUBLISH packets, it MUST re-send them in the order in which the original PUBLISH packets were
// sent (this applies to QoS 1 and QoS 2 messages)"; for the Server: "it MUST follow the rules listed above when delivering
// messages to each of its subscribers", and of 5.0 "This is addition to the rules listed above."
conformance(
  "[5.0 MQTT-4.6.0-1] [3.1.1 MQTT-4.6.0-1 MQTT-4.6.0-6] [3.1] PUBLISHes are sent again in the order in which they were sent at first",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const first = await broker.connect(options);
    await first.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    let expected: string[] = [];
    for (const [index, qos] of ([1, 2, 2, 1, 1, 2, 1, 2] as const).entries()) {
      await publisher.publish({ topic, qos, payload: String(index) });
      expected.push(String(index));
    }
    const sent: PublishPacket[] = [];
    while (sent.length < expected.length) sent.push(await first.expect("publish"));
    assert.deepEqual(sent.map(textOf), expected);
    // What is acknowledged out of turn leaves the order of the others.
    for (const index of [6, 0, 4]) {
      await first.send({ type: "puback", packetId: sent[index].packetId!, reasonCode: 0 });
    }
    expected = expected.filter((_, index) => ![6, 0, 4].includes(index));
    await first.close();
    for (let time = 0; time < 2; time++) {
      const again = await broker.connect(options);
      assert.deepEqual(await receivedSoFar(again), expected);
      await again.close();
    }
  },
);

// "The Client MUST send PUBACK packets in the order in which the corresponding PUBLISH packets were received (QoS 1 messages)"
// "The Client MUST send PUBREC packets in the order in which the corresponding PUBLISH packets were received (QoS 2 messages)"
conformance(
  "[5.0 MQTT-4.6.0-2 MQTT-4.6.0-3] [3.1.1 MQTT-4.6.0-2 MQTT-4.6.0-3 MQTT-4.6.0-6] [3.1] PUBACKs and PUBRECs are sent in the order of the PUBLISHes",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    const packets = payloads.map((payload, index) =>
      publishPacket({ topic, qos: index % 3 === 0 ? 2 : 1, packetId: 1000 - index, payload })
    );
    await publisher.send(...packets);
    for (const { qos, packetId } of packets) {
      assert.equal((await publisher.expect(qos === 1 ? "puback" : "pubrec")).packetId, packetId);
    }
  },
);

// "The Client MUST send PUBREL packets in the order in which the corresponding PUBREC packets were received (QoS 2 messages)"
conformance(
  "[5.0 MQTT-4.6.0-4] [3.1.1 MQTT-4.6.0-4 MQTT-4.6.0-6] [3.1] PUBRELs are sent in the order of the PUBRECs",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    await publisher.send(...messages(topic, 2));
    const packetIds: number[] = [];
    while (packetIds.length < payloads.length) packetIds.push((await subscriber.expect("publish")).packetId!);
    // Every third one first.
    const shuffled = [0, 1, 2].flatMap((rest) => packetIds.filter((_, index) => index % 3 === rest));
    await subscriber.send(...shuffled.map((packetId): Packet => ({ type: "pubrec", packetId, reasonCode: 0 })));
    for (const packetId of shuffled) assert.equal((await subscriber.expect("pubrel")).packetId, packetId);
  },
);

// "When a Server processes a message that has been published to an Ordered Topic, it MUST send PUBLISH packets to consumers (for
// the same Topic and QoS) in the order that they were received from any given Client"
// "By default, a Server MUST treat every Topic as an Ordered Topic when it is forwarding messages on Non-shared Subscriptions";
// of 3.1.1: "A Server MUST by default treat each Topic as an 'Ordered Topic'."
for (const qos of [0, 1, 2] as const) {
  const brackets = "[5.0 MQTT-4.6.0-5 MQTT-4.6.0-6] [3.1.1 MQTT-4.6.0-5 MQTT-4.6.0-6] [3.1]";

  conformance(`${brackets} messages at QoS ${qos} reach every subscriber in their order`, async (broker) => {
    const topic = broker.unique("t");
    const subscribers: RawClient[] = [];
    for (const [granted, filters] of [[qos, [topic]], [0, ["+", topic]], [2, [`${topic}/#`, "+"]]] as const) {
      const subscriber = await broker.connect();
      await subscriber.subscribe([...filters], { qos: granted });
      subscribers.push(subscriber);
    }
    const [publisher, other] = [await broker.connect(), await broker.connect()];
    await Promise.all([
      publisher.send(...messages(topic, qos)),
      other.send(...messages(broker.unique("other"), qos)),
    ]);
    for (const subscriber of subscribers) {
      const received: string[] = [];
      while (received.length < payloads.length) {
        const packet = await subscriber.expect("publish");
        if (packet.topic === topic) received.push(textOf(packet));
      }
      assert.deepEqual(received, payloads);
    }
  });

  if (qos === 0) continue;

  conformance(
    `${brackets} messages at QoS ${qos} that waited for a client reach it in their order`,
    async (broker, level) => {
      const topic = broker.unique("t");
      const options = { ...lasting(level), clientId: broker.unique("subscriber") };
      const before = await broker.connect(options);
      await before.subscribe(topic, { qos: 2 });
      await before.close();
      const publisher = await broker.connect();
      await publisher.send(...messages(topic, qos));
      for (let count = 0; count < payloads.length; count++) await publisher.expect(qos === 1 ? "puback" : "pubrec");
      const after = await broker.connect(options);
      assert.deepEqual(await receivedSoFar(after), payloads);
      await after.close();
      await publisher.publish({ topic, qos: 1, packetId: 1000, payload: "last" });
      // What is sent again comes before what has not been sent yet.
      assert.deepEqual(await receivedSoFar(await broker.connect(options)), [...payloads, "last"]);
    },
  );
}

conformance(
  "[5.0 MQTT-4.6.0-5 MQTT-4.6.0-6] a client that acknowledges one message at a time gets all in their order",
  async (broker) => {
    const topic = broker.unique("t");
    for (const qos of [1, 2] as const) {
      const subscriber = await broker.connect({ properties: { receiveMaximum: 1 } });
      await subscriber.subscribe(topic, { qos });
      const publisher = await broker.connect();
      await publisher.send(...messages(topic, qos));
      assert.deepEqual(await receiveTexts(subscriber, payloads.length), payloads);
    }
  },
);

conformance(
  "[5.0 MQTT-4.6.0-5 MQTT-4.6.0-6] [3.1.1 MQTT-4.6.0-5 MQTT-4.6.0-6] [3.1] a client that reads more slowly than is published gets all in their order",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 1 });
    const publisher = await broker.connect();
    const filler = " ".repeat(100_000);
    let published = 0;
    const publish = async () => {
      for (let count = 0; count < 200; count++) {
        await publisher.publish({ topic, qos: 1, payload: String(published++) + filler });
      }
    };
    // More than fits into what the system keeps for a connection.
    await publish();
    const receive = async () => {
      for (let index = 0; index < 400; index++) {
        assert.equal(parseInt(textOf(await subscriber.expect("publish"))), index);
      }
    };
    await Promise.all([publish(), receive()]);
  },
  { config: "limits: { outboundBytes: 1000000 }" },
);
