import assert from "node:assert/strict";
import { encode } from "@msgpack/msgpack";
import { FrameBuilder } from "../../hooks/cluster/frames.ts";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { RedisServer } from "../support/redis_server.ts";
import { ForwardingNode, remoteMessage } from "./forwarding_node.ts";

/** How many commands Redis has carried out for this one's name, e.g. `xadd`. */
async function calls(redis: RedisServer, command: string): Promise<number> {
  const stats = await redis.command("INFO", "commandstats");
  return Number(stats.match(new RegExp(`cmdstat_${command}:calls=(\\d+)`))?.[1] ?? 0);
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${index}`);
}

Deno.test("what is sent in one turn of the event loop goes in one frame, in its order", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  for (const payload of numbers(1000)) a.fanout.to("b").send(remoteMessage(payload));
  await eventually(() => b.received.length === 1000, "all messages");
  assert.deepEqual(b.received, numbers(1000));
  assert.equal(await calls(redis, "publish"), 1);
});

Deno.test("messages at QoS 1 and 2 of one turn are appended together, and settle when they are", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b", { reads: false });
  const outlet = a.fanout.to("b");
  const sent = numbers(100).map((payload) => outlet.send(remoteMessage(payload, { qos: 1 })));
  sent.push(outlet.send(remoteMessage("100", { qos: 2 })));
  assert.ok(sent.every((promise) => promise === sent[0]));
  await sent[0];
  assert.equal(await redis.command("XLEN", "mqtt:inbox:b"), "1");
  assert.deepEqual(b.received, []);
});

Deno.test("what is in the inbox is delivered in its order, also what came before the node read it", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  const outlet = a.fanout.to("b");
  for (const payload of numbers(50)) await outlet.send(remoteMessage(payload, { qos: 1 }));
  await using b = await ForwardingNode.start(redis, "b");
  for (const payload of numbers(100).slice(50)) await outlet.send(remoteMessage(payload, { qos: 2 }));
  await eventually(() => b.received.length === 100, "all messages");
  assert.deepEqual(b.received, numbers(100));
});

Deno.test("what has been read is removed from the inbox", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  await a.fanout.to("b").send(remoteMessage("1", { qos: 1 }));
  await eventually(() => b.received.length === 1, "the message");
  const length = async () => Number(await b.link.call("XLEN", "mqtt:inbox:b"));
  const end = performance.now() + 5000;
  while (await length() > 0) assert.ok(performance.now() < end, "it is still there");
});

Deno.test("a frame that comes twice is delivered once", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  const builder = new FrameBuilder();
  builder.addForAll(remoteMessage("once", { qos: 1 }));
  const frame = builder.finish({ nodeId: "a", incarnation: "life", number: 1, sentAt: 0 });
  for (let time = 0; time < 3; time++) await a.link.call("XADD", "mqtt:inbox:b", "*", "frame", frame);
  await a.fanout.to("b").send(remoteMessage("next", { qos: 1 }));
  await eventually(() => b.received.includes("next"), "the next message");
  assert.deepEqual(b.received, ["once", "next"]);
});

Deno.test("a message says for whom it is", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  const outlet = a.fanout.to("b");
  const before = Date.now();
  outlet.send(remoteMessage("1", { publisherId: "p" }));
  outlet.send(remoteMessage("2", { shareFilter: "$share/g/t" }));
  outlet.send(remoteMessage("3", { identifiers: [5], retain: true }), "session");
  outlet.send(remoteMessage("4", { shareFilter: "$share/g/t" }), "member");
  await eventually(() => b.forwarded.length === 4, "all messages");
  assert.ok(b.forwarded.every(({ sentAt }) => sentAt >= before && sentAt <= Date.now()));
  assert.deepEqual(b.forwarded.map(({ sentAt: _sentAt, ...rest }) => rest), [
    { publisherId: "p", toAll: true, groups: [], sessions: [] },
    { publisherId: undefined, toAll: false, groups: ["$share/g/t"], sessions: [] },
    {
      publisherId: undefined,
      toAll: false,
      groups: [],
      sessions: [{ clientId: "session", retain: true, identifiers: [5] }],
    },
    {
      publisherId: undefined,
      toAll: false,
      groups: [],
      sessions: [{ clientId: "member", retain: false, identifiers: undefined }],
    },
  ]);
});

Deno.test("no frame is much larger than 256 KB, unless it holds one message that is", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  const outlet = a.fanout.to("b");
  const sent = [100_000, 100_000, 100_000, 1_000_000, 10, 200_000, 70_000].map((size) =>
    outlet.send(remoteMessage("x".repeat(size), { qos: 1 }))
  );
  await Promise.all(sent);
  const sizes = (await redis.command("XRANGE", "mqtt:inbox:b", "-", "+")).split("\n").map((line) => line.length)
    .filter((length) => length > 1000).map((length) => Math.round(length / 10_000));
  assert.deepEqual(sizes, [20, 10, 100, 20, 7]);
});

Deno.test("a message that another node cannot use keeps no other back", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  b.onReceived = (payload) => {
    if (payload === "1") throw new Error("not this one");
    return payload === "2" ? Promise.reject(new Error("nor this one")) : undefined;
  };
  await a.link.call("XADD", "mqtt:inbox:b", "*", "frame", "no frame");
  await a.link.call("PUBLISH", "mqtt:fanout:b", "no frame");
  await a.link.call("PUBLISH", "mqtt:fanout:b", encode(["frame", "not a whole one"]));
  for (const payload of numbers(4)) {
    await a.fanout.to("b").send(remoteMessage(payload, { qos: 1, publisherId: payload }));
  }
  await eventually(() => b.received.length === 4, "all messages");
  assert.deepEqual(b.logger.entries.filter((entry) => /not this one|nor this one/.test(entry)).length, 2);
});

Deno.test("reading waits until what came before is stored", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  const stored = Promise.withResolvers<void>();
  b.onReceived = (payload) => payload === "0" ? stored.promise : undefined;
  await a.fanout.to("b").send(remoteMessage("0", { qos: 1 }));
  await a.fanout.to("b").send(remoteMessage("1", { qos: 1 }));
  await eventually(() => b.received.length === 1, "the first message");
  a.fanout.to("b").send(remoteMessage("a message at QoS 0"));
  await eventually(() => b.received.length === 2, "one that does not wait");
  assert.deepEqual(b.received, ["0", "a message at QoS 0"]);
  stored.resolve();
  await eventually(() => b.received.length === 3, "the one that has waited");
});

Deno.test("messages at QoS 0 to a node that does not read are dropped when many are on their way, and that is said once", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  const payload = "x".repeat(100_000);
  for (let index = 0; index < 60; index++) a.fanout.to("b").send(remoteMessage(payload));
  assert.ok(a.fanout.dropped >= 10 && a.fanout.dropped <= 20, `${a.fanout.dropped} were dropped`);
  assert.equal(a.dropped, a.fanout.dropped);
  assert.deepEqual(a.logger.entries, [
    "warn: messages to node b are dropped: it does not read as fast as messages are published",
  ]);
});

Deno.test("many frames on their way at once arrive as they were sent", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  const payloads = numbers(200).map((number) => number.padEnd(10_000, number));
  for (const [index, payload] of payloads.entries()) {
    a.fanout.to("b").send(remoteMessage(payload));
    if (index % 5 === 0) await Promise.resolve();
  }
  await eventually(() => b.received.length === 200, "all messages");
  assert.deepEqual(b.received, payloads);
  assert.ok(await calls(redis, "publish") >= 20);
});

Deno.test("messages at QoS 0 to a node that reads them are not dropped, however many they are in the end", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  await using b = await ForwardingNode.start(redis, "b");
  const payload = "x".repeat(100_000);
  for (let round = 1; round <= 50; round++) {
    for (let index = 0; index < 5; index++) a.fanout.to("b").send(remoteMessage(payload));
    await eventually(() => b.received.length === round * 5, "the round");
  }
  assert.equal(a.fanout.dropped, 0);
});

Deno.test("acknowledgements wait for a node that does not read while much is on its way, and not for a dead one", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a");
  const outlet = a.fanout.to("b");
  const payload = "x".repeat(100_000);
  for (let index = 0; index < 84; index++) await outlet.send(remoteMessage(payload, { qos: 1 }));
  let isSettled = false;
  const sent = Promise.resolve(outlet.send(remoteMessage("waits", { qos: 1 }))).then(() => isSettled = true);
  await a.writer.written();
  assert.equal(isSettled, false);
  outlet.isAlive = false;
  await sent;
  await outlet.send(remoteMessage("does not wait", { qos: 1 }));
});

Deno.test("when too much waits for Redis, messages at QoS 1 and 2 are refused, but for those that were acknowledged before", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a", { maximumEntries: 3 });
  await redis.kill();
  await eventually(() => !a.link.isConnected, "the loss of Redis to be noticed");
  const outlet = a.fanout.to("b");
  const accepted = numbers(3).map((payload) => outlet.send(remoteMessage(payload, { qos: 1 })));
  const refusal = await Promise.resolve(outlet.send(remoteMessage("3", { qos: 1 }))).catch((error) => error);
  assert.ok(refusal instanceof ReasonCodeError);
  assert.equal(refusal.reasonCode, ReasonCode.QuotaExceeded);
  accepted.push(outlet.send(remoteMessage("4", { qos: 2, isPublished: true })));
  await redis.restart();
  await Promise.all(accepted);
  await using b = await ForwardingNode.start(redis, "b");
  await eventually(() => b.received.length === 4, "what was accepted");
  assert.deepEqual(b.received, ["0", "1", "2", "4"]);
});

Deno.test("a message goes to all nodes that get it, or is refused for all, however many there are", async () => {
  await using redis = await RedisServer.start();
  await using a = await ForwardingNode.start(redis, "a", { maximumEntries: 3 });
  const nodeIds = ["b", "c", "d", "e", "f"];
  const messages = [remoteMessage("admitted", { qos: 1 }), remoteMessage("refused", { qos: 1 })];
  const outcomes = await Promise.allSettled(
    messages.flatMap((message) =>
      // Each has the packet in memory of its own, where the broker had to copy it.
      nodeIds.map((nodeId) => a.fanout.to(nodeId).send({ ...message, publish: message.publish.slice() }))
    ),
  );
  assert.deepEqual(outcomes.map(({ status }) => status), [
    ...nodeIds.map(() => "fulfilled"),
    ...nodeIds.map(() => "rejected"),
  ]);
});
