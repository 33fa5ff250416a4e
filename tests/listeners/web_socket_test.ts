import assert from "node:assert/strict";
import type { IClientOptions } from "mqtt";
import { encode, type Limits } from "../../mod.ts";
import type { WebSocketListenOptions } from "../../broker/listeners/web_socket.ts";
import { eventually } from "../broker/eventually.ts";
import { connect as connectMqttJs } from "../interop/mqttjs_client.ts";
import { connectPacket, publishPacket, RawClient } from "../support/raw_client.ts";
import { startBroker, TestBroker } from "../support/start_broker.ts";
import { createAuthority, issueCertificate } from "./certificates.ts";
import { readToEnd } from "./read_to_end.ts";
import { type OpenOptions, openWebSocket, type WebSocketClient } from "./web_socket_client.ts";

const hostname = "127.0.0.1";
const authority = await createAuthority();
const server = await issueCertificate(authority, "server");

/** A broker that listens for WebSockets as well, with clients on demand. */
class WebSocketBroker extends TestBroker {
  url = "";
  webSocketPort = 0;

  static async start(
    { limits, ...listen }: Omit<WebSocketListenOptions, "transport"> & { limits?: Partial<Limits> } = {},
  ): Promise<WebSocketBroker> {
    const broker = new WebSocketBroker({ limits });
    broker.port = (await broker.listen({ port: 0 })).address.port;
    const listener = await broker.listen({ transport: "ws", port: 0, ...listen });
    broker.url = `ws://${hostname}:${listener.address.port}`;
    broker.webSocketPort = listener.address.port;
    return broker;
  }

  /** A WebSocket that nothing has been sent on. */
  openWebSocket(options?: OpenOptions): Promise<WebSocketClient> {
    return openWebSocket(this.url, options);
  }

  /** A client over a WebSocket that is connected, and the WebSocket. */
  async connectWebSocket(options = {}): Promise<{ socket: WebSocketClient; client: RawClient }> {
    const socket = await this.openWebSocket();
    const client = new RawClient(socket);
    await client.connect(options);
    return { socket, client };
  }

  /** A connection on which a WebSocket has been opened by hand, and which does nothing by itself. */
  async openByHand(): Promise<Deno.TcpConn> {
    const conn = await Deno.connect({ hostname, port: this.webSocketPort });
    await conn.write(request({}));
    const answer = new TextDecoder().decode((await readSome(conn))!);
    assert.match(answer, /^HTTP\/1\.1 101 .*\r\n\r\n$/s);
    return conn;
  }
}

/** A request for a WebSocket, with some of its header fields changed or, with `undefined`, left out. */
function request(changes: Record<string, string | undefined>): Uint8Array {
  const fields = {
    "Host": hostname,
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": "mqtt",
    ...changes,
  };
  const lines = Object.entries(fields).flatMap(([name, value]) => value === undefined ? [] : [`${name}: ${value}`]);
  return new TextEncoder().encode(["GET / HTTP/1.1", ...lines, "", ""].join("\r\n"));
}

async function readSome(conn: Deno.Conn): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(4096);
  const length = await conn.read(buffer);
  return length === null ? undefined : buffer.subarray(0, length);
}

const BINARY = 0x82;
const TEXT = 0x81;
const CLOSE = 0x88;

/** A whole frame as a client sends it, with a mask that changes nothing, or wrongly without one. */
function frame(kind: number, payload: Uint8Array, masked = true): Uint8Array {
  assert(payload.length < 126);
  return new Uint8Array([kind, payload.length | (masked ? 0x80 : 0), ...(masked ? [0, 0, 0, 0] : []), ...payload]);
}

/** The close frame of the broker, which it does not mask. */
function closeFrame(code: number, reason = ""): Uint8Array {
  return frame(CLOSE, new Uint8Array([code >> 8, code & 0xff, ...new TextEncoder().encode(reason)]), false);
}

for (const transport of ["ws", "wss"] as const) {
  for (const [protocolVersion, version] of [[4, "3.1.1"], [5, "5.0"]] as const) {
    Deno.test(`MQTT.js as MQTT ${version} publishes and subscribes at every QoS over ${transport}`, async () => {
      await using broker = await startBroker();
      const { address } = await broker.listen({ transport, port: 0, ...server });
      const options: IClientOptions = { protocol: transport, port: address.port, path: "/mqtt" };
      const wsOptions = { ca: authority.certificate };
      await using client = await connectMqttJs(broker, { ...options, wsOptions, protocolVersion });
      await client.client.subscribeAsync("t/#", { qos: 2 });
      for (const qos of [0, 1, 2] as const) await client.client.publishAsync("t/a", `at ${qos}`, { qos });
      assert.deepEqual((await client.take(3)).map(({ payload }) => payload), ["at 0", "at 1", "at 2"]);
    });
  }

  Deno.test(`a listener for ${transport} says where it is`, async () => {
    await using broker = await startBroker();
    const { address, url } = await broker.listen({ transport, port: 0, path: "/mqtt", ...server });
    assert.deepEqual(address, { transport, hostname, port: address.port });
    assert.notEqual(address.port, 0);
    assert.equal(url, `${transport}://127.0.0.1:${address.port}/mqtt`);
  });
}

Deno.test("a client's certificate is asked for by a listener for wss, too, and hooks get its name", async () => {
  await using broker = await startBroker();
  const names: unknown[] = [];
  await broker.use({ id: "notes", onConnect: ({ certificateName }) => void names.push(certificateName) });
  const clientCertificateAuthority = authority.certificate;
  const { url, address } = await broker.listen({ transport: "wss", port: 0, ...server, clientCertificateAuthority });
  await assert.rejects(openWebSocket(url, { authority }));
  const { certificate: cert, key } = await issueCertificate(authority, "sensor-1");
  const options: IClientOptions = { protocol: "wss", port: address.port, path: "/" };
  const wsOptions = { ca: authority.certificate, cert, key };
  await using _client = await connectMqttJs(broker, { ...options, wsOptions, protocolVersion: 5 });
  assert.deepEqual(names, ["sensor-1"]);
});

Deno.test("a listener for wss reloads its certificate", async () => {
  await using broker = await startBroker();
  const directory = await Deno.makeTempDir();
  const [certificate, key] = [`${directory}/server.pem`, `${directory}/server.key`];
  await Deno.writeTextFile(certificate, server.certificate);
  await Deno.writeTextFile(key, server.key);
  const listener = await broker.listen({ transport: "wss", port: 0, certificate, key });
  await using before = new RawClient(await openWebSocket(listener.url, { authority }));
  await before.connect({ clientId: "before" });
  const newAuthority = await createAuthority();
  const renewed = await issueCertificate(newAuthority, "server");
  await Deno.writeTextFile(certificate, renewed.certificate);
  await Deno.writeTextFile(key, renewed.key);
  await listener.reload();
  await using after = new RawClient(await openWebSocket(listener.url, { authority: newAuthority }));
  await after.connect({ clientId: "after" });
  await before.expectNothing();
  await Deno.remove(directory, { recursive: true });
});

for (const protocols of [["mqtt"], ["mqttv3.1", "mqtt"], ["chat", "mqtt", "superchat"]]) {
  Deno.test(`[5.0 MQTT-6.0.0-4] the subprotocol "mqtt" is chosen among ${protocols.join(", ")}`, async () => {
    await using broker = await WebSocketBroker.start();
    await using socket = await broker.openWebSocket({ protocols });
    assert.equal(socket.socket.protocol, "mqtt");
  });
}

for (const protocols of [[], ["mqttv3.1"], ["MQTT"], ["mqtt5", "xmqtt"]]) {
  Deno.test(`[5.0 MQTT-6.0.0-3] a client that offers the subprotocols [${protocols}] is refused`, async () => {
    await using broker = await WebSocketBroker.start();
    await assert.rejects(broker.openWebSocket({ protocols }), { message: "Unexpected server response: 400" });
    assert.equal(broker.stats().connectionsAccepted, 0);
  });
}

Deno.test("compression is not agreed on", async () => {
  await using broker = await WebSocketBroker.start();
  await using socket = await broker.openWebSocket();
  assert.equal(socket.socket.extensions, "");
});

Deno.test("[5.0 MQTT-6.0.0-1] a text frame ends the connection, and the client is told why", async () => {
  await using broker = await WebSocketBroker.start();
  await using watcher = await broker.connect();
  await watcher.subscribe("#");
  const { socket } = await broker.connectWebSocket({ clientId: "a", will: { topic: "will" } });
  await socket.sendFrame("text");
  assert.deepEqual(await socket.closed(), { code: 1003, reason: "MQTT needs binary frames" });
  assert.equal((await watcher.expect("publish")).topic, "will");
});

Deno.test("[5.0 MQTT-6.0.0-1] an empty text frame ends the connection, too", async () => {
  await using broker = await WebSocketBroker.start();
  const { socket } = await broker.connectWebSocket();
  await socket.sendFrame("");
  assert.equal((await socket.closed()).code, 1003);
});

Deno.test("what comes before a text frame counts, what comes behind it does not", async () => {
  await using broker = await WebSocketBroker.start();
  await using watcher = await broker.connect();
  await watcher.subscribe("#");
  using conn = await broker.openByHand();
  const before = encode(publishPacket({ topic: "before" }), 5);
  const behind = encode(publishPacket({ topic: "behind" }), 5);
  await conn.write(frame(BINARY, encode(connectPacket({ clientId: "a", will: { topic: "will" } }), 5)));
  await conn.write(frame(BINARY, before));
  await conn.write(frame(TEXT, new Uint8Array([0x61])));
  await conn.write(frame(BINARY, behind));
  assert.deepEqual([(await watcher.expect("publish")).topic, (await watcher.expect("publish")).topic], [
    "before",
    "will",
  ]);
  await watcher.expectNothing();
});

Deno.test("a peer that does not answer a close frame is dropped", async () => {
  await using broker = await WebSocketBroker.start();
  using conn = await broker.openByHand();
  await conn.write(frame(TEXT, new Uint8Array([0x61])));
  assert.deepEqual(await readSome(conn), closeFrame(1003, "MQTT needs binary frames"));
  assert.equal(broker.stats().connections, 0);
  assert.equal(await readToEnd(conn), "");
});

Deno.test("a peer that is told what it has done wrong has the time to answer", async () => {
  await using broker = await WebSocketBroker.start();
  const witness = await broker.connect();
  using conn = await broker.openByHand();
  await conn.write(frame(TEXT, new Uint8Array([0x61])));
  await readSome(conn);
  let ended = false;
  const end = readToEnd(conn).then(() => ended = true);
  for (let count = 0; count < 20; count++) await witness.expectNothing();
  assert.equal(ended, false);
  await conn.write(frame(CLOSE, new Uint8Array([1003 >> 8, 1003 & 0xff])));
  await end;
});

Deno.test("[5.0 MQTT-6.0.0-2] packets may be split anywhere between frames", async () => {
  await using broker = await WebSocketBroker.start();
  await using socket = await broker.openWebSocket();
  const client = new RawClient(socket);
  for (const byte of encode(connectPacket(), 5)) await socket.sendFrame(new Uint8Array([byte]));
  await client.expect("connack");
  const bytes = encode({ type: "pingreq" }, 5);
  await socket.sendFrame(new Uint8Array());
  await socket.sendFrame(bytes.subarray(0, 1));
  await socket.sendFrame(new Uint8Array());
  await socket.sendFrame(bytes.subarray(1));
  await client.expect("pingresp");
});

Deno.test("[5.0 MQTT-6.0.0-2] one frame may hold several packets and the beginning of another", async () => {
  await using broker = await WebSocketBroker.start();
  await using socket = await broker.openWebSocket();
  const client = new RawClient(socket);
  const ping = encode({ type: "pingreq" }, 5);
  await socket.sendFrame(new Uint8Array([...encode(connectPacket(), 5), ...ping, ...ping, ping[0]]));
  await client.expect("connack");
  await client.expect("pingresp");
  await client.expect("pingresp");
  await socket.sendFrame(ping.subarray(1));
  await client.expect("pingresp");
});

Deno.test("one frame may hold more than the largest packet, if its packets are not too large", async () => {
  await using broker = await WebSocketBroker.start({ limits: { packetSize: 1024 } });
  const { socket, client } = await broker.connectWebSocket();
  const packet = encode(publishPacket({ topic: "t", payload: new Uint8Array(1000) }), 5);
  const bytes = new Uint8Array(100 * packet.length);
  for (let index = 0; index < 100; index++) bytes.set(packet, index * packet.length);
  await socket.sendFrame(bytes);
  await client.expectNothing();
  assert.equal(broker.stats().messagesReceived, 100);
  await client.close();
});

Deno.test("a message in several fragments is one", async () => {
  await using broker = await WebSocketBroker.start();
  await using socket = await broker.openWebSocket();
  const client = new RawClient(socket);
  const bytes = encode(connectPacket(), 5);
  await socket.sendFrame(bytes.subarray(0, 5), false);
  await socket.sendFrame(bytes.subarray(5, 9), false);
  await socket.sendFrame(bytes.subarray(9));
  await client.expect("connack");
});

Deno.test("a packet that is too large is refused in the words of MQTT", async () => {
  await using broker = await WebSocketBroker.start({ limits: { packetSize: 1024 } });
  const { socket, client } = await broker.connectWebSocket();
  await client.send(publishPacket({ topic: "t", payload: new Uint8Array(2000) }));
  assert.equal((await client.expect("disconnect")).reasonCode, 0x95);
  assert.equal((await socket.closed()).code, 1000);
});

Deno.test("a frame that is far too large is not even read, and ends the connection", async () => {
  await using broker = await WebSocketBroker.start({ limits: { packetSize: 1024 } });
  await using watcher = await broker.connect();
  await watcher.subscribe("will");
  const { socket } = await broker.connectWebSocket({ clientId: "a", will: { topic: "will" } });
  // It may be refused before it has been sent.
  socket.sendFrame(new Uint8Array(4 * 1024 * 1024)).catch(() => {});
  assert.equal((await socket.closed()).code, 1009);
  await watcher.expect("publish");
});

Deno.test("a frame without a mask ends the connection at once", async () => {
  await using broker = await WebSocketBroker.start();
  using conn = await broker.openByHand();
  await conn.write(frame(BINARY, encode(connectPacket(), 5), false));
  const answer = await readSome(conn);
  assert.deepEqual(answer?.subarray(2, 4), closeFrame(1002).subarray(2, 4));
  assert.equal(broker.stats().connections, 0);
  assert.equal(broker.stats().clients, 0);
});

Deno.test("a client that says goodbye gets a normal closure", async () => {
  await using broker = await WebSocketBroker.start();
  const { socket, client } = await broker.connectWebSocket();
  await client.send({ type: "disconnect", reasonCode: 0 });
  assert.equal((await socket.closed()).code, 1000);
});

for (const code of [1000, 1001, 4000]) {
  Deno.test(`a client that closes its WebSocket with ${code}, but says no goodbye, has its will published`, async () => {
    await using broker = await WebSocketBroker.start();
    await using watcher = await broker.connect();
    await watcher.subscribe("will");
    const { socket } = await broker.connectWebSocket({ clientId: "a", will: { topic: "will" } });
    socket.socket.close(code);
    assert.equal((await socket.closed()).code, code);
    await watcher.expect("publish");
  });
}

Deno.test("a ping of the WebSocket is answered", async () => {
  await using broker = await WebSocketBroker.start();
  await using socket = await broker.openWebSocket();
  const pong = new Promise<string>((resolve) => socket.socket.once("pong", (data) => resolve(data.toString())));
  socket.socket.ping("are you there?");
  socket.socket.resume();
  assert.equal(await pong, "are you there?");
});

Deno.test("many connections at once leave nothing behind", async () => {
  await using broker = await WebSocketBroker.start();
  await Promise.all(Array.from({ length: 50 }, async () => {
    const { client } = await broker.connectWebSocket();
    await client.disconnect();
  }));
  await eventually(() => broker.stats().connections === 0, "no connections");
  assert.equal(broker.stats().connectionsAccepted, 50);
});

Deno.test("there are no more connections than the limits", async () => {
  await using broker = await WebSocketBroker.start({ limits: { connections: 1 } });
  const { client } = await broker.connectWebSocket();
  await assert.rejects(broker.openWebSocket());
  await client.expectNothing();
  await client.close();
});

Deno.test("connections go on when the listener closes", async () => {
  await using broker = await WebSocketBroker.start();
  const { client } = await broker.connectWebSocket();
  for (const listener of broker.listeners) listener.close();
  await client.expectNothing();
  await assert.rejects(broker.openWebSocket(), Deno.errors.ConnectionRefused);
  await client.close();
});

for (const [path, answered] of [["/mqtt", true], ["/mqtt?token=1", true], ["/", false], ["/mqtt/", false]] as const) {
  Deno.test(`where the path is /mqtt, ${path} is ${answered ? "answered" : "refused with 404"}`, async () => {
    await using broker = await WebSocketBroker.start({ path: "/mqtt" });
    const opening = openWebSocket(broker.url + path);
    if (!answered) return await assert.rejects(opening, { message: "Unexpected server response: 404" });
    await using client = new RawClient(await opening);
    await client.connect();
  });
}

Deno.test("where no path is given, any is answered", async () => {
  await using broker = await WebSocketBroker.start();
  await using _socket = await openWebSocket(`${broker.url}/some/where`);
});

const listed = ["https://dashboard.example.org", "http://localhost:3000"];

/** Whether a page of an origin, or a client without one, may connect. */
const origins: readonly (readonly [origin: string | undefined, origins: string[] | undefined, welcome: boolean])[] = [
  [undefined, undefined, true],
  [undefined, listed, true],
  ["http://127.0.0.1", undefined, true],
  ["http://127.0.0.1:8080", undefined, true],
  ["https://127.0.0.1:8443", listed, true],
  ["http://127.0.0.2", undefined, false],
  ["http://localhost", undefined, false],
  ["https://evil.example", undefined, false],
  ["https://127.0.0.1.evil.example", undefined, false],
  ["https://evil.example/127.0.0.1", undefined, false],
  ["http://127.0.0.1@evil.example", undefined, false],
  ["null", undefined, false],
  ["", undefined, false],
  ["undefined", undefined, false],
  ["https://dashboard.example.org", listed, true],
  ["http://localhost:3000", listed, true],
  ["http://dashboard.example.org", listed, false],
  ["https://dashboard.example.org:444", listed, false],
  ["https://dashboard.example.org.evil.example", listed, false],
  ["http://localhost:3001", listed, false],
  ["*", listed, false],
  ["https://evil.example", ["*"], true],
  ["null", ["*"], true],
];

for (const [origin, allowed, welcome] of origins) {
  const what = origin === undefined ? "a client that is no page" : `a page of ${JSON.stringify(origin)}`;
  const where = allowed === undefined ? "no origins are listed" : `${allowed.join(", ")} may connect`;
  Deno.test(`${what} is ${welcome ? "welcome" : "refused with 403"} where ${where}`, async () => {
    await using broker = await WebSocketBroker.start({ origins: allowed });
    using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
    await conn.write(request({ Origin: origin, Host: `${hostname}:${broker.webSocketPort}` }));
    const answer = new TextDecoder().decode((await readSome(conn))!);
    assert.match(
      answer,
      welcome ? /^HTTP\/1\.1 101 / : /^HTTP\/1\.1 403 .*Pages of this origin may not connect here\.$/s,
    );
  });
}

Deno.test("a page is refused where the request names no host", async () => {
  await using broker = await WebSocketBroker.start();
  for (const Host of [undefined, "", "://"]) {
    using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
    await conn.write(request({ Origin: "http://127.0.0.1", Host }));
    assert.match(await readToEnd(conn), /^HTTP\/1\.1 40[03] /);
  }
});

for (const method of ["GET", "POST", "DELETE"]) {
  Deno.test(`an HTTP request, ${method}, is told to connect with a WebSocket`, async () => {
    await using broker = await WebSocketBroker.start();
    const body = method === "POST" ? "x".repeat(100_000) : undefined;
    const response = await fetch(broker.url.replace("ws:", "http:"), { method, body });
    assert.deepEqual([response.status, response.headers.get("upgrade")], [426, "websocket"]);
    assert.equal(await response.text(), "This is an MQTT broker: connect with a WebSocket.\n");
  });
}

Deno.test("a connection on which HTTP was spoken is closed", async () => {
  await using broker = await WebSocketBroker.start({ limits: { connectTimeout: 60 } });
  using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
  await conn.write(new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  assert.match(await readToEnd(conn), /^HTTP\/1\.1 426 /);
});

const requests: readonly (readonly [what: string, bytes: Uint8Array])[] = [
  ["MQTT without a WebSocket", encode(connectPacket(), 5)],
  ["what is no HTTP", new TextEncoder().encode("HELO example.org\r\n\r\n")],
  ["a request for another version", request({ "Sec-WebSocket-Version": "99" })],
  ["a request without a key", request({ "Sec-WebSocket-Key": undefined })],
  ["a request with too long a header", request({ "X-Filler": "x".repeat(100_000) })],
  ["a request for something else", request({ "Upgrade": "h2c" })],
];

for (const [what, bytes] of requests) {
  Deno.test(`${what} is refused, and the connection closed`, async () => {
    await using broker = await WebSocketBroker.start({ limits: { connectTimeout: 60 } });
    using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
    await conn.write(bytes);
    assert.match(await readToEnd(conn), /^HTTP\/1\.1 4\d\d |^$/);
    assert.equal(broker.stats().connectionsAccepted, 0);
  });
}

Deno.test("packets that come together with the request are not lost", async () => {
  await using broker = await WebSocketBroker.start();
  using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
  const connect = frame(BINARY, encode(connectPacket({ clientId: "a" }), 5));
  await conn.write(new Uint8Array([...request({}), ...connect]));
  await eventually(() => broker.stats().clients === 1, "the client");
});

for (const [what, bytes] of [["nothing", new Uint8Array()], ["half a request", request({}).subarray(0, 40)]] as const) {
  Deno.test(`a peer that sends ${what} is dropped when the time to connect is over`, async () => {
    await using broker = await WebSocketBroker.start({ limits: { connectTimeout: 1 } });
    const begin = performance.now();
    using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
    await conn.write(bytes);
    assert.doesNotMatch(await readToEnd(conn), /101/);
    assert(performance.now() - begin > 900, "dropped too early");
    assert.equal(broker.stats().connectionsAccepted, 0);
  });
}

Deno.test("a peer that opens a WebSocket, but sends no CONNECT, is dropped", async () => {
  await using broker = await WebSocketBroker.start({ limits: { connectTimeout: 1 } });
  await using socket = await broker.openWebSocket();
  assert.equal((await socket.closed()).code, 1000);
});

Deno.test("who has not sent the whole request yet is dropped when the listener closes", async () => {
  await using broker = await WebSocketBroker.start({ limits: { connectTimeout: 60 } });
  using conn = await Deno.connect({ hostname, port: broker.webSocketPort });
  await conn.write(request({}).subarray(0, 40));
  await (await broker.connect()).expectNothing();
  for (const listener of broker.listeners) listener.close();
  assert.equal(await readToEnd(conn), "");
});
