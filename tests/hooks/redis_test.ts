import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { redisHook, type RedisHookOptions } from "../../hooks/mod.ts";
import { RedisServer } from "../support/redis_server.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";
import { text } from "./cluster_brokers.ts";

async function startWith(options: RedisHookOptions): Promise<TestBroker> {
  const broker = await startBroker();
  try {
    await broker.use(redisHook(options));
  } catch (error) {
    await broker[Symbol.asyncDispose]();
    throw error;
  }
  return broker;
}

const durable = { clientId: "c", properties: { sessionExpiryInterval: 3600 } };

Deno.test("retained messages survive the broker", async () => {
  await using redis = await RedisServer.start();
  await using first = await startWith({ addr: redis.url });
  await first.publish("t/1", "kept", { retain: true });
  await first.publish("t/2", "removed", { retain: true });
  await first.publish("t/2", "", { retain: true });
  await first.close();
  await using second = await startWith({ addr: redis.url });
  const subscriber = await second.connect();
  await subscriber.subscribe("t/+");
  const packet = await subscriber.expect("publish");
  assert.deepEqual([packet.topic, text(packet), packet.retain], ["t/1", "kept", true]);
  await subscriber.expectNothing();
});

Deno.test("a session survives the broker, with its subscriptions and what was published for it meanwhile", async () => {
  await using redis = await RedisServer.start();
  await using first = await startWith({ addr: redis.url });
  const client = await first.connect(durable);
  await client.subscribe("t", { qos: 2 });
  await client.close();
  await first.publish("t", "while away", { qos: 1 });
  await first.close();
  await using second = await startWith({ addr: redis.url });
  await second.publish("t", "at the new one", { qos: 2 });
  const back = await second.connect({ ...durable, cleanStart: false });
  assert.equal(back.connack.sessionPresent, true);
  assert.deepEqual([text(await back.expect("publish")), text(await back.expect("publish"))], [
    "while away",
    "at the new one",
  ]);
});

Deno.test("a client finds its session at another broker with the same server", async () => {
  await using redis = await RedisServer.start();
  await using one = await startWith({ addr: redis.url });
  await using two = await startWith({ addr: redis.url });
  const client = await one.connect(durable);
  await client.subscribe("t", { qos: 1 });
  const moved = await two.connect({ ...durable, cleanStart: false });
  assert.equal(moved.connack.sessionPresent, true);
  await one.publish("t", "hello", { qos: 1 });
  assert.equal(text(await moved.expect("publish")), "hello");
});

Deno.test("without a node id messages do not go from broker to broker", async () => {
  await using redis = await RedisServer.start();
  await using one = await startWith({ addr: redis.url });
  await using two = await startWith({ addr: redis.url });
  const subscriber = await two.connect({ clientId: "here" });
  await subscriber.subscribe("t", { qos: 1 });
  await one.publish("t", "for the others", { qos: 1 });
  await two.publish("t", "for us", { qos: 1 });
  assert.equal(text(await subscriber.expect("publish")), "for us");
});

Deno.test("with node ids they do", async () => {
  await using redis = await RedisServer.start();
  await using one = await startWith({ addr: redis.url, nodeId: "one" });
  await using two = await startWith({ addr: redis.url, nodeId: "two" });
  const subscriber = await two.connect({ clientId: "here" });
  await subscriber.subscribe("t", { qos: 1 });
  await one.publish("t", "for all", { qos: 1 });
  assert.equal(text(await subscriber.expect("publish")), "for all");
});

Deno.test("a password, a database and a prefix are used", async () => {
  await using redis = await RedisServer.start({ args: ["--requirepass", "secret"] });
  await using broker = await startWith({ addr: redis.url, password: "secret", db: 3, keyPrefix: "site:" });
  await broker.publish("t", "kept", { retain: true });
  await using client = Object.assign(new Redis(redis.port, "127.0.0.1", { password: "secret", db: 3 }), {
    async [Symbol.asyncDispose]() {
      await client.quit();
    },
  });
  assert.equal(await client.exists("site:retained:t"), 1);
});

Deno.test("a password that is missing or wrong is said", async () => {
  await using redis = await RedisServer.start({ args: ["--requirepass", "secret"] });
  const address = `127.0.0.1:${redis.port}`;
  await assert.rejects(startWith({ addr: redis.url }), {
    message: `cannot use Redis at ${address}: it wants a password`,
  });
  await assert.rejects(startWith({ addr: redis.url, password: "guess" }), {
    message: `cannot use Redis at ${address}: the user name or password is wrong`,
  });
});

Deno.test("connections are made like those of a client that is given", async () => {
  await using redis = await RedisServer.start();
  const client = new Redis(redis.port, "127.0.0.1", { lazyConnect: true });
  await using broker = await startWith({ client, addr: "127.0.0.1:1" });
  await broker.publish("t", "kept", { retain: true });
  assert.equal(await redis.command("EXISTS", "mqtt:retained:t"), "1");
  client.disconnect();
});

Deno.test("retained messages are stored and looked up through the hook", async () => {
  await using redis = await RedisServer.start();
  await using broker = await startBroker();
  const hook = redisHook({ addr: redis.url });
  await broker.use(hook);
  const packet = { type: "publish", topic: "t", qos: 0, retain: true, dup: false } as const;
  await hook.storeRetained("t", { ...packet, payload: new TextEncoder().encode("kept") });
  assert.deepEqual((await hook.getRetained("#")).map(text), ["kept"]);
  assert.equal(await hook.client.exists("mqtt:retained:t"), 1);
  assert.equal(hook.health().ok, true);
});

Deno.test("a broker that is no node of a cluster stays ready without Redis: there is no other one for its clients", async () => {
  await using redis = await RedisServer.start();
  await using broker = await startBroker();
  const hook = redisHook({ addr: redis.url });
  await broker.use(hook);
  await redis.kill();
  const end = performance.now() + 5000;
  while (hook.health().ok) {
    assert.ok(performance.now() < end, "the loss of Redis is not noticed");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(hook.health().ready, true);
});

Deno.test("sessions that are ended leave nothing behind", async () => {
  await using redis = await RedisServer.start();
  await using broker = await startWith({ addr: redis.url });
  const client = await broker.connect(durable);
  await client.subscribe("t", { qos: 1 });
  await broker.publish("t", "not acknowledged", { qos: 1 });
  await client.expect("publish");
  await client.disconnect({ properties: { sessionExpiryInterval: 0 } });
  const end = performance.now() + 5000;
  while (/\{c\}/.test(await redis.command("KEYS", "*"))) {
    assert.ok(performance.now() < end, await redis.command("KEYS", "*"));
  }
});

const wrongOptions: [options: RedisHookOptions, message: string][] = [
  [{ nodeId: "a b" }, 'nodeId is "a b"; it must be 1 to 128 letters, digits, and characters of "._-:@"'],
  [{ db: -1 }, "db is -1; it must be a whole number from 0 on"],
  [{ keyPrefix: "a{b" }, 'keyPrefix is "a{b"; it may not hold braces'],
];
for (const [options, message] of wrongOptions) {
  Deno.test(`the options ${Deno.inspect(options)} are refused: ${message}`, () => {
    assert.throws(() => redisHook(options), { name: "RangeError", message });
  });
}

Deno.test("an address that is none is refused", () => {
  assert.throws(() => redisHook({ addr: "http://localhost" }), RangeError);
});
