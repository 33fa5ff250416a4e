import assert from "node:assert/strict";
import { type RateLimitHook, rateLimitHook, type RateLimitOptions } from "../../hooks/mod.ts";
import { type ClientInfo, type ProtocolLevel, type PublishPacket, ReasonCodeError } from "../../mod.ts";
import { type PublishOptions, publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";

const levels: readonly ProtocolLevel[] = [3, 4, 5];

/** How long a message may take to be delayed, in milliseconds. */
const DEADLINE = 10_000;

/** A broker with the hook, on a clock that stands still until it is set, and the topics of what has passed. */
async function startLimited(options: RateLimitOptions) {
  const clock = { milliseconds: 5_000_000 };
  const broker = await startBroker();
  const hook = rateLimitHook({ now: () => clock.milliseconds, ...options });
  let onDelay = Promise.withResolvers<void>();
  await broker.use({
    ...hook,
    onPublish(client, packet) {
      const passing = hook.onPublish!(client, packet);
      if (passing instanceof Promise) onDelay.resolve();
      return passing;
    },
  });
  const passed: string[] = [];
  await broker.subscribe("#", ({ topic }) => void passed.push(topic));
  return {
    broker,
    hook,
    clock,
    passed,
    /** Sends a message at QoS 1 and returns when it waits for its time. */
    async sendDelayed(client: RawClient, topic: string, packetId: number) {
      onDelay = Promise.withResolvers();
      const timer = setTimeout(() => onDelay.reject(new Error(`${topic} is not delayed`)), DEADLINE);
      await client.send(publishPacket({ topic, qos: 1, packetId }));
      await onDelay.promise.finally(() => clearTimeout(timer));
    },
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}

/** Publishes at QoS 1, once for each topic, and returns the reason codes. */
async function publishAll(client: RawClient, topics: string[], options: PublishOptions = {}): Promise<number[]> {
  const codes: number[] = [];
  for (const topic of topics) codes.push(await client.publish({ topic, qos: 1, ...options }));
  return codes;
}

for (const level of levels) {
  const named = `level ${level}:`;

  Deno.test(`${named} a burst passes, and what is more is dropped until there is room again`, async () => {
    await using limited = await startLimited({ publishRate: 10, burstSize: 3 });
    const { broker, hook, clock, passed } = limited;
    const client = await broker.connect({ level });
    // Before MQTT 5 there is no word for it.
    const refused = level === 5 ? 0x97 : 0;
    assert.deepEqual(await publishAll(client, ["1", "2", "3", "4", "5"]), [0, 0, 0, refused, refused]);
    clock.milliseconds += 99;
    assert.deepEqual(await publishAll(client, ["6"]), [refused]);
    clock.milliseconds += 1;
    assert.deepEqual(await publishAll(client, ["7", "8"]), [0, refused]);
    clock.milliseconds += 60_000;
    assert.deepEqual(await publishAll(client, ["a", "b", "c", "d"]), [0, 0, 0, refused]);
    assert.deepEqual(passed, ["1", "2", "3", "7", "a", "b", "c"]);
    assert.deepEqual(hook.counters(), { dropped: 5, delayed: 0, disconnected: 0 });
  });

  Deno.test(`${named} QoS 0 over the limit vanishes, QoS 2 goes through its handshake`, async () => {
    await using limited = await startLimited({ publishRate: 1, burstSize: 1 });
    const { broker, passed } = limited;
    const client = await broker.connect({ level });
    await publishAll(client, ["1", "2"], { qos: 0 });
    await client.expectNothing();
    assert.deepEqual(await publishAll(client, ["3"], { qos: 2 }), [level === 5 ? 0x97 : 0]);
    assert.deepEqual(passed, ["1"]);
  });

  Deno.test(`${named} who is over the limit is disconnected`, async () => {
    await using limited = await startLimited({ publishRate: 1, burstSize: 1, onExceed: "disconnect" });
    const { broker, hook, passed } = limited;
    const client = await broker.connect({ level });
    await publishAll(client, ["1", "2"], { qos: 0 });
    if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x96);
    await client.expectClosed();
    assert.deepEqual(passed, ["1"]);
    assert.deepEqual(hook.counters(), { dropped: 0, delayed: 0, disconnected: 1 });
  });

  Deno.test(`${named} a delayed message waits, everything behind it too, and other clients do not`, async () => {
    await using limited = await startLimited({ publishRate: 1, burstSize: 1, interval: 3600, onExceed: "delay" });
    const { broker, hook, passed } = limited;
    const slow = await broker.connect({ level });
    const other = await broker.connect({ level });
    assert.deepEqual(await publishAll(slow, ["slow/1"]), [0]);
    await limited.sendDelayed(slow, "slow/2", 2);
    await slow.send({ type: "pingreq" });
    assert.deepEqual(await publishAll(other, ["other/1"]), [0]);
    assert.deepEqual(passed, ["slow/1", "other/1"]);
    // Without the hook there is no limit, and what waits goes on.
    await broker.remove(hook);
    assert.equal((await slow.expect("puback")).packetId, 2);
    await slow.expect("pingresp");
    assert.deepEqual(passed, ["slow/1", "other/1", "slow/2"]);
    assert.deepEqual(hook.counters(), { dropped: 0, delayed: 1, disconnected: 0 });
  });
}

Deno.test("delayed messages pass in their order, at the rate", async () => {
  await using broker = await startBroker();
  const hook = rateLimitHook({ publishRate: 100, burstSize: 1, onExceed: "delay" });
  await broker.use(hook);
  const passed: string[] = [];
  await broker.subscribe("#", ({ topic }) => void passed.push(topic));
  const client = await broker.connect();
  const topics = ["1", "2", "3", "4", "5", "6"];
  const start = performance.now();
  for (const [index, topic] of topics.entries()) {
    await client.send(publishPacket({ topic, qos: 1, packetId: index + 1 }));
  }
  for (const index of topics.keys()) assert.equal((await client.expect("puback")).packetId, index + 1);
  const elapsed = performance.now() - start;
  // Five of the six wait for 10 ms each, of which the runtime's timers may round off one in all.
  assert.ok(elapsed >= 49, `all had passed after ${elapsed} ms`);
  assert.deepEqual(passed, topics);
  assert.equal(hook.counters().dropped, 0);
});

Deno.test("a client that connects again gets no new burst", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 2 });
  const { broker, passed } = limited;
  for (let connection = 0; connection < 3; connection++) {
    const client = await broker.connect({ clientId: "again" });
    await publishAll(client, ["a", "b", "c"]);
    await client.disconnect();
  }
  const other = await broker.connect({ clientId: "other" });
  await publishAll(other, ["d"]);
  assert.deepEqual(passed, ["a", "b", "d"]);
});

Deno.test("taking over a connection does not push its delayed message through", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 1, interval: 3600, onExceed: "delay" });
  const { broker, hook, passed } = limited;
  for (let connection = 1; connection <= 3; connection++) {
    const client = await broker.connect({ clientId: "again" });
    if (connection === 1) await publishAll(client, ["1"]);
    await limited.sendDelayed(client, "2", 2);
  }
  const other = await broker.connect({ clientId: "again" });
  await other.expectNothing();
  assert.deepEqual(passed, ["1"]);
  assert.deepEqual(hook.counters(), { dropped: 3, delayed: 3, disconnected: 0 });
});

Deno.test("a message that was lost while it waited is not charged", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 1, interval: 3600, onExceed: "delay" });
  const { broker, hook, clock, passed } = limited;
  const first = await broker.connect({ clientId: "again" });
  await publishAll(first, ["1"]);
  await limited.sendDelayed(first, "lost", 2);
  const second = await broker.connect({ clientId: "again" });
  clock.milliseconds += 3_600_000;
  await publishAll(second, ["2"]);
  assert.deepEqual(passed, ["1", "2"]);
  assert.equal(hook.counters().delayed, 1);
});

Deno.test("the broker closes at once while messages wait", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 1, interval: 3600, onExceed: "delay" });
  const { broker, passed } = limited;
  const client = await broker.connect();
  await publishAll(client, ["1"]);
  await limited.sendDelayed(client, "2", 2);
  const closed = broker.close();
  assert.equal((await client.expect("disconnect")).reasonCode, 0x8b);
  await client.close();
  await closed;
  assert.deepEqual(passed, ["1"]);
});

Deno.test("bytes are limited as messages are, with topic and properties", async () => {
  await using limited = await startLimited({ byteRate: 1000, byteBurst: 100 });
  const { broker, clock } = limited;
  const client = await broker.connect();
  const payload = "x".repeat(49);
  assert.deepEqual(await publishAll(client, ["a", "b", "c"], { payload }), [0, 0, 0x97]);
  clock.milliseconds += 49;
  assert.deepEqual(await publishAll(client, ["d"], { payload }), [0x97]);
  clock.milliseconds += 1;
  assert.deepEqual(await publishAll(client, ["e", "f"], { payload }), [0, 0x97]);
  clock.milliseconds += 100;
  const properties: PublishPacket["properties"] = {
    contentType: "x".repeat(20),
    responseTopic: "x".repeat(20),
    correlationData: new Uint8Array(20),
    userProperties: [["x".repeat(20), "x".repeat(19)]],
  };
  assert.deepEqual(await publishAll(client, ["g"], { properties }), [0]);
  assert.deepEqual(await publishAll(client, ["h"]), [0x97]);
  clock.milliseconds += 60_000;
  assert.deepEqual(await publishAll(client, ["i", "j", "k"], { payload }), [0, 0, 0x97]);
});

Deno.test("a message beyond the burst passes when the burst is full, and those after it pay", async () => {
  await using limited = await startLimited({ byteRate: 100, byteBurst: 100 });
  const { broker, clock } = limited;
  const client = await broker.connect();
  assert.deepEqual(await publishAll(client, ["a"], { payload: "x".repeat(299) }), [0]);
  clock.milliseconds += 2000;
  assert.deepEqual(await publishAll(client, ["b"]), [0x97]);
  clock.milliseconds += 10;
  assert.deepEqual(await publishAll(client, ["c"]), [0]);
  assert.deepEqual(await publishAll(client, ["d"], { payload: "x".repeat(299) }), [0x97]);
  clock.milliseconds += 1000;
  assert.deepEqual(await publishAll(client, ["e"], { payload: "x".repeat(299) }), [0]);
});

Deno.test("with both limits, a message that one of them refuses takes nothing from the other", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 2, byteRate: 100, byteBurst: 100 });
  const { broker } = limited;
  const client = await broker.connect();
  assert.deepEqual(await publishAll(client, ["a"], { payload: "x".repeat(89) }), [0]);
  assert.deepEqual(await publishAll(client, ["b"], { payload: "x".repeat(89) }), [0x97]);
  assert.deepEqual(await publishAll(client, ["c", "d"]), [0, 0x97]);
});

Deno.test("the interval is in seconds, and the burst is twice the rate by default", async () => {
  await using limited = await startLimited({ publishRate: 2, interval: 60 });
  const { broker, clock } = limited;
  const client = await broker.connect();
  const five = ["1", "2", "3", "4", "5"];
  assert.deepEqual(await publishAll(client, five), [0, 0, 0, 0, 0x97]);
  clock.milliseconds += 29_999;
  assert.deepEqual(await publishAll(client, ["6"]), [0x97]);
  clock.milliseconds += 1;
  assert.deepEqual(await publishAll(client, ["7"]), [0]);
});

Deno.test("a rate below one message per interval lets one pass at a time", async () => {
  await using limited = await startLimited({ publishRate: 0.1 });
  const { broker, clock } = limited;
  const client = await broker.connect();
  assert.deepEqual(await publishAll(client, ["1", "2"]), [0, 0x97]);
  clock.milliseconds += 10_000;
  assert.deepEqual(await publishAll(client, ["3", "4"]), [0, 0x97]);
});

Deno.test("clients can share the limit of their user, and those without a user name do not", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 2, scope: "username" });
  const { broker } = limited;
  const first = await broker.connect({ clientId: "1", username: "ann" });
  const second = await broker.connect({ clientId: "2", username: "ann" });
  const bob = await broker.connect({ clientId: "3", username: "bob" });
  // One that is called like a user uses nothing of the user's limit.
  const nobody = await broker.connect({ clientId: "bob" });
  assert.deepEqual(await publishAll(first, ["a"]), [0]);
  assert.deepEqual(await publishAll(second, ["b", "c"]), [0, 0x97]);
  assert.deepEqual(await publishAll(first, ["d"]), [0x97]);
  assert.deepEqual(await publishAll(nobody, ["e", "f", "g"]), [0, 0, 0x97]);
  assert.deepEqual(await publishAll(bob, ["h", "i", "j"]), [0, 0, 0x97]);
});

Deno.test("clients can share the limit of their address", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 2, scope: "remoteAddress" });
  const { broker } = limited;
  const first = await broker.connect();
  const second = await broker.connect();
  assert.deepEqual(await publishAll(first, ["a"]), [0]);
  assert.deepEqual(await publishAll(second, ["b", "c"]), [0, 0x97]);
});

Deno.test("wills are not counted", async () => {
  await using limited = await startLimited({ publishRate: 1, burstSize: 1, onExceed: "disconnect" });
  const { broker, passed } = limited;
  const client = await broker.connect({ will: { topic: "will" } });
  await publishAll(client, ["1", "2"], { qos: 0 });
  assert.equal((await client.expect("disconnect")).reasonCode, 0x96);
  await client.expectClosed();
  assert.deepEqual(passed, ["1", "will"]);
});

/** A client id that nobody is connected with. */
function clientNamed(clientId: string): ClientInfo {
  return { clientId, username: undefined, remoteAddress: undefined } as ClientInfo;
}

/** Publishes without a broker; returns whether the message passes. */
function passes(hook: RateLimitHook, clientId: string): boolean {
  try {
    hook.onPublish!(clientNamed(clientId), publishPacket({ topic: "a" }));
    return true;
  } catch (error) {
    assert.ok(error instanceof ReasonCodeError);
    return false;
  }
}

Deno.test("what is remembered of clients is bounded: the oldest are forgotten", () => {
  const hook = rateLimitHook({ publishRate: 1, burstSize: 1, now: () => 0 });
  assert.equal(passes(hook, "first"), true);
  assert.equal(passes(hook, "first"), false);
  for (let index = 0; index < 120_000; index++) passes(hook, `client-${index}`);
  assert.equal(passes(hook, "client-119999"), false);
  assert.equal(passes(hook, "first"), true);
});

Deno.test("clients are remembered as long as it makes a difference", async () => {
  let now = 0;
  const hook = rateLimitHook({ publishRate: 1, burstSize: 10, now: () => now });
  for (let times = 0; times < 10; times++) assert.equal(passes(hook, "busy"), true);
  for (let index = 0; index < 5000; index++) passes(hook, `client-${index}`);
  now = 9000;
  // The hook looks at the clock once a turn.
  await Promise.resolve();
  for (let index = 0; index < 5000; index++) passes(hook, `other-${index}`);
  for (let times = 0; times < 9; times++) assert.equal(passes(hook, "busy"), true);
  assert.equal(passes(hook, "busy"), false);
});

const invalid: [options: object, message: string][] = [
  [{}, "publishRate and byteRate are both missing"],
  [{ publishRate: 0 }, "publishRate is 0; it must be a number that is more than 0"],
  [{ publishRate: "10" }, "publishRate is 10; it must be a number that is more than 0"],
  [{ publishRate: Infinity }, "publishRate is Infinity; it must be a number that is more than 0"],
  [{ publishRate: 10, burstSize: 0.5 }, "burstSize is 0.5; it must be a number that is at least 1"],
  [{ publishRate: 10, interval: -1 }, "interval is -1; it must be a number that is more than 0"],
  [{ publishRate: 10, byteBurst: 10 }, "byteBurst is 10, but byteRate is missing"],
  [{ byteRate: NaN }, "byteRate is NaN; it must be a number that is more than 0"],
  [{ byteRate: 1, byteBurst: 0 }, "byteBurst is 0; it must be a number that is more than 0"],
  [{ publishRate: 1, onExceed: "wait" }, "onExceed is wait; it must be one of drop, delay, disconnect"],
  [{ publishRate: 1, scope: "user" }, "scope is user; it must be one of clientId, username, remoteAddress"],
];
for (const [options, message] of invalid) {
  Deno.test(`options are refused: ${message}`, () => {
    assert.throws(() => rateLimitHook(options as RateLimitOptions), { name: "RangeError", message });
  });
}
