import assert from "node:assert/strict";
import { ReasonCode } from "../../codec/mod.ts";
import { binary, connectBytes, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

const { MalformedPacket, ProtocolError } = ReasonCode;

/** An error in each kind of packet that a connected client sends, at the levels at which there is such a packet. */
const errors: [levels: number[], reasonCode: ReasonCode, packet: Uint8Array][] = [
  [[3, 4, 5], MalformedPacket, packetBytes(0x00)], // no such type
  [[3, 4, 5], MalformedPacket, new Uint8Array([0xc0, 0x80, 0x80, 0x80, 0x80])], // a length of five bytes
  [[3, 4, 5], ReasonCode.PacketTooLarge, new Uint8Array([0x30, 0xff, 0xff, 0xff, 0x7f])],
  [[3, 4], ProtocolError, connectBytes({ level: 4 })], // a second CONNECT
  [[5], ProtocolError, connectBytes()],
  [[3, 4, 5], MalformedPacket, packetBytes(0x36, text("t"), [0, 1])], // QoS 3
  [[3, 4, 5], MalformedPacket, packetBytes(0x30, 0xff)], // ends in its topic name
  [[3, 4, 5], MalformedPacket, packetBytes(0x32, text("t"), [0, 0], 0)], // packet identifier 0
  [[5], MalformedPacket, packetBytes(0x30, text("t"), properties([0x11, 0, 0, 0, 0]))], // not its property
  [[5], ProtocolError, packetBytes(0x30, text("t"), properties([0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1]))], // one twice
  [[5], ProtocolError, packetBytes(0x30, text("t"), properties([0x0b, 1]))], // a subscription identifier
  [[5], ReasonCode.TopicAliasInvalid, packetBytes(0x30, text("t"), properties([0x23, 0, 0]))],
  [[3, 4, 5], MalformedPacket, packetBytes(0x40, [0])],
  [[3, 4, 5], MalformedPacket, packetBytes(0x50, [0, 0])],
  [[3, 4, 5], MalformedPacket, packetBytes(0x60, [0, 1])], // flags of PUBREL
  [[5], ProtocolError, packetBytes(0x40, [0, 1, 0x01])], // not its reason code
  [[3, 4, 5], MalformedPacket, packetBytes(0x80, [0, 1], text("t"), 0)],
  [[3, 4], ProtocolError, packetBytes(0x82, [0, 1])],
  [[5], ProtocolError, packetBytes(0x82, [0, 1], 0)],
  [[4], MalformedPacket, packetBytes(0x82, [0, 1], text("t"), 0x04)],
  [[5], MalformedPacket, packetBytes(0x82, [0, 1], 0, text("t"), 0x40)],
  [[5], MalformedPacket, packetBytes(0x82, [0, 1], 0, text("a/#/b"), 0)],
  [[3, 4], ProtocolError, packetBytes(0xa2, [0, 1])],
  [[5], ProtocolError, packetBytes(0xa2, [0, 1], 0)],
  [[5], MalformedPacket, packetBytes(0xa2, [0, 1], 0, binary(0xff))],
  [[3, 4, 5], MalformedPacket, packetBytes(0xc0, 0)],
  [[3, 4, 5], ProtocolError, packetBytes(0xd0)], // what only a server sends
  [[3, 4, 5], MalformedPacket, packetBytes(0xe1)],
  [[5], ProtocolError, packetBytes(0xe0, 0x01)],
  [[3, 4, 5], ProtocolError, packetBytes(0xf0)],
];

// "When a Server detects a Malformed Packet or Protocol Error, and a Reason Code is given in the specification, it MUST
// close the Network Connection. … it SHOULD send a DISCONNECT packet containing the Reason Code before …. There are no
// consequences for other Sessions." And of 3.1.1: "Unless stated otherwise, if either the Server or Client encounters a
// protocol violation, it MUST close the Network Connection on which it received that Control Packet which caused the
// protocol violation"
conformance(
  "[5.0 MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1] [3.1] a client that sends an error is disconnected, and nobody else",
  async (broker, level) => {
    const topic = broker.unique("t");
    const witness = await broker.connect();
    await witness.subscribe(topic);
    for (const [levels, reasonCode, packet] of errors) {
      if (!levels.includes(level)) continue;
      const client = await broker.connect();
      await client.sendBytes(packet);
      await expectDisconnected(client, reasonCode);
      await witness.publish({ topic });
      await witness.expect("publish");
    }
  },
);

// "In the case of an error in a CONNECT packet it MAY send a CONNACK packet containing the Reason Code, before closing
// the Network Connection."
conformance(
  "[5.0 MQTT-4.13.1-1] [3.1.1 MQTT-4.8.0-1] [3.1] a client whose CONNECT is in error is turned away",
  async (broker, level) => {
    const name = text(level === 3 ? "MQIsdp" : "MQTT");
    const flawed = [
      connectBytes({ level, name, flags: 0x03 }), // a reserved flag
      connectBytes({ level, name, flags: 0x1e, rest: [level === 5 ? 0 : [], text("w"), binary()] }), // will QoS 3
      connectBytes({ level, name, clientId: binary(0xff) }),
      connectBytes({ level, name, clientId: [0, 9] }), // ends in its client id
      packetBytes(0x11, name, level, 2, [0, 10], level === 5 ? 0 : [], text("a")),
      packetBytes(0x10),
    ];
    for (const bytes of flawed) {
      const client = await broker.open();
      await client.sendBytes(bytes);
      if (level === 5 && bytes.length > 2) assert.equal((await client.expect("connack")).reasonCode, MalformedPacket);
      await client.expectClosed();
    }
  },
);

// "The CONNACK and DISCONNECT packets allow a Reason Code of 0x80 or greater to indicate that the Network Connection
// will be closed. If a Reason Code of 0x80 or greater is specified, then the Network Connection MUST be closed whether
// or not the CONNACK or DISCONNECT is sent."
conformance(
  "[5.0 MQTT-4.13.2-1] the connection is closed after a CONNACK or DISCONNECT with 0x80 or more",
  async (broker) => {
    for (const reasonCode of [0x80, 0x83, 0x87, 0x88, 0x8a, 0x97, 0x9c]) {
      const client = await broker.open();
      await client.send({
        type: "connect",
        protocolLevel: 5,
        clientId: broker.unique("c"),
        cleanStart: true,
        keepAlive: 60,
        username: `refuse ${reasonCode}`,
      });
      assert.equal((await client.expect("connack")).reasonCode, reasonCode);
      await client.expectClosed();
    }
    for (const reasonCode of [0x80, 0x83, 0x87, 0x89, 0x96, 0x97, 0x98, 0x9d]) {
      const client = await broker.connect();
      await client.send(publishPacket({ topic: `disconnect/${reasonCode}` }));
      await expectDisconnected(client, reasonCode);
    }
  },
  { script: "obliging_broker.ts" },
);

conformance(
  "[5.0 MQTT-4.13.2-1] the connection is closed also when the client accepts no packet of the size of a DISCONNECT",
  async (broker) => {
    const client = await broker.connect({ properties: { maximumPacketSize: 20 } });
    await client.sendBytes(packetBytes(0xc1));
    await expectDisconnected(client, MalformedPacket);
    const narrow = await broker.open();
    await narrow.sendBytes(
      connectBytes({ properties: properties([0x27, 0, 0, 0, 2]), clientId: text(broker.unique("c")) }),
    );
    await narrow.expectClosed();
  },
);

conformance(
  "[5.0 MQTT-4.13.2-1] the connection is closed after a client's DISCONNECT with 0x80 or more",
  async (broker) => {
    for (const reasonCode of [0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x97, 0x99]) {
      const client = await broker.connect();
      await client.send({ type: "disconnect", reasonCode });
      await client.expectClosed();
    }
  },
);

// "A Client or Server implementation might encounter a Transient Error (for example an internal buffer full condition)
// …. If the Client or Server encounters a Transient Error while processing an inbound Control Packet it MUST close the
// Network Connection on which it received that Control Packet. If a Server detects a Transient Error it SHOULD NOT
// disconnect or have any other effect on its interactions with any other Client."
const directory = await Deno.makeTempDir();
Deno.test.afterAll(() => Deno.remove(directory, { recursive: true }));
conformance(
  "[3.1.1 MQTT-4.8.0-2] where the disk is full, a message that cannot be stored ends its connection, and no other",
  async (broker) => {
    const topic = broker.unique("t");
    const witness = await broker.connect();
    await witness.subscribe("fine");
    const away = await broker.connect({ cleanStart: false });
    await away.subscribe(topic, { qos: 1 });
    await away.disconnect();
    const publisher = await broker.connect();
    const payload = new Uint8Array(50_000);
    for (let packetId = 1;; packetId++) {
      assert(packetId < 100, "the test is about a database that becomes full");
      await publisher.send(publishPacket({ topic, qos: 1, packetId, payload }));
      const puback = await publisher.expect("puback").catch((error: Error) => {
        assert.match(error.message, /^awaited puback: the connection was closed/);
      });
      if (puback === undefined) break;
    }
    await witness.publish({ topic: "fine", qos: 0 });
    await witness.expect("publish");
  },
  {
    script: "durable_broker.ts",
    environment: {
      HOOKMQ_HOOKS_SQLITE_PATH: `${directory}/small.db`,
      HOOKMQ_HOOKS_SQLITE_MAXIMUM_SIZE: "1000000",
      // It has every reason to log an error.
      HOOKMQ_LOG_FILE: `${directory}/log`,
    },
  },
);
