import assert from "node:assert/strict";
import { encode, type Packet } from "../../codec/mod.ts";
import { duplexPair } from "./duplex_pair.ts";
import { connectPacket, publishPacket, RawClient } from "./raw_client.ts";

/** Long enough for what is there already, and short enough to wait for what never comes. */
const SHORT_DEADLINE = 20;

const connack: Packet = { type: "connack", sessionPresent: false, reasonCode: 0 };

/** A client, and at the other end another one that plays the server. */
function pair(deadline?: number): [client: RawClient, server: RawClient] {
  const [here, there] = duplexPair();
  return [new RawClient(here, deadline), new RawClient(there, deadline)];
}

Deno.test("expect returns the next packet when it is of that type", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "suback", packetId: 7, reasonCodes: [1] });
  await server.send({ type: "puback", packetId: 8, reasonCode: 0x10 });
  assert.deepEqual(await client.expect("suback"), { type: "suback", packetId: 7, reasonCodes: [1] });
  assert.deepEqual(await client.expect("puback"), { type: "puback", packetId: 8, reasonCode: 0x10 });
});

Deno.test("packets may come in any pieces", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  const bytes = encode(publishPacket({ topic: "a/b", payload: "hello" }), 5);
  for (const byte of [...bytes, ...bytes]) await server.sendBytes(new Uint8Array([byte]));
  const first = await client.expect("publish");
  assert.deepEqual(await client.expect("publish"), first);
  assert.deepEqual(first, publishPacket({ topic: "a/b", payload: "hello" }));
});

Deno.test("a packet of another type is an error that shows it, and what came before", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "pingresp" });
  await server.send({ type: "puback", packetId: 8, reasonCode: 0 });
  await client.expect("pingresp");
  await assert.rejects(client.expect("publish"), {
    message: 'awaited publish: got { type: "puback", packetId: 8, reasonCode: 0 } (received so far: pingresp, puback)',
  });
});

Deno.test("a packet that does not come is an error when the deadline is over", async () => {
  const [client, server] = pair(SHORT_DEADLINE);
  await using _client = client, _server = server;
  await assert.rejects(client.expect("publish"), {
    message: "awaited publish: nothing in 20 ms (received so far: nothing)",
  });
});

Deno.test("a packet that comes when its deadline is over is there for the next expectation", async () => {
  const [client, server] = pair(SHORT_DEADLINE);
  await using _client = client, _server = server;
  await assert.rejects(client.expect("pingresp"));
  await server.send({ type: "pingresp" });
  await client.expect("pingresp");
});

Deno.test("a connection that ends instead of a packet is an error", async () => {
  const [client, server] = pair();
  await using _client = client;
  await server.close();
  await assert.rejects(client.expect("connack"), { message: /^awaited connack: the connection was closed/ });
});

Deno.test("bytes that are no packet are an error that says why", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.sendBytes(new Uint8Array([0x00, 0x00]));
  await assert.rejects(client.expect("connack"), {
    message: /^awaited connack: got what is no packet: packet type 0 does not exist/,
  });
});

Deno.test("bytes that the peer does not take are an error when the deadline is over", async () => {
  const there = new TransformStream<Uint8Array, Uint8Array>();
  await using client = new RawClient({ readable: new ReadableStream(), writable: there.writable }, SHORT_DEADLINE);
  await assert.rejects(client.sendBytes(new Uint8Array(1)), { message: /^awaited the peer to take what is sent/ });
});

Deno.test("expectClosed waits for the end of the connection", async () => {
  const [client, server] = pair();
  await using _client = client;
  const closed = client.expectClosed();
  await server.close();
  await closed;
});

Deno.test("expectClosed fails for a packet before the end, and shows it", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "disconnect", reasonCode: 0x8e });
  await assert.rejects(client.expectClosed(), {
    message: /^awaited the end of the connection: got { type: "disconnect", reasonCode: 142 }/,
  });
});

Deno.test("expectClosed fails for the beginning of a packet before the end", async () => {
  const [here, there] = duplexPair();
  await using client = new RawClient(here);
  const writer = there.writable.getWriter();
  await writer.write(new Uint8Array([0xe0]));
  await writer.close();
  await assert.rejects(client.expectClosed(), { message: /the beginning of a packet/ });
});

Deno.test("expectClosed fails when the connection stays open", async () => {
  const [client, server] = pair(SHORT_DEADLINE);
  await using _client = client, _server = server;
  await assert.rejects(client.expectClosed(), { message: /^awaited the end of the connection: nothing in 20 ms/ });
});

Deno.test("expectNothing asks for a PINGRESP, and fails if anything comes before it", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  const [nothing] = await Promise.allSettled([client.expectNothing(), answerPing()]);
  assert.equal(nothing.status, "fulfilled");
  await server.send(publishPacket({ topic: "t" }));
  const [something] = await Promise.allSettled([client.expectNothing(), answerPing()]);
  assert(something.status === "rejected");
  assert.match(something.reason.message, /^awaited pingresp: got { type: "publish"/);

  async function answerPing(): Promise<void> {
    await server.expect("pingreq");
    await server.send({ type: "pingresp" });
  }
});

Deno.test("connect sends a CONNECT and keeps the CONNACK", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  assert.throws(() => client.connack, { message: "the client has not called connect()" });
  const connecting = client.connect({ clientId: "a", level: 4, username: "u", password: "p" });
  server.level = 4;
  assert.deepEqual(await server.expect("connect"), {
    type: "connect",
    protocolLevel: 4,
    clientId: "a",
    cleanStart: true,
    keepAlive: 60,
    username: "u",
    password: new TextEncoder().encode("p"),
  });
  await server.send(connack);
  assert.deepEqual(await connecting, connack);
  assert.deepEqual([client.connack, client.level], [connack, 4]);
});

Deno.test("connect fails when it is refused, and shows the CONNACK", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "connack", sessionPresent: false, reasonCode: 0x87 });
  await assert.rejects(client.connect(), { message: /^awaited to be accepted: got .* reasonCode: 135/ });
});

Deno.test("subscribe sends its options for every filter and returns the SUBACK", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  const subscribing = client.subscribe(["a", "b/#"], { qos: 2, noLocal: true });
  const { packetId, subscriptions } = await server.expect("subscribe");
  assert.deepEqual(subscriptions, [
    { topicFilter: "a", qos: 2, noLocal: true, retainAsPublished: false, retainHandling: 0 },
    { topicFilter: "b/#", qos: 2, noLocal: true, retainAsPublished: false, retainHandling: 0 },
  ]);
  await server.send({ type: "suback", packetId, reasonCodes: [2, 2] });
  assert.deepEqual(await subscribing, { type: "suback", packetId, reasonCodes: [2, 2] });
});

Deno.test("unsubscribe returns the UNSUBACK", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  const unsubscribing = client.unsubscribe("a");
  const { packetId, topicFilters } = await server.expect("unsubscribe");
  assert.deepEqual(topicFilters, ["a"]);
  await server.send({ type: "unsuback", packetId, reasonCodes: [0x11] });
  assert.deepEqual((await unsubscribing).reasonCodes, [0x11]);
});

Deno.test("every request has a packet identifier of its own", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "suback", packetId: 1, reasonCodes: [0] });
  await server.send({ type: "unsuback", packetId: 2, reasonCodes: [0] });
  await server.send({ type: "puback", packetId: 3, reasonCode: 0 });
  await client.subscribe("a");
  await client.unsubscribe("a");
  await client.publish({ topic: "a", qos: 1 });
});

Deno.test("an answer with another packet identifier is an error", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "puback", packetId: 9, reasonCode: 0 });
  await assert.rejects(client.publish({ topic: "a", qos: 1 }), {
    message: /^awaited puback with packet identifier 1: got .* packetId: 9/,
  });
});

Deno.test("publish at QoS 0 awaits nothing", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  assert.equal(await client.publish({ topic: "a", payload: "x" }), 0);
  assert.deepEqual(await server.expect("publish"), publishPacket({ topic: "a", payload: "x" }));
});

Deno.test("publish at QoS 1 returns the reason code of the PUBACK", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  await server.send({ type: "puback", packetId: 1, reasonCode: 0x97 });
  assert.equal(await client.publish({ topic: "a", qos: 1 }), 0x97);
});

Deno.test("publish at QoS 2 goes through the handshake and returns the reason code of the PUBREC", async () => {
  const [client, server] = pair();
  await using _client = client, _server = server;
  const publishing = client.publish({ topic: "a", qos: 2 });
  await server.expect("publish");
  await server.send({ type: "pubrec", packetId: 1, reasonCode: 0x10 });
  await server.expect("pubrel");
  await server.send({ type: "pubcomp", packetId: 1, reasonCode: 0 });
  assert.equal(await publishing, 0x10);
});

Deno.test("publish at QoS 2 ends with a PUBREC that refuses", async () => {
  const [client, server] = pair(SHORT_DEADLINE);
  await using _client = client, _server = server;
  await server.send({ type: "pubrec", packetId: 1, reasonCode: 0x87 });
  assert.equal(await client.publish({ topic: "a", qos: 2 }), 0x87);
  await server.expect("publish");
  await assert.rejects(server.expect("pubrel"), { message: /nothing in 20 ms/ });
});

Deno.test("disconnect says why, and waits for the peer to close the connection", async () => {
  const [client, server] = pair();
  const disconnecting = client.disconnect({ reasonCode: 0x04 });
  assert.deepEqual(await server.expect("disconnect"), { type: "disconnect", reasonCode: 0x04 });
  await server.send(publishPacket({ topic: "on its way already" }));
  await server.close();
  await disconnecting;
});

Deno.test("close can be called twice, and while something is expected", async () => {
  const [client, server] = pair();
  await using _server = server;
  const expecting = assert.rejects(client.expect("pingresp"), { message: /the connection was closed/ });
  await client.close();
  await client.close();
  await expecting;
  await server.expectClosed();
});

Deno.test("connectPacket takes a will and a password as text", () => {
  const packet = connectPacket({ password: "p", will: { topic: "t", payload: "w", qos: 1 } });
  assert.deepEqual(packet.password, new Uint8Array([0x70]));
  assert.deepEqual(packet.will, { topic: "t", payload: new Uint8Array([0x77]), qos: 1, retain: false });
});
