import assert from "node:assert/strict";
import { encode, ReasonCode, reasonName } from "../../codec/mod.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MessageRateTooHigh, NoMatchingSubscribers, NotAuthorized, ProtocolError, QuotaExceeded, Success } = ReasonCode;

/** One message an hour, for each client. */
const rateLimit = "publishRate: 1, burstSize: 1, interval: 3600";

// "The Client or Server sending the PUBREC packet MUST use one of the PUBREC Reason Code values."
conformance("[5.0 MQTT-3.5.2-1] a PUBREC says what has come of the message", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic, { qos: 2 });
  const publisher = await broker.connect();
  for (
    const [name, reasonCode] of [
      [topic, Success],
      [broker.unique("t"), NoMatchingSubscribers],
      ["$SYS/forged", NotAuthorized],
    ] as const
  ) {
    assert.equal(reasonName(await publisher.publish({ topic: name, qos: 2 })), reasonName(reasonCode));
  }
});

conformance(
  "[5.0 MQTT-3.5.2-1] a PUBREC refuses a message over the rate limit",
  async (broker) => {
    const publisher = await broker.connect();
    const topic = broker.unique("t");
    assert.equal(await publisher.publish({ topic, qos: 2 }), NoMatchingSubscribers);
    assert.equal(await publisher.publish({ topic, qos: 2 }), QuotaExceeded);
  },
  { config: `hooks: { rateLimit: { ${rateLimit}, onExceed: drop } }` },
);

conformance(
  "[5.0 MQTT-3.5.2-1] a refusal for which PUBREC has no Reason Code is a DISCONNECT",
  async (broker) => {
    const publisher = await broker.connect();
    const topic = broker.unique("t");
    assert.equal(await publisher.publish({ topic, qos: 2 }), NoMatchingSubscribers);
    await publisher.send(publishPacket({ topic, qos: 2, packetId: 2 }));
    await expectDisconnected(publisher, MessageRateTooHigh);
  },
  { config: `hooks: { rateLimit: { ${rateLimit}, onExceed: disconnect } }` },
);

// "The Reason Code and Property Length can be omitted if the Reason Code is 0x00 (Success) and there are no Properties. In this
// case the PUBREC has a Remaining Length of 2."; of 3.1.1: "For the PUBREC Packet this has the value 2."
conformance("[5.0] [3.1.1] [3.1] a PUBREC without anything to add has four bytes", async (broker, level) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  const publisher = await broker.connect();
  for (const packetId of [[0, 1], [0, 10], [0xff, 0xff]]) {
    await publisher.sendBytes(packetBytes(0x34, text(topic), packetId, level === 5 ? properties() : []));
    await publisher.expectBytes([0x50, 2, ...packetId]);
  }
});

// "The sender MUST NOT send this property if it would increase the size of the PUBREC packet beyond the Maximum Packet Size
// specified by the receiver", of the Reason String and of User Properties
conformance(
  "[5.0 MQTT-3.5.2-2 MQTT-3.5.2-3] what would make a PUBREC larger than the Maximum Packet Size is left out",
  async (broker) => {
    const refused = publishPacket({ topic: "$SYS/forged", qos: 2, packetId: 7 });
    const publisher = await broker.connect();
    await publisher.send(refused);
    const whole = await publisher.expect("pubrec");
    assert(whole.properties?.reasonString);
    const size = encode(whole, 5).length;
    const fitting = await broker.connect({ properties: { maximumPacketSize: size } });
    await fitting.send(refused);
    assert.deepEqual(await fitting.expect("pubrec"), whole);
    for (const maximumPacketSize of [20, size - 1]) {
      const small = await broker.connect({ properties: { maximumPacketSize } });
      await small.send(refused);
      await small.expectBytes([0x50, 3, 0, 7, NotAuthorized]);
    }
  },
);

// "If the Remaining Length is 2, then the Publish Reason Code has the value 0x00 (Success)."; "If the Remaining Length is less
// than 4 there is no Property Length and the value of 0 is used."
conformance(
  "[5.0] a PUBREC of any length that it may have is answered by PUBREL, or ends the handshake",
  async (broker) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    const publisher = await broker.connect();
    const reason = [0x1f, ...text("why"), 0x26, ...text("name"), ...text("value")];
    for (
      const form of [[], [0x00], [0x10], [0x00, 0], [0x10, ...properties(reason)], [0x83], [
        0x97,
        ...properties(reason),
      ]]
    ) {
      await publisher.publish({ topic, qos: 2 });
      const packetId = (await subscriber.expect("publish")).packetId!;
      const identifier = [packetId >> 8, packetId & 0xff];
      await subscriber.sendBytes(packetBytes(0x50, identifier, form));
      if ((form[0] ?? 0) < 0x80) await subscriber.expectBytes([0x62, 2, ...identifier]);
      await subscriber.expectNothing();
    }
  },
);

conformance("[5.0] a PUBREC with a Reason Code that is none of PUBREC's is a protocol error", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  for (const reasonCode of [0x01, 0x11, 0x81, 0x8e, 0x92, 0x96, 0xff]) {
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 2 });
    await publisher.publish({ topic, qos: 2 });
    const packetId = (await subscriber.expect("publish")).packetId!;
    await subscriber.sendBytes(packetBytes(0x50, [packetId >> 8, packetId & 0xff], reasonCode));
    await expectDisconnected(subscriber, ProtocolError);
  }
});
