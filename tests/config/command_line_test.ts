import assert from "node:assert/strict";
import { type Config, loadConfig } from "../../cli/config.ts";
import { createHooks } from "../../cli/config/hooks.ts";
import { overridesOf } from "../../cli/serve/command_line.ts";
import type { ServeOptions } from "../../cli/serve/start.ts";
import { configDirectory, refusalOf } from "./config_directory.ts";

/** Loads what these options of `serve` say, over a file and the environment. */
async function load(options: ServeOptions, config = "", environment: Record<string, string> = {}): Promise<Config> {
  await using directory = await configDirectory(config);
  const commandLine = (given: unknown) => overridesOf(options, given);
  return await loadConfig({ file: directory.file, environment, commandLine, readFiles: false });
}

/** Where a configuration listens, in a few words. */
function places({ listeners }: Config): string[] {
  return listeners.map((listener) =>
    listener.transport === "unix" ? "unix" : `${listener.transport ?? "tcp"} ${listener.hostname}:${listener.port}`
  );
}

const file = `
listeners:
  - { transport: unix, path: hookmq.sock }
  - { transport: tls, port: 8884, certificate: a, key: b }
  - { port: 1884 }
  - { port: 1885 }
`;

Deno.test("--port and --ws-port without a file are for a TCP and a WebSocket listener", async () => {
  assert.deepEqual(places(await load({ port: 1 })), ["tcp 127.0.0.1:1"]);
  assert.deepEqual(places(await load({ wsPort: 2 })), ["tcp 127.0.0.1:1883", "ws 127.0.0.1:2"]);
  assert.deepEqual(places(await load({ port: 1, wsPort: 2 })), ["tcp 127.0.0.1:1", "ws 127.0.0.1:2"]);
});

Deno.test("--port is for the file's first TCP listener, and --ws-port adds one if the file has none", async () => {
  assert.deepEqual(places(await load({ port: 1, wsPort: 2 }, file)), [
    "unix",
    "tls 127.0.0.1:8884",
    "tcp 127.0.0.1:1",
    "tcp 127.0.0.1:1885",
    "ws 127.0.0.1:2",
  ]);
});

Deno.test("--port adds a TCP listener to a file that has none", async () => {
  const config = await load({ port: 1 }, "listeners: [{ transport: unix, path: hookmq.sock }]");
  assert.deepEqual(places(config), ["unix", "tcp 127.0.0.1:1"]);
});

Deno.test("--host is for all listeners on the network", async () => {
  assert.deepEqual(places(await load({ host: "127.0.0.2", wsPort: 2 }, file)), [
    "unix",
    "tls 127.0.0.2:8884",
    "tcp 127.0.0.2:1884",
    "tcp 127.0.0.2:1885",
    "ws 127.0.0.2:2",
  ]);
});

Deno.test("--user adds users to those of the file, and passwords may hold colons", async () => {
  const { hooks } = await load(
    { user: ["bob:a:b", "carl:c"] },
    "hooks: { auth: { credentials: { alice: a, bob: b } } }",
  );
  assert.deepEqual(hooks.auth?.credentials, { alice: "a", bob: "a:b", carl: "c" });
});

Deno.test("with --user, --host may be any address", async () => {
  assert.deepEqual(places(await load({ user: ["a:b"], host: "0.0.0.0" })), ["tcp 0.0.0.0:1883"]);
});

Deno.test("--anonymous allows listening beyond this machine, and lets in clients without a user name", async () => {
  const { anonymous, hooks } = await load({ memory: true, anonymous: true, host: "0.0.0.0" });
  assert.deepEqual({ anonymous, hooks }, { anonymous: true, hooks: {} });
  const both = await load({ memory: true, anonymous: true, user: ["a:b"], host: "0.0.0.0" });
  assert.equal(both.hooks.auth?.allowAnonymous, true);
});

Deno.test("--data names the database, and --memory goes without", async () => {
  const config = "hooks: { sqlite: { path: /data/a.db, maximumSize: 1000000 } }";
  assert.deepEqual((await load({ data: "b.db" })).hooks.sqlite, { path: "b.db" });
  assert.deepEqual((await load({ data: "b.db" }, config)).hooks.sqlite, { path: "b.db", maximumSize: 1_000_000 });
  const { hooks } = await load({ memory: true }, config);
  assert.deepEqual(createHooks(hooks), {});
});

Deno.test("the command line goes before the environment, and that before the file", async () => {
  const environment = { HOOKMQ_LOG_LEVEL: "warning", HOOKMQ_LOG_FORMAT: "json" };
  const { log } = await load({ logLevel: "error" }, "log: { level: debug, format: text, file: /log }", environment);
  assert.deepEqual(log, { level: "error", format: "json", file: "/log" });
});

Deno.test("what is wrong with an option of the command line is said of that option, without the password", async () => {
  const refused = (options: ServeOptions) =>
    refusalOf("listeners: [{ port: 1 }]\n", { commandLine: (config) => overridesOf(options, config) });
  const [host] = await refused({ host: "0.0.0.0" });
  assert.match(host, /^--host: "0\.0\.0\.0": cannot listen beyond this machine without authentication: /);
  const [user] = await refused({ user: ["alice:$7$hidden"] });
  assert.match(user, /^--user: hooks\.auth: credentials\["alice"\] looks like a hash: /);
  assert.doesNotMatch(user, /hidden/);
});

Deno.test("options of the command line do not hide what is wrong in the file", async () => {
  const commandLine = (config: unknown) => overridesOf({ port: 1, user: ["a:b"] }, config);
  assert.deepEqual(await refusalOf("listeners: 1883\nhooks: { auth: alice }\n", { commandLine }), [
    "hookmq.yaml:1:1: listeners: 1883: must be a list with at least one entry",
    'hookmq.yaml:2:10: hooks.auth: "alice": must be a group of options (name: value)',
  ]);
  assert.deepEqual(await refusalOf("mine\n", { commandLine }), [
    'hookmq.yaml:1:1: "mine": must be a group of options (name: value)',
  ]);
});

Deno.test("sessions are kept in ./hookmq.db, unless the command line or a configuration file says something else", async () => {
  assert.equal((await load({})).hooks.sqlite?.path, "./hookmq.db");
  assert.equal((await load({ memory: true })).hooks.sqlite, undefined);
  assert.equal((await load({ config: "hookmq.yaml" })).hooks.sqlite, undefined);
  assert.equal((await load({}, "", { HOOKMQ_HOOKS_SQLITE_PATH: "/other.db" })).hooks.sqlite?.path, "/other.db");
});

Deno.test("--cluster names a Redis server, or several of a Redis Cluster, in place of those in the file", async () => {
  const { hooks } = await load({ cluster: ["redis://a"], nodeId: "first" });
  assert.deepEqual(hooks, {
    cluster: {
      nodeId: "first",
      addr: "redis://a",
      addrs: undefined,
      keyPrefix: "mqtt:",
      heartbeatInterval: 3,
      nodeTtl: 10,
    },
  });
  const file = "hooks: { cluster: { nodeId: b, addr: localhost, keyPrefix: 'mine:' } }";
  const several = await load({ cluster: ["redis://a", "redis://b"] }, file);
  const { nodeId, addr, addrs, keyPrefix } = several.hooks.cluster!;
  assert.deepEqual([nodeId, addr, addrs, keyPrefix], ["b", undefined, ["redis://a", "redis://b"], "mine:"]);
});

Deno.test("a node that has no id is called as its machine", async () => {
  const { cluster } = createHooks((await load({ cluster: ["redis://a"] })).hooks);
  assert.equal(cluster!.nodeId, Deno.hostname());
});

for (const file of ["", "hooks: { cluster: { nodeId: a } }"]) {
  const where = file === "" ? "of --cluster" : "in the file";
  for (const options of [{ data: "a.db" }, { memory: true }] as const) {
    const [name] = Object.keys(options);
    Deno.test(`--${name} and a cluster ${where} exclude each other`, async () => {
      await assert.rejects(load({ ...options, cluster: file === "" ? ["redis://a"] : undefined }, file), {
        message:
          `--${name} cannot be used with a cluster: the brokers of a cluster keep sessions and retained messages in ` +
          "Redis, and nowhere else",
        exitCode: 2,
      });
    });
  }
}

Deno.test("--cluster does not replace the database that a file names", async () => {
  const commandLine = (config: unknown) => overridesOf({ cluster: ["redis://a"] }, config);
  assert.deepEqual(await refusalOf("hooks:\n  sqlite: { path: a.db }\n", { commandLine }), [
    "hookmq.yaml:2:3: hooks.sqlite: hooks.cluster keeps sessions and retained messages already: leave one of them out",
  ]);
});

Deno.test("--node-id needs a cluster, in the file or of the command line", async () => {
  await assert.rejects(
    load({ nodeId: "a" }),
    /^Error: --node-id a: there is no cluster; name its Redis with --cluster$/,
  );
  const { hooks } = await load({ nodeId: "a" }, "hooks: { cluster: { nodeId: b } }");
  assert.equal(hooks.cluster?.nodeId, "a");
});

Deno.test("a file with hooks.redis needs no database", async () => {
  assert.deepEqual(Object.keys((await load({}, "hooks: { redis: {} }")).hooks), ["redis"]);
  assert.deepEqual(createHooks((await load({ memory: true }, "hooks: { redis: {} }")).hooks), {});
});
