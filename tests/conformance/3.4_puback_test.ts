import assert from "node:assert/strict";
import { encode, ReasonCode, reasonName } from "../../codec/mod.ts";
import { receivedSoFar } from "../broker/receive.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MessageRateTooHigh, NoMatchingSubscribers, NotAuthorized, ProtocolError, QuotaExceeded, Success } = ReasonCode;

/** One message an hour, for each client. */
const rateLimit = "publishRate: 1, burstSize: 1, interval: 3600";

// "The Client or Server sending the PUBACK packet MUST use one of the PUBACK Reason Codes"
conformance("[5.0 MQTT-3.4.2-1] a PUBACK says what has come of the message", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic, { qos: 1 });
  const publisher = await broker.connect();
  for (
    const [name, reasonCode] of [
      [topic, Success],
      [broker.unique("t"), NoMatchingSubscribers],
      ["$SYS/forged", NotAuthorized],
    ] as const
  ) {
    assert.equal(reasonName(await publisher.publish({ topic: name, qos: 1 })), reasonName(reasonCode));
  }
});

conformance(
  "[5.0 MQTT-3.4.2-1] a PUBACK refuses a message over the rate limit",
  async (broker) => {
    const publisher = await broker.connect();
    const topic = broker.unique("t");
    assert.equal(await publisher.publish({ topic, qos: 1 }), NoMatchingSubscribers);
    assert.equal(await publisher.publish({ topic, qos: 1 }), QuotaExceeded);
  },
  { config: `hooks: { rateLimit: { ${rateLimit}, onExceed: drop } }` },
);

conformance(
  "[5.0 MQTT-3.4.2-1] a refusal for which PUBACK has no Reason Code is a DISCONNECT",
  async (broker) => {
    const publisher = await broker.connect();
    const topic = broker.unique("t");
    assert.equal(await publisher.publish({ topic, qos: 1 }), NoMatchingSubscribers);
    await publisher.send(publishPacket({ topic, qos: 1, packetId: 2 }));
    await expectDisconnected(publisher, MessageRateTooHigh);
  },
  { config: `hooks: { rateLimit: { ${rateLimit}, onExceed: disconnect } }` },
);

// "The Reason Code and Property Length can be omitted if the Reason Code is 0x00 (Success) and there are no Properties. In this
// case the PUBACK has a Remaining Length of 2."; of 3.1.1: "For the PUBACK Packet this has the value 2."
conformance("[5.0] [3.1.1] [3.1] a PUBACK without anything to add has four bytes", async (broker, level) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect();
  await subscriber.subscribe(topic);
  const publisher = await broker.connect();
  for (const packetId of [[0, 1], [0, 10], [0xff, 0xff]]) {
    await publisher.sendBytes(packetBytes(0x32, text(topic), packetId, level === 5 ? properties() : []));
    await publisher.expectBytes([0x40, 2, ...packetId]);
  }
});

// "The sender MUST NOT send this property if it would increase the size of the PUBACK packet beyond the Maximum Packet Size
// specified by the receiver", of the Reason String and of User Properties
conformance(
  "[5.0 MQTT-3.4.2-2 MQTT-3.4.2-3] what would make a PUBACK larger than the Maximum Packet Size is left out",
  async (broker) => {
    const refused = publishPacket({ topic: "$SYS/forged", qos: 1, packetId: 7 });
    const publisher = await broker.connect();
    await publisher.send(refused);
    const whole = await publisher.expect("puback");
    assert(whole.properties?.reasonString);
    const size = encode(whole, 5).length;
    const fitting = await broker.connect({ properties: { maximumPacketSize: size } });
    await fitting.send(refused);
    assert.deepEqual(await fitting.expect("puback"), whole);
    for (const maximumPacketSize of [20, size - 1]) {
      const small = await broker.connect({ properties: { maximumPacketSize } });
      await small.send(refused);
      await small.expectBytes([0x40, 3, 0, 7, NotAuthorized]);
    }
  },
);

// "If the Remaining Length is 2, then there is no Reason Code and the value of 0x00 (Success) is used."; "If the Remaining Length
// is less than 4 there is no Property Length and the value of 0 is used."
conformance("[5.0] a PUBACK of any length that it may have acknowledges a message", async (broker) => {
  const topic = broker.unique("t");
  const subscriber = await broker.connect({ properties: { receiveMaximum: 1 } });
  await subscriber.subscribe(topic, { qos: 1 });
  const publisher = await broker.connect();
  const reason = [0x1f, ...text("why"), 0x26, ...text("name"), ...text("value")];
  const forms = [[], [0x00], [0x10], [0x83], [0x00, 0], [0x97, ...properties(reason)], [0x00, ...properties(reason)]];
  for (const form of forms) {
    await publisher.publish({ topic, qos: 1, payload: "blocks" });
    await publisher.publish({ topic, qos: 1, payload: "waits" });
    const packetId = (await subscriber.expect("publish")).packetId!;
    await subscriber.expectNothing();
    await subscriber.sendBytes(packetBytes(0x40, [packetId >> 8, packetId & 0xff], form));
    const next = (await subscriber.expect("publish")).packetId!;
    await subscriber.send({ type: "puback", packetId: next, reasonCode: 0 });
  }
  assert.deepEqual(await receivedSoFar(subscriber), []);
});

conformance("[5.0] a PUBACK with a Reason Code that is none of PUBACK's is a protocol error", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  for (const reasonCode of [0x01, 0x11, 0x81, 0x8e, 0x92, 0x96, 0xff]) {
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic, { qos: 1 });
    await publisher.publish({ topic, qos: 1 });
    const packetId = (await subscriber.expect("publish")).packetId!;
    await subscriber.sendBytes(packetBytes(0x40, [packetId >> 8, packetId & 0xff], reasonCode));
    await expectDisconnected(subscriber, ProtocolError);
  }
});
