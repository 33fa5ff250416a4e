import assert from "node:assert/strict";
import { eventually } from "../broker/eventually.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { RedisServer } from "../support/redis_server.ts";
import { queued, SessionNode, text } from "./session_node.ts";

const kinds: [string, () => Promise<RedisServer | RedisCluster>][] = [
  ["one server", () => RedisServer.start()],
  ["a Redis Cluster", () => RedisCluster.start()],
];

/** What hooks are told of dropped messages, when there are so many. */
async function dropped({ cluster }: SessionNode, count: number): Promise<string[]> {
  await eventually(() => cluster.told.length >= count, "the messages that were dropped");
  assert.equal(cluster.dropped, count);
  return cluster.told.map(({ clientId, message }) =>
    `${clientId}: ${new TextDecoder().decode(message.packet.payload)}`
  );
}

/** `"1"`, `"2"`, … up to this number. */
function numbers(last: number): string[] {
  return Array.from({ length: last }, (_, index) => `${index + 1}`);
}

for (const [kind, startRedis] of kinds) {
  Deno.test(`[${kind}] messages for a client that is connected here come in their order, each one once`, async () => {
    await using redis = await startRedis();
    await using node = await SessionNode.start(redis, "n1");
    await node.connect("a");
    await Promise.all(numbers(2500).map((payload) => node.queue("a", payload)));
    assert.deepEqual(node.cluster.payloads("a"), numbers(2500));
  });

  Deno.test(`[${kind}] messages for a client that is connected elsewhere come there in their order, each one once`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await Promise.all(numbers(2500).map((payload) => two.queue("a", payload)));
    await eventually(() => one.cluster.delivered.length >= 2500, "all messages");
    assert.deepEqual(one.cluster.payloads("a"), numbers(2500));
    assert.equal(two.cluster.delivered.length, 0);
  });

  Deno.test(`[${kind}] of messages from several nodes none is missing, and those of each are in their order`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await using three = await SessionNode.start(redis, "n3");
    await one.connect("a");
    const nodes = [one, two, three];
    await Promise.all(
      numbers(300).flatMap((payload) => nodes.map((node) => node.queue("a", `${node.nodeId} ${payload}`))),
    );
    await eventually(() => one.cluster.delivered.length >= 900, "all messages");
    for (const { nodeId } of nodes) {
      const own = one.cluster.payloads("a").filter((payload) => payload.startsWith(nodeId));
      assert.deepEqual(own, numbers(300).map((payload) => `${nodeId} ${payload}`));
    }
  });

  Deno.test(`[${kind}] however many messages come for one session at once, none is lost`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    const payloads = numbers(50_000);
    await Promise.all(payloads.map((payload) => two.queue("a", payload)));
    await eventually(() => one.cluster.delivered.length >= payloads.length, "all messages");
    assert.deepEqual(one.cluster.payloads("a"), payloads);
  });

  Deno.test(`[${kind}] a message that gets lost on its way to the client's node is read from the queue by the next one`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await two.queue("a", "1");
    await eventually(() => one.cluster.delivered.length === 1, "the first message");
    one.isDeaf = true;
    await two.queue("a", "2");
    await two.queue("a", "3");
    await eventually(() => one.missed === 2, "two messages to get lost");
    one.isDeaf = false;
    await two.queue("a", "4");
    await eventually(() => one.cluster.delivered.length >= 4, "all messages");
    assert.deepEqual(one.cluster.payloads("a"), ["1", "2", "3", "4"]);
  });

  Deno.test(`[${kind}] a last message that gets lost on its way is found by the check`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    one.isDeaf = true;
    await two.queue("a", "1");
    await one.sessions.check();
    await eventually(() => one.cluster.delivered.length === 1, "the message");
  });

  Deno.test(`[${kind}] a session's queue is restored in its order, however long it is`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1", { limits: { messages: 5000 } });
    await using two = await SessionNode.start(redis, "n2", { limits: { messages: 5000 } });
    await one.connect("a");
    await one.disconnect("a");
    await Promise.all(numbers(1234).map((payload) => two.queue("a", payload)));
    const restored = (await one.connect("a"))!;
    assert.deepEqual(restored.outgoing.map(text), numbers(1234));
    assert.ok(restored.outgoing.every(({ id }, index) => index === 0 || id > restored.outgoing[index - 1].id));
    await two.queue("a", "the next");
    await eventually(() => one.cluster.delivered.length > 0, "the next message");
    assert.deepEqual(one.cluster.payloads("a"), ["the next"]);
  });

  Deno.test(`[${kind}] messages that come while a session is claimed are neither lost nor come twice`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.disconnect("a");
    const queued: Promise<void>[] = [];
    let isOver = false;
    const publishing = (async () => {
      for (let payload = 1; !isOver; payload++) {
        queued.push(one.queue("a", `${payload}`));
        await one.writer.written();
      }
    })();
    const restored = (await two.connect("a"))!;
    isOver = true;
    await publishing;
    await Promise.all(queued);
    const got = () => [...restored.outgoing.map(text), ...two.cluster.payloads("a")];
    await eventually(() => got().length >= queued.length, "all messages");
    assert.deepEqual(got(), numbers(queued.length));
  });

  Deno.test(`[${kind}] a message that the broker sends by itself is stored, and does not come from the queue`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.queue("a", "1");
    const own = { ...one.sent("1", 5), id: one.cluster.nextOutgoingId() };
    const stored = one.sessions.hook.storeOutgoing("a", own);
    // Before it is known where it is in the queue.
    const other = { ...one.sent("1", 6), id: one.cluster.nextOutgoingId() };
    one.sessions.hook.storeOutgoing("a", other);
    const removed = one.sessions.hook.removeOutgoing("a", other);
    await Promise.all([stored, removed, one.queue("a", "2")]);
    await one.sessions.hook.storeOutgoing("a", { ...own, released: true });
    assert.deepEqual(one.cluster.payloads("a"), ["1", "2"]);
    await one.disconnect("a");
    const restored = (await two.connect("a"))!;
    assert.deepEqual(restored.outgoing.map((each) => [text(each), each.packetId, each.released]), [
      ["1", 0, false],
      ["1", 5, true],
      ["2", 0, false],
    ]);
  });

  Deno.test(`[${kind}] what the program puts into a queue comes, and what it tracks is acknowledged`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    const packet = { type: "publish" as const, topic: "t", payload: new Uint8Array([0x31]), retain: false, dup: false };
    await two.sessions.queueMessage("a", { ...packet, qos: 0 });
    await eventually(() => one.cluster.delivered.length === 1, "the message");
    assert.deepEqual([one.cluster.delivered[0].outgoing.qos, one.cluster.delivered[0].isAdmitted], [1, false]);
    await one.disconnect("a");
    await one.sessions.trackInflight("a", 3, { ...packet, qos: 1 });
    await one.sessions.trackInflight("a", 4, { ...packet, qos: 2 });
    await one.sessions.ackInflight("a", 3);
    await assert.rejects(two.sessions.trackInflight("a", 3, { ...packet, qos: 1 }), /no durable session here/);
    const restored = (await two.connect("a"))!;
    assert.deepEqual(restored.outgoing.map(({ packetId, qos }) => [packetId, qos]), [[0, 1], [4, 2]]);
  });
}

Deno.test("a message for a client without a durable session is not kept", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1");
  await node.connect("a", { isDurable: false });
  await node.queue("a", "1");
  await node.queue("nobody", "1");
  assert.equal(await redis.command("EXISTS", "mqtt:queue:{a}", "mqtt:queue:{nobody}", "mqtt:session:{nobody}"), "0");
});

Deno.test("the queue of a client that is not connected drops the oldest messages, but for those in flight", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1", { limits: { messages: 5 } });
  await node.connect("a");
  await node.queue("a", "1");
  await node.queue("a", "2");
  await node.sessions.hook.storeOutgoing("a", node.sent("1", 1));
  await node.disconnect("a");
  for (const payload of ["3", "4", "5", "6", "7"]) await node.queue("a", payload);
  assert.deepEqual((await node.connect("a"))!.outgoing.map(text), ["1", "4", "5", "6", "7"]);
  assert.deepEqual(await dropped(node, 2), ["a: 2", "a: 3"]);
});

Deno.test("the queue of a client that is not connected is bounded in bytes", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1", { limits: { bytes: 10_000 } });
  await node.connect("a");
  await node.disconnect("a");
  for (const payload of ["1", "2", "3", "4", "5", "6"]) await node.queue("a", payload.repeat(3000));
  await node.queue("a", "x".repeat(20_000));
  assert.deepEqual((await node.connect("a"))!.outgoing.map((each) => text(each)[0]), ["4", "5", "6"]);
  assert.deepEqual((await dropped(node, 4)).map((each) => each.slice(0, 4)), ["a: 1", "a: 2", "a: 3", "a: x"]);
});

Deno.test("a queue that is to keep its oldest messages drops new ones", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1", { limits: { messages: 2, dropsOldest: false } });
  await node.connect("a");
  await node.disconnect("a");
  for (const payload of ["1", "2", "3"]) await node.queue("a", payload);
  assert.deepEqual((await node.connect("a"))!.outgoing.map(text), ["1", "2"]);
  await node.queue("a", "4");
  assert.deepEqual(node.cluster.payloads("a"), ["4"]);
  assert.deepEqual(await dropped(node, 1), ["a: 3"]);
});

for (const [kind, startRedis] of kinds) {
  Deno.test(`[${kind}] whoever drops messages counts them, and does not fetch them for nobody`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1", { limits: { messages: 1 } });
    await using two = await SessionNode.start(redis, "n2", { limits: { messages: 1 } });
    await one.connect("a");
    await one.disconnect("a");
    await two.queue("a", "1");
    two.cluster.observesDrops = false;
    await two.queue("a", "2");
    two.cluster.observesDrops = true;
    await two.queue("a", "3");
    await eventually(() => two.cluster.told.length > 0, "the message that was dropped");
    assert.deepEqual(two.cluster.told.map(({ message }) => new TextDecoder().decode(message.packet.payload)), ["2"]);
    assert.deepEqual([two.cluster.dropped, one.cluster.dropped], [2, 0]);
  });
}

Deno.test("a QoS 2 message is not stored when its publisher's session has gone to another node", async () => {
  await using redis = await RedisServer.start();
  await using one = await SessionNode.start(redis, "n1");
  await using two = await SessionNode.start(redis, "n2");
  await one.connect("publisher");
  await one.connect("a");
  one.isDeaf = true;
  await two.connect("publisher");
  await one.queue("a", "1", { qos: 2, publisherId: "publisher" });
  await one.queue("a", "2", { qos: 1, publisherId: "publisher" });
  await two.queue("a", "3", { qos: 2, publisherId: "publisher" });
  await one.sessions.check();
  await eventually(() => one.cluster.delivered.length >= 2, "the messages");
  assert.deepEqual(one.cluster.payloads("a"), ["2", "3"]);
});

Deno.test("a QoS 2 message is not given to another member of its group when it has gone to another node with its session", async () => {
  await using redis = await RedisServer.start();
  await using one = await SessionNode.start(redis, "n1");
  await using two = await SessionNode.start(redis, "n2");
  await one.connect("member");
  await one.connect("a");
  await one.queue("a", "1", { qos: 2, isPublished: true, passedOnBy: "member" });
  one.isDeaf = true;
  await two.connect("member");
  await one.queue("a", "2", { qos: 2, isPublished: true, passedOnBy: "member" });
  await one.queue("a", "3", { qos: 1, isPublished: true, passedOnBy: "member" });
  await eventually(() => one.cluster.delivered.length >= 2, "the messages");
  assert.deepEqual(one.cluster.payloads("a"), ["1", "3"]);
});

Deno.test("client ids may hold braces and percent signs", async () => {
  await using redis = await RedisCluster.start();
  await using node = await SessionNode.start(redis, "n1");
  for (const clientId of ["}", "{}", "a}b{c", "%7D", "%", "{", "ä ö"]) {
    await node.connect(clientId);
    await node.subscribe(clientId, "x");
    await node.queue(clientId, clientId);
    await node.disconnect(clientId);
  }
  for (const clientId of ["}", "{}", "a}b{c", "%7D", "%", "{", "ä ö"]) {
    assert.deepEqual((await node.connect(clientId))!.outgoing.map(text), [clientId]);
  }
});

Deno.test("a message is stored for all sessions that get it, or for none, however many there are", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1", { maximumEntries: 3 });
  const clientIds = ["a", "b", "c", "d", "e"];
  for (const clientId of clientIds) await node.connect(clientId);
  const [admitted, refused] = [queued("1"), queued("2")];
  const outcomes = await Promise.allSettled(
    [admitted, refused].flatMap((message) => clientIds.map((id) => node.sessions.hook.queueOutgoing(id, message))),
  );
  assert.deepEqual(outcomes.map(({ status }) => status), [
    ...clientIds.map(() => "fulfilled"),
    ...clientIds.map(() => "rejected"),
  ]);
});

Deno.test("of a queue that is far too full all that is dropped is counted, and no more is told than a connection can take", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1", { limits: { messages: 10 } });
  await node.connect("a");
  await Promise.all(Array.from({ length: 200 }, () => node.queue("a", "x".repeat(20_000))));
  await node.disconnect("a");
  await node.queue("a", "x");
  assert.equal(node.cluster.dropped, 191);
  await eventually(() => node.cluster.told.length > 0, "what was dropped to be told");
  assert.equal(node.cluster.told.length, Math.ceil(1024 * 1024 / 20_030));
});

Deno.test("what a session keeps of nodes that have sent nothing for a week goes when another one sends", async () => {
  await using redis = await RedisServer.start();
  await using one = await SessionNode.start(redis, "n1");
  await using two = await SessionNode.start(redis, "n2");
  await one.connect("a");
  const day = 24 * 3600;
  const daysAgo = (days: number) => `life 1 1 ${Math.floor(Date.now() / 1000) - days * day}`;
  await redis.command("HSET", "mqtt:session:{a}", "from:gone", daysAgo(8), "from:quiet", daysAgo(6));
  await one.queue("a", "1");
  await two.queue("a", "2");
  const fields = await one.link.redis.hkeys("mqtt:session:{a}");
  assert.deepEqual(fields.filter((field) => field.startsWith("from:")).sort(), ["from:n1", "from:n2", "from:quiet"]);
});
