import assert from "node:assert/strict";
import { ReasonCode, ReasonCodeError } from "../../codec/mod.ts";
import type { RedisCommand } from "../../hooks/cluster/command.ts";
import { defineScript, Link } from "../../hooks/cluster/link.ts";
import { type Change, Writer, type WriterOptions } from "../../hooks/cluster/writer.ts";
import { eventually } from "../broker/eventually.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { RedisServer } from "../support/redis_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

const script = defineScript("return redis.call('RPUSH', KEYS[1], ARGV[1])");

/** A writer with its link; both are closed at the end of its `await using` block. */
class TestWriter extends Writer implements AsyncDisposable {
  readonly link: Link;
  readonly logger: RecordingLogger;

  private constructor(link: Link, logger: RecordingLogger, options: Partial<WriterOptions>) {
    super(link, { ...options, logger });
    this.link = link;
    this.logger = logger;
  }

  static async open(addrs: string[], options: Partial<WriterOptions> = {}): Promise<TestWriter> {
    const logger = new RecordingLogger();
    const link = new Link({ ...(addrs.length > 1 ? { addrs } : { addr: addrs[0] }), logger });
    const writer = new TestWriter(link, logger, options);
    await link.connect();
    return writer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.link.close();
  }
}

const kinds: [string, () => Promise<RedisServer | RedisCluster>][] = [
  ["one server", () => RedisServer.start()],
  ["a Redis Cluster", () => RedisCluster.start()],
];

function addressesOf(redis: RedisServer | RedisCluster): string[] {
  return "masters" in redis ? redis.masters.map(({ url }) => url) : [redis.url];
}

function change(...commands: RedisCommand[]): Change {
  return { commands: () => commands };
}

Deno.test("what is added while a batch is on its way goes into the next one", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  const batches: number[] = [];
  const numbered = (): Change => ({
    commands: (number) => {
      batches.push(number);
      return [["INCR", "n"]];
    },
  });
  const first = writer.add(numbered(), 1);
  assert.equal(writer.add(numbered(), 1), first);
  // By then the first batch has been sent.
  await Promise.resolve();
  await Promise.resolve();
  const second = writer.add(numbered(), 1);
  assert.notEqual(second, first);
  await second;
  assert.deepEqual(batches, [1, 1, 2]);
  assert.deepEqual(writer.pending, { entries: 0, bytes: 0 });
});

Deno.test("a change gets the replies to its own commands", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  const replies: unknown[][] = [];
  const list = (...values: string[]): Change => ({
    commands: () => values.map((value) => ["RPUSH", "l", value]),
    settled: (own) => replies.push([...own]),
  });
  await Promise.all([list("a", "b"), list(), list("c")].map((change) => writer.add(change, 1)));
  assert.deepEqual(replies, [[1, 2], [], [3]]);
});

Deno.test("a change that is in the current batch may grow", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  const values: string[] = [];
  const growing: Change = { commands: () => [["RPUSH", "l", ...values]] };
  assert.equal(writer.holds(growing), false);
  values.push("a");
  writer.add(growing, 1);
  assert.equal(writer.holds(growing), true);
  values.push("b");
  await writer.add(growing, 1);
  assert.equal(writer.holds(growing), false);
  assert.equal(await server.command("LRANGE", "l", 0, -1), "a\nb");
});

Deno.test("more than a batch can hold is written in the order in which it was added", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  const written = Array.from({ length: 5000 }, (_, index) => writer.add(change(["RPUSH", "l", index]), 10));
  await Promise.all(written);
  const list = (await server.command("LRANGE", "l", 0, -1)).split("\n").map(Number);
  assert.deepEqual(list, Array.from({ length: 5000 }, (_, index) => index));
});

Deno.test("what is added in one go is in one batch, however much it is", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  const written = new Set(Array.from({ length: 5000 }, () => writer.add(change(["INCR", "n"]), 10)));
  assert.equal(written.size, 1);
  await Promise.all(written);
});

Deno.test("what is added while Redis is away is written when it is back", async () => {
  await using server = await RedisServer.start();
  await using proxy = new TcpProxy(server.port);
  await using writer = await TestWriter.open([`127.0.0.1:${proxy.port}`]);
  proxy.cut();
  await eventually(() => !writer.link.isConnected, "the loss");
  const written = writer.add(change(["SET", "k", "v"]), 100);
  assert.deepEqual(writer.pending, { entries: 1, bytes: 100 });
  proxy.heal();
  await written;
  assert.equal(await server.command("GET", "k"), "v");
});

Deno.test("a batch whose answer was lost is sent again under the same number", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  const numbers: number[] = [];
  server.stop();
  const written = writer.add({
    commands: (number) => {
      numbers.push(number);
      return [["RPUSH", "l", number]];
    },
  }, 1);
  await eventually(() => !writer.link.isConnected, "the loss");
  server.continue();
  await written;
  assert.deepEqual(numbers, [1, 1]);
});

Deno.test("when too much waits changes are refused with 0x97, but for lasting ones", async () => {
  await using server = await RedisServer.start();
  await using proxy = new TcpProxy(server.port);
  await using writer = await TestWriter.open([`127.0.0.1:${proxy.port}`], { maximumEntries: 3, maximumBytes: 1000 });
  proxy.cut();
  await eventually(() => !writer.link.isConnected, "the loss");
  const written = [1, 2, 3].map((value) => writer.add(change(["RPUSH", "l", value]), 1));
  const isRefusal = (error: unknown) =>
    error instanceof ReasonCodeError && error.reasonCode === ReasonCode.QuotaExceeded;
  assert.equal(writer.refuses, true);
  await assert.rejects(writer.add(change(["RPUSH", "l", "refused"]), 1), isRefusal);
  written.push(writer.addLasting(change(["RPUSH", "l", "lasting"]), 1));
  proxy.heal();
  await Promise.all(written);
  assert.equal(writer.refuses, false);
  assert.equal(await server.command("LRANGE", "l", 0, -1), "1\n2\n3\nlasting");
});

Deno.test("bytes that wait are counted, too", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url], { maximumBytes: 1000 });
  const written = writer.add(change(["SET", "k", "v"]), 1000);
  await assert.rejects(writer.add(change(["SET", "k", "w"]), 1), ReasonCodeError);
  await written;
  await writer.add(change(["SET", "k", "x"]), 1);
});

Deno.test("a script that the server has forgotten is given to it again, and the batch is made once", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  await server.command("SCRIPT", "FLUSH");
  await writer.add(change(["EVALSHA", script.sha, 1, "l", "once"]), 1);
  assert.equal(await server.command("LRANGE", "l", 0, -1), "once");
});

Deno.test("a change that is wrong in itself is said, and nothing of its batch counts as written", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  await server.command("SET", "text", "abc");
  const good = writer.add(change(["SET", "k", "v"]), 1);
  const bad = writer.add(change(["RPUSH", "text", "v"]), 1);
  await assert.rejects(good, /WRONGTYPE/);
  await assert.rejects(bad, /WRONGTYPE/);
  assert.equal(
    writer.logger.entries.filter((entry) => entry.startsWith("error: a change in Redis has failed: ")).length,
    1,
  );
  await writer.add(change(["SET", "k", "w"]), 1);
});

for (const [kind, startRedis] of kinds) {
  Deno.test(`[${kind}] a change that cannot be sent is given up, and the others of its batch are made`, async () => {
    await using redis = await startRedis();
    await using writer = await TestWriter.open(addressesOf(redis));
    const error = new Error("it cannot be encoded");
    const commands = () => {
      throw error;
    };
    const written = [change(["SET", "k", "v"]), { commands }].map((each) => writer.add(each, 1));
    for (const each of written) await assert.rejects(each, error);
    assert.deepEqual(writer.logger.entries, [`error: a change in Redis has failed: ${error}`]);
    assert.deepEqual(writer.pending, { entries: 0, bytes: 0 });
    assert.equal(await writer.link.redis.get("k"), "v");
    await writer.add(change(["SET", "k", "w"]), 1);
  });

  Deno.test(`[${kind}] a change that has been made is not made again because its replies are of no use`, async () => {
    await using redis = await startRedis();
    await using writer = await TestWriter.open(addressesOf(redis));
    const settled = () => {
      throw new Error("of no use");
    };
    await assert.rejects(writer.add({ ...change(["INCR", "n"]), settled }, 1), /of no use/);
    await writer.add(change(["INCR", "n"]), 1);
    assert.equal(await writer.link.redis.get("n"), "2");
  });

  Deno.test(`[${kind}] a command has any number of values`, async () => {
    await using redis = await startRedis();
    await using writer = await TestWriter.open(addressesOf(redis));
    await writer.add(change(["RPUSH", "l", ...Array.from({ length: 300_000 }, () => "v")]), 1);
    assert.equal(await writer.link.redis.llen("l"), 300_000);
  });
}

Deno.test("a Redis that is full is written to when it has room again", async () => {
  await using server = await RedisServer.start({ args: ["--maxmemory", "1", "--maxmemory-policy", "noeviction"] });
  await using writer = await TestWriter.open([server.url]);
  const written = writer.add(change(["SET", "k", "v"]), 1);
  await eventually(() => writer.failure !== undefined, "the failure");
  assert.match(writer.failure!, /OOM/);
  await server.command("CONFIG", "SET", "maxmemory", 0);
  await written;
  assert.equal(writer.failure, undefined);
});

Deno.test("what waits when a writer is closed fails", async () => {
  await using server = await RedisServer.start();
  await using proxy = new TcpProxy(server.port);
  await using writer = await TestWriter.open([`127.0.0.1:${proxy.port}`]);
  proxy.cut();
  await eventually(() => !writer.link.isConnected, "the loss");
  const written = writer.add(change(["SET", "k", "v"]), 1);
  writer.close();
  await assert.rejects(written, /closed/);
  proxy.heal();
  await eventually(() => writer.link.isConnected, "the reconnection");
});

Deno.test("all is written that was added before one asks for it", async () => {
  await using server = await RedisServer.start();
  await using writer = await TestWriter.open([server.url]);
  for (let count = 0; count < 3000; count++) writer.add(change(["INCR", "n"]), 1);
  await writer.written();
  assert.equal(await server.command("GET", "n"), "3000");
  await writer.written();
});

Deno.test("in a Redis Cluster a batch goes to all servers, and what has to wait for the rest does", async () => {
  await using cluster = await RedisCluster.start();
  await using writer = await TestWriter.open(addressesOf(cluster));
  const settled: string[] = [];
  const observed = (name: string, isLast: boolean): Change => ({
    isLast,
    commands: () => {
      return [["SET", name, name]];
    },
    settled: () => settled.push(name),
  });
  cluster.masters[0].stop();
  const written = writer.add(observed("last", true), 1);
  for (const name of ["a", "b", "c", "d", "e"]) writer.add(observed(name, false), 1);
  await eventually(() => writer.pending.entries === 6, "all to be added");
  cluster.masters[0].continue();
  await written;
  assert.deepEqual(settled, ["a", "b", "c", "d", "e", "last"]);
});
