import assert from "node:assert/strict";
import { eventually } from "../broker/eventually.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { RedisServer } from "../support/redis_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { SessionNode, text } from "./session_node.ts";

const kinds: [string, () => Promise<RedisServer | RedisCluster>][] = [
  ["one server", () => RedisServer.start()],
  ["a Redis Cluster", () => RedisCluster.start()],
];

/** All keys that there are, for once. */
async function keys(redis: RedisServer | RedisCluster): Promise<string[]> {
  const servers = "masters" in redis ? redis.masters : [redis];
  const lines = await Promise.all(servers.map((server) => server.command("KEYS", "*")));
  return lines.flatMap((line) => line.split("\n")).filter((key) => key !== "").sort();
}

for (const [kind, startRedis] of kinds) {
  Deno.test(`[${kind}] a client without a session has none to be restored`, async () => {
    await using redis = await startRedis();
    await using node = await SessionNode.start(redis, "n1");
    assert.equal(await node.connect("a"), undefined);
  });

  Deno.test(`[${kind}] a client that goes to another node finds its session there with all that belongs to it`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.subscribe("a", "x/#", "y");
    for (const payload of ["1", "2", "3", "4"]) await one.queue("a", payload, { qos: 2 });
    await one.sessions.hook.storeOutgoing("a", one.sent("1", 11));
    await one.sessions.hook.storeOutgoing("a", { ...one.sent("2", 12), released: true });
    await one.sessions.hook.removeOutgoing("a", one.sent("3", 0));
    await one.sessions.hook.storeReceived("a", 7);
    await one.sessions.hook.storeReceived("a", 8);
    await one.sessions.hook.removeReceived("a", 7);
    await one.disconnect("a");
    const restored = (await two.connect("a"))!;
    assert.deepEqual(restored.subscriptions.map(({ topicFilter }) => topicFilter).sort(), ["x/#", "y"]);
    assert.deepEqual(
      restored.outgoing.map((each) => [text(each), each.qos, each.packetId, each.released]),
      [["1", 2, 11, false], ["2", 2, 12, true], ["4", 2, 0, false]],
    );
    assert.deepEqual(restored.received, [8]);
    assert.equal(restored.expiryInterval, 3600);
    assert.equal(typeof restored.disconnectedAt, "number");
  });

  Deno.test(`[${kind}] the node that had the session of a client gives it up when the client connects to another one`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.subscribe("a", "x");
    await two.connect("a");
    await eventually(() => one.cluster.released.length === 1, "the session to be released");
    assert.deepEqual(one.cluster.released, ["a"]);
    assert.deepEqual([...one.cluster.remote.get("a")!.topicFilters], ["x"]);
    assert.equal(two.cluster.remote.has("a"), false);
  });

  Deno.test(`[${kind}] of two nodes that claim one client id at the same moment exactly one keeps it`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    for (const isDurable of [true, false]) {
      for (let round = 0; round < 10; round++) {
        const clientId = `client ${isDurable} ${round}`;
        const nodes = [one, two];
        const outcomes = await Promise.allSettled(nodes.map((node) => node.connect(clientId, { isDurable })));
        // A young Redis Cluster may lose what is published in it.
        if (redis instanceof RedisCluster) await Promise.all(nodes.map((node) => node.sessions.check()));
        const keeps = () =>
          nodes.filter((node, index) =>
            outcomes[index].status === "fulfilled" && !node.cluster.released.includes(clientId)
          ).length;
        await eventually(() => keeps() === 1, "one node to keep the client");
      }
    }
  });

  Deno.test(`[${kind}] what a node writes that has lost the session changes nothing`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.queue("a", "1");
    const claimed = two.connect("a");
    // Before it has heard of it.
    one.sessions.hook.removeOutgoing("a", one.sent("1", 0));
    one.sessions.hook.storeReceived("a", 3);
    await claimed;
    await one.writer.written();
    await two.disconnect("a");
    const restored = (await two.connect("a"))!;
    assert.ok(restored.outgoing.length === 0 || restored.received.length === 0 || restored.received[0] === 3);
    await eventually(() => one.cluster.released.length === 1, "the session to be released");
  });

  Deno.test(`[${kind}] of an ended session no key is left`, async () => {
    await using redis = await startRedis();
    await using node = await SessionNode.start(redis, "n1");
    await node.connect("a");
    await node.subscribe("a", "x");
    await node.queue("a", "1");
    await node.queue("a", "2");
    await node.sessions.hook.storeOutgoing("a", node.sent("1", 1));
    await node.sessions.hook.storeReceived("a", 1);
    assert.equal((await keys(redis)).filter((key) => key.includes("{a}")).length, 5);
    await node.disconnect("a");
    node.sessions.hook.removeSession("a");
    node.sessions.hook.onSessionEnded("a");
    await node.connect("b", { isDurable: false });
    node.sessions.hook.onSessionEnded("b");
    await node.writer.written();
    assert.deepEqual(await keys(redis), ["mqtt:nodes"]);
    assert.equal(node.sessions.size, 0);
  });

  Deno.test(`[${kind}] a client that begins a new session keeps nothing of the one before`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.subscribe("a", "x");
    await one.queue("a", "1");
    await one.disconnect("a");
    const replaced = (await two.connect("a", { cleanStart: true }))!;
    assert.deepEqual(replaced.outgoing, []);
    await eventually(() => !one.cluster.remote.has("a"), "the subscriptions to end");
    await two.subscribe("a", "y");
    await two.queue("a", "2");
    assert.deepEqual(two.cluster.payloads("a"), ["2"]);
    await two.disconnect("a");
    const restored = (await one.connect("a"))!;
    assert.deepEqual(restored.subscriptions.map(({ topicFilter }) => topicFilter), ["y"]);
    assert.deepEqual(restored.outgoing.map(text), ["2"]);
  });

  Deno.test(`[${kind}] a session that is not durable any more stays with its connection`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.subscribe("a", "x");
    await eventually(() => two.cluster.remote.has("a"), "the subscription to be known");
    await one.sessions.hook.removeSession("a");
    await eventually(() => !two.cluster.remote.has("a"), "the subscription to end");
    assert.equal(await two.connect("a"), undefined);
    await eventually(() => one.cluster.released.length === 1, "the connection to be closed");
  });

  Deno.test(`[${kind}] nodes know what the durable sessions of others are subscribed to, and where their clients are`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await one.connect("early");
    await one.subscribe("early", "x");
    await using two = await SessionNode.start(redis, "n2");
    const early = two.cluster.remote.get("early")!;
    assert.deepEqual([...early.topicFilters], ["x"]);
    assert.equal(early.subscriber.isConnected, true);
    await one.connect("late");
    await one.subscribe("late", "y", "z");
    await one.sessions.hook.removeSubscriptions("late", ["z"]);
    await one.disconnect("early");
    await eventually(() => two.cluster.remote.get("late")?.topicFilters.size === 1, "the other session to be known");
    await eventually(() => !early.subscriber.isConnected, "the client to be gone");
    assert.deepEqual([...two.cluster.remote.get("late")!.topicFilters], ["y"]);
    assert.equal(one.cluster.remote.size, 0);
  });

  Deno.test(`[${kind}] what other nodes have not heard of the subscriptions of a session, they find in time`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("ended");
    await one.subscribe("ended", "x");
    await eventually(() => two.cluster.remote.has("ended"), "the subscription to be known");
    two.isDeaf = true;
    await one.connect("new");
    await one.subscribe("new", "y");
    one.sessions.hook.removeSession("ended");
    one.sessions.hook.onSessionEnded("ended");
    await one.writer.written();
    await eventually(() => two.missed >= 3, "the events to get lost");
    await two.sessions.check();
    assert.deepEqual([...two.cluster.remote.keys()], ["new"]);
    assert.deepEqual([...two.cluster.remote.get("new")!.topicFilters], ["y"]);
  });

  Deno.test(`[${kind}] a session that is here is nobody else's while it is claimed once more`, async () => {
    await using redis = await startRedis();
    await using node = await SessionNode.start(redis, "n1");
    await node.connect("a");
    await node.subscribe("a", "x");
    await node.disconnect("a");
    await Promise.all([node.connect("a"), node.sessions.check()]);
    assert.equal(node.cluster.added, 0);
  });

  Deno.test(`[${kind}] a node that starts again looks after its sessions again`, async () => {
    await using redis = await startRedis();
    const first = await SessionNode.start(redis, "n1");
    const will = { topic: "w", payload: new Uint8Array([1, 2]), qos: 1 as const, retain: false };
    await first.connect("durable", { will });
    await first.subscribe("durable", "x");
    await first.queue("durable", "1");
    await first.connect("other", { isDurable: false, will });
    await first.kill();
    await using again = await SessionNode.start(redis, "n1");
    const [durable, other] = again.cluster.adopted.sort((a, b) => a.clientId < b.clientId ? -1 : 1);
    assert.deepEqual(durable.subscriptions.map(({ topicFilter }) => topicFilter), ["x"]);
    assert.deepEqual([durable.expiryInterval, durable.disconnectedAt, durable.will?.topic], [3600, undefined, "w"]);
    assert.deepEqual([other.clientId, other.expiryInterval, other.will], ["other", 0, will]);
    assert.deepEqual((await again.connect("durable"))!.outgoing.map(text), ["1"]);
  });

  Deno.test(`[${kind}] a survivor takes over the sessions of a dead node`, async () => {
    await using redis = await startRedis();
    const dead = await SessionNode.start(redis, "dead");
    await using survivor = await SessionNode.start(redis, "survivor");
    await dead.connect("a");
    await dead.subscribe("a", "x");
    await dead.queue("a", "1");
    await dead.connect("b", { isDurable: false });
    await dead.connect("moved");
    await survivor.connect("moved");
    await dead.kill();
    await survivor.sessions.adopt("dead");
    assert.deepEqual(survivor.cluster.adopted.map(({ clientId }) => clientId).sort(), ["a", "b"]);
    assert.equal(survivor.cluster.remote.has("a"), false);
    assert.deepEqual((await survivor.connect("a"))!.outgoing.map(text), ["1"]);
    assert.deepEqual((await keys(redis)).filter((key) => key.startsWith("mqtt:sessions:")), ["mqtt:sessions:survivor"]);
  });

  Deno.test(`[${kind}] a session that a dead node has not told an emptied Redis all about does not end for that`, async () => {
    await using redis = await startRedis();
    await using survivor = await SessionNode.start(redis, "survivor");
    const { link } = survivor;
    await link.call("HSET", "mqtt:session:{a}", "epoch", "1", "home", "dead", "node", "", "durable", "1");
    await link.call("SADD", "mqtt:sessions:dead", "a");
    await survivor.sessions.adopt("dead");
    assert.deepEqual(survivor.cluster.adopted.map(({ expiryInterval }) => expiryInterval), [0xffff_ffff]);
  });

  Deno.test(`[${kind}] the will of a client that was connected to a dead node is published when it connects to another`, async () => {
    await using redis = await startRedis();
    const one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    const will = { topic: "w", payload: new Uint8Array([1]), qos: 0 as const, retain: false };
    const delayed = { ...will, properties: { willDelayInterval: 60 } };
    await one.connect("durable", { will });
    await one.connect("delayed", { will: delayed });
    await one.connect("other", { isDurable: false, will });
    await one.kill();
    assert.equal((await two.connect("durable"))!.will, undefined);
    assert.deepEqual((await two.connect("delayed"))!.will, delayed);
    assert.equal(await two.connect("other", { isDurable: false }), undefined);
    assert.deepEqual(two.wills, [will, will]);
  });

  Deno.test(`[${kind}] the will of a client that was connected to a node that lives is left to that, until it dies`, async () => {
    await using redis = await startRedis();
    const one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.beat();
    const will = { topic: "w", payload: new Uint8Array([1]), qos: 0 as const, retain: false };
    await one.connect("released", { will });
    assert.equal((await two.connect("released"))!.will, undefined);
    await eventually(() => two.heard.includes("released"), "the session to be released");
    await one.connect("taken", { will });
    await one.kill();
    assert.equal((await two.connect("taken"))!.will, undefined);
    await two.sessions.check();
    assert.deepEqual(two.wills, []);
    await two.link.call("DEL", "mqtt:node:n1");
    await two.sessions.check();
    assert.deepEqual(two.wills, [will]);
  });

  Deno.test(`[${kind}] a will that waits for a node's death is published also if the node dies first that waits`, async () => {
    await using redis = await startRedis();
    const one = await SessionNode.start(redis, "n1");
    const two = await SessionNode.start(redis, "n2");
    await using three = await SessionNode.start(redis, "n3");
    await one.beat();
    const will = { topic: "w", payload: new Uint8Array([1]), qos: 0 as const, retain: false };
    const delayed = { ...will, properties: { willDelayInterval: 60 } };
    await one.connect("a", { will });
    await one.connect("back in time", { will: delayed });
    await one.kill();
    await two.connect("a");
    await two.connect("back in time");
    await two.writer.written();
    await two.kill();
    await three.sessions.adopt("n2");
    await three.sessions.check();
    assert.deepEqual(three.wills, []);
    await three.link.call("DEL", "mqtt:node:n1");
    await three.sessions.check();
    assert.deepEqual(three.wills, [will]);
    await three.writer.written();
    assert.deepEqual(
      await three.link.redis.hkeys("mqtt:session:{a}").then((fields) => fields.filter((f) => f.startsWith("taken"))),
      [],
    );
  });

  Deno.test(`[${kind}] a node that has been taken for dead, but is not, keeps its clients and what it writes for them`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.subscribe("a", "x");
    await one.queue("a", "1");
    await one.queue("a", "2");
    await two.sessions.adopt("n1");
    await one.sessions.hook.removeOutgoing("a", one.sent("1", 0));
    await two.queue("a", "3");
    await eventually(() => one.cluster.delivered.length === 3, "the session to be taken back");
    await eventually(() => two.cluster.remote.has("a"), "it to be another node's for the other one");
    assert.deepEqual([one.cluster.released, two.cluster.released], [[], ["a"]]);
    await one.disconnect("a");
    assert.deepEqual((await two.connect("a"))!.outgoing.map(text), ["2", "3"]);
  });

  Deno.test(`[${kind}] the sessions of a node that lives are not taken over`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.beat();
    await one.connect("a");
    await two.sessions.adopt("n1");
    assert.deepEqual(two.cluster.adopted, []);
    await two.writer.written();
    assert.deepEqual(await two.link.redis.smembers("mqtt:sessions:n1"), ["a"]);
    assert.deepEqual(await two.link.redis.smembers("mqtt:sessions:n2"), []);
  });

  Deno.test(`[${kind}] a session that has expired is not found`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.connect("a");
    await one.subscribe("a", "x");
    await one.queue("a", "1");
    await one.store("a", { expiryInterval: 10, disconnectedAt: Date.now() - 20_000 });
    assert.equal(await two.connect("a"), undefined);
    await two.queue("a", "2");
    await two.disconnect("a");
    const restored = (await one.connect("a"))!;
    assert.deepEqual([restored.subscriptions, restored.outgoing.map(text)], [[], ["2"]]);
  });
}

Deno.test("however much one client changes at once, Redis takes it", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1");
  await node.connect("a");
  await node.subscribe("a", ...Array.from({ length: 100_000 }, (_, index) => `filter/${index % 1000}`));
  assert.equal(await redis.command("HLEN", "mqtt:subs:{a}"), "1000");
});

const lastWill = { topic: "will", payload: new Uint8Array([1]), qos: 1, retain: false } as const;

for (const isDurable of [true, false]) {
  Deno.test(`the will of a dead node's client is published if it connects while its session is adopted (durable: ${isDurable})`, async () => {
    await using redis = await RedisServer.start();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    await one.beat();
    await two.connect("x", { will: lastWill, isDurable });
    await two.kill();
    const { link } = one;
    const run = link.run.bind(link);
    let claimed: Promise<unknown> | undefined;
    link.run = async (...args) => {
      const reply = await run(...args);
      // Only now has Redis given the session to this node; its client is here before the answer.
      if (claimed === undefined) {
        claimed = one.claim("x", { isDurable });
        await claimed;
      }
      return reply;
    };
    await one.sessions.adopt("n2");
    await claimed;
    await eventually(() => one.wills.length > 0, "the will");
    assert.equal(one.wills.length, 1);
  });
}

/** Has something done once, directly behind a script that a node runs and before it has the answer. */
function afterScript({ link }: SessionNode, act: () => Promise<unknown>): void {
  const run = link.run;
  link.run = async (...args) => {
    link.run = run;
    const reply = await run.apply(link, args);
    await act();
    return reply;
  };
}

async function heardOf(node: SessionNode, kind: string): Promise<void> {
  await eventually(() => node.heard.includes(kind), `"${kind}"`);
}

for (const [kind, startRedis] of kinds) {
  Deno.test(`[${kind}] a session that its client takes away while it is adopted is not kept`, async () => {
    await using redis = await startRedis();
    await using one = await SessionNode.start(redis, "n1");
    await using two = await SessionNode.start(redis, "n2");
    const dead = await SessionNode.start(redis, "dead");
    await dead.connect("a");
    await dead.subscribe("a", "x");
    await dead.kill();
    afterScript(one, async () => {
      await two.connect("a");
      await heardOf(one, "taken");
    });
    await one.sessions.adopt("dead");
    assert.equal(one.sessions.size, 0);
    assert.deepEqual(one.cluster.released, ["a"]);
    assert.equal(one.cluster.remote.get("a")?.subscriber.isConnected, true);
    await one.writer.written();
    assert.deepEqual(await one.link.redis.smembers("mqtt:sessions:n1"), []);
    await two.queue("a", "1");
    assert.deepEqual(two.cluster.payloads("a"), ["1"]);
  });
}

Deno.test("a client that was let in without Redis is thrown out if it connects elsewhere while its session is claimed", async () => {
  await using redis = await RedisServer.start();
  await using proxy = new TcpProxy(redis.port);
  await using one = await SessionNode.start(redis, "n1", { addr: `127.0.0.1:${proxy.port}` });
  await using two = await SessionNode.start(redis, "n2");
  proxy.cut();
  await eventually(() => !one.link.isConnected, "the loss");
  await one.connect("a", { isDurable: false });
  afterScript(one, async () => {
    await two.connect("a", { isDurable: false });
    await heardOf(one, "taken");
  });
  proxy.heal();
  await eventually(() => one.link.isConnected, "the reconnection");
  assert.equal(one.sessions.size, 0);
  assert.deepEqual(one.cluster.released, ["a"]);
});

Deno.test("a session that another node takes while its claim here fails is given up", async () => {
  await using redis = await RedisServer.start();
  await using one = await SessionNode.start(redis, "n1");
  await using two = await SessionNode.start(redis, "n2");
  await one.connect("a");
  await one.subscribe("a", "x");
  const { run } = one.link;
  // The claim does not reach Redis, and meanwhile the client connects elsewhere.
  one.link.run = async () => {
    one.link.run = run;
    await two.connect("a");
    await eventually(() => one.heard.includes("taken"), "the notice");
    throw new Error("it fails");
  };
  await assert.rejects(one.claim("a"), { message: /cannot be reached at the moment/ });
  assert.equal(one.sessions.size, 0);
  assert.deepEqual(one.cluster.released, ["a"]);
});

Deno.test("a QoS 2 packet identifier is never refused: a message that was let in would come twice", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1", { maximumEntries: 3 });
  for (const clientId of ["p", "s"]) await node.connect(clientId);
  const queued = ["1", "2", "3"].map((payload) => node.queue("s", payload));
  assert.equal(node.writer.refuses, true);
  await node.sessions.hook.storeReceived("p", 1);
  await Promise.all(queued);
});
