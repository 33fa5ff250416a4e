import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connect } from "../interop/mqttjs_client.ts";
import {
  type Outcome,
  type Program,
  run,
  runHookmq,
  startBrokerProcess,
  startHookmq,
  startReady,
} from "../interop/programs.ts";
import { RedisServer } from "../support/redis_server.ts";
import { blocksOf, inProject } from "./markdown.ts";

/** A command that waits for ever, since something is wrong, is ended before the test is. */
const hookmq = `timeout 20 ${Deno.execPath()} run -A ${fileURLToPath(new URL("../../cli.ts", import.meta.url))}`;

/** Runs lines of a shell, in which `hookmq` is our command line, and its clients use this port. */
function runShell(lines: string, cwd: string, port = 1883): Promise<Outcome> {
  const program = `hookmq() {
    local command=$1; shift
    if [[ $command =~ ^(pub|sub)$ ]]; then set -- -p ${port} "$@"; fi
    ${hookmq} "$command" "$@"
  }`;
  return run("bash", ["-euo", "pipefail", "-c", `${program}\n${lines}`], { cwd });
}

/** A directory that is removed at the end. */
async function temporaryDirectory(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** The one block of a document's language in which a text stands. */
async function blockWith(path: string, language: string, text: string): Promise<string> {
  const found = (await blocksOf(path, language)).filter((block) => block.includes(text));
  assert.equal(found.length, 1, `${path} has ${found.length} blocks with ${JSON.stringify(text)}`);
  return found[0];
}

async function stop(program: Program): Promise<void> {
  program.kill("SIGTERM");
  const { code, stderr } = await program.ended();
  assert.equal(code, 0, stderr);
}

Deno.test("docs/getting_started.md: a message waits for a client that is away", async () => {
  await using directory = await temporaryDirectory();
  await using broker = await startBrokerProcess();
  const lines = await blockWith("docs/getting_started.md", "sh", "sub -i phone");
  const { code, stdout, stderr } = await runShell(lines, directory.path, broker.port);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "This has been waiting.\n" }, stderr);
});

Deno.test("docs/getting_started.md: a retained message is the first one that a new subscriber gets", async () => {
  await using directory = await temporaryDirectory();
  await using broker = await startBrokerProcess();
  const lines = await blockWith("docs/getting_started.md", "sh", "pub -r");
  assert.equal((await runShell(lines, directory.path, broker.port)).stdout, "21.5\n");
});

Deno.test("docs/getting_started.md: with each of its configurations a broker starts, and lets users in alone", async () => {
  await using redis = await RedisServer.start();
  await using directory = await temporaryDirectory();
  const cwd = directory.path;
  for (const line of (await blockWith("docs/getting_started.md", "sh", "passwd -c")).trim().split("\n")) {
    const { code, stderr } = await runShell(`echo secret | ${line}`, cwd);
    assert.equal(code, 0, stderr);
  }
  const { code, stderr } = await runShell(await blockWith("docs/getting_started.md", "sh", "openssl"), cwd);
  assert.equal(code, 0, stderr);
  const configurations = await blocksOf("docs/getting_started.md", "yaml");
  assert(configurations.length >= 4, `${configurations.length} configurations`);
  for (const text of configurations) {
    const local = text.replaceAll("0.0.0.0", "127.0.0.1").replaceAll(/port: \d+/g, "port: 0")
      .replace("redis://127.0.0.1:6379", redis.url);
    await Deno.writeTextFile(`${cwd}/my.yaml`, local);
    const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
    await using broker = await startHookmq(listening, ["serve", "--config", "my.yaml"], { cwd });
    const port = Number((await broker.printed(listening))[1]);
    const as = async (username: string) => {
      const options = { protocolVersion: 5, username, password: "secret" } as const;
      await using _client = await connect({ port, [Symbol.asyncDispose]: () => Promise.resolve() }, options);
    };
    await as("alice");
    await as("bob");
    await assert.rejects(as("eve"), /Bad User Name or Password/i);
    if (text.includes("transport: tls")) {
      const [, securePort] = await broker.printed(/mqtts:\/\/127\.0\.0\.1:(\d+)/);
      const lines = (await blockWith("docs/getting_started.md", "sh", "--cafile"))
        .replace("-h localhost", `-h localhost -p ${securePort}`).replace("her password", "secret");
      const { code, stdout, stderr } = await runShell(`${lines.trim()} -E`, cwd, port);
      assert.deepEqual({ code, stdout }, { code: 0, stdout: "" }, stderr);
      const bench = ["bench", "--transport", "tls", "--cafile", "server.pem", "-h", "localhost", "-p", securePort];
      const load = [
        "-u",
        "alice",
        "-P",
        "secret",
        "--publishers",
        1,
        "--subscribers",
        1,
        "--seconds",
        0.1,
        "--warm-up",
        0,
      ];
      const outcome = await runHookmq([...bench, ...load], { cwd });
      assert.equal(outcome.code, 0, outcome.stderr);
    }
    await stop(broker);
  }
});

Deno.test("docs/getting_started.md: a program in a directory of its own finds the broker", async () => {
  await using directory = await temporaryDirectory();
  const cwd = directory.path;
  const [linking] = await blocksOf("docs/getting_started.md", "json");
  await Deno.writeTextFile(`${cwd}/deno.json`, linking.replace("../hookmq", inProject("")));
  const program = await blockWith("docs/getting_started.md", "ts ignore", "new Broker");
  await Deno.writeTextFile(`${cwd}/main.ts`, program.replace("port: 1883", "port: 0"));
  const args = (await blockWith("docs/getting_started.md", "sh", "main.ts")).trim().split(" ").slice(1);
  await using _broker = await startReady(/^listening on /m, Deno.execPath(), args, { cwd });
});

Deno.test("docs/operations.md: systemd takes the unit", async () => {
  await using directory = await temporaryDirectory();
  const unit = await blockWith("docs/operations.md", "ini", "[Service]");
  const program = /\/usr\/local\/bin\/hookmq\b/g;
  assert.match(unit, program);
  // It looks whether the programs are there.
  await Deno.writeTextFile(`${directory.path}/hookmq.service`, unit.replaceAll(program, Deno.execPath()));
  const { code, stdout, stderr } = await run("systemd-analyze", ["verify", `${directory.path}/hookmq.service`]);
  const about = `${stdout}${stderr}`.split("\n").filter((line) => line.includes("hookmq.service"));
  assert.deepEqual({ code, about }, { code: 0, about: [] });
});

Deno.test("docs/operations.md: after an orderly end the database's one file is all there is to copy", async () => {
  await using directory = await temporaryDirectory();
  const data = `${directory.path}/hookmq.db`;
  const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
  await using broker = await startHookmq(listening, ["--port", 0, "--data", data]);
  const port = Number((await broker.printed(listening))[1]);
  await using publisher = await connect({ port, [Symbol.asyncDispose]: () => Promise.resolve() }, {
    protocolVersion: 5,
  });
  await publisher.client.publishAsync("t", "kept", { qos: 1, retain: true });
  assert.equal((await runHookmq(["check", "--data", data])).code, 1);
  await stop(broker);
  assert(!existsSync(`${data}-wal`));
  await Deno.copyFile(data, `${directory.path}/copy.db`);
  const { code, stdout } = await runHookmq(["check", "--data", `${directory.path}/copy.db`]);
  assert.equal(code, 0);
  assert.match(stdout, /retained messages: 1/);
});

Deno.test("docs/operations.md: a backup that is put back after a crash is what the broker has then", async () => {
  await using directory = await temporaryDirectory();
  const data = `${directory.path}/hookmq.db`;
  const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
  const start = () => startHookmq(listening, ["--port", 0, "--data", data]);
  const publish = async (broker: Program, payload: string) => {
    const [, port] = await broker.printed(listening);
    const { code } = await runHookmq(["pub", "-p", port, "-r", "-q", 1, "-t", "t", "-m", payload]);
    assert.equal(code, 0);
  };
  await using first = await start();
  await publish(first, "in the backup");
  await stop(first);
  await Deno.copyFile(data, `${directory.path}/backup.db`);
  await using second = await start();
  await publish(second, "later");
  second.kill("SIGKILL");
  await second.ended();
  assert(existsSync(`${data}-wal`));

  const lines = (await blockWith("docs/operations.md", "sh", "install --owner")).replaceAll("systemctl", ":")
    .replace("--owner=hookmq --group=hookmq ", "")
    .replaceAll("/var/lib/hookmq", directory.path).replaceAll("/backup/hookmq.db", `${directory.path}/backup.db`);
  const { code, stderr } = await runShell(lines, directory.path);
  assert.equal(code, 0, stderr);
  await using third = await start();
  const [, port] = await third.printed(listening);
  const { stdout } = await runHookmq(["sub", "-p", port, "-t", "t", "-C", 1]);
  assert.equal(stdout, "in the backup\n");
  await stop(third);
});

Deno.test("docs/migrating.md: retained messages are moved, byte by byte, and others are not", async () => {
  await using directory = await temporaryDirectory();
  await using before = await startBrokerProcess();
  await using after = await startBrokerProcess();
  await using old = await connect(before, { protocolVersion: 5 });
  await old.client.publishAsync("a/with spaces", "one\ntwo", { retain: true, qos: 1 });
  await old.client.publishAsync("a/ü", "three", { retain: true, qos: 1 });
  const lines = (await blockWith("docs/migrating.md", "sh", "topics.txt"))
    .replaceAll("-p 1883", `-p ${before.port}`).replaceAll("-p 1884", `-p ${after.port}`)
    // Until it has heard of all of them, which takes no five seconds here; it says so with its exit code.
    .replace("-W 5", "-W 1");
  const { stderr } = await run("bash", ["-c", lines], { cwd: directory.path });
  await using subscriber = await connect(after, { protocolVersion: 5 });
  await subscriber.client.subscribeAsync("#");
  const moved = (await subscriber.take(2)).map(({ topic, payload, retain }) => `${topic}: ${payload} ${retain}`).sort();
  assert.deepEqual(moved, ["a/with spaces: one\ntwo true", "a/ü: three true"], stderr);
});

Deno.test("docs/operations.md: the container file names files and tasks that there are", async () => {
  const [containerFile] = await blocksOf("docs/operations.md", "dockerfile");
  const version = (await Deno.readTextFile(inProject(".dvmrc"))).trim();
  assert.equal(containerFile.match(/^FROM denoland\/deno:(\S+) /m)![1], version);
  assert.match(containerFile, /^RUN deno task compile$/m);
});
