import assert from "node:assert/strict";
import { runHookmq } from "../interop/programs.ts";
import { Cluster, eventually, nodeTtl } from "./cluster.ts";

const durable = { clientId: "durable", cleanStart: false, properties: { sessionExpiryInterval: 600 } };

/** The ids of the nodes that the command line lists. */
async function listed(cluster: Cluster): Promise<string[]> {
  const { code, stdout, stderr } = await runHookmq(["nodes", "--cluster", cluster.redis.url, "--json"]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  return (JSON.parse(stdout) as { nodeId: string }[]).map(({ nodeId }) => nodeId);
}

Deno.test("nodes appear in the registry when they join, and disappear when they are shut down", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  assert.deepEqual(await listed(cluster), ["a", "b"]);
  await using late = await cluster.join("late");
  assert.deepEqual(await listed(cluster), ["a", "b", "late"]);
  await late.stop();
  assert.deepEqual(await listed(cluster), ["a", "b"]);
});

Deno.test("a node that is killed disappears from the registry within its time to live", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  await cluster.nodes[1].kill();
  const killedAt = performance.now();
  await eventually(async () => await cluster.redis.command("EXISTS", "mqtt:node:b") === "0", "its heartbeat to end");
  const seconds = (performance.now() - killedAt) / 1000;
  assert(seconds <= nodeTtl + 0.5, `after ${seconds} s`);
  assert.deepEqual(await listed(cluster), ["a"]);
});

Deno.test("a node that joins knows the subscriptions and sessions that there are", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const subscriber = await a.connect();
  await subscriber.subscribe("t", { qos: 1 });
  const away = await b.connect(durable);
  await away.subscribe("t", { qos: 1 });
  await away.disconnect();
  await using late = await cluster.join("late");
  await (await late.connect()).publish({ topic: "t", payload: "hello", qos: 1 });
  await subscriber.expect("publish");
  const back = await late.connect(durable);
  assert.equal(back.connack.sessionPresent, true);
  await back.expect("publish");
});

Deno.test("two nodes cannot have the same id", async () => {
  await using cluster = await Cluster.start({ ids: ["a"] });
  const args = ["serve", "--cluster", cluster.redis.url, "--node-id", "a", "--port", 0];
  const env = {
    HOOKMQ_HOOKS_CLUSTER_NODE_TTL: String(nodeTtl),
    HOOKMQ_HOOKS_CLUSTER_HEARTBEAT_INTERVAL: String(nodeTtl / 4),
  };
  const { code, stdout, stderr } = await runHookmq(args, { env });
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(stderr, /^hookmq: .*"?a"? is in use.*\n$/);
});

Deno.test("a node that is killed and started again gets its sessions back", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const client = await a.connect(durable);
  await client.subscribe("t", { qos: 1 });
  const publisher = await b.connect();
  await a.kill();
  await publisher.publish({ topic: "t", payload: "meanwhile", qos: 1 });
  await a.start();
  const back = await a.connect(durable);
  assert.equal(back.connack.sessionPresent, true);
  await back.expect("publish");
});

Deno.test("the sessions of a node that was killed go on at the others: they get messages and expire", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const short = { clientId: "short", cleanStart: false, properties: { sessionExpiryInterval: 1 } };
  const kept = await a.connect(durable);
  await kept.subscribe("t", { qos: 1 });
  await a.connect(short);
  await a.kill();
  await (await b.connect()).publish({ topic: "t", payload: "meanwhile", qos: 1 });
  await eventually(async () => await cluster.redis.command("EXISTS", "mqtt:session:{short}") === "0", "its expiry");
  const back = await b.connect(durable);
  assert.equal(back.connack.sessionPresent, true);
  await back.expect("publish");
  assert.equal((await b.connect(short)).connack.sessionPresent, false);
});

for (const isDurable of [true, false]) {
  const what = isDurable ? "durable" : "clean";
  Deno.test(`the will of a client with a ${what} session is published, once, when its node is killed`, async () => {
    await using cluster = await Cluster.start();
    const [a, b, c] = cluster.nodes;
    const watchers = [await b.connect(), await c.connect()];
    for (const watcher of watchers) await watcher.subscribe("will/#");
    const options = isDurable ? durable : { clientId: "clean" };
    await a.connect({ ...options, will: { topic: "will/a", payload: "gone" } });
    await a.kill();
    for (const watcher of watchers) {
      assert.equal(new TextDecoder().decode((await watcher.expect("publish")).payload), "gone");
    }
    await a.start();
    for (const watcher of watchers) await watcher.expectNothing();
  });
}

Deno.test("clients of a node that is shut down find their sessions at the others at once", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const client = await a.connect(durable);
  await client.subscribe("t", { qos: 1 });
  await Promise.all([client.expect("disconnect"), a.stop()]);
  await (await b.connect()).publish({ topic: "t", payload: "meanwhile", qos: 1 });
  const back = await b.connect(durable);
  assert.equal(back.connack.sessionPresent, true);
  await back.expect("publish");
});
