import assert from "node:assert/strict";
import { RedisCluster } from "./redis_cluster.ts";

Deno.test("a Redis Cluster serves every hash slot, each from one of its three masters", async () => {
  await using cluster = await RedisCluster.start();
  const served = await cluster.masters[2].command("CLUSTER", "NODES");
  const slots = served.split("\n").map((line) => `${line.match(/:(\d+)@/)![1]} ${line.split(" ").at(-1)}`);
  const [first, second, third] = cluster.masters.map(({ port }) => port);
  assert.deepEqual(slots.sort(), [`${first} 0-5460`, `${second} 5461-10921`, `${third} 10922-16383`].sort());
});
