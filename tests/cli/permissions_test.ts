import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import mqtt, { type IClientOptions } from "mqtt";
import { hashPassword } from "../../hooks/mod.ts";
import { type ConfigDirectory, configDirectory } from "../config/config_directory.ts";
import { type Outcome, type Program, run, startReady, withDeadline } from "../interop/programs.ts";
import { createAuthority, issueCertificate } from "../listeners/certificates.ts";
import { RawClient } from "../support/raw_client.ts";
import { RedisServer } from "../support/redis_server.ts";
import { startBroker } from "../support/start_broker.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const authority = await createAuthority();
const { certificate, key } = await issueCertificate(authority, "localhost");
const alice = await hashPassword("secret", { cost: 1 });

/** Files that some ways of running need. `DIR` stands for their directory, `ROOT` for that of the project. */
function directoryWithFiles(program = ""): Promise<ConfigDirectory> {
  return configDirectory("hooks: { auth: { passwordFile: users } }\n", {
    "server.pem": certificate,
    "server.key": key,
    "users": `alice:${alice}\n`,
    "program.ts": program,
  });
}

/** A message goes through the broker at this URL, and comes back. */
async function exchange(url: string, options: IClientOptions = {}): Promise<void> {
  const client = await mqtt.connectAsync(url, { reconnectPeriod: 0, ca: authority.certificate, ...options });
  try {
    const received = Promise.withResolvers<unknown>();
    client.once("message", received.resolve);
    await client.subscribeAsync("t", { qos: 1 });
    await client.publishAsync("t", "x", { qos: 1, retain: true });
    await withDeadline(received.promise, () => "the message to come back");
  } finally {
    await client.endAsync();
  }
}

/** The same over a Unix socket. */
async function exchangeOverUnix(url: string): Promise<void> {
  const path = url.slice("unix:".length);
  await using client = new RawClient(await Deno.connect({ transport: "unix", path }));
  await client.connect();
  await client.subscribe("t");
  await client.publish({ topic: "t", payload: "x" });
  await client.expect("publish");
}

const listening = /^(?:HookMQ listens on|listening on) (\S+)/m;

/** A way of running a broker. */
interface Way {
  what: string;
  /** Behind `deno run` and the flags. */
  args: string[];
  /** All permissions that it needs, each of which it cannot do without. */
  flags: string[];
  /** What a client can do then. */
  use?: (url: string) => Promise<void>;
  /** The program `DIR/program.ts`, if there is one. */
  program?: string;
}

/** A program that makes a broker, with hooks and a listener. */
function embedding(hooks: string[], listener: string): Pick<Way, "args" | "program"> {
  const program = `
import { Broker } from "file://ROOT/mod.ts";
import * as hooks from "file://ROOT/hooks/mod.ts";
const broker = new Broker();
${hooks.map((hook) => `await broker.use(hooks.${hook});`).join("\n")}
const { url } = await broker.listen(${listener});
console.log("listening on " + url);
`;
  return { args: ["--config", "ROOT/deno.json", "DIR/program.ts"], program };
}

const net = "--allow-net=127.0.0.1";

/** Libraries ask for variables, and need none. */
const ignored = "--ignore-env";

const ways: Way[] = [
  { what: "a program that listens", ...embedding([], "{ port: 0 }"), flags: [net] },
  {
    what: "a program that listens, with hooks that need nothing besides",
    ...embedding([
      'authHook({ credentials: { alice: "secret" } })',
      'aclHook({ denyByDefault: true, rules: [{ permission: "allow", username: "alice" }] })',
      "rateLimitHook({ publishRate: 100 })",
      "loggerHook()",
      "sysHook()",
      "metricsHook({ port: 0 })",
    ], "{ port: 0 }"),
    flags: [net],
    use: (url) => exchange(url, { username: "alice", password: "secret" }),
  },
  {
    what: "a program with TLS, whose certificate is in files",
    ...embedding([], '{ transport: "tls", port: 0, certificate: "DIR/server.pem", key: "DIR/server.key" }'),
    flags: [net, "--allow-read=DIR/server.pem,DIR/server.key"],
  },
  {
    what: "a program with TLS, which has its certificate as text",
    ...embedding([], JSON.stringify({ transport: "tls", port: 0, certificate, key })),
    flags: [net],
  },
  {
    what: "a program with WebSockets",
    ...embedding([], '{ transport: "ws", port: 0 }'),
    flags: [net, ignored],
  },
  {
    what: "a program with a Unix socket",
    ...embedding([], '{ transport: "unix", path: "DIR/hookmq.sock" }'),
    flags: ["--allow-net=unix:DIR/hookmq.sock", "--allow-read=DIR/hookmq.sock", "--allow-write=DIR/hookmq.sock"],
    use: exchangeOverUnix,
  },
  {
    what: "a program with a password file",
    ...embedding(['authHook({ passwordFile: "DIR/users" })'], "{ port: 0 }"),
    flags: [net, "--allow-read=DIR/users"],
    use: (url) => exchange(url, { username: "alice", password: "secret" }),
  },
  {
    what: "a program with a database",
    ...embedding(['sqliteHook({ path: "DIR/hookmq.db" })'], "{ port: 0 }"),
    // It runs a worker, whose modules are read like files.
    flags: [net, "--allow-read=DIR/hookmq.db,ROOT/hooks/sqlite", "--allow-write=DIR/hookmq.db"],
  },
  {
    what: "hookmq serve --memory",
    args: ["ROOT/cli.ts", "serve", "--memory", "--port", "0"],
    flags: [net, ignored],
  },
  {
    what: "hookmq serve --ws-port",
    args: ["ROOT/cli.ts", "serve", "--memory", "--port", "0", "--ws-port", "0"],
    flags: [net, ignored],
  },
  {
    what: "hookmq serve, with its database",
    args: ["ROOT/cli.ts", "serve", "--port", "0"],
    flags: [net, ignored, "--allow-read=hookmq.db,ROOT/hooks/sqlite", "--allow-write=hookmq.db"],
  },
  {
    what: "hookmq serve --config, with a password file",
    args: ["ROOT/cli.ts", "serve", "--config", "hookmq.yaml", "--port", "0"],
    flags: [net, ignored, "--allow-read=hookmq.yaml,users"],
    use: (url) => exchange(url, { username: "alice", password: "secret" }),
  },
];

/** The arguments of `deno`, and the options, that run it with some permissions and no others. */
function command(words: string[], { path }: ConfigDirectory): [args: string[], options: { cwd: string }] {
  const filled = words.map((word) => word.replaceAll("DIR", path).replaceAll("ROOT/", root));
  return [["run", "--no-prompt", ...filled], { cwd: path }];
}

async function directoryFor({ program = "" }: Way): Promise<ConfigDirectory> {
  const directory = await directoryWithFiles();
  await directory.write(program.replaceAll("DIR", directory.path).replaceAll("ROOT/", root), "program.ts");
  return directory;
}

for (const way of ways) {
  const { what, args, flags, use = exchange } = way;

  Deno.test(`${what} needs no more than ${flags.join(" ")}`, async () => {
    await using directory = await directoryFor(way);
    await using broker: Program = await startReady(
      listening,
      Deno.execPath(),
      ...command([...flags, ...args], directory),
    );
    const [, url] = await broker.printed(listening);
    await use(url);
  });

  Deno.test(`${what} needs each of ${flags.join(" ")}`, async () => {
    await using directory = await directoryFor(way);
    for (const flag of flags) {
      const others = flags.filter((other) => other !== flag);
      const { code, stderr }: Outcome = await run(Deno.execPath(), ...command([...others, ...args], directory));
      assert.notEqual(code, 0, `it runs without ${flag}`);
      assert.match(stderr, /Requires (net|read|write|env) access|needs the permission --allow-net/);
    }
  });
}

Deno.test("hookmq serve reads its variables with --allow-env=HOOKMQ_* and no others", async () => {
  const memory = ways.find(({ what }) => what === "hookmq serve --memory")!;
  await using directory = await directoryFor(memory);
  const words = ["--allow-env=HOOKMQ_*", net, ignored, "ROOT/cli.ts", "serve", "--memory"];
  const [args, options] = command(words, directory);
  const env = { HOOKMQ_LISTENERS_0_PORT: "0", HOOKMQ_LIMITS_CONNECTIONS: "none" };
  const { code, stderr } = await run(Deno.execPath(), args, { ...options, env });
  assert.equal(code, 1);
  assert.match(stderr, /^HOOKMQ_LIMITS_CONNECTIONS: /);
  const right = { ...options, env: { ...env, HOOKMQ_LIMITS_CONNECTIONS: "10" } };
  await using broker = await startReady(listening, Deno.execPath(), args, right);
  await exchange((await broker.printed(listening))[1]);
});

Deno.test("hookmq pub and hookmq sub need the broker's address, and the certificates that they are given", async () => {
  const tls = `[{ transport: tls, port: 0, certificate: server.pem, key: server.key }]`;
  await using directory = await configDirectory(`listeners: ${tls}\n`, {
    "server.pem": certificate,
    "server.key": key,
    "ca.pem": authority.certificate,
  });
  const serve = ["--allow-read=hookmq.yaml,server.pem,server.key", net, ignored, "ROOT/cli.ts"];
  await using broker = await startReady(
    listening,
    Deno.execPath(),
    ...command([...serve, "serve", "--config", "hookmq.yaml"], directory),
  );
  const port = new URL((await broker.printed(listening))[1]).port;
  const flags = [`--allow-net=127.0.0.1:${port}`, "--allow-read=ca.pem", ignored, "ROOT/cli.ts"];
  const address = ["-p", port, "--cafile", "ca.pem"];
  const sub = command([...flags, "sub", ...address, "-t", "t", "-C", "1", "-d"], directory);
  await using subscriber = await startReady(/received SUBACK/, Deno.execPath(), ...sub);
  const pub = command([...flags, "pub", ...address, "-t", "t", "-m", "hello"], directory);
  assert.equal((await run(Deno.execPath(), ...pub)).code, 0);
  assert.equal((await subscriber.ended()).stdout, "hello\n");
});

for (
  const { what, flags, args, input } of [
    {
      what: "hookmq check",
      flags: [ignored, "--allow-read=hookmq.yaml,users"],
      args: ["check", "hookmq.yaml"],
    },
    {
      what: "hookmq passwd",
      flags: ["--allow-read=users,users.new", "--allow-write=users,users.new"],
      args: ["passwd", "users", "bob"],
      input: "secret\n",
    },
    {
      what: "hookmq import-mosquitto",
      flags: ["--allow-read=mosquitto.conf"],
      args: ["import-mosquitto", "mosquitto.conf"],
    },
    { what: "hookmq --version", flags: [], args: ["--version"] },
  ]
) {
  Deno.test(`${what} needs no more than ${flags.join(" ") || "nothing"}`, async () => {
    await using directory = await directoryWithFiles();
    await directory.write("listener 1883 127.0.0.1\n", "mosquitto.conf");
    const [words, options] = command([...flags, "ROOT/cli.ts", ...args], directory);
    const { code, stderr } = await run(Deno.execPath(), words, { ...options, input });
    assert.equal(code, 0, stderr);
  });
}

Deno.test("hookmq bench needs the broker's address alone", async () => {
  await using broker = await startBroker();
  const args = ["ROOT/cli.ts", "bench", "-p", `${broker.port}`, "--seconds", "0.2", "--warm-up", "0"];
  await using directory = await directoryWithFiles();
  const net = `--allow-net=127.0.0.1:${broker.port}`;
  const { code, stderr } = await run(Deno.execPath(), ...command([net, ...args], directory));
  assert.equal(code, 0, stderr);
});

for (const name of ["serve", "pub", "sub", "bench", "passwd", "check", "nodes", "import-mosquitto"]) {
  Deno.test(`hookmq ${name} --help needs no permission`, async () => {
    await using directory = await directoryWithFiles();
    const { code, stderr } = await run(Deno.execPath(), ...command(["ROOT/cli.ts", name, "--help"], directory));
    assert.equal(code, 0, stderr);
  });
}

for (const transport of ["tls", "ws"]) {
  Deno.test(`a program that may not listen over ${transport} is told so, and what it needs`, async () => {
    const listener = `{ transport: "${transport}", hostname: "localhost", port: 0, certificate: "DIR/server.pem",
      key: "DIR/server.key" } as Parameters<typeof broker.listen>[0]`;
    const way: Way = { what: "", ...embedding([], listener), flags: [ignored, "--allow-read=DIR"] };
    await using directory = await directoryFor(way);
    for (
      const [allowed, missing] of [["127.0.0.1", "localhost"], ["localhost", "localhost,127.0.0.1"]]
    ) {
      const words = [`--allow-net=${allowed}`, ...way.flags, ...way.args];
      const { code, stderr } = await run(Deno.execPath(), ...command(words, directory));
      assert.equal(code, 1);
      const message = `Error: cannot listen on localhost:0: it needs the permission --allow-net=${missing}`;
      assert(stderr.split("\n").some((line) => line.endsWith(message)), stderr);
    }
  });
}

Deno.test("a program with Redis, and hookmq nodes, need no more than the address of Redis", async () => {
  await using redis = await RedisServer.start();
  const way: Way = {
    what: "a program with Redis",
    ...embedding([`redisHook({ addr: "127.0.0.1:${redis.port}" })`], "{ port: 0 }"),
    flags: [`--allow-net=127.0.0.1:0,127.0.0.1:${redis.port}`, ignored],
  };
  await using directory = await directoryFor(way);
  const words = [...way.flags, ...way.args];
  await using broker = await startReady(listening, Deno.execPath(), ...command(words, directory));
  await exchange((await broker.printed(listening))[1]);
  const nodes = [`--allow-net=127.0.0.1:${redis.port}`, ignored, "ROOT/cli.ts", "nodes", "--cluster", redis.url];
  const { code, stderr } = await run(Deno.execPath(), ...command(nodes, directory));
  assert.equal(code, 0, stderr);
});

Deno.test("hookmq serve --cluster needs the address of Redis, and the host's name only without a node id", async () => {
  await using redis = await RedisServer.start();
  const net = `--allow-net=127.0.0.1:0,127.0.0.1:${redis.port}`;
  const args = [net, ignored, "ROOT/cli.ts", "serve", "--port", "0", "--cluster", redis.url];
  await using directory = await directoryWithFiles();
  for (const words of [[...args, "--node-id", "a"], ["--allow-sys=hostname", ...args]]) {
    await using broker = await startReady(listening, Deno.execPath(), ...command(words, directory));
    await exchange((await broker.printed(listening))[1]);
  }
  const { code, stderr } = await run(Deno.execPath(), ...command(args, directory));
  assert.equal(code, 2, stderr);
  assert.match(stderr, /Requires sys access to "hostname"/);
});

for (const module of ["mod.ts", "cli.ts", "hooks/mod.ts", "codec/mod.ts"]) {
  Deno.test(`importing ${module} asks for no permission, prints nothing, and leaves nothing running`, async () => {
    await using directory = await configDirectory("", { "program.ts": `import "file://${root}${module}";\n` });
    const audit = `${directory.path}/audit`;
    const args = ["run", "-A", "--config", `${root}deno.json`, `${directory.path}/program.ts`];
    const outcome = await run(Deno.execPath(), args, { env: { DENO_AUDIT_PERMISSIONS: audit } });
    assert.deepEqual(outcome, { code: 0, stdout: "", stderr: "" });
    assert.equal(await Deno.readTextFile(audit).catch(() => ""), "");
  });
}

Deno.test("a broker that does not listen needs no permission", async () => {
  const program = `
import { Broker } from "file://${root}mod.ts";
const broker = new Broker();
await broker.subscribe("t", ({ payload }) => console.log(new TextDecoder().decode(payload)));
await broker.publish("t", "hello");
await broker.close();
`;
  await using directory = await configDirectory("", { "program.ts": program });
  const args = ["run", "--no-prompt", "--config", `${root}deno.json`, `${directory.path}/program.ts`];
  assert.deepEqual(await run(Deno.execPath(), args), { code: 0, stdout: "hello\n", stderr: "" });
});
