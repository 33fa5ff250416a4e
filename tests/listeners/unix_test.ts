import assert from "node:assert/strict";
import { createConnection } from "node:net";
import mqtt, { MqttClient } from "mqtt";
import { encode } from "../../mod.ts";
import { event } from "../interop/mqttjs_client.ts";
import { connectPacket, RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";

/** A directory for sockets, which is removed at the end of an `await using` block. */
class Directory implements AsyncDisposable {
  readonly path = Deno.makeTempDirSync();
  readonly socket = `${this.path}/mqtt.sock`;

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

async function openUnix(path: string): Promise<RawClient> {
  return new RawClient(await Deno.connect({ transport: "unix", path }));
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

Deno.test("a client connects to a Unix socket, which says where it is", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  const { address, url } = await broker.listen({ transport: "unix", path: directory.socket });
  assert.deepEqual(address, { transport: "unix", path: directory.socket });
  assert.equal(url, `unix:${directory.socket}`);
  await using client = await openUnix(directory.socket);
  await client.connect();
});

Deno.test("hooks get no address of a client on a Unix socket, and the limit per address does not hold for it", async () => {
  await using directory = new Directory();
  await using broker = await startBroker({ limits: { connectionsPerAddress: 1 } });
  const addresses: unknown[] = [];
  await broker.use({ id: "notes", onConnect: ({ remoteAddress }) => void addresses.push(remoteAddress) });
  await broker.listen({ transport: "unix", path: directory.socket });
  await using first = await openUnix(directory.socket);
  await first.connect({ clientId: "first" });
  await using second = await openUnix(directory.socket);
  await second.connect({ clientId: "second" });
  assert.deepEqual(addresses, [undefined, undefined]);
});

Deno.test("MQTT.js speaks over a Unix socket", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  await broker.listen({ transport: "unix", path: directory.socket });
  const client = new MqttClient(() => createConnection(directory.socket), { protocolVersion: 5, reconnectPeriod: 0 });
  await event(client, "connect");
  await client.subscribeAsync("t", { qos: 2 });
  const message = new Promise<string>((resolve) => client.once("message", (_topic, payload) => resolve(`${payload}`)));
  await client.publishAsync("t", "x", { qos: 2 });
  assert.equal(await message, "x");
  await client.endAsync();
});

Deno.test("MQTT.js finds a Unix socket by its URL", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  const { url } = await broker.listen({ transport: "unix", path: directory.socket });
  const client = await mqtt.connectAsync(url.replace("unix:", "mqtt+unix://"), { reconnectPeriod: 0 }, false);
  await client.publishAsync("t", "x", { qos: 1 });
  await client.endAsync();
});

Deno.test("what a client has sent before it ends its side is answered", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  await broker.listen({ transport: "unix", path: directory.socket });
  const conn = await Deno.connect({ transport: "unix", path: directory.socket });
  await conn.write(encode(connectPacket({ clientId: "a" }), 5));
  await conn.closeWrite();
  await using client = new RawClient(conn);
  await client.expect("connack");
  await client.expectClosed();
});

Deno.test("the socket's file goes with the listener, and connections go on", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  const listener = await broker.listen({ transport: "unix", path: directory.socket });
  await using client = await openUnix(directory.socket);
  await client.connect();
  listener.close();
  assert.equal(await exists(directory.socket), false);
  await client.expectNothing();
});

Deno.test("the socket's file goes with the broker", async () => {
  await using directory = new Directory();
  const broker = await startBroker();
  await broker.listen({ transport: "unix", path: directory.socket });
  await broker.close();
  assert.equal(await exists(directory.socket), false);
});

Deno.test("a listener that is closed when its file has gone already is closed", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  const listener = await broker.listen({ transport: "unix", path: directory.socket });
  await Deno.remove(directory.socket);
  listener.close();
  assert.equal(broker.listeners.length, 1);
});

Deno.test("the same path can be listened on at once when a listener has been closed", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  for (let count = 0; count < 5; count++) {
    const listener = await broker.listen({ transport: "unix", path: directory.socket });
    await using client = await openUnix(directory.socket);
    await client.connect();
    listener.close();
  }
});

Deno.test("a socket that nobody listens on any more is replaced", async () => {
  await using directory = new Directory();
  // The runtime removes the file of a listener that it closes; under another name it stays, as that of a broker that was
  // killed does.
  const path = `${directory.path}/other.sock`;
  const left = Deno.listen({ transport: "unix", path });
  await Deno.rename(path, directory.socket);
  left.close();
  assert.equal(await exists(directory.socket), true);
  await using broker = await startBroker();
  await broker.listen({ transport: "unix", path: directory.socket });
  await using client = await openUnix(directory.socket);
  await client.connect();
});

Deno.test("a socket that somebody listens on is left alone", async () => {
  await using directory = new Directory();
  await using first = await startBroker();
  await using second = await startBroker();
  await first.listen({ transport: "unix", path: directory.socket });
  await assert.rejects(second.listen({ transport: "unix", path: directory.socket }), {
    message: `cannot listen on ${directory.socket}: somebody listens there already (another broker? try another path)`,
  });
  await second.close();
  await using client = await openUnix(directory.socket);
  await client.connect();
  assert.equal(first.stats().clients, 1);
});

Deno.test("a file that is no socket is left alone", async () => {
  await using directory = new Directory();
  await Deno.writeTextFile(directory.socket, "precious");
  await using broker = await startBroker();
  await assert.rejects(broker.listen({ transport: "unix", path: directory.socket }), {
    message: `cannot listen on ${directory.socket}: there is a file that is no socket (try another path)`,
  });
  assert.equal(await Deno.readTextFile(directory.socket), "precious");
});

Deno.test("a directory that does not exist is said to be missing", async () => {
  await using directory = new Directory();
  const path = `${directory.path}/none/mqtt.sock`;
  await using broker = await startBroker();
  await assert.rejects(broker.listen({ transport: "unix", path }), {
    message: `cannot listen on ${path}: its directory is not there (make it, or try another path)`,
  });
});

Deno.test("a path that is too long for a socket is refused", async () => {
  await using directory = new Directory();
  const path = `${directory.path}/${"x".repeat(120)}`;
  await using broker = await startBroker();
  await assert.rejects(broker.listen({ transport: "unix", path }), {
    message: `cannot listen on ${path}: the path is too long for a socket (try another path)`,
  });
});

for (const mode of [0o600, 0o660, 0o777]) {
  Deno.test(`the socket's file has the mode 0${mode.toString(8)} that was asked for`, async () => {
    await using directory = new Directory();
    await using broker = await startBroker();
    await broker.listen({ transport: "unix", path: directory.socket, mode });
    assert.equal((await Deno.lstat(directory.socket)).mode! & 0o777, mode);
  });
}

Deno.test("reloading changes nothing", async () => {
  await using directory = new Directory();
  await using broker = await startBroker();
  const listener = await broker.listen({ transport: "unix", path: directory.socket });
  await listener.reload();
  await using client = await openUnix(directory.socket);
  await client.connect();
});
