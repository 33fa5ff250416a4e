import assert from "node:assert/strict";
import { RedisServer } from "./redis_server.ts";

Deno.test("a Redis server answers where its URL says", async () => {
  await using redis = await RedisServer.start();
  assert.equal(redis.url, `redis://127.0.0.1:${redis.port}`);
  assert.equal(await redis.command("PING"), "PONG");
});

Deno.test("a Redis server takes options of its command line", async () => {
  await using redis = await RedisServer.start({ args: ["--requirepass", "secret"] });
  await assert.rejects(redis.command("PING"), /NOAUTH/);
});

Deno.test("a stopped Redis server answers once it goes on", async () => {
  await using redis = await RedisServer.start();
  redis.stop();
  const answers: string[] = [];
  const answered = redis.command("PING").then((answer) => answers.push(answer));
  // A server that runs answers in less time.
  await (await RedisServer.start())[Symbol.asyncDispose]();
  assert.deepEqual(answers, []);
  redis.continue();
  await answered;
  assert.deepEqual(answers, ["PONG"]);
});

Deno.test("a killed Redis server refuses connections", async () => {
  await using redis = await RedisServer.start();
  await redis.kill();
  await assert.rejects(redis.command("PING"), /refused/);
});

Deno.test("a restarted Redis server is empty and listens on the same port", async () => {
  await using redis = await RedisServer.start();
  await redis.command("SET", "a", "1");
  await redis.restart();
  assert.equal(await redis.command("GET", "a"), "");
});

Deno.test("two Redis servers run side by side", async () => {
  await using first = await RedisServer.start();
  await using second = await RedisServer.start();
  await first.command("SET", "a", "1");
  assert.equal(await second.command("GET", "a"), "");
});
