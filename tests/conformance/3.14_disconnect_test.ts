import assert from "node:assert/strict";
import { allowsReason, type DisconnectPacket, type ProtocolLevel, ReasonCode, reasonName } from "../../codec/mod.ts";
import { receive } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { binary, connectBytes, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MalformedPacket, NormalDisconnection, ProtocolError, DisconnectWithWillMessage } = ReasonCode;

/** A client with a will, and another one that is told of it. */
async function connectMortal(broker: ConformanceBroker, level: ProtocolLevel): Promise<[RawClient, RawClient]> {
  const topic = broker.unique("will");
  const witness = await broker.connect();
  await witness.subscribe(topic);
  const mortal = await broker.connect({ level, will: { topic, payload: "gone" } });
  return [mortal, witness];
}

/** The broker's DISCONNECT to a client that does each of these things, and what it is about. */
async function provokeAll(broker: ConformanceBroker, properties = {}): Promise<Map<number, DisconnectPacket>> {
  const clientId = broker.unique("taken");
  const provocations: [reasonCode: number, (client: RawClient) => Promise<unknown>][] = [
    [MalformedPacket, (client) => client.sendBytes(packetBytes(0xc1))],
    [ProtocolError, (client) => client.sendBytes(packetBytes(0x20, 0, 0, 0))],
    [
      ReasonCode.TopicAliasInvalid,
      (client) => client.send(publishPacket({ topic: "t", properties: { topicAlias: 9999 } })),
    ],
    [ReasonCode.PacketTooLarge, (client) => client.sendBytes(new Uint8Array([0x30, 0xff, 0xff, 0xff, 0x7f]))],
    [ReasonCode.SessionTakenOver, () => broker.connect({ clientId })],
  ];
  const packets = new Map<number, DisconnectPacket>();
  for (const [reasonCode, provoke] of provocations) {
    const client = await broker.connect({ clientId, properties });
    await provoke(client);
    const packet = await client.expect("disconnect");
    assert.equal(reasonName(packet.reasonCode), reasonName(reasonCode));
    await client.expectClosed();
    packets.set(reasonCode, packet);
  }
  return packets;
}

// "A Server MUST NOT send a DISCONNECT until after it has sent a CONNACK with Reason Code of less than 0x80."
conformance(
  "[5.0 MQTT-3.14.0-1] a client that is not let in gets a CONNACK that says so or nothing, and no DISCONNECT",
  async (broker) => {
    const refused: [reasonCode: number | undefined, bytes: Uint8Array][] = [
      [ReasonCode.UnsupportedProtocolVersion, connectBytes({ level: 6 })],
      [MalformedPacket, connectBytes({ flags: 0x03 })],
      [MalformedPacket, connectBytes({ clientId: binary(0xff) })],
      [ProtocolError, connectBytes({ properties: properties([0x21, 0, 0]) })],
      [ReasonCode.BadAuthenticationMethod, connectBytes({ properties: properties([0x15, ...text("unknown")]) })],
      [undefined, new Uint8Array([0x10, 0xff, 0xff, 0xff, 0x7f, ...text("MQTT"), 5])],
      [undefined, packetBytes(0xc0)],
      [undefined, packetBytes(0xe0)],
      [undefined, new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")],
    ];
    for (const [reasonCode, bytes] of refused) {
      const client = await broker.open();
      await client.sendBytes(bytes);
      if (reasonCode !== undefined) {
        assert.equal(reasonName((await client.expect("connack")).reasonCode), reasonName(reasonCode));
      }
      await client.expectClosed();
    }
  },
);

// "The Client or Server MUST validate that reserved bits are set to 0. If they are not zero it sends a DISCONNECT
// packet with a Reason code of 0x81 (Malformed Packet)." And of 3.1.1: "The Server MUST validate that reserved bits are
// set to zero and disconnect the Client if they are not zero"
conformance(
  "[5.0 MQTT-3.14.1-1] [3.1.1 MQTT-3.14.1-1] a DISCONNECT with reserved bits is malformed, so the will is published",
  async (broker, level) => {
    for (let flags = 1; flags < 16; flags++) {
      const [mortal, witness] = await connectMortal(broker, level);
      await mortal.sendBytes(packetBytes(0xe0 | flags));
      await expectDisconnected(mortal, MalformedPacket);
      assert.equal((await receive(witness)).text, "gone");
    }
  },
);

// "The Client or Server sending the DISCONNECT packet MUST use one of the DISCONNECT Reason Codes."
conformance(
  "[5.0 MQTT-3.14.2-1] the broker's DISCONNECT has a reason code of the table, and one from a client must",
  async (broker) => {
    for (const { reasonCode } of (await provokeAll(broker)).values()) assert(allowsReason("disconnect", reasonCode));
    for (const reasonCode of [0x01, 0x10, 0x18, 0x84, 0x92, 0xff]) {
      const [mortal, witness] = await connectMortal(broker, 5);
      await mortal.sendBytes(packetBytes(0xe0, reasonCode));
      await expectDisconnected(mortal, ProtocolError);
      assert.equal((await receive(witness)).text, "gone");
    }
  },
);

conformance(
  "[5.0 MQTT-3.14.2-1] a reason that is not in the table is told as another one",
  async (broker) => {
    for (const reasonCode of [0x84, 0x86, 0x92, 0xff]) {
      const client = await broker.connect();
      await client.send(publishPacket({ topic: `disconnect/${reasonCode}` }));
      await expectDisconnected(client, ReasonCode.UnspecifiedError);
    }
  },
  { script: "obliging_broker.ts" },
);

// "The Session Expiry Interval MUST NOT be sent on a DISCONNECT by the Server."
conformance("[5.0 MQTT-3.14.2-2] the broker's DISCONNECT has no session expiry interval", async (broker) => {
  for (const sessionExpiryInterval of [0, 1000, 0xffff_ffff]) {
    for (const { properties } of (await provokeAll(broker, { sessionExpiryInterval })).values()) {
      assert.equal(properties?.sessionExpiryInterval, undefined);
    }
  }
});

// "The sender MUST NOT use this Property if it would increase the size of the DISCONNECT packet beyond the Maximum
// Packet Size specified by the receiver", of the Reason String and of the User Property
conformance(
  "[5.0 MQTT-3.14.2-3 MQTT-3.14.2-4] a DISCONNECT that fits without a reason string and user properties comes without",
  async (broker) => {
    for (const [reasonCode, explained] of await provokeAll(broker)) {
      const reasonString = explained.properties?.reasonString;
      assert(reasonString !== undefined, "the test is about a DISCONNECT with a reason string");
      // Fixed header, reason code, property length, the property with its identifier and length
      const size = 2 + 1 + 1 + 3 + new TextEncoder().encode(reasonString).length;
      const fitting = (await provokeAll(broker, { maximumPacketSize: size })).get(reasonCode);
      assert.deepEqual(fitting, { type: "disconnect", reasonCode, properties: { reasonString } });
      const short = (await provokeAll(broker, { maximumPacketSize: size - 1 })).get(reasonCode);
      assert.deepEqual(short, { type: "disconnect", reasonCode });
    }
  },
);

// "After sending a DISCONNECT packet the sender MUST NOT send any more MQTT Control Packets on that Network
// Connection." "After sending a DISCONNECT packet the sender MUST close the Network Connection."
conformance(
  "[5.0 MQTT-3.14.4-1 MQTT-3.14.4-2] the broker's DISCONNECT is its last packet, whatever it is still asked or has to send",
  async (broker) => {
    const topic = broker.unique("t");
    const [client, publisher] = [await broker.connect(), await broker.connect()];
    await client.subscribe(topic, { qos: 2 });
    const behind = [
      packetBytes(0xc0),
      packetBytes(0x82, [0, 9], 0, text("#"), 2),
      packetBytes(0x34, text(topic), [0, 1], 0),
    ];
    await client.sendBytes(new Uint8Array([...packetBytes(0xc1), ...behind.flatMap((bytes) => [...bytes])]));
    for (const qos of [0, 1, 2] as const) await publisher.publish({ topic, qos });
    await expectDisconnected(client, MalformedPacket);
    await publisher.subscribe(topic);
    await publisher.expectNothing();
  },
);

// "On receipt of DISCONNECT … the Server SHOULD close the Network Connection if the Client has not already done so."
// What follows one, "the Client … MUST NOT send".
conformance("[5.0] [3.1.1] what comes behind a client's DISCONNECT is not looked at", async (broker, level) => {
  const topic = broker.unique("t");
  const witness = await broker.connect();
  await witness.subscribe(topic);
  const client = await broker.connect();
  const publish = packetBytes(0x30, text(topic), level === 5 ? 0 : [], text("too late"));
  await client.sendBytes(new Uint8Array([...packetBytes(0xe0), ...publish, ...packetBytes(0xc0)]));
  await client.expectClosed();
  await witness.expectNothing();
});

// "On receipt of DISCONNECT with a Reason Code of 0x00 (Success) the Server MUST discard any Will Message associated
// with the current Connection without publishing it."
conformance(
  "[5.0 MQTT-3.14.4-3] [3.1.1 MQTT-3.14.4-3] a client that says goodbye takes its will with it",
  async (broker, level) => {
    const short = packetBytes(0xe0);
    const forms = level === 5 ? [short, packetBytes(0xe0, 0), packetBytes(0xe0, 0, 0)] : [short];
    for (const form of forms) {
      const [mortal, witness] = await connectMortal(broker, level);
      await mortal.sendBytes(form);
      await mortal.expectClosed();
      await witness.expectNothing();
    }
  },
);

conformance(
  "[5.0 MQTT-3.14.4-3] the will is gone for good: neither its delay nor the end of the session brings it back",
  async (broker) => {
    const [topic, clientId] = [broker.unique("will"), broker.unique("c")];
    const witness = await broker.connect();
    await witness.subscribe(topic);
    const connect = (clientId: string, payload: string) => {
      const will = { topic, payload, properties: { willDelayInterval: 1 } };
      return broker.connect({ ...lasting(5), clientId, will });
    };
    await (await connect(clientId, "taken along")).disconnect({ reasonCode: NormalDisconnection });
    await (await connect(broker.unique("c"), "left")).close();
    assert.equal((await receive(witness)).text, "left");
    await broker.connect({ clientId, cleanStart: true });
    await witness.expectNothing();
  },
);

// "0x04 Disconnect with Will Message: The Client wishes to disconnect but requires that the Server also publishes its
// Will Message." Any other reason than 0x00 leaves the will as well.
conformance("[5.0] a client that says goodbye with another reason than 0x00 leaves its will", async (broker) => {
  for (const reasonCode of [DisconnectWithWillMessage, ReasonCode.UnspecifiedError, ReasonCode.AdministrativeAction]) {
    const [mortal, witness] = await connectMortal(broker, 5);
    await mortal.send({ type: "disconnect", reasonCode });
    await mortal.expectClosed();
    assert.equal((await receive(witness)).text, "gone");
  }
});

// "If the Session Expiry Interval in the CONNECT packet was zero, then it is a Protocol Error to set a non-zero Session
// Expiry Interval in the DISCONNECT packet sent by the Client. … the Server … does not treat it as a valid DISCONNECT
// packet. The Server uses DISCONNECT with Reason Code 0x82 (Protocol Error)"
conformance("[5.0] a DISCONNECT cannot make a session last that was to end with its connection", async (broker) => {
  const [mortal, witness] = await connectMortal(broker, 5);
  await mortal.send({ type: "disconnect", reasonCode: 0, properties: { sessionExpiryInterval: 1 } });
  await expectDisconnected(mortal, ProtocolError);
  assert.equal((await receive(witness)).text, "gone");
});

// "If the Session Expiry Interval is absent, the Session Expiry Interval in the CONNECT packet is used."
conformance("[5.0] the session expiry interval of a DISCONNECT goes before that of the CONNECT", async (broker) => {
  for (const [sessionExpiryInterval, present] of [[undefined, true], [1000, true], [0, false]] as const) {
    const clientId = broker.unique("c");
    const client = await broker.connect({ clientId, properties: { sessionExpiryInterval: 500 } });
    await client.disconnect(sessionExpiryInterval === undefined ? {} : { properties: { sessionExpiryInterval } });
    assert.equal((await broker.connect({ clientId, cleanStart: false })).connack.sessionPresent, present);
  }
});
