import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Hook, QueuePolicy } from "../../mod.ts";
import { publishPacket } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive, receiveTexts, textOf } from "./receive.ts";
import { lasting, versions } from "./versions.ts";

/** More than the kernel keeps for a connection whose peer does not read, in bytes. */
const MORE_THAN_KERNEL_BUFFERS = 24_000_000;

/** A hook that remembers what was dropped, as `"client: payload (reason)"`. */
function dropWatcher(dropped: string[]): Hook {
  return {
    id: "drop watcher",
    onMessageDropped: (clientId, packet, reason) => void dropped.push(`${clientId}: ${textOf(packet)} (${reason})`),
  };
}

/** Publishes `"1"`, `"2"`, … up to `count` on topic t. */
async function publishNumbers(broker: TestBroker, count: number): Promise<void> {
  for (let number = 1; number <= count; number++) await broker.publish("t", `${number}`, { qos: 1 });
}

/** Bytes that look different at every place. */
function noise(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => Math.imul(index, 2654435761) >>> 24);
}

// While the client is away

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: messages wait for a client that is away, in their order, but not at QoS 0`, async () => {
    await using broker = await startBroker();
    const before = await broker.connect({ ...lasting(level), clientId: "a" });
    await before.subscribe("#", { qos: 2 });
    await before.disconnect();
    const publisher = await broker.connect({ level });
    for (let number = 1; number <= 9; number++) {
      await publisher.publish({ topic: `t/${number % 4}`, payload: `${number}`, qos: number % 3 as 0 | 1 | 2 });
    }
    await publisher.expectNothing();
    assert.equal(broker.stats().queuedMessages, 6);
    const after = await broker.connect({ ...lasting(level), clientId: "a" });
    const expected = [[1, 1], [2, 2], [4, 1], [5, 2], [7, 1], [8, 2]];
    for (const [number, qos] of expected) {
      const packet = await after.expect("publish");
      assert.deepEqual([textOf(packet), packet.topic, packet.qos], [`${number}`, `t/${number % 4}`, qos]);
    }
    await after.expectNothing();
    assert.equal(broker.stats().queuedMessages, 0);
  });

  Deno.test(`MQTT ${version}: messages keep waiting for a client that is back only for a moment`, async () => {
    await using broker = await startBroker({ limits: { inflight: 2 } });
    const before = await broker.connect({ ...lasting(level), clientId: "a" });
    await before.subscribe("t", { qos: 1 });
    await before.disconnect();
    await publishNumbers(broker, 5);
    const moment = await broker.connect({ ...lasting(level), clientId: "a" });
    assert.deepEqual(await receiveTexts(moment, 1), ["1"]);
    await moment.disconnect();
    const after = await broker.connect({ ...lasting(level), clientId: "a" });
    assert.deepEqual(await receiveTexts(after, 4), ["2", "3", "4", "5"]);
  });
}

const offline: [QueuePolicy, received: string[], dropped: string[]][] = [
  ["drop-oldest", ["3", "4", "5"], ["a: 1 (queue-full)", "a: 2 (queue-full)"]],
  ["drop-new", ["1", "2", "3"], ["a: 4 (queue-full)", "a: 5 (queue-full)"]],
  ["disconnect", ["1", "2", "3"], ["a: 4 (queue-full)", "a: 5 (queue-full)"]],
];

for (const [queuePolicy, received, dropped] of offline) {
  for (const limit of ["queueMessages", "queueBytes"] as const) {
    Deno.test(`a full queue of a client that is away follows the policy ${queuePolicy} (${limit})`, async () => {
      // A message in the queue is taken to cost 256 bytes more than its packet has: three of these fit.
      const limits = limit === "queueMessages" ? { queueMessages: 3 } : { queueBytes: 900 };
      await using broker = await startBroker({ queuePolicy, limits });
      const drops: string[] = [];
      await broker.use(dropWatcher(drops));
      const before = await broker.connect({ ...lasting(5), clientId: "a" });
      await before.subscribe("t", { qos: 1 });
      await before.disconnect();
      await publishNumbers(broker, 5);
      assert.deepEqual(drops, dropped);
      assert.deepEqual([broker.stats().queuedMessages, broker.stats().messagesDropped], [3, 2]);
      const after = await broker.connect({ ...lasting(5), clientId: "a" });
      assert.deepEqual(await receiveTexts(after, 3), received);
      await after.expectNothing();
    });
  }
}

Deno.test("without a queue nothing waits for a client that is away", async () => {
  await using broker = await startBroker({ limits: { queueMessages: 0 } });
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { qos: 1 });
  await before.disconnect();
  await publishNumbers(broker, 2);
  assert.equal(broker.stats().messagesDropped, 2);
  const after = await broker.connect({ ...lasting(5), clientId: "a" });
  await after.expectNothing();
});

Deno.test("what waits when its session ends is dropped, and told", async () => {
  await using broker = await startBroker();
  const drops: string[] = [];
  await broker.use(dropWatcher(drops));
  const before = await broker.connect({ ...lasting(5), clientId: "a" });
  await before.subscribe("t", { qos: 1 });
  await broker.publish("t", "in flight", { qos: 1 });
  await before.expect("publish");
  await before.disconnect();
  await broker.publish("t", "waiting", { qos: 1 });
  await broker.connect({ clientId: "a", cleanStart: true });
  assert.deepEqual(drops, ["a: in flight (session-ended)", "a: waiting (session-ended)"]);
});

// While the client is busy

const busy: [QueuePolicy, received: string[]][] = [
  ["drop-oldest", ["1", "4", "5"]],
  ["drop-new", ["1", "2", "3"]],
];

for (const [queuePolicy, received] of busy) {
  Deno.test(`a full queue of a client that does not acknowledge follows the policy ${queuePolicy}`, async () => {
    await using broker = await startBroker({ queuePolicy, limits: { queueMessages: 2, inflight: 1 } });
    const client = await broker.connect();
    await client.subscribe("t", { qos: 1 });
    await publishNumbers(broker, 5);
    assert.equal(broker.stats().messagesDropped, 2);
    assert.deepEqual(await receiveTexts(client, 3), received);
    await client.expectNothing();
  });
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: a client whose queue is full is disconnected if that is the policy`, async () => {
    await using broker = await startBroker({ queuePolicy: "disconnect", limits: { queueMessages: 2, inflight: 1 } });
    const before = await broker.connect({ ...lasting(level), clientId: "a" });
    await before.subscribe("t", { qos: 1 });
    await publishNumbers(broker, 4);
    assert.equal(textOf(await before.expect("publish")), "1");
    if (level === 5) assert.equal((await before.expect("disconnect")).reasonCode, 0x97);
    await before.expectClosed();
    const after = await broker.connect({ ...lasting(level), clientId: "a" });
    assert.deepEqual(await receiveTexts(after, 3), ["1", "2", "3"]);
    await after.expectNothing();
  });
}

// While the client does not read

Deno.test("QoS 0 for a client that does not read is dropped past the limit, and other clients are served", async () => {
  const outboundBytes = 100_000;
  await using broker = await startBroker({ limits: { outboundBytes } });
  const drops: string[] = [];
  await broker.use({
    id: "watcher",
    onMessageDropped: (clientId, { topic, qos }, reason) => void drops.push(`${clientId} ${topic} ${qos} ${reason}`),
  });
  const deaf = await broker.connect({ clientId: "deaf" });
  const other = await broker.connect({ clientId: "other" });
  for (const client of [deaf, other]) await client.subscribe("t");
  const publisher = await broker.connect();
  const payload = noise(20_000);
  const count = MORE_THAN_KERNEL_BUFFERS / payload.length;
  for (let sent = 0; sent < count; sent++) {
    await publisher.send(publishPacket({ topic: "t", payload }));
    await other.expect("publish");
  }
  assert(drops.length > 0);
  assert.deepEqual(new Set(drops), new Set(["deaf t 0 slow-consumer"]));
  assert.equal(broker.stats().messagesDropped, drops.length);
  // When it reads again, it finds what was not dropped, whole, and then what is new.
  for (let received = 0; received < count - drops.length; received++) {
    assert.deepEqual((await deaf.expect("publish")).payload, payload);
  }
  await publisher.send(publishPacket({ topic: "t", payload: "new" }));
  assert.equal(textOf(await deaf.expect("publish")), "new");
});

for (const qos of [1, 2] as const) {
  Deno.test(`QoS ${qos} waits for a client that does not read, and other clients are served`, async () => {
    await using broker = await startBroker({ limits: { outboundBytes: 100_000, inflight: 65_535 } });
    const deaf = await broker.connect();
    const other = await broker.connect();
    for (const client of [deaf, other]) await client.subscribe("t", { qos });
    const publisher = await broker.connect();
    const padding = "x".repeat(20_000);
    const count = MORE_THAN_KERNEL_BUFFERS / padding.length;
    for (let number = 1; number <= count; number++) {
      assert.equal(await publisher.publish({ topic: "t", payload: `${number} ${padding}`, qos }), 0);
      await receive(other);
    }
    assert(broker.stats().queuedMessages > 0);
    for (let number = 1; number <= count; number++) {
      const packet = await deaf.expect("publish");
      assert.equal(textOf(packet), `${number} ${padding}`);
    }
    assert.deepEqual([broker.stats().messagesDropped, broker.stats().queuedMessages], [0, 0]);
  });
}

Deno.test("messages keep their order for a client that begins to read while more is published", async () => {
  await using broker = await startBroker({ limits: { outboundBytes: 1_000_000, inflight: 65_535 } });
  const slow = await broker.connect();
  await slow.subscribe("t", { qos: 1 });
  const padding = "x".repeat(20_000);
  let published = 0;
  const publish = () => broker.publish("t", `${++published} ${padding}`, { qos: 1 });
  while (broker.stats().queuedMessages < 100) await publish();
  for (let received = 1; received <= published; received++) {
    assert.equal(parseInt(textOf(await slow.expect("publish"))), received);
    if (received % 2 === 0 && published < 3000) await publish();
  }
  assert.equal(broker.stats().messagesDropped, 0);
});

Deno.test("a client that does not read and whose queue is full loses the oldest messages, and no others", async () => {
  await using broker = await startBroker({ limits: { outboundBytes: 100_000, inflight: 65_535, queueMessages: 10 } });
  const dropped: number[] = [];
  await broker.use({ id: "watcher", onMessageDropped: (_id, packet) => void dropped.push(parseInt(textOf(packet))) });
  const deaf = await broker.connect();
  await deaf.subscribe("t", { qos: 1 });
  const padding = "x".repeat(20_000);
  const count = MORE_THAN_KERNEL_BUFFERS / padding.length;
  for (let number = 1; number <= count; number++) await broker.publish("t", `${number} ${padding}`, { qos: 1 });
  assert.equal(broker.stats().queuedMessages, 10);
  const received: number[] = [];
  while (received.at(-1) !== count) received.push(parseInt(textOf(await deaf.expect("publish"))));
  assert.deepEqual([...received, ...dropped].toSorted((a, b) => a - b), Array.from({ length: count }, (_, i) => i + 1));
  assert.deepEqual(received, received.toSorted((a, b) => a - b));
  assert.deepEqual(received.slice(-10), Array.from({ length: 10 }, (_, i) => count - 9 + i));
});

Deno.test("a client that is gone while it had not read leaves nothing behind", async () => {
  await using broker = await startBroker({ limits: { outboundBytes: 100_000 } });
  const deaf = await broker.connect();
  await deaf.subscribe("t", { qos: 1 });
  for (let sent = 0; sent < MORE_THAN_KERNEL_BUFFERS; sent += 1_000_000) {
    await broker.publish("t", new Uint8Array(1_000_000), { qos: 1 });
  }
  await deaf.close();
  await eventually(() => broker.stats().connections === 0, "the end of the connection");
  const { sessions, subscriptions, queuedMessages } = broker.stats();
  assert.deepEqual([sessions, subscriptions, queuedMessages], [0, 0, 0]);
});

// Large messages

for (const qos of [0, 1, 2] as const) {
  Deno.test(`a message of a megabyte reaches many subscribers of all versions at QoS ${qos}, as it was`, async () => {
    await using broker = await startBroker();
    const subscribers = [];
    for (let count = 0; count < 21; count++) {
      const client = await broker.connect({ level: versions[count % 3][0] });
      await client.subscribe("t", { qos: count % 2 === 0 ? 2 : 0 });
      subscribers.push(client);
    }
    const payload = noise(1_000_000);
    const publisher = await broker.connect();
    await publisher.publish({ topic: "t", payload, qos });
    await publisher.publish({ topic: "t", payload: "small", qos });
    for (const client of subscribers) {
      const packet = await client.expect("publish");
      assert.equal(packet.topic, "t");
      assert(equal(packet.payload, payload));
      assert.equal(textOf(await client.expect("publish")), "small");
    }
  });
}

// Sizes at which messages lie in one read buffer, and are as large as a buffer that is used again.
for (const size of [40_000, 65_536]) {
  Deno.test(`messages of ${size} bytes stay as they were while others follow`, async () => {
    await using broker = await startBroker();
    const subscribers = [];
    for (const level of [4, 5, 5] as const) {
      const client = await broker.connect({ level });
      await client.subscribe("t", { qos: 1 });
      subscribers.push(client);
    }
    const publisher = await broker.connect();
    for (let number = 1; number <= 50; number++) {
      await publisher.send(publishPacket({ topic: "t", payload: new Uint8Array(size).fill(number) }));
    }
    await publisher.expectNothing();
    for (const client of subscribers) {
      for (let number = 1; number <= 50; number++) {
        const { payload } = await client.expect("publish");
        assert(payload.length === size && payload.every((byte) => byte === number), `message ${number} has changed`);
      }
    }
  });
}

// The first one's bytes are written by themselves; those of the others go out with a header of their own.
for (const [qos, granted, level] of [[0, 0, 5], [1, 0, 5], [1, 1, 5], [0, 0, 4]] as const) {
  const combination = `QoS ${qos} to QoS ${granted} at level ${level}`;
  Deno.test(`large messages are whole for a client that reads only when others have followed, ${combination}`, async () => {
    await using broker = await startBroker({
      limits: { outboundBytes: 2 * MORE_THAN_KERNEL_BUFFERS, inflight: 65_535, receiveMaximum: 65_535 },
    });
    const slow = await broker.connect({ level });
    const prompt = await broker.connect({ level });
    for (const client of [slow, prompt]) await client.subscribe("t", { qos: granted });
    const publisher = await broker.connect();
    const size = 70_000;
    const count = Math.ceil(MORE_THAN_KERNEL_BUFFERS / size);
    const payload = (number: number) => Buffer.alloc(size, number % 251);
    for (let number = 1; number <= count; number++) {
      await publisher.send(publishPacket({ topic: "t", payload: payload(number), qos, packetId: qos && number }));
      await prompt.expect("publish");
    }
    for (let number = 1; number <= count; number++) {
      const message = await slow.expect("publish");
      assert(payload(number).equals(message.payload), `message ${number} has changed`);
    }
  });
}

Deno.test("a message of a megabyte waits for a client that is away, and is kept for later subscribers", async () => {
  await using broker = await startBroker();
  const before = await broker.connect({ ...lasting(4), clientId: "a" });
  await before.subscribe("t", { qos: 1 });
  await before.disconnect();
  const payload = noise(1_000_000);
  const publisher = await broker.connect();
  await publisher.publish({ topic: "t", payload, qos: 1, retain: true });
  // What the publisher sends next comes into the same read buffer.
  await publisher.publish({ topic: "other", payload: new Uint8Array(1_000_000), qos: 1 });
  const after = await broker.connect({ ...lasting(4), clientId: "a" });
  assert(equal((await after.expect("publish")).payload, payload));
  const later = await broker.connect();
  await later.subscribe("t");
  assert(equal((await later.expect("publish")).payload, payload));
});

/** Faster than `assert.deepEqual` by far. */
function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, index) => byte === other[index]);
}
