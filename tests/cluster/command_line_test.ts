import assert from "node:assert/strict";
import { runHookmq, startHookmq } from "../interop/programs.ts";
import { createAuthority, issueCertificate } from "../listeners/certificates.ts";
import { RedisServer } from "../support/redis_server.ts";
import { Cluster, eventually } from "./cluster.ts";

/** A port that nobody listens on. */
function unusedPort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("serve --cluster says where sessions are and which node it is, without the password", async () => {
  await using redis = await RedisServer.start({ args: ["--requirepass", "hidden"] });
  const args = ["serve", "--cluster", `redis://:hidden@127.0.0.1:${redis.port}`, "--node-id", "first", "--port", 0];
  const greeting = /^HookMQ listens on .* Sessions and retained messages are in Redis at (\S+); this is node (\S+)\.$/m;
  await using program = await startHookmq(greeting, args);
  const [, address, nodeId] = await program.printed(greeting);
  assert.deepEqual([address, nodeId], [`127.0.0.1:${redis.port}`, "first"]);
  program.kill("SIGTERM");
  const { code, stdout, stderr } = await program.ended();
  assert.equal(code, 0);
  assert.doesNotMatch(stdout + stderr, /hidden/);
});

Deno.test("a node that has not been given an id has the machine's name", async () => {
  await using redis = await RedisServer.start();
  const args = ["serve", "--cluster", redis.url, "--port", 0];
  await using program = await startHookmq(/this is node/, args);
  const [, nodeId] = await program.printed(/this is node (\S+)\.$/m);
  assert.equal(nodeId, Deno.hostname());
});

Deno.test("serve reads a cluster's options from a configuration file", async () => {
  await using redis = await RedisServer.start();
  const directory = await Deno.makeTempDir();
  await Deno.writeTextFile(
    `${directory}/hookmq.yaml`,
    `listeners: [{ port: 0 }]\nhooks: { cluster: { nodeId: b, addr: "${redis.url}", keyPrefix: "mine:" } }\n`,
  );
  {
    await using program = await startHookmq(/this is node b/, ["serve", "--config", `${directory}/hookmq.yaml`]);
    assert.equal(await redis.command("EXISTS", "mine:node:b"), "1");
    program.kill("SIGTERM");
    assert.equal((await program.ended()).code, 0);
  }
  await Deno.remove(directory, { recursive: true });
});

Deno.test("serve --cluster says in one line that Redis cannot be reached", async () => {
  const port = unusedPort();
  const outcome = await runHookmq(["serve", "--cluster", `redis://:hidden@127.0.0.1:${port}`, "--port", 0]);
  const { code, stdout, stderr } = outcome;
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(stderr, new RegExp(`^hookmq: .*127\\.0\\.0\\.1:${port}.*connection refused.*\n$`));
  assert.doesNotMatch(stderr, /hidden/);
});

Deno.test("serve --cluster says in one line that Redis wants another password", async () => {
  await using redis = await RedisServer.start({ args: ["--requirepass", "secret"] });
  for (const [url, says] of [[redis.url, "wants a password"], [`redis://:wrong@127.0.0.1:${redis.port}`, "wrong"]]) {
    const { code, stdout, stderr } = await runHookmq(["serve", "--cluster", url, "--port", 0]);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
    assert.match(stderr, new RegExp(`^hookmq: .*${says}.*\n$`));
  }
});

Deno.test("a Redis that speaks TLS is reached with rediss://, if its authority is trusted", async () => {
  const directory = await Deno.makeTempDir();
  const authority = await createAuthority();
  const identity = await issueCertificate(authority, "Redis");
  const files = { authority: authority.certificate, certificate: identity.certificate, key: identity.key };
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${directory}/${name}.pem`, text);
  const path = (name: string) => `${directory}/${name}.pem`;
  const port = unusedPort();
  const { code, stderr } = await (async () => {
    const own = ["--tls-cert-file", path("certificate"), "--tls-key-file", path("key"), "--tls-auth-clients", "no"];
    const args = ["--tls-port", String(port), ...own, "--tls-ca-cert-file", path("authority")];
    await using _redis = await RedisServer.start({ args });
    const serve = ["serve", "--cluster", `rediss://localhost:${port}`, "--node-id", "a", "--port", 0];
    const env = { HOOKMQ_HOOKS_CLUSTER_TLS_CERTIFICATE_AUTHORITY: path("authority") };
    await using program = await startHookmq(/this is node a/, serve, { env });
    program.kill("SIGTERM");
    assert.equal((await program.ended()).code, 0);
    return await runHookmq(serve);
  })();
  assert.equal(code, 1);
  assert.match(stderr, /^hookmq: .*localhost.*certificate.*\n$/);
  await Deno.remove(directory, { recursive: true });
});

for (const args of [["--data", "a.db"], ["--memory"]]) {
  Deno.test(`serve --cluster with ${args[0]} is refused: sessions are kept in Redis`, async () => {
    const outcome = await runHookmq(["serve", "--cluster", "redis://localhost", ...args, "--port", 0]);
    assert.deepEqual([outcome.code, outcome.stdout], [2, ""]);
    assert.match(outcome.stderr, new RegExp(`^hookmq: ${args[0]} cannot be used with a cluster: .* in Redis.*\n$`));
  });
}

Deno.test("serve --node-id without a cluster is refused", async () => {
  const { code, stdout, stderr } = await runHookmq(["serve", "--memory", "--node-id", "a", "--port", 0]);
  assert.deepEqual([code, stdout], [2, ""]);
  assert.match(stderr, /^hookmq: --node-id a: .*--cluster.*\n$/);
});

for (const command of ["serve", "nodes"]) {
  Deno.test(`${command} --cluster says what a URL looks like, without the password`, async () => {
    const { code, stdout, stderr } = await runHookmq([command, "--cluster", "http://:hidden@localhost"]);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /^hookmq: .*--cluster.*redis:\/\/.*\n$/);
    assert.doesNotMatch(stderr, /hidden/);
  });
}

Deno.test("nodes lists the nodes with their load", async () => {
  await using cluster = await Cluster.start({ ids: ["a", "b"] });
  for (let count = 0; count < 3; count++) await cluster.nodes[1].connect();
  let stdout = "";
  await eventually(async () => {
    ({ stdout } = await runHookmq(["nodes", "--cluster", cluster.redis.url]));
    return /^b +3 /m.test(stdout);
  }, "the next heartbeat");
  assert.match(stdout, /^node +clients +sessions +msg\/s +up\na +0 +0 +0 +\S+\nb +3 +3 +\S+ +\S+\n$/);
});

Deno.test("nodes says so when there are none, and when Redis cannot be reached", async () => {
  {
    await using redis = await RedisServer.start();
    const { code, stdout } = await runHookmq(["nodes", "--cluster", redis.url]);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: "there are no nodes\n" });
  }
  const { code, stdout, stderr } = await runHookmq(["nodes", "--cluster", `redis://127.0.0.1:${unusedPort()}`]);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(stderr, /^hookmq: .*connection refused.*\n$/);
});
