import { ReasonCode } from "../../codec/mod.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

/** What a client's packets hold behind their fixed header, with their types and the flags that they must have. */
const packets: { name: string; type: number; flags: number; body: number[] }[] = [
  { name: "PUBACK", type: 4, flags: 0, body: [0, 1] },
  { name: "PUBREC", type: 5, flags: 0, body: [0, 1] },
  { name: "PUBREL", type: 6, flags: 2, body: [0, 1] },
  { name: "PUBCOMP", type: 7, flags: 0, body: [0, 1] },
  { name: "SUBSCRIBE", type: 8, flags: 2, body: [0, 1, ...text("a"), 0] },
  { name: "UNSUBSCRIBE", type: 10, flags: 2, body: [0, 1, ...text("a")] },
  { name: "PINGREQ", type: 12, flags: 0, body: [] },
  { name: "DISCONNECT", type: 14, flags: 0, body: [] },
];

/** Every value of the four flags but one. */
function flagsExcept(flags: number): number[] {
  return Array.from({ length: 16 }, (_, value) => value).filter((value) => value !== flags);
}

for (const { name, type, flags, body } of packets) {
  // "Where a flag bit is marked as “Reserved” it is reserved for future use and MUST be set to the value listed." "If
  // invalid flags are received, the receiver MUST close the Network Connection"
  conformance(
    `[5.0 MQTT-2.1.3-1] [3.1.1 MQTT-2.2.2-1 MQTT-2.2.2-2] ${name} with any flags but its own ends the connection`,
    async (broker, level) => {
      const bodyAtLevel = level === 5 && (type === 8 || type === 10) ? body.toSpliced(2, 0, 0) : body;
      for (const wrong of flagsExcept(flags)) {
        const client = await broker.connect();
        await client.sendBytes(packetBytes(type << 4 | wrong, bodyAtLevel));
        await expectDisconnected(client, ReasonCode.MalformedPacket);
      }
    },
  );
}

// "Where a flag bit is marked as “Reserved” … MUST be set to the value listed." "If invalid flags are received, the
// receiver MUST close the Network Connection"
conformance(
  "[5.0 MQTT-2.1.3-1] [3.1.1 MQTT-2.2.2-1 MQTT-2.2.2-2] CONNECT with any flags but its own is refused",
  async (broker, level) => {
    for (const wrong of flagsExcept(0)) {
      const client = await broker.open();
      const none = level === 5 ? properties() : [];
      await client.sendBytes(packetBytes(0x10 | wrong, text("MQTT"), level, 2, [0, 60], none, text("a")));
      await expectRefused(client, ReasonCode.MalformedPacket);
    }
  },
);

// "Where a flag bit is marked as “Reserved” it is reserved for future use and MUST be set to the value listed."
conformance("[5.0 MQTT-2.1.3-1] AUTH with any flags but its own ends the connection", async (broker) => {
  for (const wrong of flagsExcept(0)) {
    const client = await broker.connect({ properties: { authenticationMethod: "TRUST" } });
    await client.sendBytes(packetBytes(0xf0 | wrong, 0x19, properties(0x15, text("TRUST"))));
    await expectDisconnected(client, ReasonCode.MalformedPacket);
  }
}, { script: "obliging_broker.ts" });

// "Where a flag bit is marked as `Reserved` … MUST be set to the value listed in that table"
conformance(
  "[5.0 MQTT-2.1.3-1] [3.1.1 MQTT-2.2.2-1] the flags of what the server sends are as they should be",
  async (broker, level) => {
    const none = level === 5 ? properties() : [];
    const topic = broker.unique("t");
    const subscriber = await broker.connect();
    await subscriber.sendBytes(packetBytes(0x82, [0, 7], none, text(topic), 2));
    await subscriber.expectBytes(packetBytes(0x90, [0, 7], none, 2));
    const publisher = await broker.connect();
    await publisher.sendBytes(packetBytes(0x34, text(topic), [0, 8], none, 0x61));
    await publisher.expectBytes(packetBytes(0x50, [0, 8]));
    await publisher.sendBytes(packetBytes(0x62, [0, 8]));
    await publisher.expectBytes(packetBytes(0x70, [0, 8]));
    await publisher.sendBytes(packetBytes(0x32, text(topic), [0, 9], none, 0x62));
    await publisher.expectBytes(packetBytes(0x40, [0, 9]));
    await subscriber.expectBytes(packetBytes(0x34, text(topic), [0, 1], none, 0x61));
    await subscriber.sendBytes(packetBytes(0x50, [0, 1]));
    await subscriber.expectBytes(packetBytes(0x32, text(topic), [0, 2], none, 0x62));
    await subscriber.expectBytes(packetBytes(0x62, [0, 1]));
    await subscriber.sendBytes(packetBytes(0xa2, [0, 10], none, text(topic)));
    await subscriber.expectBytes(packetBytes(0xb0, [0, 10], none, level === 5 ? 0 : []));
    await subscriber.sendBytes(packetBytes(0xc0));
    await subscriber.expectBytes(packetBytes(0xd0));
  },
);

// "Reserved – Forbidden" and, of the others, "Server to Client"
for (const [name, type] of [["0", 0], ["CONNACK", 2], ["SUBACK", 9], ["UNSUBACK", 11], ["PINGRESP", 13]] as const) {
  conformance(
    `[5.0] [3.1.1] [3.1] a packet of the type ${name}, which no client sends, ends it`,
    async (broker, level) => {
      const bodies: Record<number, number[]> = {
        2: level === 5 ? [0, 0, 0] : [0, 0],
        9: level === 5 ? [0, 1, 0, 0] : [0, 1, 0],
        11: level === 5 ? [0, 1, 0, 0] : [0, 1],
      };
      const client = await broker.connect();
      await client.sendBytes(packetBytes(type << 4, bodies[type] ?? []));
      await expectDisconnected(client, type === 0 ? ReasonCode.MalformedPacket : ReasonCode.ProtocolError);
    },
  );
}

// Of MQTT 3.1, section 2.1: a PUBREL, SUBSCRIBE or UNSUBSCRIBE that is sent again has its DUP flag set
conformance("[3.1] a PUBREL, SUBSCRIBE or UNSUBSCRIBE may be sent again with the DUP flag", async (broker) => {
  const topic = text(broker.unique("t"));
  const client = await broker.connect();
  await client.sendBytes(packetBytes(0x8a, [0, 1], topic, 0));
  await client.expectBytes([0x90, 3, 0, 1, 0]);
  await client.sendBytes(packetBytes(0xaa, [0, 2], topic));
  await client.expectBytes([0xb0, 2, 0, 2]);
  await client.sendBytes(packetBytes(0x34, topic, [0, 3]));
  await client.expectBytes([0x50, 2, 0, 3]);
  await client.sendBytes(packetBytes(0x6a, [0, 3]));
  await client.expectBytes([0x70, 2, 0, 3]);
});

// Of 3.1.1: "Reserved 15 Forbidden"
conformance("[3.1.1] [3.1] a packet of the type 15 ends the connection", async (broker) => {
  const client = await broker.connect();
  await client.sendBytes(packetBytes(0xf0));
  await client.expectClosed();
});

// "The Remaining Length … represents the number of bytes remaining within the current Control Packet"
conformance("[5.0] [3.1.1] [3.1] packets may come in any pieces, and several at once", async (broker, level) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  const none = level === 5 ? properties() : [];
  const packet = packetBytes(0x30, text(topic), none, 1, 2, 3);
  for (const byte of packet) await client.sendBytes(new Uint8Array([byte]));
  await client.sendBytes(new Uint8Array([...packet, ...packet, ...packet.subarray(0, 5)]));
  await client.sendBytes(packet.subarray(5));
  for (let count = 0; count < 4; count++) await client.expectBytes(packet);
});
