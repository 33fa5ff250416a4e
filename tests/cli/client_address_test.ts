import assert from "node:assert/strict";
import { type AddressOptions, brokerAddress, readBrokerUrl } from "../../cli/client/broker_address.ts";
import type { NetworkAddress } from "../../mod.ts";
import { type ConfigDirectory, configDirectory } from "../config/config_directory.ts";
import { type Outcome, runHookmq, startHookmq } from "../interop/programs.ts";
import { createAuthority, issueCertificate } from "../listeners/certificates.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

const authority = await createAuthority();
const server = await issueCertificate(authority, "localhost");
const device = await issueCertificate(authority, "device");

/** A directory with what clients need: the authority, and a certificate of their own. */
function clientFiles(): Promise<ConfigDirectory> {
  return configDirectory("", {
    "ca.pem": authority.certificate,
    "device.pem": device.certificate,
    "device.key": device.key,
  });
}

/** Runs `hookmq pub` with a message. */
function publish(args: (string | number)[], { path: cwd }: ConfigDirectory): Promise<Outcome> {
  return runHookmq(["pub", "-t", "a", "-m", "x", "-q", 1, ...args], { cwd });
}

const done: Outcome = { code: 0, stdout: "", stderr: "" };

/** How else a broker is reached than over TCP. */
const ways = [
  {
    what: "--cafile",
    listen: (broker: TestBroker) => broker.listen({ transport: "tls", port: 0, ...server }),
    args: ({ port }: NetworkAddress) => ["-p", port, "--cafile", "ca.pem"],
  },
  {
    what: "--url mqtts://",
    listen: (broker: TestBroker) => broker.listen({ transport: "tls", port: 0, ...server }),
    args: ({ port }: NetworkAddress) => ["-L", `mqtts://localhost:${port}`, "--cafile", "ca.pem"],
  },
  {
    what: "--cert and --key",
    listen: (broker: TestBroker) =>
      broker.listen({ transport: "tls", port: 0, ...server, clientCertificateAuthority: authority.certificate }),
    args: (
      { port }: NetworkAddress,
    ) => ["-p", port, "--cafile", "ca.pem", "--cert", "device.pem", "--key", "device.key"],
  },
  {
    what: "--url ws://, with a path",
    listen: (broker: TestBroker) => broker.listen({ transport: "ws", port: 0, path: "/mqtt" }),
    args: ({ port }: NetworkAddress) => ["--url", `ws://127.0.0.1:${port}/mqtt`],
  },
  {
    what: "--url ws:// and an address of IPv6",
    listen: (broker: TestBroker) => broker.listen({ transport: "ws", hostname: "::1", port: 0 }),
    args: ({ port }: NetworkAddress) => ["-L", `ws://[::1]:${port}`],
  },
  {
    what: "--url wss://",
    listen: (broker: TestBroker) => broker.listen({ transport: "wss", port: 0, ...server }),
    args: ({ port }: NetworkAddress) => ["-L", `wss://localhost:${port}`, "--cafile", "ca.pem"],
  },
];

for (const { what, listen, args } of ways) {
  Deno.test(`hookmq pub and hookmq sub reach a broker with ${what}`, async () => {
    await using files = await clientFiles();
    await using broker = await startBroker();
    const address = args((await listen(broker)).address);
    const sub = ["sub", "-t", "a", "-C", 1, "-d", ...address];
    await using subscriber = await startHookmq(/received SUBACK/, sub, { cwd: files.path });
    assert.deepEqual(await publish(address, files), done);
    assert.equal((await subscriber.ended()).stdout, "x\n");
  });
}

Deno.test("hookmq pub takes the user name and password from the URL, and -u and -P where it has none", async () => {
  await using files = await clientFiles();
  await using broker = await startBroker();
  const logins: string[] = [];
  await broker.use({
    id: "logins",
    onConnect: (_client, { username, password }) =>
      void logins.push(`${username} ${new TextDecoder().decode(password)}`),
  });
  const { port } = broker;
  assert.deepEqual(await publish(["-L", `mqtt://anna:s%3Acret@127.0.0.1:${port}`], files), done);
  assert.deepEqual(await publish(["-L", `mqtt://anna@127.0.0.1:${port}`, "-P", "secret"], files), done);
  assert.deepEqual(await publish(["-L", `mqtt://127.0.0.1:${port}`, "-u", "bob", "-P", "secret"], files), done);
  assert.deepEqual(logins, ["anna s:cret", "anna secret", "bob secret"]);
});

Deno.test("hookmq pub does not go to a broker whose certificate nobody it trusts has signed", async () => {
  await using files = await clientFiles();
  await using broker = await startBroker();
  const published: string[] = [];
  await broker.subscribe("#", ({ topic }) => void published.push(topic));
  const { port } = (await broker.listen({ transport: "tls", port: 0, ...server })).address;
  assert.deepEqual(await publish(["-p", port, "--tls"], files), {
    code: 1,
    stdout: "",
    stderr: `hookmq: cannot connect to 127.0.0.1:${port}: nobody who is trusted has signed its certificate ` +
      "(name who did with --cafile)\n",
  });
  const other = (await broker.listen({ transport: "tls", hostname: "127.0.0.2", port: 0, ...server })).address;
  const { code, stderr } = await publish(["-h", "127.0.0.2", "-p", other.port, "--cafile", "ca.pem"], files);
  assert.equal(code, 1);
  assert.match(stderr, /^hookmq: cannot connect to 127\.0\.0\.2:\d+: .*does not match.*\n$/);
  assert.deepEqual(published, []);
});

Deno.test("hookmq pub says in one line that one side speaks TLS or WebSocket and the other does not", async () => {
  await using files = await clientFiles();
  await using broker = await startBroker();
  const { port } = (await broker.listen({ transport: "tls", port: 0, ...server })).address;
  assert.deepEqual(await publish(["-p", port], files), {
    code: 1,
    stdout: "",
    stderr: `hookmq: cannot connect to 127.0.0.1:${port}: it does not answer with MQTT (does it want TLS? try --tls)\n`,
  });
  const { port: webSocketPort } = (await broker.listen({ transport: "ws", port: 0 })).address;
  assert.deepEqual(await publish(["-p", webSocketPort, "--tls"], files), {
    code: 1,
    stdout: "",
    stderr: `hookmq: cannot connect to 127.0.0.1:${webSocketPort}: ` +
      "it does not answer with TLS (is this its port for that?)\n",
  });
  assert.match(
    (await publish(["-p", broker.port, "--tls"], files)).stderr,
    /: it does not answer with TLS \(is this its port for that\?\)\n$/,
  );
  assert.match(
    (await publish(["-L", `ws://127.0.0.1:${broker.port}`], files)).stderr,
    /: it does not answer with WebSocket \(is this its port for that\?\)\n$/,
  );
});

Deno.test("hookmq pub says in one line that the broker wants a certificate of it", async () => {
  await using files = await clientFiles();
  await using broker = await startBroker();
  const tls = { transport: "tls", port: 0, ...server, clientCertificateAuthority: authority.certificate } as const;
  const { port } = (await broker.listen(tls)).address;
  assert.deepEqual(await publish(["-p", port, "--cafile", "ca.pem"], files), {
    code: 1,
    stdout: "",
    stderr: `hookmq: cannot connect to 127.0.0.1:${port}: it wants a certificate of the client ` +
      "(give one with --cert and --key)\n",
  });
});

Deno.test("hookmq pub says in one line that it cannot read a certificate", async () => {
  await using files = await clientFiles();
  assert.deepEqual(await publish(["--cafile", "nowhere.pem"], files), {
    code: 1,
    stdout: "",
    stderr: "hookmq: --cafile: cannot read nowhere.pem: there is no such file\n",
  });
});

Deno.test("a client goes to the port that is customary for what it speaks", async () => {
  const portOf = async (options: Partial<AddressOptions>) => (await brokerAddress({ host: "h", ...options })).port;
  assert.equal(await portOf({}), 1883);
  assert.equal(await portOf({ tls: true }), 8883);
  assert.equal(await portOf({ tls: true, port: 1 }), 1);
  for (const [protocol, port] of Object.entries({ mqtt: 1883, mqtts: 8883, ws: 80, wss: 443 })) {
    assert.equal(await portOf({ url: readBrokerUrl(`${protocol}://h`) }), port);
    assert.equal(await portOf({ url: readBrokerUrl(`${protocol}://h:1`) }), 1);
  }
});

const form = "the URL must look like mqtts://HOST:PORT; there are mqtt, mqtts, ws and wss";

for (
  const [args, message] of [
    [["-L", "broker.example.org"], `--url: ${form}`],
    [["-L", "http://anna:secret@broker.example.org"], `--url: ${form}`],
    [["-L", "mqtt://broker.example.org/a"], "--url: only ws and wss have a path; topics go to -t"],
    [["-L", "mqtt://an%na@broker.example.org"], "--url: a percent sign in a name or password is written as %25"],
    [["-L", "ws://broker.example.org", "--tls"], "--url: for TLS it begins with mqtts or wss"],
    [
      ["-L", "ws://broker.example.org", "-p", "1884"],
      "option '-L, --url <url>' cannot be used with option '-p, --port <number>'",
    ],
    [["--cert", "device.pem"], "--cert and --key go together"],
  ] as const
) {
  Deno.test(`hookmq pub ${args.join(" ")} is answered with one line and exit code 2`, async () => {
    const outcome = await runHookmq(["pub", "-t", "a", "-m", "x", ...args]);
    assert.deepEqual(outcome, { code: 2, stdout: "", stderr: `hookmq: ${message}\n` });
  });
}
