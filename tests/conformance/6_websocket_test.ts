import assert from "node:assert/strict";
import { decode, encode, Framer, type Packet, type ProtocolLevel } from "../../codec/mod.ts";
import { packetBytes, text } from "../codec/packet_bytes.ts";
import { startHookmq } from "../interop/programs.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { type Frame, HandMadeWebSocket, Opcode } from "./hand_made_web_socket.ts";

// These need a WebSocket whatever the transport of the other tests is, so they have a broker of their own.
const listening = /ws:\/\/127\.0\.0\.1:(\d+)/;
const startBroker = () => startHookmq(listening, ["serve", "--memory", "--port", 0, "--ws-port", 0]);
let started: ReturnType<typeof startBroker> | undefined;

Deno.test.afterAll(async () => {
  if (started === undefined) return;
  await using broker = await started;
  broker.kill("SIGTERM");
  const { code, stderr } = await broker.ended();
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
});

async function open(protocols?: string[]): Promise<HandMadeWebSocket> {
  const [, port] = await (await (started ??= startBroker())).printed(listening);
  return await HandMadeWebSocket.open(Number(port), protocols);
}

/** A WebSocket on which a client has connected, with the CONNACK still to come. */
async function connect(level: ProtocolLevel, clientId: string): Promise<HandMadeWebSocket> {
  const socket = await open();
  await socket.send(Opcode.Binary, encode(connectPacket({ level, clientId }), level));
  return socket;
}

/** The packets in frames, however they are cut. */
function packetsIn(frames: Frame[], level: ProtocolLevel): Packet[] {
  const framer = new Framer();
  const packets: Packet[] = [];
  for (const { payload } of frames) {
    framer.push(payload);
    while (framer.next()) packets.push(decode(framer.packet().slice(), level));
  }
  return packets;
}

// "MQTT Control Packets MUST be sent in WebSocket binary data frames. If any other type of data frame is received the
// recipient MUST close the Network Connection."
conformance(
  "[5.0 MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1] all that the broker sends is in binary frames",
  async (broker, level) => {
    const topic = broker.unique("t");
    using socket = await connect(level, broker.unique("c"));
    const send = (packet: Packet) => socket.send(Opcode.Binary, encode(packet, level));
    await socket.send(Opcode.Binary, packetBytes(0x82, [0, 1], level === 5 ? 0 : [], text(topic), 2));
    await send(publishPacket({ topic, qos: 1, packetId: 2, payload: "text, as it happens" }));
    await send(publishPacket({ topic, payload: new Uint8Array(100_000).subarray(0, 60_000) }));
    await send({ type: "pingreq" });
    await send({ type: "disconnect", reasonCode: 0 });
    const frames = await socket.receiveToEnd();
    for (const { fin, opcode } of frames) assert.deepEqual({ fin, opcode }, { fin: true, opcode: Opcode.Binary });
    assert.deepEqual(
      packetsIn(frames, level).map(({ type }) => type).sort(),
      ["connack", "pingresp", "puback", "publish", "publish", "suback"],
    );
  },
);

conformance(
  "[5.0 MQTT-6.0.0-1] [3.1.1 MQTT-6.0.0-1] a text frame ends the connection, whatever it holds and whenever it comes",
  async (broker, level) => {
    for (const payload of [new Uint8Array(), packetBytes(0x00), new TextEncoder().encode("hello")]) {
      using socket = await connect(level, broker.unique("c"));
      assert.equal((await socket.receive())?.opcode, Opcode.Binary);
      await socket.send(Opcode.Text, payload);
      await socket.send(Opcode.Binary, packetBytes(0xc0));
      assert.deepEqual(await socket.receiveToEnd(), []);
    }
    using socket = await open();
    await socket.send(Opcode.Text, encode(connectPacket({ level, clientId: "c" }), level));
    assert.deepEqual(await socket.receiveToEnd(), []);
  },
);

// "A single WebSocket data frame can contain multiple or partial MQTT Control Packets. The receiver MUST NOT assume
// that MQTT Control Packets are aligned on WebSocket frame boundaries."
conformance(
  "[5.0 MQTT-6.0.0-2] [3.1.1 MQTT-6.0.0-2] packets may be cut anywhere by frames, and a frame may hold several",
  async (broker, level) => {
    const topic = broker.unique("t");
    const bytes = [
      ...encode(connectPacket({ level, clientId: broker.unique("c") }), level),
      ...packetBytes(0x82, [0, 1], level === 5 ? 0 : [], text(topic), 0),
      ...encode(publishPacket({ topic, payload: "hello" }), level),
      ...packetBytes(0xc0),
      ...packetBytes(0xe0),
    ];
    for (const size of [1, 2, 3, 7, 16, bytes.length]) {
      using socket = await open();
      for (let start = 0; start < bytes.length; start += size) {
        await socket.send(Opcode.Binary, new Uint8Array(bytes.slice(start, start + size)));
      }
      const types = packetsIn(await socket.receiveToEnd(), level).map(({ type }) => type);
      assert.deepEqual(types.sort(), ["connack", "pingresp", "publish", "suback"]);
    }
  },
);

conformance(
  "[5.0 MQTT-6.0.0-2] [3.1.1 MQTT-6.0.0-2] a message may come in fragments, with a ping between them",
  async (broker, level) => {
    const bytes = encode(connectPacket({ level, clientId: broker.unique("c") }), level);
    using socket = await open();
    await socket.send(Opcode.Binary, bytes.subarray(0, 4), false);
    await socket.send(Opcode.Continuation, bytes.subarray(4, 9), false);
    await socket.send(Opcode.Ping, new Uint8Array([1, 2, 3]));
    await socket.send(Opcode.Continuation, bytes.subarray(9));
    const frames = [await socket.receive(), await socket.receive()];
    const pong = frames.find((frame) => frame?.opcode === Opcode.Pong);
    assert.deepEqual([...pong!.payload], [1, 2, 3]);
    const data = frames.find((frame) => frame?.opcode === Opcode.Binary);
    assert.deepEqual(packetsIn([data!], level).map(({ type }) => type), ["connack"]);
  },
);

// "The client MUST include “mqtt” in the list of WebSocket Sub Protocols it offers."
conformance(
  "[5.0 MQTT-6.0.0-3] [3.1.1 MQTT-6.0.0-3] a client that does not offer mqtt gets no WebSocket",
  async () => {
    for (const protocols of [[], ["mqttv3.1"], ["MQTT"], ["mqtt5", "xmqtt"]]) {
      using socket = await open(protocols);
      assert.match(socket.answer, /^HTTP\/1\.1 400 /, protocols.join());
      assert.doesNotMatch(socket.answer, /sec-websocket-accept/i);
    }
  },
);

// "The WebSocket Subprotocol name selected and returned by the Server MUST be “mqtt”."
conformance(
  "[5.0 MQTT-6.0.0-4] [3.1.1 MQTT-6.0.0-4] of the subprotocols that a client offers the broker selects mqtt",
  async () => {
    for (const protocols of [["mqtt"], ["mqttv3.1", "mqtt"], ["chat", "mqtt", "superchat"]]) {
      using socket = await open(protocols);
      assert.match(socket.answer, /^HTTP\/1\.1 101 /, protocols.join());
      const selected = socket.answer.match(/^sec-websocket-protocol: *(.*)$/im)?.[1];
      assert.equal(selected, "mqtt");
    }
  },
);
