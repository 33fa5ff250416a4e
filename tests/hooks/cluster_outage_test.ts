import assert from "node:assert/strict";
import { ReasonCode, ReasonCodeError } from "../../codec/mod.ts";
import { eventually } from "../broker/eventually.ts";
import { RedisServer } from "../support/redis_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";
import { SessionNode, text } from "./session_node.ts";

/** Two nodes on one Redis, of which the first can be cut off. */
async function startTwo(): Promise<
  AsyncDisposable & Record<"one" | "two", SessionNode> & { redis: RedisServer; proxy: TcpProxy }
> {
  await using stack = new AsyncDisposableStack();
  const redis = stack.use(await RedisServer.start());
  const proxy = stack.use(new TcpProxy(redis.port));
  const one = stack.use(await SessionNode.start(redis, "n1", { addr: `127.0.0.1:${proxy.port}` }));
  const two = stack.use(await SessionNode.start(redis, "n2"));
  const moved = stack.move();
  return { redis, proxy, one, two, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

async function cut({ proxy, one }: { proxy: TcpProxy; one: SessionNode }): Promise<void> {
  proxy.cut();
  await eventually(() => !one.link.isConnected, "the loss");
}

async function heal({ proxy, one }: { proxy: TcpProxy; one: SessionNode }): Promise<void> {
  proxy.heal();
  await eventually(() => one.link.isConnected, "the reconnection");
}

/** With which reason code something is refused when something else has happened. */
async function refusalOf(work: Promise<unknown>, happen: () => Promise<void>): Promise<ReasonCode | undefined> {
  let refusal: ReasonCodeError | undefined;
  work.catch((error) => refusal = error);
  await happen();
  await eventually(() => refusal !== undefined, "the refusal");
  return refusal!.reasonCode;
}

Deno.test("a node that comes back keeps a session that another one has only looked after meanwhile", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await one.connect("a");
  await one.subscribe("a", "x");
  await one.queue("a", "1");
  await cut(nodes);
  await two.sessions.adopt("n1");
  await two.queue("a", "2");
  const removed = one.sessions.hook.removeOutgoing("a", one.sent("1", 0));
  await heal(nodes);
  await removed;
  await eventually(() => one.cluster.delivered.length === 2, "the message of meanwhile");
  assert.deepEqual(one.cluster.payloads("a"), ["1", "2"]);
  assert.deepEqual(one.cluster.released, []);
  await eventually(() => two.cluster.released.length === 1, "the other node to give it back");
  await eventually(() => two.cluster.remote.has("a"), "it to be a subscriber there again");
  await one.disconnect("a");
  assert.deepEqual((await two.connect("a"))!.outgoing.map(text), ["2"]);
});

Deno.test("a node that comes back gives a session up whose client has connected to another one", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await one.connect("a");
  await one.subscribe("a", "x");
  await one.connect("b", { isDurable: false });
  await cut(nodes);
  await two.connect("a");
  await two.subscribe("a", "y");
  await two.connect("b", { isDurable: false });
  await heal(nodes);
  assert.deepEqual(one.cluster.released.sort(), ["a", "b"]);
  await eventually(() => one.cluster.remote.get("a")?.topicFilters.size === 2, "what it is subscribed to now");
  assert.equal(one.sessions.size, 0);
});

Deno.test("a node that has heard of a session's subscriptions knows where its client is, also if it cannot read anything yet", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  two.link.call = () => new Promise(() => {});
  await one.connect("a");
  await one.subscribe("a", "x");
  await eventually(() => two.cluster.remote.has("a"), "the subscription");
  assert.equal(two.cluster.remote.get("a")!.subscriber.isConnected, true);
});

Deno.test("a client that connects while its session is being written is refused with 0x88 as soon as Redis is lost", async () => {
  await using nodes = await startTwo();
  const { one, proxy } = nodes;
  await one.connect("before");
  proxy.drop();
  const gone = one.disconnect("before");
  const connecting = await refusalOf(one.claim("before"), () => cut(nodes));
  assert.equal(connecting, ReasonCode.ServerUnavailable);
  await heal(nodes);
  await gone;
  await one.claim("behind");
  proxy.drop();
  const welcoming = await refusalOf(one.store("behind"), () => cut(nodes));
  assert.equal(welcoming, ReasonCode.ServerUnavailable);
  await heal(nodes);
  // It was stored all the same.
  assert.equal((await one.connect("behind"))?.clientId, "behind");
});

Deno.test("what a client has sent at QoS 2 to a node that was cut off is not stored when the client has gone away", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await one.connect("publisher");
  await two.connect("a");
  await cut(nodes);
  const stored = [
    one.queue("a", "twice", { qos: 2, publisherId: "publisher" }),
    one.queue("a", "at least once", { qos: 1, publisherId: "publisher" }),
    one.queue("a", "from another", { qos: 2, publisherId: "other" }),
  ];
  await two.connect("publisher");
  await two.queue("a", "twice", { qos: 2, publisherId: "publisher" });
  await heal(nodes);
  await Promise.all(stored);
  await eventually(() => two.cluster.delivered.length >= 3, "the messages");
  assert.deepEqual(two.cluster.payloads("a"), ["twice", "at least once", "from another"]);
});

Deno.test("the will of a client that goes to another node is stored, also at QoS 2", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await one.connect("mourned");
  await two.connect("a");
  await cut(nodes);
  const stored = one.queue("a", "will", { qos: 2, publisherId: "mourned", isPublished: true });
  await two.connect("mourned");
  await heal(nodes);
  await stored;
  await eventually(() => two.cluster.delivered.length === 1, "the will");
});

Deno.test("what is queued while Redis is away is stored when it is back, in its order and once", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await one.connect("here");
  await two.connect("there");
  await cut(nodes);
  const payloads = Array.from({ length: 3000 }, (_, index) => `${index}`);
  const stored = payloads.flatMap((payload) => [one.queue("here", payload), one.queue("there", payload)]);
  await heal(nodes);
  await Promise.all(stored);
  await eventually(() => two.cluster.delivered.length >= payloads.length, "the messages");
  assert.deepEqual(one.cluster.payloads("here"), payloads);
  assert.deepEqual(two.cluster.payloads("there"), payloads);
});

Deno.test("messages whose answer from Redis was lost are stored once", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1");
  await node.connect("here");
  await node.connect("gone");
  await node.disconnect("gone");
  await node.queue("here", "1");
  redis.stop();
  const own = { ...node.sent("1", 5), id: node.cluster.nextOutgoingId() };
  const stored = [
    node.queue("here", "2"),
    node.queue("gone", "2"),
    node.sessions.hook.storeOutgoing("here", own),
    node.queue("here", "3"),
  ];
  await eventually(() => !node.link.isConnected, "the loss");
  redis.continue();
  await Promise.all(stored);
  await eventually(() => node.cluster.payloads("here").length >= 3, "the messages");
  assert.deepEqual(node.cluster.payloads("here"), ["1", "2", "3"]);
  assert.deepEqual((await node.connect("gone"))!.outgoing.map(text), ["2"]);
  await node.disconnect("here");
  const restored = (await node.connect("here"))!;
  assert.deepEqual(restored.outgoing.map((each) => [text(each), each.packetId]), [["1", 0], ["2", 0], ["1", 5], [
    "3",
    0,
  ]]);
});

Deno.test("while Redis is away clients with durable sessions are refused with 0x88, and others let in", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await cut(nodes);
  await assert.rejects(
    one.claim("a"),
    (error) => error instanceof ReasonCodeError && error.reasonCode === ReasonCode.ServerUnavailable,
  );
  assert.equal(await one.claim("b", { isDurable: false }), undefined);
  await one.claim("left", { isDurable: false });
  one.sessions.hook.onSessionEnded("left");
  await heal(nodes);
  assert.equal(one.sessions.size, 1);
  await two.connect("b", { isDurable: false });
  await eventually(() => one.cluster.released.length === 1, "the connection to be closed");
  await one.connect("a");
});

Deno.test("who was let in while Redis was away, and has connected elsewhere since, is disconnected", async () => {
  await using nodes = await startTwo();
  const { one, two } = nodes;
  await cut(nodes);
  await one.claim("a", { isDurable: false });
  await new Promise((resolve) => setTimeout(resolve, 2));
  await two.connect("a", { isDurable: false });
  await heal(nodes);
  assert.deepEqual(one.cluster.released, ["a"]);
  assert.deepEqual(two.cluster.released, []);
});

Deno.test("when Redis comes back empty, sessions are claimed anew before anything is stored", async () => {
  await using nodes = await startTwo();
  const { redis, one, two } = nodes;
  await one.connect("a");
  await one.connect("b", { isDurable: false });
  await one.queue("a", "1");
  for (const node of [one, two]) node.isEmptied = true;
  await redis.kill();
  await eventually(() => !one.link.isConnected && !two.link.isConnected, "the loss");
  const stored = one.queue("a", "2");
  one.sessions.hook.removeOutgoing("a", one.sent("1", 0));
  await redis.restart();
  await stored;
  assert.equal(one.cluster.storedAgain, 1);
  await eventually(() => one.cluster.delivered.length === 2, "the message");
  assert.deepEqual(one.cluster.payloads("a"), ["1", "2"]);
  await two.connect("b", { isDurable: false });
  await eventually(() => one.cluster.released.includes("b"), "the connection to be closed");
});

Deno.test("a claim that has failed leaves nothing behind", async () => {
  await using redis = await RedisServer.start();
  await using node = await SessionNode.start(redis, "n1");
  await node.connect("a");
  await node.disconnect("a");
  redis.stop();
  await assert.rejects(node.claim("a"), ReasonCodeError);
  await assert.rejects(node.claim("b"), ReasonCodeError);
  redis.continue();
  await eventually(() => node.link.isConnected, "the reconnection");
  await node.writer.written();
  assert.equal(await redis.command("SMEMBERS", "mqtt:sessions:n1"), "a");
  await eventually(() => node.link.isConnected, "the reconnection");
  assert.equal((await node.connect("a"))!.clientId, "a");
});

Deno.test("a queue that cannot be read since Redis is being lost is read as soon as it is back, and nobody is warned", async () => {
  await using nodes = await startTwo();
  const { one, two, proxy } = nodes;
  await one.connect("a");
  one.isDeaf = true;
  await two.queue("a", "1");
  const { redis } = one.link;
  // Who waits for an answer hears of the loss before all others do.
  const failed = new Promise<void>((resolve) => {
    redis.hget = () => {
      proxy.cut();
      resolve();
      return Promise.reject(new Error("Connection is closed."));
    };
  });
  const checked = one.sessions.check().catch(() => {});
  await failed;
  Reflect.deleteProperty(redis, "hget");
  await eventually(() => !one.link.isConnected, "the loss");
  await heal(nodes);
  await checked;
  // What is read comes before these answers do.
  for (let count = 0; count < 5; count++) await one.link.call("PING");
  assert.deepEqual(one.cluster.payloads("a"), ["1"]);
  assert.deepEqual(one.logger.entries.filter((entry) => entry.includes("the queue of")), []);
});
