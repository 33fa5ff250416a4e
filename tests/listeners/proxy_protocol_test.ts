import assert from "node:assert/strict";
import fc from "fast-check";
import { readProxyHeader, trustedPeers } from "../../broker/listeners/proxy_protocol.ts";
import { encode, type Limits, type Listener, type NetworkAddress, type NetworkListenOptions } from "../../mod.ts";
import { connectPacket, type Duplex, RawClient } from "../support/raw_client.ts";
import { startBroker, TestBroker } from "../support/start_broker.ts";
import { createAuthority, issueCertificate } from "./certificates.ts";
import { TestProxy } from "./proxy.ts";
import { readToEnd } from "./read_to_end.ts";
import { openWebSocket } from "./web_socket_client.ts";

const hostname = "127.0.0.1";

/** A header of version 1. */
function version1(line: string): Uint8Array {
  return new TextEncoder().encode(`${line}\r\n`);
}

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const LOCAL = 0x20;
const PROXY = 0x21;
const UNSPECIFIED = 0x00;
const TCP4 = 0x11;
const TCP6 = 0x21;
const UNIX = 0x31;

/** A header of version 2. */
function version2(command: number, family: number, addresses: number[], length = addresses.length): Uint8Array {
  return new Uint8Array([...SIGNATURE, command, family, length >> 8, length & 0xff, ...addresses]);
}

const ports = [0x9c, 0x40, 0x07, 0x5b];
const ipv4 = [192, 0, 2, 7, 192, 0, 2, 1, ...ports];
const ipv6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0xcd, ...new Array(16).fill(1), ...ports];
const details = [0x04, 0x00, 0x03, 1, 2, 3];

const headers: readonly (readonly [kind: string, header: Uint8Array, remoteAddress: string | undefined])[] = [
  ["version 1, IPv4", version1("PROXY TCP4 192.0.2.7 192.0.2.1 40000 1883"), "192.0.2.7"],
  ["version 1, IPv6", version1("PROXY TCP6 2001:db8::abcd ::1 40000 1883"), "2001:db8::abcd"],
  [
    "version 1, IPv6 in its longest form",
    version1(`PROXY TCP6 ${"2001:0DB8:0000:0000:0000:0000:0000:ABCD ".repeat(2)}40000 18830`),
    "2001:db8::abcd",
  ],
  ["version 1, unknown", version1("PROXY UNKNOWN"), undefined],
  ["version 1, unknown with addresses", version1("PROXY UNKNOWN 192.0.2.7 192.0.2.1 40000 1883"), undefined],
  ["version 2, IPv4", version2(PROXY, TCP4, ipv4), "192.0.2.7"],
  ["version 2, IPv4 with details", version2(PROXY, TCP4, [...ipv4, ...details]), "192.0.2.7"],
  ["version 2, IPv6", version2(PROXY, TCP6, ipv6), "2001:db8::abcd"],
  ["version 2, IPv6 with details", version2(PROXY, TCP6, [...ipv6, ...details]), "2001:db8::abcd"],
  ["version 2, Unix socket", version2(PROXY, UNIX, new Array(216).fill(0x61)), undefined],
  ["version 2, unspecified", version2(PROXY, UNSPECIFIED, []), undefined],
  ["version 2, the proxy itself", version2(LOCAL, UNSPECIFIED, []), undefined],
  ["version 2, the proxy itself with addresses", version2(LOCAL, TCP4, ipv4), undefined],
];

for (const [kind, header, remoteAddress] of headers) {
  Deno.test(`${kind}: the header is read, and nothing behind it`, () => {
    assert.deepEqual(readProxyHeader(header), { remoteAddress, length: header.length });
    const more = new Uint8Array([...header, ...header]);
    assert.deepEqual(readProxyHeader(more), { remoteAddress, length: header.length });
  });

  Deno.test(`${kind}: every beginning of the header asks for more`, () => {
    for (let length = 0; length < header.length; length++) {
      assert.equal(readProxyHeader(header.subarray(0, length)), undefined, `${length} bytes`);
    }
  });
}

const refused: readonly (readonly [what: string, bytes: Uint8Array, message: string])[] = [
  ["an MQTT packet", encode(connectPacket(), 5), "connection without a PROXY protocol header"],
  ["a TLS handshake", new Uint8Array([0x16, 0x03, 0x01]), "connection without a PROXY protocol header"],
  ["a beginning that goes on differently", version1("PROX TCP4"), "connection without a PROXY protocol header"],
  [
    "version 1 that does not end",
    new TextEncoder().encode(`PROXY UNKNOWN ${"x".repeat(93)}`),
    "PROXY protocol header without an end",
  ],
  [
    "version 1, another protocol",
    version1("PROXY UDP4 192.0.2.7 192.0.2.1 1 2"),
    'PROXY protocol header with protocol "UDP4"',
  ],
  ["version 1 without a protocol", version1("PROXY "), 'PROXY protocol header with protocol ""'],
  ["version 1 without an address", version1("PROXY TCP4"), 'PROXY protocol header with TCP4 address ""'],
  [
    "version 1, what is no address",
    version1("PROXY TCP4 %n\t<b> 192.0.2.1 1 2"),
    'PROXY protocol header with TCP4 address "%n\\t<b>"',
  ],
  [
    "version 1, an address of the other family",
    version1("PROXY TCP4 ::1 ::1 1 2"),
    'PROXY protocol header with TCP4 address "::1"',
  ],
  [
    "version 1, the other way round",
    version1("PROXY TCP6 192.0.2.7 ::1 1 2"),
    'PROXY protocol header with TCP6 address "192.0.2.7"',
  ],
  ["version 2, another command", version2(0x22, TCP4, ipv4), "PROXY protocol header of version 2, command 2"],
  ["version 3", version2(0x31, TCP4, ipv4), "PROXY protocol header of version 3, command 1"],
  ["version 2, too long", version2(PROXY, TCP4, [], 4081), "PROXY protocol header of 4097 bytes"],
  [
    "version 2, IPv4 cut short",
    version2(PROXY, TCP4, ipv4.slice(1)),
    "PROXY protocol header of 27 bytes without its addresses",
  ],
  [
    "version 2, IPv6 cut short",
    version2(PROXY, TCP6, ipv6.slice(1)),
    "PROXY protocol header of 51 bytes without its addresses",
  ],
];

for (const [what, bytes, message] of refused) {
  Deno.test(`${what} is refused as a PROXY protocol header`, () => {
    assert.throws(() => readProxyHeader(bytes), { name: "Error", message });
  });
}

Deno.test("whatever the bytes are, a header is read, more is asked for, or an Error says what is wrong", () => {
  const beginning = fc.constantFrom(...headers.map(([, header]) => Array.from(header)));
  const broken = fc.tuple(beginning, fc.nat(), fc.nat(255)).map(([bytes, index, value]) =>
    bytes.with(index % bytes.length, value)
  );
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 200 }).map((bytes) => Array.from(bytes)), broken);
  fc.assert(
    fc.property(bytes, (bytes) => {
      try {
        const header = readProxyHeader(new Uint8Array(bytes));
        if (header === undefined) return;
        assert(header.length <= bytes.length, "read beyond the bytes that are there");
        assert.deepEqual(readProxyHeader(new Uint8Array(bytes.slice(0, header.length))), header);
      } catch (error) {
        assert.equal((error as Error).constructor, Error);
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("a header's bytes decide alone: what comes before its end in the same buffer does not matter", () => {
  for (const [, header, remoteAddress] of headers) {
    const behind = new Uint8Array([0xff, ...header, 0xff]);
    assert.equal(readProxyHeader(behind.subarray(1, 1 + header.length))?.remoteAddress, remoteAddress);
    assert.equal(readProxyHeader(behind.subarray(1, header.length)), undefined);
  }
});

Deno.test("trusted peers are addresses and networks", () => {
  const isTrusted = trustedPeers({ trusted: ["192.0.2.7", "10.0.0.0/8", "::1", "2001:db8::/32"] });
  for (const address of ["192.0.2.7", "10.0.0.0", "10.255.255.255", "::1", "2001:db8:1::7"]) {
    assert(isTrusted(address), address);
  }
  for (const address of ["192.0.2.8", "11.0.0.0", "::2", "2001:db9::", "127.0.0.1"]) {
    assert(!isTrusted(address), address);
  }
});

Deno.test("an IPv4 address is the same one in the form that an IPv6 socket gives it", () => {
  const isTrusted = trustedPeers({ trusted: ["192.0.2.7", "10.0.0.0/8"] });
  assert(isTrusted("::ffff:192.0.2.7"));
  assert(isTrusted("::ffff:10.1.2.3"));
  assert(!isTrusted("::ffff:192.0.2.8"));
});

Deno.test("a peer with an address of its own network interface only is looked up like any other", () => {
  assert(!trustedPeers({ trusted: ["10.0.0.0/8"] })("fe80::1%eth0"));
});

for (
  const entry of [
    "",
    "proxy.example.org",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/a",
    "10.0.0.0/8/8",
    "10.0.0.0/1e0",
    "2001:db8::/129",
    "10.0.0",
    " 10.0.0.1",
  ]
) {
  Deno.test(`the trusted peer ${JSON.stringify(entry)} is refused`, async () => {
    const message = `proxyProtocol.trusted holds ${JSON.stringify(entry)}, which is no address and no network`;
    assert.throws(() => trustedPeers({ trusted: ["10.0.0.1", entry] }), { name: "RangeError", message });
    await using broker = await startBroker();
    for (const transport of ["tcp", "ws"] as const) {
      const options: NetworkListenOptions = { transport, port: 0, proxyProtocol: { trusted: [entry] } };
      await assert.rejects(broker.listen(options), { name: "RangeError", message });
    }
    assert.equal(broker.listeners.length, 1);
  });
}

const authority = await createAuthority();
const server = await issueCertificate(authority, "server");

/** A transport that may have a header in front, and how a client connects to a port, which may be a proxy's. */
interface Behind {
  name: string;
  listen: NetworkListenOptions;
  open(port: number): Promise<Duplex>;
}

const transports: readonly Behind[] = [
  { name: "TCP", listen: {}, open: (port) => Deno.connect({ hostname, port }) },
  {
    name: "TLS",
    listen: { transport: "tls", ...server },
    open: (port) => Deno.connectTls({ hostname, port, caCerts: [authority.certificate] }),
  },
  { name: "WebSocket", listen: { transport: "ws" }, open: (port) => openWebSocket(`ws://${hostname}:${port}`) },
  {
    name: "secure WebSocket",
    listen: { transport: "wss", ...server },
    open: (port) => openWebSocket(`wss://${hostname}:${port}`, { authority }),
  },
];

/** A broker that listens behind proxies on 127.0.0.1, and has noted where each of its clients connects from. */
class BrokerBehindProxies extends TestBroker {
  /** By client identifier. */
  readonly remoteAddresses = new Map<string, string | undefined>();
  /** Where the listener is. */
  behind!: Listener<NetworkAddress>;

  static async start(listen: NetworkListenOptions, limits: Partial<Limits> = {}, trusted = [hostname]) {
    const broker = new BrokerBehindProxies({ limits });
    const { address } = await broker.listen({ port: 0 });
    broker.port = address.port;
    broker.behind = await broker.listen({ ...listen, port: 0, proxyProtocol: { trusted } });
    await broker.use({
      id: "notes",
      onConnect: ({ clientId, remoteAddress }) => void broker.remoteAddresses.set(clientId, remoteAddress),
    });
    return broker;
  }
}

const [, header1] = headers[0];
const [, header2] = headers[7];
const [, headerOfProxy] = headers[11];

for (const { name, listen, open } of transports) {
  for (const [kind, header, remoteAddress = hostname] of headers) {
    Deno.test(`${name}, ${kind}: hooks get the address of whom the header speaks of`, async () => {
      await using broker = await BrokerBehindProxies.start(listen);
      await using proxy = new TestProxy(broker.behind.address.port, header);
      await using client = new RawClient(await open(proxy.port));
      await client.connect({ clientId: "a" });
      assert.equal(broker.remoteAddresses.get("a"), remoteAddress);
    });
  }

  Deno.test(`${name}: a header may come in two parts, cut anywhere`, async () => {
    await using broker = await BrokerBehindProxies.start(listen);
    const cuts = [header1, header2].flatMap((header) =>
      Array.from({ length: header.length + 1 }, (_, index) => [header, index + 1] as const)
    );
    await Promise.all(cuts.map(async ([header, at]) => {
      const witness = await broker.connect({ clientId: "" });
      // The broker has read the first part when it has answered to something later.
      const cut = { at, meanwhile: () => witness.expectNothing() };
      await using proxy = new TestProxy(broker.behind.address.port, header, cut);
      await using client = new RawClient(await open(proxy.port));
      await client.connect();
      await client.expectNothing();
    }));
    assert.equal(broker.stats().connectionsAccepted, 2 * cuts.length);
  });

  Deno.test(`${name}: a client that does not begin with CONNECT is dropped behind a header, too`, async () => {
    await using broker = await BrokerBehindProxies.start(listen);
    await using proxy = new TestProxy(broker.behind.address.port, header1);
    await using client = new RawClient(await open(proxy.port));
    await client.send({ type: "pingreq" });
    await client.expectClosed();
  });

  Deno.test(`${name}: a peer that is not trusted is an ordinary client`, async () => {
    await using broker = await BrokerBehindProxies.start(listen, {}, ["192.0.2.1"]);
    await using client = new RawClient(await open(broker.behind.address.port));
    await client.connect({ clientId: "a" });
    assert.equal(broker.remoteAddresses.get("a"), hostname);
  });

  Deno.test(`${name}: a peer that is not trusted cannot speak for others`, async () => {
    await using broker = await BrokerBehindProxies.start(listen, {}, ["192.0.2.1"]);
    using conn = await Deno.connect({ hostname, port: broker.behind.address.port });
    await conn.write(header1);
    await readToEnd(conn);
    assert.equal(broker.stats().clients, 0);
  });

  Deno.test(`${name}: a trusted peer that sends something else first is dropped`, async () => {
    await using broker = await BrokerBehindProxies.start(listen);
    using conn = await Deno.connect({ hostname, port: broker.behind.address.port });
    await conn.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
    assert.equal(await readToEnd(conn), "");
    assert.equal(broker.stats().connectionsAccepted, 0);
  });

  Deno.test(`${name}: a trusted peer that takes too long with its header is dropped`, async () => {
    await using broker = await BrokerBehindProxies.start(listen, { connectTimeout: 1 });
    using conn = await Deno.connect({ hostname, port: broker.behind.address.port });
    await conn.write(header1.subarray(0, -1));
    assert.equal(await readToEnd(conn), "");
    assert.equal(broker.stats().connectionsAccepted, 0);
  });

  Deno.test(`${name}: who has not sent a header yet is dropped when the listener closes`, async () => {
    await using broker = await BrokerBehindProxies.start(listen, { connectTimeout: 60 });
    using conn = await Deno.connect({ hostname, port: broker.behind.address.port });
    await conn.write(header1.subarray(0, -1));
    await (await broker.connect()).expectNothing();
    broker.behind.close();
    assert.equal(await readToEnd(conn), "");
  });

  Deno.test(`${name}: the limit of connections per address counts the address in the header`, async () => {
    await using broker = await BrokerBehindProxies.start(listen, { connectionsPerAddress: 1 });
    const { port } = broker.behind.address;
    await using health = new TestProxy(port, headerOfProxy);
    await using one = new TestProxy(port, header1);
    await using other = new TestProxy(port, header2);
    await using check = new RawClient(await open(health.port));
    await check.connect({ clientId: "proxy" });
    await using first = new RawClient(await open(one.port));
    await first.connect({ clientId: "first" });
    await using second = new RawClient(await open(other.port));
    await second.connect({ clientId: "second" });
    await assert.rejects(async () => {
      await using third = new RawClient(await open(one.port));
      await third.connect({ clientId: "third" });
    });
    assert.deepEqual([...broker.remoteAddresses.keys()], ["proxy", "first", "second"]);
  });
}

Deno.test("a broker without proxies takes a header for what it is not: a packet", async () => {
  await using broker = await startBroker();
  using conn = await Deno.connect({ hostname, port: broker.port });
  await conn.write(header1);
  assert.equal(await readToEnd(conn), "");
});
