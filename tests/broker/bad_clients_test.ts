import assert from "node:assert/strict";
import { type BrokerOptions, encode, type Packet, type ProtocolLevel } from "../../mod.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import { connectPacket, publishPacket, RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { RecordingLogger } from "./recording_logger.ts";
import { receive, textOf } from "./receive.ts";
import { versions } from "./versions.ts";

/** A broker with a client that has nothing to do with what the others do. */
interface Scene extends AsyncDisposable {
  readonly broker: TestBroker;
  /** Opens a connection with nothing around it. */
  dial(): Promise<Deno.TcpConn>;
  /** Nobody but the bystander is left, who is served, and the broker has met no failure of its own. */
  expectUnharmed(): Promise<void>;
}

async function startScene(options: BrokerOptions = {}): Promise<Scene> {
  const logger = new RecordingLogger();
  const broker = await startBroker({ logger, ...options });
  const bystander = await broker.connect({ clientId: "bystander", keepAlive: 0 });
  await bystander.subscribe("bystander", { qos: 2 });
  return {
    broker,
    dial: () => Deno.connect({ hostname: "127.0.0.1", port: broker.port }),
    async expectUnharmed() {
      await eventually(() => broker.stats().connections === 1, "the end of all connections but the bystander's");
      const { clients, sessions, subscriptions, queuedMessages } = broker.stats();
      assert.deepEqual({ clients, sessions, subscriptions, queuedMessages }, {
        clients: 1,
        sessions: 1,
        subscriptions: 1,
        queuedMessages: 0,
      });
      for (const qos of [0, 1, 2] as const) {
        await broker.publish("bystander", "still here?", { qos });
        assert.equal((await receive(bystander)).text, "still here?");
      }
      await bystander.expectNothing();
      assert.deepEqual(logger.entries.filter((entry) => entry.startsWith("error")), []);
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

/** One of each packet that a client may send. */
function clientPackets(level: ProtocolLevel): Packet[] {
  const filter = { topicFilter: "t/#", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  const packets: Packet[] = [
    connectPacket({ level, clientId: "a", username: "u", password: "p", will: { topic: "w", payload: "gone" } }),
    publishPacket({ topic: "t/a", payload: "hello" }),
    publishPacket({ topic: "t/a", payload: "hello", qos: 1, packetId: 1, retain: true }),
    publishPacket({ topic: "t/a", payload: "hello", qos: 2, packetId: 2 }),
    { type: "puback", packetId: 1, reasonCode: 0 },
    { type: "pubrec", packetId: 2, reasonCode: 0 },
    { type: "pubrel", packetId: 2, reasonCode: 0 },
    { type: "pubcomp", packetId: 2, reasonCode: 0 },
    { type: "subscribe", packetId: 3, subscriptions: [filter, { ...filter, topicFilter: "$share/g/t" }] },
    { type: "unsubscribe", packetId: 4, topicFilters: ["t/#", "u"] },
    { type: "pingreq" },
    { type: "disconnect", reasonCode: 0 },
  ];
  if (level < 5) return packets;
  return [
    ...packets,
    publishPacket({
      topic: "t/a",
      payload: "hello",
      properties: { topicAlias: 1, contentType: "text/plain", userProperties: [["a", "b"]], messageExpiryInterval: 9 },
    }),
    { type: "disconnect", reasonCode: 4, properties: { sessionExpiryInterval: 0, reasonString: "bye" } },
    {
      type: "auth",
      reasonCode: 0x19,
      properties: { authenticationMethod: "m", authenticationData: new Uint8Array(3) },
    },
  ];
}

/** Numbers from 0 up to `limit` that look random, and are the same every time (xorshift32). */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % limit;
  };
}

/** Reads until the connection is over, in whatever manner, and closes it. */
async function readToEnd(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // A reset is an end, too.
  }
  conn.close();
}

// Connections that break

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: connections may be cut after any byte of any packet`, async () => {
    await using scene = await startScene();
    const connect = encode(connectPacket({ level, clientId: "a" }), level);
    for (const packet of clientPackets(level)) {
      const before = packet.type === "connect" ? new Uint8Array() : connect;
      const bytes = encode(packet, level);
      await Promise.all(Array.from(bytes, async (_byte, length) => {
        const conn = await scene.dial();
        await conn.write(new Uint8Array([...before, ...bytes.subarray(0, length)]));
        conn.close();
      }));
    }
    await scene.expectUnharmed();
  });
}

Deno.test("connections may be reset while the broker sends to them, and while they send", async () => {
  await using scene = await startScene();
  const { broker } = scene;
  const conns = await Promise.all(Array.from({ length: 50 }, async (_, index) => {
    const conn = await scene.dial();
    const packets: Packet[] = [
      connectPacket({ clientId: `client-${index}` }),
      {
        type: "subscribe",
        packetId: 1,
        subscriptions: [{ topicFilter: "t", qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }],
      },
      publishPacket({ topic: "other", payload: "x".repeat(1000) }),
    ];
    const bytes = packets.flatMap((packet) => [...encode(packet, 5)]);
    // The last packet never gets complete.
    await conn.write(new Uint8Array(bytes.slice(0, -10)));
    return conn;
  }));
  await eventually(() => broker.stats().subscriptions === 51, "the subscriptions");
  await broker.publish("t", new Uint8Array(1_000_000), { qos: 1 });
  // They have not read what they were sent: closing such a connection resets it.
  for (const conn of conns) conn.close();
  await broker.publish("t", new Uint8Array(1_000_000), { qos: 1 });
  await scene.expectUnharmed();
});

Deno.test("a client that ends its side of the connection is gone, and gets what it was owed", async () => {
  await using scene = await startScene();
  const { broker } = scene;
  const watcher = await broker.connect();
  await watcher.subscribe("will");
  const conn = await scene.dial();
  await conn.write(encode(connectPacket({ clientId: "a", will: { topic: "will", payload: "gone" } }), 5));
  await conn.write(encode(publishPacket({ topic: "t", qos: 1, packetId: 1 }), 5));
  await conn.closeWrite();
  assert.equal(textOf(await watcher.expect("publish")), "gone");
  await using client = new RawClient(conn);
  await client.expect("connack");
  await client.expect("puback");
  await client.expectClosed();
  await watcher.disconnect();
  await scene.expectUnharmed();
});

Deno.test("connections may be ended on one side after any byte of a CONNECT", async () => {
  await using scene = await startScene();
  const bytes = encode(connectPacket({ clientId: "a" }), 5);
  await Promise.all(Array.from(bytes, async (_byte, length) => {
    const conn = await scene.dial();
    await conn.write(bytes.subarray(0, length));
    await conn.closeWrite();
    await readToEnd(conn);
  }));
  await scene.expectUnharmed();
});

Deno.test("a client that closes while a hook looks at its packet does no harm", async () => {
  await using scene = await startScene();
  const { broker } = scene;
  let decide = () => {};
  const decision = new Promise<void>((resolve) => decide = resolve);
  await broker.use({
    id: "slow",
    onConnect: ({ clientId }) => clientId === "connecting" ? decision : undefined,
    onSubscribe: (_client, subscriptions) => decision.then(() => subscriptions),
    onPublish: () => decision,
    storeRetained: () => decision,
  });
  const connecting = await broker.open();
  await connecting.send(connectPacket({ clientId: "connecting" }));
  const publishing = await broker.connect();
  await publishing.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
  const subscribing = await broker.connect();
  const waiting = subscribing.subscribe("t").catch(() => {});
  await eventually(() => broker.stats().messagesReceived === 1, "the message");
  for (const client of [connecting, publishing, subscribing]) await client.close();
  await waiting;
  decide();
  await broker.remove("slow");
  await scene.expectUnharmed();
});

Deno.test("ten thousand connections that are made and dropped leave nothing behind", async () => {
  await using scene = await startScene();
  const { broker } = scene;
  const [connect, , , message] = clientPackets(5).map((packet) => encode(packet, 5));
  const subscribe = encode(clientPackets(5).find(({ type }) => type === "subscribe")!, 5);
  const beginnings = [
    new Uint8Array(),
    connect.subarray(0, 7),
    connect,
    new Uint8Array([...connect, ...subscribe, ...message]),
    new Uint8Array([...connect, ...message.subarray(0, 5)]),
  ];
  const batch = 100;
  for (let made = 0; made < 10_000; made += batch) {
    await Promise.all(Array.from({ length: batch }, async (_, index) => {
      const conn = await scene.dial();
      const bytes = beginnings[index % beginnings.length];
      if (bytes.length > 0) await conn.write(bytes);
      conn.close();
    }));
  }
  await eventually(() => broker.stats().connectionsAccepted === 10_001, "the last connection");
  await scene.expectUnharmed();
});

// What is not MQTT

Deno.test("what speaks another protocol gets no answer, but an end", async () => {
  await using scene = await startScene();
  const hello = [
    new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    new TextEncoder().encode("SSH-2.0-OpenSSH_9.7\r\n"),
    new Uint8Array([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
    new Uint8Array(100),
    new Uint8Array(100).fill(0xff),
  ];
  for (const bytes of hello) {
    const client = await scene.broker.open();
    await client.sendBytes(bytes);
    await client.expectClosed();
  }
  await scene.expectUnharmed();
});

Deno.test("random bytes end the connection that they come on, before CONNECT and after it", async () => {
  await using scene = await startScene();
  const random = randomNumbers(1);
  for (let round = 0; round < 300; round++) {
    const garbage = Uint8Array.from({ length: 1 + random(200) }, () => random(256));
    const conn = await scene.dial();
    if (round % 2 === 1) await conn.write(encode(connectPacket({ clientId: "a" }), 5));
    await conn.write(garbage);
    await conn.closeWrite();
    await readToEnd(conn);
  }
  await scene.expectUnharmed();
});

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: packets with random changes are handled, or end the connection`, async () => {
    // A changed CONNECT may well ask for a session that lasts, or for authentication.
    await using scene = await startScene({ maximumSessionExpiry: 0 });
    const random = randomNumbers(level);
    const connect = encode(connectPacket({ level, clientId: "a" }), level);
    const packets = clientPackets(level);
    await Promise.all(packets.map(async (packet) => {
      const before = packet.type === "connect" ? new Uint8Array() : connect;
      for (let round = 0; round < 200; round++) {
        const bytes = encode(packet, level);
        for (let change = 0; change <= random(3); change++) bytes[random(bytes.length)] = random(256);
        const conn = await scene.dial();
        await conn.write(new Uint8Array([...before, ...bytes]));
        await conn.closeWrite();
        await readToEnd(conn);
      }
    }));
    await scene.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: what only a server sends, and what is not this version's, is a protocol error`, async () => {
    await using scene = await startScene();
    const packets: Packet[] = [
      { type: "connack", sessionPresent: false, reasonCode: 0 },
      { type: "suback", packetId: 1, reasonCodes: [0] },
      { type: "unsuback", packetId: 1, reasonCodes: level === 5 ? [0] : [] },
      { type: "pingresp" },
    ];
    const bytes = packets.map((packet) => encode(packet, level));
    // Authentication, of a client that has not begun with it.
    bytes.push(encode({ type: "auth", reasonCode: 0x19, properties: { authenticationMethod: "m" } }, 5));
    for (const packet of bytes) {
      const client = await scene.broker.connect({ level });
      await client.sendBytes(packet);
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x82);
      await client.expectClosed();
      await client.close();
    }
    await scene.expectUnharmed();
  });
}

// Too much of everything

Deno.test("a client that sends without end does not keep the others waiting", async () => {
  await using scene = await startScene();
  const { broker } = scene;
  const other = await broker.connect();
  const conn = await scene.dial();
  await conn.write(encode(connectPacket({ clientId: "flood" }), 5));
  const message = encode(publishPacket({ topic: "flood", payload: "x" }), 5);
  const chunk = new Uint8Array(1000 * message.length);
  for (let offset = 0; offset < chunk.length; offset += message.length) chunk.set(message, offset);
  const writer = conn.writable.getWriter();
  const flood = async () => {
    while (broker.stats().messagesReceived < 500_000) await writer.write(chunk);
  };
  const flooding = flood();
  while (broker.stats().messagesReceived < 500_000) await other.expectNothing();
  await flooding;
  conn.close();
  await other.disconnect();
  await scene.expectUnharmed();
});

Deno.test("a client that asks without end and does not read is not read either, until it reads", async () => {
  await using scene = await startScene({ limits: { outboundBytes: 10_000 } });
  const { broker } = scene;
  const [here, there] = duplexPair();
  void broker.serve(there);
  await using client = new RawClient(here);
  await client.connect({ clientId: "asks" });
  const chunk = new Uint8Array(2000).map((_byte, index) => index % 2 === 0 ? 0xc0 : 0);
  const chunks = 200;
  const before = broker.stats().bytesReceived;
  const asking = Promise.all(Array.from({ length: chunks }, () => client.sendBytes(chunk)));
  const other = await broker.connect();
  for (let round = 0; round < 100; round++) await other.expectNothing();
  const received = broker.stats().bytesReceived - before;
  assert(received < chunks * chunk.length / 2, `${received} bytes have been read`);
  for (let ping = 0; ping < chunks * chunk.length / 2; ping++) await client.expect("pingresp");
  await asking;
  await client.disconnect();
  await other.disconnect();
  await scene.expectUnharmed();
});

Deno.test("a client that does not read what it has asked for and is taken over stops nobody", async () => {
  await using scene = await startScene({ limits: { outboundBytes: 10_000 } });
  const { broker } = scene;
  const [here, there] = duplexPair();
  void broker.serve(there);
  await using client = new RawClient(here);
  await client.connect({ clientId: "taken" });
  const chunk = new Uint8Array(2000).map((_byte, index) => index % 2 === 0 ? 0xc0 : 0);
  const asking = Promise.allSettled(Array.from({ length: 200 }, () => client.sendBytes(chunk)));
  const other = await broker.connect();
  for (let round = 0; round < 100; round++) await other.expectNothing();
  await other.disconnect();
  const successor = await broker.connect({ clientId: "taken" });
  // While the one before has yet to take its last packet.
  await eventually(() => broker.stats().connections === 2, "the end of the client that was taken over");
  await successor.disconnect();
  await client.close();
  await asking;
  await scene.expectUnharmed();
});

Deno.test("one connection more than the limit is closed at once, and there is room when one has gone", async () => {
  await using scene = await startScene({ limits: { connections: 3 } });
  const { broker } = scene;
  const second = await broker.connect();
  const third = await broker.open();
  await eventually(() => broker.stats().connections === 3, "the third connection");
  const fourth = await broker.open();
  await fourth.expectClosed();
  assert.equal(broker.stats().connectionsRefused, 1);
  await second.disconnect();
  await eventually(() => broker.stats().connections === 2, "the end of a connection");
  const fifth = await broker.connect();
  await third.send(connectPacket({ clientId: "third" }));
  await third.expect("connack");
  for (const client of [third, fifth]) await client.disconnect();
  await scene.expectUnharmed();
});

Deno.test("connections of one address are limited, whatever others have", async () => {
  await using scene = await startScene({ limits: { connectionsPerAddress: 2 } });
  const { broker } = scene;
  const open = (remoteAddress: string) => {
    const [here, there] = duplexPair();
    void broker.serve(there, { remoteAddress });
    return new RawClient(here);
  };
  for (const remoteAddress of ["192.0.2.1", "192.0.2.2"]) {
    await using first = open(remoteAddress);
    await first.connect({ clientId: `${remoteAddress}-1` });
    await using second = open(remoteAddress);
    await second.connect({ clientId: `${remoteAddress}-2` });
    await using third = open(remoteAddress);
    await third.expectClosed();
    await first.disconnect();
    await using fourth = open(remoteAddress);
    await fourth.connect({ clientId: `${remoteAddress}-4` });
    await fourth.disconnect();
    await second.disconnect();
  }
  assert.equal(broker.stats().connectionsRefused, 2);
  await scene.expectUnharmed();
});

Deno.test("connections that say nothing leave room for others after a while", async () => {
  await using scene = await startScene({ limits: { connections: 4, connectTimeout: 1 } });
  const silent = await Promise.all(Array.from({ length: 3 }, () => scene.broker.open()));
  await eventually(() => scene.broker.stats().connections === 4, "the connections");
  for (const client of silent) {
    await client.expectClosed();
    await client.close();
  }
  await eventually(() => scene.broker.stats().connections === 1, "the end of the connections");
  const late = await scene.broker.connect();
  await late.disconnect();
  await scene.expectUnharmed();
});
