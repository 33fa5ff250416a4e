import assert from "node:assert/strict";
import { encode, type ProtocolLevel, type PublishPacket, ReasonCode } from "../../codec/mod.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

/** In MQTT 5, an empty set of properties. */
function none(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

/** What the packet identifier of a PUBLISH, SUBSCRIBE or UNSUBSCRIBE can be at its ends and in between. */
const packetIds = [1, 0x1234, 0xffff];

// "A PUBLISH packet MUST NOT contain a Packet Identifier if its QoS value is set to 0."
conformance(
  "[5.0 MQTT-2.2.1-2] [3.1.1 MQTT-2.3.1-5] [3.1] a QoS 0 PUBLISH has no packet identifier, neither way",
  async (broker, level) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    await client.subscribe(topic, { qos: 2 });
    const packet = packetBytes(0x30, text(topic), none(level), [0, 1, 0x61]);
    await client.sendBytes(packet);
    await client.expectBytes(packet);
  },
);

// Of 5.0: "Each time a Client sends a new SUBSCRIBE, UNSUBSCRIBE, or PUBLISH (where QoS > 0) … it MUST assign it a
// non-zero Packet Identifier". Of 3.1.1: "SUBSCRIBE, UNSUBSCRIBE, and PUBLISH (in cases where QoS > 0) Control Packets
// MUST contain a non-zero 16-bit Packet Identifier"
for (const [name, firstByte, rest] of [["SUBSCRIBE", 0x82, [0]], ["UNSUBSCRIBE", 0xa2, []]] as const) {
  conformance(
    `[5.0 MQTT-2.2.1-3] [3.1.1 MQTT-2.3.1-1] [3.1] ${name} with packet identifier 0 ends the connection`,
    async (broker, level) => {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(firstByte, [0, 0], none(level), text("a"), rest));
      await expectDisconnected(client, ReasonCode.MalformedPacket);
    },
  );
}

// Of 5.0: "Each time a Client sends a new SUBSCRIBE, UNSUBSCRIBE, or PUBLISH (where QoS > 0) … it MUST assign it a
// non-zero Packet Identifier". Of 3.1.1: "SUBSCRIBE, UNSUBSCRIBE, and PUBLISH (in cases where QoS > 0) Control Packets
// MUST contain a non-zero 16-bit Packet Identifier"
for (const qos of [1, 2]) {
  conformance(
    `[5.0 MQTT-2.2.1-3] [3.1.1 MQTT-2.3.1-1] [3.1] a QoS ${qos} PUBLISH with packet identifier 0 ends the connection`,
    async (broker, level) => {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(0x30 | qos << 1, text("a"), [0, 0], none(level)));
      await expectDisconnected(client, ReasonCode.MalformedPacket);
    },
  );
}

// "Each time a Server sends a new PUBLISH (with QoS > 0) MQTT Control Packet it MUST assign it a non zero Packet
// Identifier that is currently unused."
conformance(
  "[5.0 MQTT-2.2.1-4] [3.1.1 MQTT-2.3.1-1 MQTT-2.3.1-4] [3.1] what the server sends never has an identifier that is in use",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    const inUse = new Set<number>();
    const take = async () => {
      const { packetId } = await subscriber.expect("publish");
      assert(packetId! > 0 && packetId! <= 0xffff, `packet identifier ${packetId}`);
      assert(!inUse.has(packetId!), `${packetId} is in use`);
      inUse.add(packetId!);
      return packetId!;
    };
    // One QoS 1 and one QoS 2 message stay under way, the latter without and then with its PUBREC.
    await publisher.publish({ topic, qos: 1 });
    await publisher.publish({ topic, qos: 2 });
    await take();
    const second = await take();
    await subscriber.send({ type: "pubrec", packetId: second, reasonCode: 0 });
    await subscriber.expect("pubrel");
    // Meanwhile all the others are used more than once.
    const batch = 512;
    for (let sent = 0; sent < 0x1_0400; sent += batch) {
      await publisher.sendBytes(qos1Messages(topic, batch, level));
      const taken: number[] = [];
      while (taken.length < batch) taken.push(await take());
      await subscriber.sendBytes(pubacks(taken));
      for (const packetId of taken) inUse.delete(packetId);
      for (let count = 0; count < batch; count++) await publisher.expect("puback");
    }
  },
);

/** So many QoS 1 messages, with packet identifiers from 1 on. */
function qos1Messages(topic: string, count: number, level: ProtocolLevel): Uint8Array {
  const packet = publishPacket({ topic, qos: 1, packetId: 1 });
  return concatenate(Array.from({ length: count }, (_, index) => encode({ ...packet, packetId: index + 1 }, level)));
}

/** The acknowledgements of these messages. */
function pubacks(packetIds: number[]): Uint8Array {
  return concatenate(packetIds.map((packetId) => Uint8Array.of(0x40, 2, packetId >> 8, packetId & 0xff)));
}

function concatenate(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

// "A PUBACK, PUBREC, PUBREL, or PUBCOMP packet MUST contain the same Packet Identifier as the PUBLISH packet that was
// originally sent."
conformance(
  "[5.0 MQTT-2.2.1-5] [3.1.1 MQTT-2.3.1-6] [3.1] a message is acknowledged with its packet identifier",
  async (broker, level) => {
    const topic = broker.unique("t");
    // Otherwise MQTT 5 would say that nobody has got it.
    await (await broker.connect()).subscribe(topic);
    const client = await broker.connect();
    for (const packetId of packetIds) {
      const id = [packetId >> 8, packetId & 0xff];
      await client.sendBytes(packetBytes(0x32, text(topic), id, none(level)));
      await client.expectBytes(packetBytes(0x40, id));
      await client.sendBytes(packetBytes(0x34, text(topic), id, none(level)));
      await client.expectBytes(packetBytes(0x50, id));
      await client.sendBytes(packetBytes(0x62, id));
      await client.expectBytes(packetBytes(0x70, id));
    }
  },
);

// "A PUBACK, PUBREC, PUBREL, or PUBCOMP packet MUST contain the same Packet Identifier as the PUBLISH packet that was
// originally sent."
conformance(
  "[5.0 MQTT-2.2.1-5] [3.1.1 MQTT-2.3.1-6] [3.1] a PUBREL has the packet identifier of its message",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    for (let count = 0; count < 3; count++) await publisher.publish({ topic, qos: 2 });
    const messages = [await nextMessage(subscriber), await nextMessage(subscriber), await nextMessage(subscriber)];
    for (const { packetId } of messages.toReversed()) {
      await subscriber.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
      assert.equal((await subscriber.expect("pubrel")).packetId, packetId);
    }
  },
);

function nextMessage(client: RawClient): Promise<PublishPacket> {
  return client.expect("publish");
}

// "A SUBACK and UNSUBACK MUST contain the Packet Identifier that was used in the corresponding SUBSCRIBE and
// UNSUBSCRIBE packet respectively."
conformance(
  "[5.0 MQTT-2.2.1-6] [3.1.1 MQTT-2.3.1-7] [3.1] SUBACK and UNSUBACK have the packet identifier that they answer",
  async (broker, level) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    for (const packetId of packetIds) {
      const id = [packetId >> 8, packetId & 0xff];
      await client.sendBytes(packetBytes(0x82, id, none(level), text(topic), 1));
      await client.expectBytes(packetBytes(0x90, id, none(level), 1));
      await client.sendBytes(packetBytes(0xa2, id, none(level), text(topic)));
      await client.expectBytes(packetBytes(0xb0, id, none(level), level === 5 ? 0 : []));
    }
  },
);

// "The Client and Server assign Packet Identifiers independently of each other."
conformance(
  "[5.0] [3.1.1] [3.1] a packet identifier may be in use in both directions at once",
  async (broker) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    await client.subscribe(topic, { qos: 1 });
    await (await broker.connect()).publish({ topic, qos: 1, payload: "theirs" });
    const { packetId } = await client.expect("publish");
    await client.send(publishPacket({ topic: broker.unique("u"), qos: 2, packetId }));
    assert.equal((await client.expect("pubrec")).packetId, packetId);
    await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
    await client.send({ type: "pubrel", packetId: packetId!, reasonCode: 0 });
    assert.equal((await client.expect("pubcomp")).reasonCode, 0);
  },
);

// "If there are no properties, this MUST be indicated by including a Property Length of zero."
conformance(
  "[5.0 MQTT-2.2.2-1] what the server sends without properties says so with a zero",
  async (broker, level) => {
    const topic = broker.unique("t");
    const client = await broker.connect();
    await client.sendBytes(packetBytes(0x82, [0, 1], none(level), text(topic), 0));
    await client.expectBytes([0x90, 4, 0, 1, 0, 0]);
    const message = packetBytes(0x30, text(topic), 0, 0x61);
    await client.sendBytes(message);
    await client.expectBytes(message);
    await client.sendBytes(packetBytes(0xa2, [0, 2], none(level), text(topic)));
    await client.expectBytes([0xb0, 4, 0, 2, 0, 0]);
  },
);

// "If there are no properties, this MUST be indicated by including a Property Length of zero."
for (
  const [name, packet] of [
    ["SUBSCRIBE", packetBytes(0x82, [0, 1])],
    ["UNSUBSCRIBE", packetBytes(0xa2, [0, 1])],
    ["PUBLISH", packetBytes(0x30, text("a"))],
  ] as const
) {
  conformance(`[5.0 MQTT-2.2.2-1] ${name} that ends before its property length is malformed`, async (broker) => {
    const client = await broker.connect();
    await client.sendBytes(packet);
    await expectDisconnected(client, ReasonCode.MalformedPacket);
  });
}

// "If there are no properties, this MUST be indicated by including a Property Length of zero."
conformance("[5.0 MQTT-2.2.2-1] CONNECT and wills without a property length are malformed", async (broker) => {
  const packets = [
    packetBytes(0x10, text("MQTT"), 5, 2, [0, 60]),
    packetBytes(0x10, text("MQTT"), 5, 2, [0, 60], text("a")),
    packetBytes(0x10, text("MQTT"), 5, 6, [0, 60], properties(), text("a")),
    packetBytes(0x10, text("MQTT"), 5, 6, [0, 60], properties(), text("a"), text("t"), text("p")),
  ];
  for (const packet of packets) {
    const client = await broker.open();
    await client.sendBytes(packet);
    await expectRefused(client, ReasonCode.MalformedPacket);
  }
});

// "The Property Length does not include the bytes used to encode itself, but includes the length of the Properties."
conformance(
  "[5.0] a property length that its packet does not hold, or that cuts one off, is malformed",
  async (broker) => {
    for (const length of [1, 4, 6, 0x7f]) {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(0x30, text("a"), length, 0x02, [0, 0, 0, 9]));
      await expectDisconnected(client, ReasonCode.MalformedPacket);
    }
  },
);

// "There is no significance in the order of Properties with different Identifiers."
conformance("[5.0] properties may come in any order", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  const [format, expiry, type] = [[0x01, 1], [0x02, 0, 0, 0, 9], [0x03, ...text("c")]];
  for (const parts of [[format, expiry, type], [type, expiry, format], [expiry, format, type]]) {
    await client.sendBytes(packetBytes(0x30, text(topic), properties(...parts)));
    assert.deepEqual((await client.expect("publish")).properties, {
      payloadFormatIndicator: 1,
      messageExpiryInterval: 9,
      contentType: "c",
    });
  }
});
