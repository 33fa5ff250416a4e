import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { parseAddress } from "../../hooks/cluster/address.ts";
import { defineScript, Link, type LinkOptions } from "../../hooks/cluster/link.ts";
import { eventually } from "../broker/eventually.ts";
import { RecordingLogger } from "../broker/recording_logger.ts";
import { RedisCluster } from "../support/redis_cluster.ts";
import { RedisServer } from "../support/redis_server.ts";
import { TcpProxy } from "../support/tcp_proxy.ts";

const twice = defineScript("return tonumber(ARGV[1]) * 2");

/** A link that is closed at the end of its `await using` block. */
function open(options: Omit<LinkOptions, "logger">): Link & AsyncDisposable {
  const link = new Link({ ...options, logger: new RecordingLogger() });
  return Object.assign(link, { [Symbol.asyncDispose]: () => link.close() });
}

Deno.test("a link carries commands and what is published on channels", async () => {
  await using server = await RedisServer.start();
  await using link = open({ addr: server.url });
  const heard: number[][] = [];
  await link.subscribe("a channel", (data) => heard.push([...data]));
  await link.connect();
  await link.call("SET", "k", new Uint8Array([0, 255]));
  assert.deepEqual([...await link.call("GET", "k") as Uint8Array], [0, 255]);
  await link.call("PUBLISH", "a channel", new Uint8Array([1, 128, 0]));
  await eventually(() => heard.length === 1, "the message");
  assert.deepEqual(heard, [[1, 128, 0]]);
  assert.deepEqual([link.isConnected, link.failure], [true, undefined]);
});

Deno.test("a link is made as the client is that it is given, which itself is left alone", async () => {
  await using server = await RedisServer.start({ args: ["--requirepass", "secret"] });
  const client = new Redis({ port: server.port, password: "secret", db: 2, lazyConnect: true });
  await using link = open({ client });
  await link.connect();
  await link.call("SET", "k", "v");
  assert.equal(client.status, "wait");
  assert.equal((link.redis as Redis).options.db, 2);
});

for (
  const [what, options, message] of [
    [
      "a server that is not there",
      { addr: "127.0.0.1:1" },
      "cannot use Redis at 127.0.0.1:1: connection refused (is it running?)",
    ],
    [
      "a host that there is not",
      { addr: "nowhere.invalid" },
      "cannot use Redis at nowhere.invalid:6379: there is no such host",
    ],
  ] as const
) {
  Deno.test(`${what} is said in one line`, async () => {
    await assert.rejects(open(options as LinkOptions).connect(), { message });
  });
}

Deno.test("a missing or wrong password is said in one line", async () => {
  await using server = await RedisServer.start({ args: ["--requirepass", "secret"] });
  const address = `127.0.0.1:${server.port}`;
  await assert.rejects(open({ addr: address }).connect(), {
    message: `cannot use Redis at ${address}: it wants a password`,
  });
  await assert.rejects(open({ addr: address, password: "wrong" }).connect(), {
    message: `cannot use Redis at ${address}: the user name or password is wrong`,
  });
});

Deno.test("a single server that is taken for a Redis Cluster is said in one line", async () => {
  await using server = await RedisServer.start();
  await assert.rejects(open({ addrs: [server.url] }).connect(), {
    message:
      `cannot use Redis at 127.0.0.1:${server.port}: it is a single server, not a Redis Cluster (use addr, not addrs)`,
  });
  // The library closes the connection by which it has asked a moment later.
  for (let attempt = 0; attempt < 100; attempt++) {
    const clients = await server.command("CLIENT", "LIST");
    if (clients.split("\n").length === 1) return;
  }
  assert.fail("its connections are still open");
});

Deno.test("what has to be done after a connection is done in its order, and again after each reconnection", async () => {
  await using server = await RedisServer.start();
  await using proxy = new TcpProxy(server.port);
  await using link = open({ addr: `127.0.0.1:${proxy.port}` });
  const done: string[] = [];
  const heard: string[] = [];
  await link.subscribe("c", (data) => heard.push(new TextDecoder().decode(data)));
  link.onConnected(async () => {
    await link.call("PING");
    done.push(`first, connected: ${link.isConnected}`);
  });
  link.onConnected(() => Promise.resolve(void done.push("second")));
  link.onReady(() => done.push(`ready, connected: ${link.isConnected}`));
  link.onDisconnected(() => done.push("lost"));
  await link.connect();
  const once = ["first, connected: false", "second", "ready, connected: true"];
  assert.deepEqual(done, once);
  proxy.cut();
  await eventually(() => !link.isConnected, "the loss");
  await assert.rejects(link.call("PING"));
  assert.match(link.failure!, /^Redis at 127\.0\.0\.1:\d+: /);
  done.length = 0;
  proxy.heal();
  await eventually(() => link.isConnected, "the reconnection");
  assert.deepEqual(done.slice(-3), once);
  await link.call("PUBLISH", "c", "again");
  await eventually(() => heard.length === 1, "a message on the channel");
});

Deno.test("a link is not there again until what has to be done has gone well", async () => {
  await using server = await RedisServer.start();
  await using proxy = new TcpProxy(server.port);
  await using link = open({ addr: `127.0.0.1:${proxy.port}` });
  let attempts = 0;
  let fails = false;
  link.onConnected(() => {
    attempts += 1;
    return fails ? Promise.reject(new Error("not yet")) : Promise.resolve();
  });
  await link.connect();
  fails = true;
  proxy.cut();
  await eventually(() => !link.isConnected, "the loss");
  proxy.heal();
  await eventually(() => attempts >= 2, "an attempt");
  assert.equal(link.isConnected, false);
  fails = false;
  await eventually(() => link.isConnected, "the reconnection");
});

Deno.test("what fails at the first connection fails connecting", async () => {
  await using server = await RedisServer.start();
  const link = open({ addr: server.url });
  link.onConnected(() => Promise.reject(new Error("node id n1 is in use")));
  await assert.rejects(link.connect(), { message: "node id n1 is in use" });
});

Deno.test("a server that keeps its connections but does not answer is noticed", async () => {
  await using server = await RedisServer.start();
  await using link = open({ addr: server.url });
  await link.connect();
  server.stop();
  try {
    await eventually(() => !link.isConnected, "the loss");
  } finally {
    server.continue();
  }
  await eventually(() => link.isConnected, "the reconnection");
});

Deno.test("a script that the server has forgotten is given to it again", async () => {
  await using server = await RedisServer.start();
  await using link = open({ addr: server.url });
  await link.connect();
  assert.equal(await link.run(twice, [], [4]), 8);
  await server.command("SCRIPT", "FLUSH");
  assert.equal(await link.run(twice, [], [5]), 10);
});

Deno.test("in a Redis Cluster every server has the scripts, and what is published at any of them is heard", async () => {
  await using cluster = await RedisCluster.start();
  await using link = open({ addrs: [cluster.masters[0].url] });
  const heard: string[] = [];
  await link.subscribe("c", (data) => heard.push(new TextDecoder().decode(data)));
  await link.connect();
  for (const key of ["a", "b", "c", "d", "e", "f"]) assert.equal(await link.run(twice, [key], [4]), 8);
  for (const master of cluster.masters) {
    const before = heard.length;
    // Servers that have just met may lose what is published.
    while (heard.length === before) {
      await master.command("PUBLISH", "c", "m");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
});

Deno.test("an address is a host, or a URL with all that belongs to it", () => {
  assert.deepEqual(parseAddress("example.org"), { host: "example.org", port: 6379 });
  assert.deepEqual(parseAddress("127.0.0.1:7000"), { host: "127.0.0.1", port: 7000 });
  assert.deepEqual(parseAddress("redis://[::1]:7000/3"), { host: "::1", port: 7000, db: 3 });
  assert.deepEqual(parseAddress("rediss://me:p%40ss@example.org"), {
    host: "example.org",
    port: 6379,
    username: "me",
    password: "p@ss",
    tls: {},
  });
  for (const address of ["", "http://a", "redis://", "a:b", "redis://a/x"]) {
    assert.throws(() => parseAddress(address), RangeError);
  }
});

Deno.test("a client that is given may collect its commands by itself; the connections made after it do not", async () => {
  await using redis = await RedisServer.start();
  const client = new Redis(redis.url, { lazyConnect: true, enableAutoPipelining: true });
  const link = new Link({ client, logger: new RecordingLogger() });
  await link.connect();
  assert.equal(`${await link.call("SET", "a", "b")}`, "OK");
  await link.close();
});
