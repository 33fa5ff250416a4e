import assert from "node:assert/strict";
import type { IClientOptions } from "mqtt";
import { hashPassword } from "../../hooks/mod.ts";
import { type ConfigDirectory, configDirectory } from "../config/config_directory.ts";
import { connect as connectMqttJs, type TestClient } from "../interop/mqttjs_client.ts";
import { type Program, runHookmq, startHookmq, type StartOptions } from "../interop/programs.ts";
import { createAuthority, issueCertificate } from "../listeners/certificates.ts";

const fast = { cost: 4 };

/** Runs `hookmq serve` with a configuration; resolves when it has said where it listens. */
function serve(directory: ConfigDirectory, args: string[] = [], options?: StartOptions): Promise<Program> {
  return startHookmq(/^HookMQ listens on [^]*\n$/, ["serve", "--config", directory.file, ...args], options);
}

/** The port of the listener whose URL begins like this. */
async function portOf(program: Program, beginning: string): Promise<number> {
  const [, port] = await program.printed(new RegExp(` ${beginning}:\\/\\/127\\.0\\.0\\.1:(\\d+)`));
  return Number(port);
}

function connect(port: number, options: IClientOptions = {}): Promise<TestClient> {
  return connectMqttJs({ port } as Parameters<typeof connectMqttJs>[0], { protocolVersion: 5, port, ...options });
}

/** Sends SIGHUP, and resolves when the log says for the `count`th time that it has been heeded. */
async function reload(program: Program, count = 1): Promise<void> {
  program.kill("SIGHUP");
  await program.printed(new RegExp(`(?:(?:read again|cannot be used)[^]*){${count}}`));
}

async function end(program: Program): Promise<string> {
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended();
  assert.equal(code, 0, stderr);
  return stderr;
}

Deno.test("hookmq serve --config switches on every listener and every hook, and clients use them", async () => {
  const authority = await createAuthority();
  const { certificate, key } = await issueCertificate(authority, "server");
  await using directory = await configDirectory(
    `
listeners:
  - { port: 0, proxyProtocol: { trusted: [192.0.2.1] } }
  - { transport: tls, port: 0, certificate: server.pem, key: server.key }
  - { transport: ws, port: 0, path: /mqtt }
  - { transport: wss, port: 0, certificate: server.pem, key: server.key }
  - { transport: unix, path: hookmq.sock, mode: "600" }
limits: { receiveMaximum: 33 }
maximumQos: 1
hooks:
  auth:
    credentials: { alice: sesame }
    passwordFile: users
  acl:
    denyByDefault: true
    rules:
      - { permission: allow, topicFilter: home/%u/# }
      - { permission: allow, topicFilter: $SYS/#, access: read }
  rateLimit: { publishRate: 0.001, burstSize: 3 }
  logger: { level: [all] }
  sqlite: { path: hookmq.db }
  sys: { interval: 60, version: ours }
  metrics: { port: 0 }
log: { level: debug, format: json, file: hookmq.log }
`,
    { "server.pem": certificate, "server.key": key, users: `bob:${await hashPassword("b", fast)}\n` },
  );
  const program = await serve(directory);
  await using _program = program;
  const bob: IClientOptions = { username: "bob", password: "b" };
  const ways: IClientOptions[] = [
    { protocol: "mqtt", port: await portOf(program, "mqtt") },
    { protocol: "mqtts", port: await portOf(program, "mqtts"), ca: authority.certificate },
    { protocol: "ws", port: await portOf(program, "ws"), path: "/mqtt" },
    { protocol: "wss", port: await portOf(program, "wss"), ca: authority.certificate },
    { protocol: "mqtt", unixSocket: true, path: `${directory.path}/hookmq.sock` },
  ];
  assert.equal((await Deno.stat(`${directory.path}/hookmq.sock`)).mode! & 0o777, 0o600);

  await using alice = await connect(ways[0].port!, { username: "alice", password: "sesame", clientId: "alice" });
  assert.deepEqual(
    [alice.connack.properties?.receiveMaximum, alice.connack.properties?.maximumQoS],
    [33, 1],
    "the broker's own options",
  );
  await alice.client.subscribeAsync("$SYS/broker/version");
  assert.equal((await alice.next()).payload, "ours", "sys");
  await alice.client.publishAsync("home/alice/state", "kept", { qos: 1, retain: true });

  for (const way of ways) {
    const where = `${way.protocol} ${way.port ?? way.path}`;
    await assert.rejects(connect(way.port!, { ...way, ...bob, password: "wrong" }), /Bad User Name/, where);
    await using client = await connect(way.port!, { ...way, ...bob, clientId: `bob-${where}` });
    await assert.rejects(client.client.subscribeAsync("home/alice/#"), /Not authorized/, where);
    await client.client.subscribeAsync("home/bob/#", { qos: 1 });
    for (const text of ["first", "second"]) {
      await client.client.publishAsync("home/bob/x", text, { qos: 1 });
      assert.equal((await client.next()).payload, text, where);
    }
    await assert.rejects(client.client.publishAsync("home/alice/x", "", { qos: 1 }), { code: 0x87 }, where);
    await assert.rejects(client.client.publishAsync("home/bob/x", "", { qos: 1 }), { code: 0x97 }, "rateLimit");
  }

  const [, metrics] = await program.printed(/ (http:\/\/127\.0\.0\.1:\d+\/metrics)/);
  assert.match(await (await fetch(metrics)).text(), /^hookmq_\w+ \d/m);
  assert.equal(await end(program), "", "all of the log is in the file");
  const records = (await Deno.readTextFile(`${directory.path}/hookmq.log`)).trimEnd().split("\n").map((line) =>
    JSON.parse(line)
  );
  assert(records.some(({ logger, message }) => logger === "hookmq.clients" && /^"?alice"? connected/.test(message)));

  const again = await serve(directory);
  await using _again = again;
  await using returned = await connect(await portOf(again, "mqtt"), { username: "alice", password: "sesame" });
  await returned.client.subscribeAsync("home/alice/state");
  assert.equal((await returned.next()).payload, "kept", "sqlite");
  await end(again);
});

Deno.test("hookmq serve --user lets in these users only, on TCP and WebSocket", async () => {
  const args = ["serve", "--memory", "--port", 0, "--ws-port", 0, "--user", "alice:a", "--user", "bob:b:b"];
  await using program = await startHookmq(/Try it: .* -u NAME -P PASSWORD\n/, args);
  for (const protocol of ["mqtt", "ws"] as const) {
    const port = await portOf(program, protocol);
    await using _alice = await connect(port, { protocol, username: "alice", password: "a" });
    await using _bob = await connect(port, { protocol, username: "bob", password: "b:b" });
    await assert.rejects(connect(port, { protocol, username: "bob", password: "b" }), /Bad User Name/);
    await assert.rejects(connect(port, { protocol }), /Not authorized/);
  }
});

Deno.test("hookmq serve prints everything that is wrong with its configuration, and exits with 1", async () => {
  await using directory = await configDirectory("limits:\n  inflight: 0\nlog:\n  levle: info\n");
  assert.deepEqual(await runHookmq(["serve", "--config", directory.file], { env: { HOOKMQ_PORT: "1" } }), {
    code: 1,
    stdout: "",
    stderr: `${directory.file}:2:3: limits.inflight: 0: must be a whole number from 1 to 65535
${directory.file}:4:3: log: unknown key "levle"; did you mean "level"?
HOOKMQ_PORT: there is no such option; did you mean HOOKMQ_LISTENERS_0_PORT?
`,
  });
});

Deno.test("hookmq serve says in one line that it cannot write its log, and exits with 1", async () => {
  await using directory = await configDirectory("log: { file: /nowhere/hookmq.log }\n");
  const { code, stderr } = await runHookmq(["serve", "--config", directory.file]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^\S+:1:8: log\.file: cannot write \/nowhere\/hookmq\.log: there is no directory \/nowhere; .*\n$/,
  );
});

Deno.test("SIGHUP applies changed users and ACL rules, and disconnects users who are gone", async () => {
  const config = (user: string, permission: string) => `
listeners: [{ port: 0 }]
hooks:
  auth: { credentials: { ${user}: secret, carl: secret } }
  acl: { rules: [{ permission: ${permission}, topicFilter: a }] }
`;
  await using directory = await configDirectory(config("alice", "allow"));
  await using program = await serve(directory);
  const port = await portOf(program, "mqtt");
  const as = (username: string) => connect(port, { username, password: "secret" });
  await using alice = await as("alice");
  await using carl = await as("carl");
  await carl.client.publishAsync("a", "", { qos: 1 });
  await assert.rejects(as("bob"), /Bad User Name/);

  const closed = Promise.withResolvers<void>();
  alice.client.once("close", () => closed.resolve());
  await directory.write(config("bob", "deny"));
  await reload(program);
  await closed.promise;
  await assert.rejects(as("alice"), /Bad User Name/);
  await using _bob = await as("bob");
  await assert.rejects(carl.client.publishAsync("a", "", { qos: 1 }), { code: 0x87 });
  assert.doesNotMatch(await end(program), /warning|error|secret/);
});

Deno.test("SIGHUP reads the password file again", async () => {
  const users = async (name: string) => `${name}:${await hashPassword("secret", fast)}\n`;
  await using directory = await configDirectory(
    "listeners: [{ port: 0 }]\nhooks: { auth: { passwordFile: users, reloadInterval: 0 } }\n",
    { users: await users("alice") },
  );
  await using program = await serve(directory);
  const port = await portOf(program, "mqtt");
  await directory.write(await users("bob"), "users");
  await assert.rejects(connect(port, { username: "bob", password: "secret" }), /Bad User Name/);
  await reload(program);
  await using _bob = await connect(port, { username: "bob", password: "secret" });
});

Deno.test("SIGHUP reads certificates again, and keeps the old ones if the new cannot be used", async () => {
  const [old, renewed] = await Promise.all([createAuthority(), createAuthority()]);
  const [before, after] = await Promise.all([issueCertificate(old, "server"), issueCertificate(renewed, "server")]);
  await using directory = await configDirectory(
    "listeners: [{ transport: tls, port: 0, certificate: server.pem, key: server.key }]\n",
    { "server.pem": before.certificate, "server.key": before.key },
  );
  await using program = await serve(directory);
  const port = await portOf(program, "mqtts");
  const connectTrusting = async (ca: string) => {
    await using _client = await connect(port, { protocol: "mqtts", ca });
  };
  await connectTrusting(old.certificate);

  await directory.write(after.certificate, "server.pem");
  await reload(program);
  await program.printed(/listeners\[0\]\.key: \S+server\.key is not the key of the certificate/);
  await connectTrusting(old.certificate);

  await directory.write(after.key, "server.key");
  await reload(program, 2);
  await connectTrusting(renewed.certificate);
  await assert.rejects(connectTrusting(old.certificate));
});

Deno.test("SIGHUP changes the log's level and format, and begins the file anew", async () => {
  const config = (log: string) => `listeners: [{ port: 0 }]\nhooks: { logger: { level: [all] } }\nlog: { ${log} }\n`;
  await using directory = await configDirectory(config("level: info, file: log"));
  await using program = await serve(directory);
  const port = await portOf(program, "mqtt");
  const publish = async (topic: string) => {
    await using client = await connect(port);
    await client.client.publishAsync(topic, "", { qos: 1 });
  };
  await publish("first");
  await Deno.rename(`${directory.path}/log`, `${directory.path}/log.1`);
  await directory.write(config("level: debug, format: json"));
  await reload(program);
  await publish("second");
  assert.match(await Deno.readTextFile(`${directory.path}/log.1`), /^\S+ \[info\] hookmq\.clients: .* connected/m);
  assert.doesNotMatch(await Deno.readTextFile(`${directory.path}/log.1`), /first/);
  assert.match(await end(program), /^\{.*"level":"DEBUG".*second/m);
});

Deno.test("SIGHUP with a broken file changes nothing, and the log says what is wrong with it", async () => {
  const config = "listeners: [{ port: 0 }]\nhooks:\n  auth: { credentials: { alice: a } }\n";
  await using directory = await configDirectory(config);
  await using program = await serve(directory);
  const port = await portOf(program, "mqtt");
  await directory.write(config.replace("alice", "bob") + 'limits:\n  inflight: none\nlog: { level: "{loud}" }\n');
  await reload(program);
  await using _alice = await connect(port, { username: "alice", password: "a" });
  await assert.rejects(connect(port, { username: "bob", password: "a" }), /Bad User Name/);
  const stderr = (await end(program)).replaceAll(/^\S+ /gm, "").replaceAll(directory.file, "hookmq.yaml");
  assert.match(
    stderr,
    /^\[error\] hookmq: hookmq\.yaml:5:3: limits\.inflight: "none": must be a whole number from 1 to 65535$/m,
  );
  assert.match(stderr, /^\[error\] hookmq: hookmq\.yaml:6:8: log\.level: "\{loud\}": must be one of/m);
  assert.match(stderr, /^\[error\] hookmq: everything stays as it is, since the configuration cannot be used$/m);
});

Deno.test("SIGHUP says each time what has changed but takes a restart, and goes on with the rest", async () => {
  await using directory = await configDirectory("listeners: [{ port: 0 }]\nhooks: { acl: }\n");
  await using program = await serve(directory);
  const port = await portOf(program, "mqtt");
  await directory.write(`
listeners: [{ port: 0, hostname: localhost }]
limits: { packetSize: 1000 }
hooks: { acl: { denyByDefault: true, rules: [{ permission: deny, topicFilter: a }] }, sys: }
`);
  await reload(program);
  await using client = await connect(port);
  await assert.rejects(client.client.publishAsync("a", "", { qos: 1 }), { code: 0x87 });
  await client.client.publishAsync("b", "", { qos: 1 });
  await reload(program, 2);
  const restarts = [
    ...(await end(program)).matchAll(/\[warning\] hookmq: "?([\w.[\]]+)"? has changed, which takes a restart/g),
  ];
  const options = ["listeners[0].hostname", "limits.packetSize", "hooks.acl.denyByDefault", "hooks.sys"];
  assert.deepEqual(restarts.map(([, option]) => option), [...options, ...options]);
});

Deno.test("SIGHUP without a configuration file does no harm", async () => {
  await using program = await startHookmq(/Try it/, ["serve", "--memory", "--port", 0]);
  await reload(program);
  await using _client = await connect(await portOf(program, "mqtt"));
});

Deno.test("hookmq serve says that its database cannot be written, before it starts", async () => {
  await using directory = await configDirectory("hooks: { sqlite: { path: data/hookmq.db } }\n");
  const { code, stdout, stderr } = await runHookmq(["serve", "--config", directory.file]);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(stderr, /^\S+:1:20: hooks\.sqlite\.path: cannot write \S+: there is no directory \S+\/data; .*\n$/);
});

Deno.test("a SIGHUP leaves the database to the broker that has it", async () => {
  await using directory = await configDirectory("listeners: [{ port: 0 }]\nhooks: { sqlite: { path: hookmq.db } }\n");
  const program = await serve(directory);
  await using _program = program;
  await reload(program);
  const { code, stderr } = await runHookmq(["check", "--data", `${directory.path}/hookmq.db`]);
  assert.equal(code, 1);
  assert.match(stderr, /another process is using it/);
  await end(program);
});
