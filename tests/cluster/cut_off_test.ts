import assert from "node:assert/strict";
import { Random } from "../crash/random.ts";
import { Cluster, type ClusterNode, nodeTtl } from "./cluster.ts";
import { limits, Traffic } from "./traffic.ts";

/**
 * How long nodes are cut off, in seconds, one time after the other: so that the others do not miss them, and so that they take
 * them for dead. With CLUSTER_NODE_TTL=10 these are 5 and 30 seconds.
 */
const cuts = [nodeTtl / 2, nodeTtl * 3];

const seed = Number(Deno.env.get("CRASH_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);

/** The ways in which a connection to Redis can be of no use, and how each ends. */
const ways: Record<string, (cluster: Cluster, node: ClusterNode) => () => void> = {
  "Redis is stopped": ({ redis }) => {
    redis.stop();
    return () => redis.continue();
  },
  "one node's packets to Redis are lost": (_cluster, { link }) => {
    link!.drop();
    return () => link!.heal();
  },
  "one node's connections to Redis are reset": (_cluster, { link }) => {
    link!.cut();
    return () => link!.heal();
  },
};

for (const [way, strike] of Object.entries(ways)) {
  Deno.test(`nothing that was acknowledged is lost, and nothing comes twice, when ${way}`, async () => {
    await using cluster = await Cluster.start({ isProxied: true, env: limits });
    await using traffic = new Traffic(cluster.nodes, new Random(seed));
    await traffic.setUp();
    for (const seconds of cuts) await cut(cluster, traffic, strike, seconds);
    await check(traffic, way);
  });

  Deno.test(`subscribers with clean sessions stay connected and get each message once when ${way}`, async () => {
    await using cluster = await Cluster.start({ isProxied: true, env: limits });
    // A message that such a subscriber has got from a node that is cut off comes again if its publisher sends it elsewhere.
    await using traffic = new Traffic(cluster.nodes, new Random(seed), false);
    await traffic.setUp();
    await traffic.addCleanSubscribers();
    await cut(cluster, traffic, strike, nodeTtl * 1.5);
    await check(traffic, way);
  });
}

async function cut(
  cluster: Cluster,
  traffic: Traffic,
  strike: (cluster: Cluster, node: ClusterNode) => () => void,
  seconds: number,
): Promise<void> {
  await traffic.flow(300);
  // Nobody knows the durable sessions of clients that connect to a node that is cut off.
  traffic.expect(/CONNACK (136|3)$/);
  const relent = strike(cluster, cluster.nodes[seed % 3]);
  await traffic.flow(seconds * 1000);
  relent();
  await cluster.isWell();
  await traffic.connectAll();
  traffic.expect(undefined);
  await traffic.flow(300);
}

async function check(traffic: Traffic, way: string): Promise<void> {
  const { summary, ...faults } = await traffic.finish();
  console.log(`CRASH_SEED=${seed}: ${way}; ${summary}`);
  const none = { lost: [], repeated: [], unordered: [], unknown: [], wills: [], violations: [] };
  const counts = Object.entries(faults).map(([name, list]) => `${list.length} ${name}`).join(", ");
  const few = Object.fromEntries(Object.entries(faults).map(([name, list]) => [name, list.slice(0, 20)]));
  assert.deepEqual(few, none, counts);
}
