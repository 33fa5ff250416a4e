import assert from "node:assert/strict";
import { ReasonCode } from "../../codec/mod.ts";
import { lasting } from "../broker/versions.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MalformedPacket, NoMatchingSubscribers, PacketIdentifierNotFound, ProtocolError } = ReasonCode;

// "Bits 3,2,1 and 0 of the Fixed Header in the PUBREL packet are reserved and MUST be set to 0,0,1 and 0 respectively. The Server
// MUST treat any other value as malformed and close the Network Connection"
conformance(
  "[5.0 MQTT-3.6.1-1] [3.1.1 MQTT-3.6.1-1] a PUBREL with other flags than 0010 ends the connection, and releases nothing",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic);
    for (let flags = 0; flags < 16; flags++) {
      if (flags === 0b0010) continue;
      const options = { ...lasting(level), clientId: broker.unique("publisher") };
      const publisher = await broker.connect(options);
      await publisher.send(publishPacket({ topic, qos: 2, packetId: 7 }));
      await publisher.expect("pubrec");
      await publisher.sendBytes(packetBytes(0x60 | flags, [0, 7]));
      await expectDisconnected(publisher, MalformedPacket);
      const back = await broker.connect(options);
      await back.send(publishPacket({ topic, qos: 2, packetId: 7, dup: true }));
      await back.expect("pubrec");
      await subscriber.expect("publish");
      await subscriber.expectNothing();
    }
  },
);

conformance(
  "[5.0 MQTT-3.6.1-1] [3.1.1 MQTT-3.6.1-1] the broker's PUBREL has the flags 0010",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const before = await broker.connect(options);
    await before.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 2 });
    const packetId = (await before.expect("publish")).packetId!;
    const pubrel = [0x62, 2, packetId >> 8, packetId & 0xff];
    await before.send({ type: "pubrec", packetId, reasonCode: 0 });
    await before.expectBytes(pubrel);
    await before.close();
    const after = await broker.connect(options);
    await after.expectBytes(pubrel);
  },
);

// "The Client or Server sending the PUBREL packet MUST use one of the PUBREL Reason Code values"
// "The sender MUST NOT send this Property if it would increase the size of the PUBREL packet beyond the Maximum Packet Size
// specified by the receiver", of the Reason String and of User Properties: the broker's PUBREL has neither.
conformance(
  "[5.0 MQTT-3.6.2-1 MQTT-3.6.2-2 MQTT-3.6.2-3] a PUBREL says whether the packet identifier is known, and nothing else",
  async (broker) => {
    const topic = broker.unique("t");
    const publisher = await broker.connect();
    for (const maximumPacketSize of [20, 1_000_000]) {
      const subscriber = await broker.connect({ properties: { maximumPacketSize } });
      await subscriber.subscribe(topic, { qos: 2 });
      await publisher.publish({ topic, qos: 2 });
      const packetId = (await subscriber.expect("publish")).packetId!;
      for (const reasonCode of [0x00, 0x10]) {
        await subscriber.send({ type: "pubrec", packetId, reasonCode });
        await subscriber.expectBytes([0x62, 2, packetId >> 8, packetId & 0xff]);
      }
      await subscriber.send({ type: "pubrec", packetId: 0xabcd, reasonCode: 0 });
      await subscriber.expectBytes([0x62, 3, 0xab, 0xcd, PacketIdentifierNotFound]);
    }
  },
);

// "If the Remaining Length is 2, the value of 0x00 (Success) is used."; "If the Remaining Length is less than 4 there is no
// Property Length and the value of 0 is used."
conformance("[5.0] a PUBREL of any length that it may have completes a message", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  const reason = [0x1f, ...text("why"), 0x26, ...text("name"), ...text("value")];
  for (const form of [[], [0x00], [0x92], [0x00, 0], [0x00, ...properties(reason)], [0x92, ...properties(reason)]]) {
    await publisher.send(publishPacket({ topic, qos: 2, packetId: 7 }));
    assert.equal((await publisher.expect("pubrec")).reasonCode, NoMatchingSubscribers);
    await publisher.sendBytes(packetBytes(0x62, [0, 7], form));
    await publisher.expectBytes([0x70, 2, 0, 7]);
  }
});

conformance("[5.0] a PUBREL with a Reason Code that is none of PUBREL's is a protocol error", async (broker) => {
  for (const reasonCode of [0x01, 0x10, 0x80, 0x91, 0x97, 0xff]) {
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic: broker.unique("t"), qos: 2, packetId: 7 }));
    await publisher.expect("pubrec");
    await publisher.sendBytes(packetBytes(0x62, [0, 7], reasonCode));
    await expectDisconnected(publisher, ProtocolError);
  }
});
