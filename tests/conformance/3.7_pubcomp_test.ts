import { ReasonCode } from "../../codec/mod.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { PacketIdentifierNotFound, ProtocolError } = ReasonCode;

// "The Client or Server sending the PUBCOMP packet MUST use one of the PUBCOMP Reason Code values"
// "The sender MUST NOT send this Property if it would increase the size of the PUBCOMP packet beyond the Maximum Packet Size
// specified by the receiver", of the Reason String and of User Properties: the broker's PUBCOMP has neither.
conformance(
  "[5.0 MQTT-3.7.2-1 MQTT-3.7.2-2 MQTT-3.7.2-3] a PUBCOMP says whether the packet identifier is known, and nothing else",
  async (broker) => {
    for (const maximumPacketSize of [20, 1_000_000]) {
      const publisher = await broker.connect({ properties: { maximumPacketSize } });
      await publisher.send(publishPacket({ topic: broker.unique("t"), qos: 2, packetId: 0xabcd }));
      await publisher.expect("pubrec");
      await publisher.send({ type: "pubrel", packetId: 0xabcd, reasonCode: 0 });
      await publisher.expectBytes([0x70, 2, 0xab, 0xcd]);
      await publisher.send({ type: "pubrel", packetId: 0xabcd, reasonCode: 0 });
      await publisher.expectBytes([0x70, 3, 0xab, 0xcd, PacketIdentifierNotFound]);
    }
  },
);

// "For the PUBCOMP Packet this has the value 2.", of the Remaining Length in 3.1.1
conformance(
  "[3.1.1] [3.1] a PUBCOMP has four bytes, also for a packet identifier that is not known",
  async (broker) => {
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic: broker.unique("t"), qos: 2, packetId: 0xabcd }));
    await publisher.expectBytes([0x50, 2, 0xab, 0xcd]);
    for (let time = 0; time < 2; time++) {
      await publisher.send({ type: "pubrel", packetId: 0xabcd, reasonCode: 0 });
      await publisher.expectBytes([0x70, 2, 0xab, 0xcd]);
    }
  },
);

// "If the Remaining Length is 2, then the value 0x00 (Success) is used."; "If the Remaining Length is less than 4 there is no
// Property Length and the value of 0 is used."
conformance("[5.0] a PUBCOMP of any length that it may have ends a message's handshake", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect({ properties: { receiveMaximum: 1 } });
  await subscriber.subscribe(topic, { qos: 2 });
  const publisher = await broker.connect();
  const reason = [0x1f, ...text("why"), 0x26, ...text("name"), ...text("value")];
  await publisher.publish({ topic, qos: 2 });
  for (const form of [[], [0x00], [0x92], [0x00, 0], [0x00, ...properties(reason)], [0x92, ...properties(reason)]]) {
    await publisher.publish({ topic, qos: 2 });
    const packetId = (await subscriber.expect("publish")).packetId!;
    await subscriber.send({ type: "pubrec", packetId, reasonCode: 0 });
    await subscriber.expect("pubrel");
    await subscriber.expectNothing();
    await subscriber.sendBytes(packetBytes(0x70, [packetId >> 8, packetId & 0xff], form));
  }
  await subscriber.expect("publish");
});

conformance("[5.0] a PUBCOMP with a Reason Code that is none of PUBCOMP's is a protocol error", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  for (const reasonCode of [0x01, 0x10, 0x80, 0x91, 0x97, 0xff]) {
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    await publisher.publish({ topic, qos: 2 });
    const packetId = (await subscriber.expect("publish")).packetId!;
    await subscriber.send({ type: "pubrec", packetId, reasonCode: 0 });
    await subscriber.expect("pubrel");
    await subscriber.sendBytes(packetBytes(0x70, [packetId >> 8, packetId & 0xff], reasonCode));
    await expectDisconnected(subscriber, ProtocolError);
  }
});
