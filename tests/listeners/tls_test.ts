import assert from "node:assert/strict";
import type { IClientOptions } from "mqtt";
import { type ClientInfo, encode, type Limits } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { connect as connectMqttJs } from "../interop/mqttjs_client.ts";
import { run, withDeadline } from "../interop/programs.ts";
import { connectPacket, RawClient } from "../support/raw_client.ts";
import { startBroker, TestBroker } from "../support/start_broker.ts";
import { createAuthority, createWeakIdentity, type Identity, issueCertificate } from "./certificates.ts";
import { readToEnd } from "./read_to_end.ts";

const hostname = "127.0.0.1";
const authority = await createAuthority();
const server = await issueCertificate(authority, "server");
const otherAuthority = await createAuthority();

/** A broker that listens on TLS as well, with clients on demand. */
class TlsBroker extends TestBroker {
  tlsPort = 0;

  /** The certificates are those of this file unless others are given; `clientCertificateAuthority` asks for clients' own. */
  static async start(
    { limits, identity = server, clientCertificateAuthority }: {
      limits?: Partial<Limits>;
      identity?: Identity;
      clientCertificateAuthority?: string;
    } = {},
  ): Promise<TlsBroker> {
    const broker = new TlsBroker({ limits });
    broker.port = (await broker.listen({ port: 0 })).address.port;
    const listener = await broker.listen({ transport: "tls", port: 0, ...identity, clientCertificateAuthority });
    broker.tlsPort = listener.address.port;
    return broker;
  }

  /** A TLS connection that trusts one authority, and may show a certificate; the handshake may not be done yet. */
  openTls(trusted = authority, identity?: Identity): Promise<Deno.TlsConn> {
    const { certificate: cert, key } = identity ?? {};
    const options = { hostname, port: this.tlsPort, caCerts: [trusted.certificate] };
    return Deno.connectTls(identity === undefined ? options : { ...options, cert: cert!, key: key! });
  }

  /** A client over TLS that has sent nothing. */
  async openTlsClient(identity?: Identity): Promise<RawClient> {
    return new RawClient(await this.openTls(authority, identity));
  }
}

for (const [protocolVersion, version] of [[3, "3.1"], [4, "3.1.1"], [5, "5.0"]] as const) {
  Deno.test(`MQTT.js as MQTT ${version} publishes and subscribes at every QoS over mqtts`, async () => {
    await using broker = await TlsBroker.start();
    const options: IClientOptions = { protocol: "mqtts", port: broker.tlsPort, ca: authority.certificate };
    await using client = await connectMqttJs(broker, { ...options, protocolVersion });
    await client.client.subscribeAsync("t/#", { qos: 2 });
    for (const qos of [0, 1, 2] as const) await client.client.publishAsync("t/a", `at ${qos}`, { qos });
    assert.deepEqual((await client.take(3)).map(({ payload }) => payload), ["at 0", "at 1", "at 2"]);
  });
}

Deno.test("a listener on TLS says where it is", async () => {
  await using broker = await startBroker();
  const { address, url } = await broker.listen({ transport: "tls", port: 0, ...server });
  assert.deepEqual(address, { transport: "tls", hostname, port: address.port });
  assert.notEqual(address.port, 0);
  assert.equal(url, `mqtts://127.0.0.1:${address.port}`);
});

Deno.test("a client that does not trust the certificate never reaches the broker", async () => {
  await using broker = await TlsBroker.start();
  using conn = await broker.openTls(otherAuthority);
  await assert.rejects(conn.handshake(), { message: /invalid peer certificate/ });
  await broker.connect();
  assert.equal(broker.stats().connectionsAccepted, 1);
});

Deno.test("MQTT in plain bytes on a port for TLS never reaches the broker", async () => {
  await using broker = await TlsBroker.start();
  using conn = await Deno.connect({ hostname, port: broker.tlsPort });
  await conn.write(encode(connectPacket(), 5));
  await readToEnd(conn);
  assert.equal(broker.stats().connectionsAccepted, 0);
});

/** The beginning of a record of a handshake, which promises more. */
const beginning = new Uint8Array([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc]);

for (const [what, bytes] of [["nothing", new Uint8Array()], ["the beginning of a handshake", beginning]] as const) {
  Deno.test(`a peer that sends ${what} is dropped when the time to connect is over`, async () => {
    await using broker = await TlsBroker.start({ limits: { connectTimeout: 1 } });
    const begin = performance.now();
    using conn = await Deno.connect({ hostname, port: broker.tlsPort });
    await conn.write(bytes);
    assert.equal(await readToEnd(conn), "");
    assert(performance.now() - begin > 900, "dropped too early");
    assert.equal(broker.stats().connectionsAccepted, 0);
  });
}

Deno.test("a peer that resets the connection during the handshake leaves nothing behind", async () => {
  await using broker = await TlsBroker.start({ limits: { connectionsPerAddress: 2 } });
  const witness = await broker.connect();
  for (let count = 0; count < 20; count++) {
    // What it has not read makes the system reset the connection.
    const conn = await Deno.connect({ hostname, port: broker.tlsPort });
    await conn.write(encode(connectPacket(), 5));
    await witness.expectNothing();
    conn.close();
    await witness.expectNothing();
  }
  await using client = await broker.openTlsClient();
  await client.connect();
  assert.equal(broker.stats().connectionsAccepted, 2);
});

Deno.test("a handshake that is under way ends with the listener", async () => {
  await using broker = await TlsBroker.start({ limits: { connectTimeout: 60 } });
  using conn = await Deno.connect({ hostname, port: broker.tlsPort });
  await conn.write(beginning);
  await (await broker.connect()).expectNothing();
  for (const listener of broker.listeners) listener.close();
  assert.equal(await readToEnd(conn), "");
});

Deno.test("connections go on when the listener closes", async () => {
  await using broker = await TlsBroker.start();
  await using client = await broker.openTlsClient();
  await client.connect();
  for (const listener of broker.listeners) listener.close();
  await client.expectNothing();
  await assert.rejects(broker.openTls(), Deno.errors.ConnectionRefused);
});

Deno.test("what a client has sent before it ends its side is answered", async () => {
  await using broker = await TlsBroker.start();
  const conn = await broker.openTls();
  await conn.write(encode(connectPacket({ clientId: "a" }), 5));
  await conn.write(encode({ type: "pingreq" }, 5));
  await conn.closeWrite();
  await using client = new RawClient(conn);
  await client.expect("connack");
  await client.expect("pingresp");
  await client.expectClosed();
});

Deno.test("a client that has ended its side and does not read cannot keep the broker from closing", async () => {
  await using broker = await TlsBroker.start();
  const conn = await broker.openTls();
  await using client = new RawClient(conn);
  await client.connect({ clientId: "a" });
  await client.subscribe("t", { qos: 1 });
  const witness = await broker.connect();
  // More than the system takes for a connection whose other end does not read.
  for (let count = 0; count < 32; count++) {
    await broker.publish("t", new Uint8Array(1024 * 1024), { qos: 1 });
    await witness.expectNothing();
  }
  await conn.closeWrite();
  await witness.close();
  await withDeadline(broker.close(), () => "the broker to close");
});

Deno.test("the will of a client that resets its connection is published", async () => {
  await using broker = await TlsBroker.start();
  const watcher = await broker.connect();
  await watcher.subscribe("will");
  const client = await broker.openTlsClient();
  await client.connect({ will: { topic: "will" } });
  await client.subscribe("t");
  // What it has not read makes the system reset the connection.
  await broker.publish("t", new Uint8Array(1024 * 1024));
  await client.close();
  await watcher.expect("publish");
  assert.equal(broker.stats().connections, 1);
});

Deno.test("many connections at once leave nothing behind", async () => {
  await using broker = await TlsBroker.start();
  await Promise.all(Array.from({ length: 50 }, async () => {
    await using client = await broker.openTlsClient();
    await client.connect();
    await client.disconnect();
  }));
  await eventually(() => broker.stats().connections === 0, "no connections");
  assert.equal(broker.stats().connectionsAccepted, 50);
});

Deno.test("a payload of the largest size that the limits allow goes in and out", async () => {
  await using broker = await TlsBroker.start();
  await using client = await broker.openTlsClient();
  await client.connect();
  await client.subscribe("t");
  const payload = new Uint8Array(16 * 1024 * 1024 - 100).map((_, index) => index ^ (index >> 8));
  await client.publish({ topic: "t", payload });
  assert.deepEqual((await client.expect("publish")).payload, payload);
});

Deno.test("there are no more connections than the limit, however many transports there are", async () => {
  await using broker = await TlsBroker.start({ limits: { connections: 2 } });
  await broker.connect();
  await using first = await broker.openTlsClient();
  await first.connect();
  await using second = await broker.openTlsClient();
  await second.expectClosed();
  await first.disconnect();
  await eventually(() => broker.stats().connections === 1, "a place");
  await using third = await broker.openTlsClient();
  await third.connect();
});

Deno.test("there are no more connections from one address than the limit", async () => {
  await using broker = await TlsBroker.start({ limits: { connectionsPerAddress: 1 } });
  await using first = await broker.openTlsClient();
  await first.connect();
  using second = await broker.openTls();
  await assert.rejects(second.handshake());
  assert.equal(broker.stats().connections, 1);
});

for (const limit of ["connections", "connectionsPerAddress"] as const) {
  Deno.test(`there are no more handshakes at a time than the limit ${limit}`, async () => {
    await using broker = await TlsBroker.start({ limits: { [limit]: 2, connectTimeout: 60 } });
    const slow = await Promise.all([1, 2, 3].map(() => Deno.connect({ hostname, port: broker.tlsPort })));
    assert.equal(await Promise.race(slow.map(readToEnd)), "");
    for (const conn of slow) conn.close();
  });
}

/** A directory with a server's certificate in files, which are removed at the end of an `await using` block. */
class Files implements AsyncDisposable {
  readonly #directory = Deno.makeTempDirSync();
  readonly certificate = `${this.#directory}/server.pem`;
  readonly key = `${this.#directory}/server.key`;
  readonly clientCertificateAuthority = `${this.#directory}/clients.pem`;

  async write({ certificate, key }: Partial<Identity>): Promise<void> {
    if (certificate !== undefined) await Deno.writeTextFile(this.certificate, certificate);
    if (key !== undefined) await Deno.writeTextFile(this.key, key);
  }

  static async with(identity: Identity): Promise<Files> {
    const files = new Files();
    await files.write(identity);
    return files;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#directory, { recursive: true });
  }
}

Deno.test("a certificate that has been replaced is shown to new connections after a reload; others go on", async () => {
  await using files = await Files.with(server);
  await using broker = await startBroker();
  const { certificate, key } = files;
  const listener = await broker.listen({ transport: "tls", port: 0, certificate, key });
  const { port } = listener.address;
  const open = async ({ certificate }: Identity) => {
    return new RawClient(await Deno.connectTls({ hostname, port, caCerts: [certificate] }));
  };
  await using before = await open(authority);
  await before.connect({ clientId: "before" });
  await files.write(await issueCertificate(otherAuthority, "server"));
  await using meanwhile = await open(authority);
  await meanwhile.connect({ clientId: "meanwhile" });
  await listener.reload();
  await using after = await open(otherAuthority);
  await after.connect({ clientId: "after" });
  await using outdated = await open(authority);
  await assert.rejects(outdated.connect(), { message: /invalid peer certificate/ });
  for (const client of [before, meanwhile, after]) await client.expectNothing();
});

Deno.test("the authority of clients' certificates is read again by a reload", async () => {
  await using files = await Files.with(server);
  await Deno.writeTextFile(files.clientCertificateAuthority, authority.certificate);
  await using broker = await startBroker();
  const { certificate, key, clientCertificateAuthority } = files;
  const listener = await broker.listen({ transport: "tls", port: 0, certificate, key, clientCertificateAuthority });
  const { certificate: cert, key: clientKey } = await issueCertificate(otherAuthority, "newcomer");
  const open = async () => {
    const { port } = listener.address;
    const caCerts = [authority.certificate];
    return new RawClient(await Deno.connectTls({ hostname, port, caCerts, cert, key: clientKey }));
  };
  await using before = await open();
  await before.expectClosed();
  await Deno.writeTextFile(files.clientCertificateAuthority, otherAuthority.certificate);
  await listener.reload();
  await using after = await open();
  await after.connect();
});

Deno.test("a listener that is given PEM text reloads without a change", async () => {
  await using broker = await startBroker();
  const listener = await broker.listen({ transport: "tls", port: 0, ...server });
  await listener.reload();
  const { port } = listener.address;
  const conn = await Deno.connectTls({ hostname, port, caCerts: [authority.certificate] });
  await using client = new RawClient(conn);
  await client.connect();
});

const other = await issueCertificate(authority, "other");
const notPem = "no certificate";
const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const brokenKey = broken.replaceAll("CERTIFICATE", "PRIVATE KEY");
const encryptedKey = broken.replaceAll("CERTIFICATE", "ENCRYPTED PRIVATE KEY");

/** What may be wrong with the files, and what is said then; `%c` and `%k` stand for the files' paths. */
const mistakes: readonly (readonly [what: string, identity: Partial<Identity>, message: string])[] = [
  ["a certificate that is no PEM text", { certificate: notPem }, "certificate %c holds no certificate"],
  ["a key that is no PEM text", { key: notPem }, "key %k holds no private key"],
  ["a certificate in place of the key", { key: server.certificate }, "key %k holds no private key"],
  ["a key in place of the certificate", { certificate: server.key }, "certificate %c holds no certificate"],
  ["a broken certificate", { certificate: broken }, "certificate %c cannot be used: "],
  ["a broken one behind it", { certificate: server.certificate + broken }, "certificate %c cannot be used: "],
  ["a certificate cut off", { certificate: server.certificate.slice(0, 300) }, "certificate %c holds no certificate"],
  ["a broken key", { key: brokenKey }, "key %k cannot be used: "],
  ["an encrypted key", { key: encryptedKey }, "key %k is encrypted (store it without a passphrase)"],
  ["a key that is too small", await createWeakIdentity(), "certificate %c cannot be used: "],
  ["another certificate's key", { key: other.key }, "key %k does not belong to certificate %c"],
];

for (const [what, identity, message] of mistakes) {
  Deno.test(`${what} is refused, by name; a reload leaves the old certificate in force`, async () => {
    await using files = await Files.with({ ...server, ...identity });
    await using broker = await startBroker();
    const { certificate, key } = files;
    const expected = message.replace("%c", certificate).replace("%k", key);
    const says = (error: Error) =>
      error.message.startsWith(expected) && !error.message.includes("\n") ||
      assert.fail(`${error.message} instead of ${expected}`);
    await assert.rejects(broker.listen({ transport: "tls", port: 0, certificate, key }), says);
    await files.write(server);
    const listener = await broker.listen({ transport: "tls", port: 0, certificate, key });
    await files.write(identity);
    await assert.rejects(listener.reload(), says);
    const { port } = listener.address;
    await using client = new RawClient(await Deno.connectTls({ hostname, port, caCerts: [authority.certificate] }));
    await client.connect();
  });
}

Deno.test("a file that is missing is refused, by name", async () => {
  await using files = await Files.with(server);
  await using broker = await startBroker();
  const { certificate, key } = files;
  const listener = await broker.listen({ transport: "tls", port: 0, certificate, key });
  await Deno.remove(key);
  const message = `cannot read key ${key}: ENOENT: no such file or directory, open '${key}'`;
  await assert.rejects(listener.reload(), { message });
  await assert.rejects(broker.listen({ transport: "tls", port: 0, certificate, key }), { message });
  await assert.rejects(broker.listen({ transport: "tls", port: 0, ...server, clientCertificateAuthority: "/none" }), {
    message: "cannot read clientCertificateAuthority /none: ENOENT: no such file or directory, open '/none'",
  });
});

Deno.test("PEM text that cannot be used is refused without being shown", async () => {
  await using broker = await startBroker();
  await assert.rejects(broker.listen({ transport: "tls", port: 0, ...server, key: other.key }), {
    message: "the key that was given does not belong to the certificate that was given",
  });
  await assert.rejects(broker.listen({ transport: "tls", port: 0, ...server, key: `\n${brokenKey}` }), {
    message: /^the key that was given cannot be used: /,
  });
});

/** A broker that asks for certificates of `authority`, and notes who has come. */
async function startMutual(): Promise<{ broker: TlsBroker; clients: ClientInfo[] }> {
  const broker = await TlsBroker.start({ clientCertificateAuthority: authority.certificate });
  const clients: ClientInfo[] = [];
  await broker.use({ id: "notes", onConnect: (client) => void clients.push(client) });
  return { broker, clients };
}

Deno.test("hooks get the common name of the certificate that a client has shown", async () => {
  const { broker: started, clients } = await startMutual();
  await using broker = started;
  for (const name of ["sensor-1", "Zoë & Sons"]) {
    await using client = await broker.openTlsClient(await issueCertificate(authority, name));
    await client.connect();
  }
  assert.deepEqual(clients.map(({ certificateName }) => certificateName), ["sensor-1", "Zoë & Sons"]);
});

Deno.test("there is no name where no certificate is asked for", async () => {
  await using broker = await TlsBroker.start();
  const names: unknown[] = [];
  await broker.use({ id: "notes", onConnect: ({ certificateName }) => void names.push(certificateName) });
  await using client = await broker.openTlsClient(await issueCertificate(authority, "sensor-1"));
  await client.connect();
  assert.deepEqual(names, [undefined]);
});

const unwelcome: readonly (readonly [what: string, identity: Identity | undefined])[] = [
  ["no certificate", undefined],
  ["a certificate of another authority", await issueCertificate(otherAuthority, "sensor-1")],
  ["a certificate that has expired", await issueCertificate(authority, "sensor-1", { expired: true })],
];

for (const [what, identity] of unwelcome) {
  Deno.test(`a client with ${what} never reaches a broker that asks for one`, async () => {
    const { broker: started, clients } = await startMutual();
    await using broker = started;
    await using client = await broker.openTlsClient(identity);
    await assert.rejects(client.connect());
    await using welcome = await broker.openTlsClient(await issueCertificate(authority, "sensor-2"));
    await welcome.connect();
    assert.deepEqual(clients.map(({ certificateName }) => certificateName), ["sensor-2"]);
    assert.equal(broker.stats().connectionsAccepted, 1);
  });
}

/** Connects with openssl, which can resume sessions, and says whether it did. */
async function connectWithOpenssl(port: number, clientId: string, args: string[]): Promise<"New" | "Reused"> {
  const goodbye = encode({ type: "disconnect", reasonCode: 0 }, 5);
  const input = new Uint8Array([...encode(connectPacket({ clientId }), 5), ...goodbye]);
  const { stdout } = await run("openssl", ["s_client", "-connect", `${hostname}:${port}`, "-ign_eof", ...args], {
    input,
  });
  return /^(New|Reused), /m.exec(stdout)![1] as "New" | "Reused";
}

for (const version of ["-tls1_2", "-tls1_3"]) {
  Deno.test(`${version}: a session that began with a certificate is resumed with it, until the authority changes`, async () => {
    await using files = await Files.with(await issueCertificate(authority, "resumer"));
    await Deno.writeTextFile(files.clientCertificateAuthority, authority.certificate);
    await using broker = await startBroker();
    const seen: unknown[] = [];
    await broker.use({
      id: "notes",
      onConnect: ({ clientId, certificateName }) => void seen.push([clientId, certificateName]),
    });
    const { certificate, key, clientCertificateAuthority } = files;
    const listener = await broker.listen({ transport: "tls", port: 0, ...server, clientCertificateAuthority });
    const { port } = listener.address;
    const session = `${certificate}.session`;
    const resume = [version, "-sess_in", session];
    const begin = [version, "-cert", certificate, "-key", key, "-sess_out", session];
    assert.equal(await connectWithOpenssl(port, "new", begin), "New");
    assert.equal(await connectWithOpenssl(port, "resumed", resume), "Reused");
    await listener.reload();
    assert.equal(await connectWithOpenssl(port, "reloaded", resume), "Reused");
    await Deno.writeTextFile(clientCertificateAuthority, otherAuthority.certificate);
    await listener.reload();
    await connectWithOpenssl(port, "not trusted any more", resume);
    assert.deepEqual(seen, [["new", "resumer"], ["resumed", "resumer"], ["reloaded", "resumer"]]);
  });

  Deno.test(`${version}: a session of another listener does not stand in for a certificate`, async () => {
    await using files = new Files();
    const { broker: started, clients } = await startMutual();
    await using broker = started;
    const { address } = await broker.listen({ transport: "tls", port: 0, ...server });
    const session = files.certificate;
    assert.equal(await connectWithOpenssl(address.port, "other listener", [version, "-sess_out", session]), "New");
    await connectWithOpenssl(broker.tlsPort, "intruder", [version, "-sess_in", session]);
    assert.deepEqual(clients.map(({ clientId }) => clientId), ["other listener"]);
  });
}

Deno.test("MQTT.js shows its certificate", async () => {
  const { broker: started, clients } = await startMutual();
  await using broker = started;
  const { certificate: cert, key } = await issueCertificate(authority, "js");
  const options = { protocol: "mqtts", port: broker.tlsPort, ca: authority.certificate, cert, key } as const;
  await using client = await connectMqttJs(broker, { ...options, protocolVersion: 5 });
  await client.client.publishAsync("t", "x", { qos: 1 });
  assert.deepEqual(clients.map(({ certificateName }) => certificateName), ["js"]);
});
