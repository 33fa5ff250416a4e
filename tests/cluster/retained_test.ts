import assert from "node:assert/strict";
import { encode, type PublishPacket } from "../../codec/mod.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { Cluster, type ClusterNode, eventually } from "./cluster.ts";

/** How many messages are sent before the first is acknowledged. */
const WINDOW = 500;

/** Publishes retained messages at QoS 1 as fast as it goes, and resolves when all are acknowledged. */
export async function retain(node: ClusterNode, messages: Iterable<[topic: string, payload: string]>): Promise<void> {
  const client = await node.connect();
  const all = [...messages];
  for (let start = 0; start < all.length; start += WINDOW) {
    const packets = all.slice(start, start + WINDOW).map(([topic, payload], index): PublishPacket =>
      publishPacket({ topic, payload, qos: 1, retain: true, packetId: index + 1 })
    );
    await client.sendBytes(Uint8Array.from(packets.flatMap((packet) => [...encode(packet, 5)])));
    for (const { packetId } of packets) {
      const { reasonCode, packetId: acknowledged } = await client.expect("puback");
      assert([0, 0x10].includes(reasonCode) && acknowledged === packetId, `PUBACK ${reasonCode}`);
    }
  }
  await client.disconnect();
}

/** What a new subscriber gets of the retained messages; as many as are expected, unless there are fewer than that. */
async function retained(node: ClusterNode, topicFilter: string, count: number): Promise<Map<string, string>> {
  const client = await node.connect();
  await client.subscribe(topicFilter);
  const found = new Map<string, string>();
  try {
    while (found.size < count) {
      const { topic, payload, retain } = await client.expect("publish");
      assert.equal(retain, true);
      assert(!found.has(topic), `${topic} came twice`);
      found.set(topic, new TextDecoder().decode(payload));
    }
    await client.expectNothing();
  } finally {
    await client.close();
  }
  return found;
}

/** The retained messages of a few topics, as many as there are. */
async function few(node: ClusterNode, topicFilter: string): Promise<Record<string, string>> {
  const client = await node.connect();
  await client.subscribe(topicFilter);
  await client.send({ type: "pingreq" });
  const found: Record<string, string> = {};
  for (;;) {
    try {
      const { topic, payload } = await client.expect("publish");
      found[topic] = new TextDecoder().decode(payload);
    } catch (error) {
      // The answer to the PINGREQ marks the end.
      if (!(error as Error).message.includes("pingresp")) throw error;
      await client.close();
      return found;
    }
  }
}

Deno.test("100,000 retained messages are the same on every node, also on one that joins later", async () => {
  // Nodes that have so much to do on a busy machine may be late to say that they are alive.
  await using cluster = await Cluster.start({ env: { HOOKMQ_HOOKS_CLUSTER_NODE_TTL: "30" } });
  const messages = new Map(
    Array.from({ length: 100_000 }, (_, index) => [`r/${index % 100}/${index}`, `value ${index}`]),
  );
  const quarters = Array.from({ length: 4 }, (_, quarter) => [...messages].filter((_, index) => index % 4 === quarter));
  await Promise.all(quarters.map((quarter, index) => retain(cluster.nodes[index % 3], quarter)));
  await using late = await cluster.join("late");
  for (const node of [...cluster.nodes, late]) {
    assert.deepEqual(await retained(node, "r/#", messages.size), messages, `at node ${node.id}`);
    const some = new Map([...messages].filter(([topic]) => topic.startsWith("r/7/")));
    assert.deepEqual(await retained(node, "r/7/+", some.size), some, `at node ${node.id}`);
  }
});

Deno.test("a retained message that is replaced or removed at one node is so at every other", async () => {
  await using cluster = await Cluster.start();
  const [a, b, c] = cluster.nodes;
  await retain(a, [["r/1", "first"], ["r/2", "first"], ["r/3", "first"]]);
  await retain(b, [["r/1", "second"]]);
  await retain(c, [["r/2", ""]]);
  const expected = { "r/1": "second", "r/3": "first" };
  for (const node of cluster.nodes) {
    await eventually(async () => (await few(node, "r/#"))["r/2"] === undefined, `node ${node.id} to remove r/2`);
    assert.deepEqual(await few(node, "r/#"), expected, `at node ${node.id}`);
  }
});

Deno.test("all nodes agree on a retained message that several have replaced at the same moment", async () => {
  await using cluster = await Cluster.start();
  const updates = (id: string) =>
    Array.from({ length: 500 }, (_, index): [string, string] => [`r/${index % 10}`, `${id} ${index}`]);
  await Promise.all(cluster.nodes.map((node) => retain(node, updates(node.id))));
  let states: Record<string, string>[] = [];
  await eventually(async () => {
    states = await Promise.all(cluster.nodes.map((node) => few(node, "r/#")));
    return states.every((state) => JSON.stringify(sorted(state)) === JSON.stringify(sorted(states[0])));
  }, "all nodes to agree");
  assert.equal(Object.keys(states[0]).length, 10);
  await using late = await cluster.join("late");
  assert.deepEqual(await few(late, "r/#"), states[0]);
});

Deno.test("a retained message keeps its properties on other nodes, and ends when its lifetime does", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  const publisher = await a.connect();
  const properties = { contentType: "text/plain", userProperties: [["a", "b"]] as [string, string][] };
  const messageExpiryInterval = 3;
  await publisher.publish({ topic: "r/1", payload: "hello", qos: 2, retain: true, properties });
  const short = { ...properties, messageExpiryInterval };
  await publisher.publish({ topic: "r/2", payload: "short", qos: 1, retain: true, properties: short });
  await eventually(async () => Object.keys(await few(b, "r/#")).length === 2, "both to arrive");
  const client = await b.connect();
  await client.subscribe("r/1", { qos: 2 });
  const message = await client.expect("publish");
  assert.deepEqual([message.qos, message.retain], [2, true]);
  assert.deepEqual({ ...message.properties }, { ...message.properties, ...properties });
  await eventually(async () => (await few(b, "r/#"))["r/2"] === undefined, "the short one to end");
  await using late = await cluster.join("late");
  assert.deepEqual(await few(late, "r/#"), { "r/1": "hello" });
  await eventually(
    async () => await cluster.redis.command("EXISTS", "mqtt:retained:r/2") === "0",
    "Redis to forget it",
  );
});

Deno.test("retain handling holds for messages that another node has retained", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  const [a, b] = cluster.nodes;
  await retain(a, [["r/1", "hello"]]);
  await eventually(async () => (await few(b, "r/#"))["r/1"] !== undefined, "it to arrive");
  const client: RawClient = await b.connect();
  await client.subscribe("r/1", { retainHandling: 2 });
  await client.expectNothing();
  await client.subscribe("r/+", { retainHandling: 1 });
  assert.equal((await client.expect("publish")).topic, "r/1");
  await client.subscribe("r/+", { retainHandling: 1 });
  await client.expectNothing();
});

function sorted(state: Record<string, string>): [string, string][] {
  return Object.entries(state).sort();
}
