import assert from "node:assert/strict";
import {
  Broker,
  type BrokerOptions,
  defaultLimits,
  type Duplex,
  encode,
  type Limits,
  type MaybePromise,
  type PublishPacket,
  type PublishProperties,
} from "../../mod.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import { connectPacket, publishPacket, RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive, receivedSoFar, receiveTexts, textOf } from "./receive.ts";
import { RecordingLogger } from "./recording_logger.ts";
import { lasting } from "./versions.ts";

/** A client at the other end of a connection in memory, and the promise of its end. */
async function connectInMemory(broker: Broker, clientId = "a"): Promise<{ client: RawClient; served: Promise<void> }> {
  const [here, there] = duplexPair();
  const served = broker.serve(there);
  const client = new RawClient(here);
  await client.connect({ clientId });
  return { client, served };
}

// Publishing

Deno.test("a message that the program publishes reaches clients and the program itself, as text or bytes", async () => {
  await using broker = await startBroker();
  const local: string[] = [];
  using _subscription = await broker.subscribe("a/+", (packet) => void local.push(textOf(packet)));
  const client = await broker.connect();
  await client.subscribe("a/#", { qos: 2 });
  await broker.publish("a/1", "Grüße");
  await broker.publish("a/2", new TextEncoder().encode("bytes"), { qos: 2 });
  assert.deepEqual(local, ["Grüße", "bytes"]);
  const [first, second] = [await receive(client), await receive(client)];
  assert.deepEqual([first.text, first.qos, first.retain], ["Grüße", 0, false]);
  assert.deepEqual([second.text, second.qos], ["bytes", 2]);
});

Deno.test("properties go with a message that the program publishes", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("a");
  const properties: PublishProperties = {
    contentType: "text/plain",
    responseTopic: "b",
    correlationData: new Uint8Array([1, 2]),
    userProperties: [["x", "1"], ["x", "2"]],
  };
  await broker.publish("a", "x", { properties });
  assert.deepEqual((await receive(client)).properties, properties);
});

Deno.test("bytes that the program changes after publishing are sent as they were", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("a", { qos: 1 });
  await before.disconnect();
  const payload = new TextEncoder().encode("before");
  const published = broker.publish("a", payload, { qos: 1, retain: true });
  payload.fill(0x78);
  await published;
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  assert.equal((await receive(after)).text, "before");
  await after.subscribe("a");
  assert.equal((await receive(after)).text, "before");
});

Deno.test("the program may publish below $SYS", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("$SYS/#");
  await broker.publish("$SYS/uptime", "1");
  assert.equal((await receive(client)).topic, "$SYS/uptime");
});

Deno.test("hooks that authorise or change what clients publish are not asked about the program's own messages", async () => {
  await using broker = await startBroker();
  const asked: string[] = [];
  await broker.use({
    id: "guard",
    onPublish: () => void asked.push("onPublish"),
    onPublishReceived: () => void asked.push("onPublishReceived"),
  });
  await broker.publish("a", "x");
  assert.deepEqual(asked, []);
});

for (const event of ["onPublishDeliver", "storeRetained", "canRead"] as const) {
  Deno.test(`messages that are published without waiting keep their order, also if ${event} takes its time`, async () => {
    await using broker = await startBroker();
    const client = await broker.connect();
    await client.subscribe("a", { qos: 1 });
    let calls = 0;
    await broker.use({
      id: "slow",
      async [event]() {
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, 5 - calls++)));
        return event === "canRead" ? true : undefined;
      },
    });
    const local: string[] = [];
    using _subscription = await broker.subscribe("a", (packet) => void local.push(textOf(packet)));
    const texts = Array.from({ length: 20 }, (_, index) => `${index}`);
    const publishing = texts.map((text) => broker.publish("a", text, { qos: 1, retain: event === "storeRetained" }));
    assert.deepEqual(await receiveTexts(client, 20), texts);
    await Promise.all(publishing);
    assert.deepEqual(local, texts);
  });
}

Deno.test("messages that are published without waiting keep their order without any hook", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("a", { qos: 1 });
  const texts = Array.from({ length: 100 }, (_, index) => `${index}`);
  for (const text of texts) void broker.publish("a", text, { qos: 1 });
  assert.deepEqual(await receiveTexts(client, 100), texts);
});

Deno.test("publishing settles when the message is stored, and one that fails holds up none after it", async () => {
  await using broker = await startBroker();
  const stored = Promise.withResolvers<void>();
  await broker.use({
    id: "memory",
    storeRetained: (topic) => topic === "a" ? stored.promise : undefined,
  });
  const events: string[] = [];
  const first = broker.publish("a", "x", { retain: true }).catch((error) => events.push(error.message));
  const second = broker.publish("b", "x", { retain: true }).then(() => events.push("stored"));
  await broker.connect();
  assert.deepEqual(events, []);
  stored.reject(new Error("disk full"));
  await Promise.all([first, second]);
  assert.deepEqual(events, ["disk full", "stored"]);
});

for (
  const [what, publish, error] of [
    ["an empty topic", (broker) => broker.publish("", "x"), { name: "PacketError", message: '"" is not a topic name' }],
    ["a wildcard in the topic", (broker) => broker.publish("a/+", "x"), {
      name: "PacketError",
      message: '"a/+" is not a topic name',
    }],
    ["a topic with U+0000", (broker) => broker.publish("a\0b", "x"), { name: "RangeError" }],
    ["a topic of more than 65,535 bytes", (broker) => broker.publish("é".repeat(40_000), "x"), {
      name: "RangeError",
      message: /is 80000 bytes long; at most 65,535 are allowed/,
    }],
    ["a topic of too many levels", (broker) => broker.publish("/".repeat(200), "x"), {
      name: "PacketError",
      message: "topic name has 201 levels; at most 200 are accepted",
    }],
    [
      "a property out of its range",
      (broker) => broker.publish("a", "x", { properties: { messageExpiryInterval: -1 } }),
      { name: "RangeError", message: /messageExpiryInterval.*-1/ },
    ],
    [
      "a response topic with a wildcard",
      (broker) => broker.publish("a", "x", { properties: { responseTopic: "b/#" } }),
      { name: "RangeError", message: /responseTopic.*b\/#/ },
    ],
  ] as [string, (broker: Broker) => Promise<void>, { name: string; message?: string | RegExp }][]
) {
  Deno.test(`publishing with ${what} is an error that names it`, async () => {
    await using broker = new Broker();
    await assert.rejects(publish(broker), error);
  });
}

// Subscribing

Deno.test("the program gets what clients publish, with QoS, retain flag and properties as they were", async () => {
  await using broker = await startBroker();
  const packets: PublishPacket[] = [];
  using _subscription = await broker.subscribe("#", (packet) => void packets.push(packet));
  const client = await broker.connect();
  const properties = { contentType: "x" };
  await client.publish({ topic: "a", payload: "1", qos: 2, retain: true, properties });
  await client.publish({ topic: "b/c", payload: "2", qos: 1 });
  assert.deepEqual(packets, [
    publishPacket({ topic: "a", payload: "1", qos: 2, retain: true, properties }),
    publishPacket({ topic: "b/c", payload: "2", qos: 1 }),
  ]);
});

Deno.test("a payload that a handler keeps stays as it is, and one that it changes changes for nobody else", async () => {
  await using broker = await startBroker();
  const kept: PublishPacket[] = [];
  using _changes = await broker.subscribe("a", ({ payload }) => void payload.fill(0x78));
  using _keeps = await broker.subscribe("a", (packet) => void kept.push(packet));
  const [publisher, subscriber] = [await broker.connect(), await broker.connect()];
  await subscriber.subscribe("a");
  const texts = Array.from({ length: 100 }, (_, index) => `${index}`);
  for (const payload of texts) await publisher.publish({ topic: "a", payload, qos: 1 });
  assert.deepEqual(kept.map(textOf), texts);
  assert.deepEqual(await receivedSoFar(subscriber), texts);
});

Deno.test("retained messages come first, unless the program does not want them", async () => {
  await using broker = new Broker();
  await broker.publish("a", "kept", { retain: true });
  const seen: string[] = [];
  const handler = (name: string) => (packet: PublishPacket) => {
    seen.push(`${name} ${textOf(packet)} ${packet.retain}`);
  };
  using _with = await broker.subscribe("+", handler("with"));
  using _without = await broker.subscribe("+", handler("without"), { retained: false });
  using _shared = await broker.subscribe("$share/g/+", handler("shared"));
  assert.deepEqual(seen.splice(0), ["with kept true"]);
  await broker.publish("a", "live");
  assert.deepEqual(seen.sort(), ["shared live false", "with live false", "without live false"]);
});

Deno.test("every subscription of the program is one of its own, also with the same filter or handler", async () => {
  await using broker = new Broker();
  let calls = 0;
  const handler = () => void (calls += 1);
  const subscriptions = [];
  for (const filter of ["a", "a", "+", "#"]) subscriptions.push(await broker.subscribe(filter, handler));
  await broker.publish("a", "x");
  assert.equal(calls, 4);
  subscriptions[0].unsubscribe();
  subscriptions[0].unsubscribe();
  await broker.publish("a", "x");
  assert.equal(calls, 7);
  assert.equal(broker.stats().subscriptions, 3);
});

Deno.test("a subscription ends with its using block", async () => {
  await using broker = new Broker();
  const seen: string[] = [];
  {
    using subscription = await broker.subscribe("a", (packet) => void seen.push(textOf(packet)));
    assert.equal(subscription.topicFilter, "a");
    await broker.publish("a", "inside");
  }
  await broker.publish("a", "outside");
  assert.deepEqual(seen, ["inside"]);
});

for (
  const [how, fail] of [
    ["throws", () => {
      throw new Error("boom");
    }],
    ["rejects", () => Promise.reject(new Error("boom"))],
  ] as [string, () => MaybePromise<void>][]
) {
  Deno.test(`a handler that ${how} is logged, and keeps the message from nobody else`, async () => {
    const logger = new RecordingLogger();
    await using broker = await startBroker({ logger });
    const seen: string[] = [];
    using _broken = await broker.subscribe("a", fail);
    using _fine = await broker.subscribe("a", (packet) => void seen.push(textOf(packet)));
    const client = await broker.connect();
    assert.equal(await client.publish({ topic: "a", payload: "x", qos: 1 }), 0);
    assert.deepEqual(seen, ["x"]);
    assert.deepEqual(logger.entries, ["error: a subscription's handler failed on a: Error: boom"]);
  });
}

for (const filter of ["", "a/#/b", "a+", "$share/g", "a\0"]) {
  Deno.test(`subscribing to ${JSON.stringify(filter)} is an error that names it`, async () => {
    await using broker = new Broker();
    await assert.rejects(broker.subscribe(filter, () => {}), {
      name: "RangeError",
      message: `${JSON.stringify(filter)} is not a topic filter`,
    });
    assert.equal(broker.stats().subscriptions, 0);
  });
}

Deno.test("a handler can publish, subscribe and unsubscribe", async () => {
  await using broker = new Broker();
  const seen: string[] = [];
  const question = await broker.subscribe("question", async () => {
    question.unsubscribe();
    await broker.subscribe("answer", (packet) => void seen.push(textOf(packet)));
    await broker.publish("answer", "42");
  });
  await broker.publish("question", "?");
  await eventually(() => seen.length > 0, "the answer");
  await broker.publish("question", "?");
  assert.deepEqual(seen, ["42"]);
});

// Serving

Deno.test("a client is served over any pair of streams, and serving ends with the connection", async () => {
  await using broker = new Broker();
  const { client, served } = await connectInMemory(broker);
  await client.subscribe("a", { qos: 2 });
  assert.equal(broker.stats().clients, 1);
  await broker.publish("a", "x".repeat(200_000), { qos: 2 });
  assert.equal((await receive(client)).text.length, 200_000);
  await client.disconnect();
  await served;
  assert.deepEqual([broker.stats().clients, broker.stats().connections], [0, 0]);
});

for (
  const [what, cut] of [
    ["byte by byte", (bytes: Uint8Array) => Array.from(bytes, (byte) => new Uint8Array([byte]))],
    ["in one piece", (bytes: Uint8Array) => [bytes]],
  ] as const
) {
  for (const type of [undefined, "bytes"] as const) {
    Deno.test(`packets that arrive ${what} from a ${type ?? "default"} stream are understood`, async () => {
      await using broker = new Broker();
      const packets = [
        connectPacket({ clientId: "a" }),
        publishPacket({ topic: "a", payload: "1", retain: true }),
        publishPacket({ topic: "b", payload: "x".repeat(1000), retain: true, qos: 1, packetId: 1 }),
        { type: "disconnect" as const, reasonCode: 0 },
      ];
      const chunks = cut(new Uint8Array(packets.flatMap((packet) => [...encode(packet, 5)])));
      const readable = new ReadableStream<Uint8Array>({
        type: type as undefined,
        start(controller) {
          for (const chunk of chunks) controller.enqueue(chunk);
          controller.close();
        },
      });
      const answers: number[] = [];
      const writable = new WritableStream<Uint8Array>({ write: (chunk) => void answers.push(...chunk) });
      await broker.serve({ readable, writable });
      assert.equal(broker.stats().retainedMessages, 2);
      assert.equal(answers[0] >> 4, 2);
      assert.equal(answers.at(2 + answers[1])! >> 4, 4);
    });
  }
}

Deno.test("hooks are told where a peer that is served connects from, if that is known", async () => {
  await using broker = new Broker();
  const addresses: (string | undefined)[] = [];
  await broker.use({ id: "watch", onConnect: ({ remoteAddress }) => void addresses.push(remoteAddress) });
  for (const peer of [{ remoteAddress: "192.0.2.7" }, {}, undefined]) {
    const [here, there] = duplexPair();
    const served = broker.serve(there, peer);
    const client = new RawClient(here);
    await client.connect({ clientId: "a" });
    await client.disconnect();
    await served;
  }
  assert.deepEqual(addresses, ["192.0.2.7", undefined, undefined]);
});

for (
  const [what, duplex] of [
    ["cannot be read", () => ({
      readable: new ReadableStream({ start: (controller) => controller.error(new Error("gone")) }),
      writable: new WritableStream(),
    })],
    ["cannot be written to", () => ({
      readable: new ReadableStream({
        start: (controller) => controller.enqueue(encode(connectPacket({ clientId: "a" }), 5)),
      }),
      writable: new WritableStream({ write: () => Promise.reject(new Error("gone")) }),
    })],
    ["ends at once", () => ({
      readable: new ReadableStream({ start: (controller) => controller.close() }),
      writable: new WritableStream(),
    })],
    ["fails when it is closed", () => ({
      readable: new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array([0xff, 0xff])),
        cancel: () => Promise.reject(new Error("gone")),
      }),
      writable: new WritableStream({ close: () => Promise.reject(new Error("gone")) }),
    })],
  ] as [string, () => Duplex][]
) {
  Deno.test(`serving a peer that ${what} ends without an error`, async () => {
    await using broker = new Broker();
    await broker.serve(duplex());
    assert.deepEqual([broker.stats().connections, broker.stats().sessions], [0, 0]);
  });
}

// Figures

Deno.test("stats say what the broker holds and has done", async () => {
  const before = Date.now();
  await using broker = await startBroker({ limits: { connections: 3, queueMessages: 1 } });
  const { startedAt, ...nothing } = broker.stats();
  assert(startedAt >= before && startedAt <= Date.now());
  for (const [name, figure] of Object.entries(nothing)) assert.equal(figure, 0, name);
  const client = await broker.connect({ clientId: "a" });
  const away = await broker.connect({ ...lasting(5), clientId: "away" });
  await away.subscribe(["a", "b"], { qos: 1 });
  await away.disconnect();
  await eventually(() => broker.stats().connections === 1, "the end of a connection");
  await broker.open();
  await broker.open();
  const refused = await broker.open();
  await refused.expectClosed();
  using _local = await broker.subscribe("a", () => {});
  await client.subscribe(["b", "$share/g/z"]);
  await client.publish({ topic: "c", payload: "x" });
  // Its acknowledgement says that the one before has arrived as well.
  await client.publish({ topic: "a", payload: "retained", retain: true, qos: 1 });
  await broker.publish("b", "for both", { qos: 1 });
  assert.equal((await receive(client)).text, "for both");
  const { bytesReceived, bytesSent, queuedBytes, ...stats } = broker.stats();
  assert.deepEqual(stats, {
    startedAt,
    connections: 3,
    clients: 1,
    clientsMaximum: 2,
    sessions: 2,
    sessionsExpired: 0,
    subscriptions: 5,
    sharedSubscriptions: 1,
    retainedMessages: 1,
    queuedMessages: 1,
    packetsReceived: 7,
    packetsSent: 6,
    messagesReceived: 2,
    messagesSent: 1,
    payloadBytesReceived: 9,
    payloadBytesSent: 8,
    messagesDropped: 1,
    connectionsAccepted: 4,
    connectionsRefused: 1,
    connectsReceived: 2,
  });
  assert(bytesReceived > 60 && bytesSent > 40 && queuedBytes > 8, `${bytesReceived} ${bytesSent} ${queuedBytes}`);
  await client.expectNothing();
  const later = broker.stats();
  assert.deepEqual([later.bytesReceived - bytesReceived, later.bytesSent - bytesSent], [2, 2]);
});

// The end

Deno.test("a closed broker refuses everything, and closing it again is fine", async () => {
  const broker = await startBroker();
  const client = await broker.connect();
  assert.equal(broker.closed, false);
  const closing = broker.close();
  assert.equal(broker.closed, true);
  assert.equal((await client.expect("disconnect")).reasonCode, 0x8b);
  await client.expectClosed();
  await client.close();
  assert.equal(broker.close(), closing);
  await closing;
  const closed = { message: "the broker is closed" };
  await assert.rejects(broker.publish("a", "x"), closed);
  await assert.rejects(broker.subscribe("a", () => {}), closed);
  await assert.rejects(broker.listen({ port: 0 }), closed);
  await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port: broker.port }));
  const [here, there] = duplexPair();
  await broker.serve(there);
  await new RawClient(here).expectClosed();
  assert.deepEqual([broker.stats().clients, broker.stats().connections], [0, 0]);
});

Deno.test("an await using block closes the broker, with its hooks", async () => {
  const stopped: string[] = [];
  let client: RawClient;
  {
    await using broker = new Broker();
    await broker.use({ id: "a", stop: () => void stopped.push("a") });
    const connected = await connectInMemory(broker);
    client = connected.client;
    void client.expect("disconnect").then(() => client.close());
  }
  assert.deepEqual(stopped, ["a"]);
});

Deno.test("closing ends also when nothing else goes on and a peer in memory does nothing", async () => {
  const broker = new Broker();
  const [, there] = duplexPair();
  const served = broker.serve(there);
  await broker.close();
  await served;
  assert.equal(broker.stats().connections, 0);
});

// Several brokers

Deno.test("two brokers in one process share nothing", async () => {
  await using first = await startBroker({ limits: { packetSize: 5000 } });
  await using second = await startBroker();
  const asked: string[] = [];
  await first.use({ id: "guard", onPublish: ({ clientId }) => void asked.push(clientId) });
  await second.use({ id: "guard" });
  const [one, other] = [await first.connect({ clientId: "a" }), await second.connect({ clientId: "a" })];
  await one.subscribe("#");
  await other.subscribe("#");
  await first.publish("t", "first", { retain: true });
  await second.publish("t", "second", { retain: true });
  await other.publish({ topic: "u", payload: "other", qos: 0 });
  assert.deepEqual(await receivedSoFar(one), ["first"]);
  assert.deepEqual(await receivedSoFar(other), ["second", "other"]);
  assert.deepEqual(asked, []);
  assert.deepEqual([first.stats().messagesReceived, second.stats().messagesReceived], [0, 1]);
  assert.notEqual(one.connack.properties?.maximumPacketSize, other.connack.properties?.maximumPacketSize);
  await first.close();
  await other.expectNothing();
});

// Options

for (
  const [options, message] of [
    [{ queuePolicy: "drop" }, "queuePolicy is drop; it must be one of drop-oldest, drop-new, disconnect"],
    [{ refusedPublish: "ignore" }, "refusedPublish is ignore; it must be one of acknowledge, disconnect"],
    [{ maximumQos: 3 }, "maximumQos is 3; it must be one of 0, 1, 2"],
    [{ maximumKeepAlive: 0 }, "maximumKeepAlive is 0; it must be a whole number of seconds from 1 to 65535"],
    [{ maximumKeepAlive: 1.5 }, "maximumKeepAlive is 1.5; it must be a whole number of seconds from 1 to 65535"],
    [
      { maximumSessionExpiry: -1 },
      "maximumSessionExpiry is -1; it must be a whole number of seconds from 0 to 4294967295",
    ],
    [{ limits: { packetsize: 100 } }, "limits.packetsize does not exist"],
    [{ limits: { toString: 100 } }, "limits.toString does not exist"],
    [{ limits: { packetSize: 63 } }, "limits.packetSize is 63; it must be a whole number from 64 to 268435460"],
    [{ limits: { packetSize: NaN } }, "limits.packetSize is NaN; it must be a whole number from 64 to 268435460"],
    [{ limits: { receiveMaximum: 0 } }, "limits.receiveMaximum is 0; it must be a whole number from 1 to 65535"],
    [{ limits: { receiveMaximum: 1.5 } }, "limits.receiveMaximum is 1.5; it must be a whole number from 1 to 65535"],
    [{ limits: { inflight: 65_536 } }, "limits.inflight is 65536; it must be a whole number from 1 to 65535"],
    [
      { limits: { topicAliasMaximum: -1 } },
      "limits.topicAliasMaximum is -1; it must be a whole number from 0 to 65535",
    ],
    [{ limits: { connections: "10" } }, "limits.connections is 10; it must be a whole number from 1 to Infinity"],
    [{ limits: { connectTimeout: 0 } }, "limits.connectTimeout is 0; it must be a number of seconds from 1 to 86400"],
    [
      { limits: { connectTimeout: Infinity } },
      "limits.connectTimeout is Infinity; it must be a number of seconds from 1 to 86400",
    ],
  ] as [BrokerOptions, string][]
) {
  Deno.test(`a broker cannot be made with ${Deno.inspect(options, { breakLength: Infinity })}`, () => {
    assert.throws(() => new Broker(options), { name: "RangeError", message });
  });
}

Deno.test("an option or a limit that is undefined has its default", async () => {
  const limits = Object.fromEntries(Object.keys(defaultLimits).map((name) => [name, undefined])) as Partial<Limits>;
  await using broker = await startBroker({ limits, queuePolicy: undefined, maximumQos: undefined, logger: undefined });
  const { connack } = await broker.connect();
  assert.equal(connack.properties?.receiveMaximum, defaultLimits.receiveMaximum);
  assert.equal(connack.properties?.maximumPacketSize, defaultLimits.packetSize);
});

for (const name of Object.keys(defaultLimits) as (keyof Limits)[]) {
  Deno.test(`a client is served with the lowest and the highest ${name} that there may be`, async () => {
    const lowest = { packetSize: 64, queueMessages: 0, queueBytes: 0, topicAliasMaximum: 0 };
    const highest: Partial<Limits> = {
      packetSize: 268_435_460,
      topicLength: 65_535,
      receiveMaximum: 65_535,
      inflight: 65_535,
      topicAliasMaximum: 65_535,
      connectTimeout: 86_400,
    };
    for (const value of [{ ...lowest }[name as "packetSize"] ?? 1, highest[name] ?? Infinity]) {
      await using broker = await startBroker({ limits: { [name]: value } });
      const client = await broker.connect({ clientId: "a" });
      await client.subscribe("t", { qos: 1 });
      await broker.publish("t", "x", { qos: 1 });
      assert.equal((await receive(client)).text, "x");
    }
  });
}
