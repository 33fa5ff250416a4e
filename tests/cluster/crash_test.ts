import assert from "node:assert/strict";
import { Random } from "../crash/random.ts";
import { Cluster, eventually, nodeTtl } from "./cluster.ts";
import { limits, Traffic, type TrafficResult } from "./traffic.ts";

const ROUNDS = 10;

interface CrashResult extends TrafficResult {
  /** How long dead nodes stayed in the registry, in seconds. */
  missing: number[];
  /** What is stored when all is acknowledged. */
  remains: string[];
}

// One run is looked at in many ways. It can be repeated, as far as processes can, with the seed that it prints.
const seed = Number(Deno.env.get("CRASH_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
let run: Promise<CrashResult> | undefined;

async function crashRun(): Promise<CrashResult> {
  const random = new Random(seed);
  await using cluster = await Cluster.start({ env: limits });
  await using traffic = new Traffic(cluster.nodes, random);
  await traffic.setUp();
  const missing: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const node = random.pick(cluster.nodes);
    const flowing = traffic.flow(random.between(300, 800));
    await new Promise((resolve) => setTimeout(resolve, random.between(50, 250)));
    traffic.lose(node);
    await node.kill();
    const killedAt = performance.now();
    if (round % 3 === 0) {
      // The others have to notice.
      await eventually(async () => await cluster.redis.command("EXISTS", `mqtt:node:${node.id}`) === "0", "its end");
      missing.push((performance.now() - killedAt) / 1000);
    }
    await flowing;
    await node.start();
    traffic.nodes.add(node);
    await traffic.connectAll();
  }
  const result = await traffic.finish();
  const remains: string[] = [];
  for (const kind of ["queue", "inflight", "received"]) {
    for (const key of (await cluster.redis.command("KEYS", `mqtt:${kind}:*`)).split("\n")) {
      const count = key === "" || kind !== "queue" ? key : await cluster.redis.command("XLEN", key);
      if (!["", "0"].includes(count)) remains.push(`${key}: ${count}`);
    }
  }
  return { ...result, missing, remains };
}

function test(name: string, check: (result: CrashResult) => void): void {
  Deno.test(name, async () => check(await (run ??= crashRun())));
}

test(`a node that is killed under load ${ROUNDS} times takes no session and no client with it`, (result) => {
  console.log(`CRASH_SEED=${seed}: ${ROUNDS} nodes killed; ${result.summary}`);
  assert.deepEqual(result.violations, []);
});

test("every message that any node has acknowledged arrives, whichever node is killed", ({ lost }) => {
  assert.deepEqual(lost.slice(0, 20), [], `${lost.length} are lost`);
});

test("no QoS 2 message arrives twice, whichever node is killed", ({ repeated }) => {
  assert.deepEqual(repeated.slice(0, 20), [], `${repeated.length} came again`);
});

test("messages keep their order for each publisher, topic and QoS, whichever node is killed", ({ unordered }) => {
  assert.deepEqual(unordered.slice(0, 20), [], `${unordered.length} were overtaken`);
});

test("nothing arrives that nobody has sent, whichever node is killed", ({ unknown }) => {
  assert.deepEqual(unknown.slice(0, 20), []);
});

test("the wills of a killed node's clients are published, once, and those that were taken back are not", ({ wills }) => {
  assert.deepEqual(wills, []);
});

test("a killed node disappears from the registry within its time to live", ({ missing }) => {
  for (const seconds of missing) assert(seconds <= nodeTtl + 0.5, `after ${seconds} s`);
});

test("Redis holds no message that everybody has acknowledged", ({ remains }) => {
  assert.deepEqual(remains, []);
});
