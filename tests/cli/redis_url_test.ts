import assert from "node:assert/strict";
import { readRedisUrl } from "../../cli/redis_url.ts";

for (
  const url of [
    "redis://localhost",
    "redis://127.0.0.1:7000",
    "redis://[::1]:7000",
    "rediss://redis.example",
    "redis://anna:se%40cret@redis.example:6380/3",
    "redis://:secret@redis.example",
  ]
) {
  Deno.test(`${url} is the URL of one Redis server`, () => assert.deepEqual(readRedisUrl(url), [url]));
}

Deno.test("the URL of a Redis Cluster names servers with commas in between, which have the rest in common", () => {
  assert.deepEqual(readRedisUrl("rediss://anna:secret@a,b:7001,[::1]:7002/"), [
    "rediss://anna:secret@a",
    "rediss://anna:secret@b:7001",
    "rediss://anna:secret@[::1]:7002",
  ]);
});

for (
  const [url, says] of [
    ["localhost:6379", /^--cluster: the URL must look like redis:\/\//],
    ["http://localhost", /^--cluster: the URL must look like redis:\/\//],
    ["redis://", /^--cluster: the URL must look like redis:\/\//],
    ["redis://localhost/hello", /^--cluster: the URL must look like redis:\/\//],
    ["redis://:secret@localhost:0", /^--cluster: "localhost:0" is no host, and no host:port$/],
    ["redis://localhost:70000", /^--cluster: "localhost:70000" is no host, and no host:port$/],
    ["redis://a,,b", /^--cluster: "" is no host, and no host:port$/],
    ["redis://::1:6379", /^--cluster: "::1:6379" is no host, and no host:port$/],
    ["redis://a,b/1", /^--cluster: a Redis Cluster has no numbered databases$/],
  ] as const
) {
  Deno.test(`${url} is no Redis URL`, () => assert.throws(() => readRedisUrl(url), { message: says }));
}
