import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { DatabaseSync } from "node:sqlite";
import { exampleConfig } from "../../cli/config/example.ts";
import { lasting } from "../broker/versions.ts";
import { configDirectory } from "../config/config_directory.ts";
import { DatabaseFile, ends } from "../hooks/sqlite_broker.ts";
import { runHookmq } from "../interop/programs.ts";

Deno.test("hookmq check says that a file is valid, and what it comes to", async () => {
  await using directory = await configDirectory(`
listeners:
  - port: 1884
  - { transport: ws, hostname: "::1" }
  - { transport: unix, path: hookmq.sock }
hooks:
  acl:
  sys:
log: { level: warning, format: json, file: hookmq.log }
`);
  assert.deepEqual(await runHookmq(["check", directory.file]), {
    code: 0,
    stdout: `${directory.file} is valid
  listeners: tcp 127.0.0.1:1884, ws [::1]:8083, unix ${directory.path}/hookmq.sock
  hooks: acl, sys
  log: warning, as json, in ${directory.path}/hookmq.log
`,
    stderr: "",
  });
});

Deno.test("hookmq check prints everything that is wrong on stderr, and exits with 1", async () => {
  await using directory = await configDirectory("listners: []\nlimits:\n  inflight: 0\n");
  assert.deepEqual(await runHookmq(["check", directory.file]), {
    code: 1,
    stdout: "",
    stderr: `${directory.file}:1:1: unknown key "listners"; did you mean "listeners"?
${directory.file}:3:3: limits.inflight: 0: must be a whole number from 1 to 65535
`,
  });
});

Deno.test("hookmq check takes the environment into account, as serve does", async () => {
  await using directory = await configDirectory("");
  const { code, stderr } = await runHookmq(["check", directory.file], { env: { HOOKMQ_LISTENERS_0_PORT: "many" } });
  assert.deepEqual({ code, stderr }, {
    code: 1,
    stderr: 'HOOKMQ_LISTENERS_0_PORT: "many": must be a whole number from 0 to 65535\n',
  });
});

Deno.test("hookmq check looks into the files that are named, and with --syntax-only it does not", async () => {
  await using directory = await configDirectory("hooks: { auth: { passwordFile: users } }\n");
  const { code, stderr } = await runHookmq(["check", directory.file]);
  assert.equal(code, 1);
  assert.match(stderr, /^\S+:1:18: hooks\.auth\.passwordFile: cannot read \S+users: there is no such file; .*\n$/);
  assert.equal((await runHookmq(["check", "--syntax-only", directory.file])).code, 0);
});

Deno.test("hookmq check says that the database cannot be written, and with --syntax-only it does not", async () => {
  await using directory = await configDirectory("hooks: { sqlite: { path: data/hookmq.db } }\n");
  const data = `${directory.path}/data`;
  const fault = `hooks.sqlite.path: cannot write ${data}/hookmq.db: there is no directory ${data}; make it ` +
    `(mkdir -p ${data}), or name another`;
  assert.deepEqual(await runHookmq(["check", directory.file]), {
    code: 1,
    stdout: "",
    stderr: `${directory.file}:1:20: ${fault}\n`,
  });
  assert.equal((await runHookmq(["check", "--syntax-only", directory.file])).code, 0);
});

Deno.test("hookmq check --example prints what hookmq check accepts", async () => {
  const { code, stdout } = await runHookmq(["check", "--example"]);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: exampleConfig() });
  await using directory = await configDirectory(stdout);
  assert.equal((await runHookmq(["check", directory.file])).code, 0);
});

Deno.test("hookmq check without a file is a wrong use, and exits with 2", async () => {
  assert.deepEqual(await runHookmq(["check"]), {
    code: 2,
    stdout: "",
    stderr: "hookmq: which file shall be checked? name it, e.g. hookmq check hookmq.yaml\n",
  });
});

Deno.test("hookmq check says that it cannot read a file, and exits with 1", async () => {
  assert.deepEqual(await runHookmq(["check", "/nowhere.yaml"]), {
    code: 1,
    stdout: "",
    stderr: "cannot read /nowhere.yaml: there is no such file\n",
  });
});

for (const end of ends) {
  Deno.test(`hookmq check --data says that a database is sound after a ${end}, and what it holds`, async () => {
    await using file = await writtenDatabase();
    await leave(file, end);
    const { size } = await Deno.stat(file.path);
    assert.deepEqual(await runHookmq(["check", "--data", file.path]), {
      code: 0,
      stdout: `${file.path} is sound
  schema version: 2, sessions: 2, messages: 5, retained messages: 1, size: ${size / 1024} KB
`,
      stderr: "",
    });
  });
}

Deno.test("hookmq check --data leaves a database for the broker as it was, after a crash too", async () => {
  await using file = await writtenDatabase();
  await leave(file, "crash");
  assert.equal((await runHookmq(["check", "--data", file.path])).code, 0);
  const broker = await file.start();
  assert.deepEqual([broker.stats().sessions, broker.stats().queuedMessages], [2, 10]);
});

Deno.test("hookmq check --data says that a database is in use, and the broker does not notice", async () => {
  await using file = await writtenDatabase();
  const broker = await file.start();
  await assertUnsound(file.path, "another process is using it: stop the broker before you check it");
  await broker.publish("t", "stored", { qos: 1 });
});

Deno.test("hookmq check --data does not make a file that is not there", async () => {
  await using directory = await configDirectory("");
  const path = `${directory.path}/hookmq.db`;
  await assertUnsound(path, "there is no such file");
  await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
});

Deno.test("hookmq check --data says that a file is empty, and leaves it so", async () => {
  await using directory = await configDirectory("");
  await directory.write("", "hookmq.db");
  const path = `${directory.path}/hookmq.db`;
  await assertUnsound(path, "it is empty: a broker would start afresh with it");
  assert.equal((await Deno.stat(path)).size, 0);
});

Deno.test("hookmq check --data says that a file is no database, and leaves it as it is", async () => {
  await using directory = await configDirectory("listeners:\n".repeat(100));
  await assertUnsound(directory.file, damaged("file is not a database"));
  assert.equal(await Deno.readTextFile(directory.file), "listeners:\n".repeat(100));
});

Deno.test("hookmq check --data says that a database is another program's", async () => {
  await using file = new DatabaseFile();
  change(file, "CREATE TABLE notes (text TEXT)");
  await assertUnsound(file.path, damaged("file is not a HookMQ database"));
});

Deno.test("hookmq check --data says that a database was written by a newer version", async () => {
  await using file = await writtenDatabase();
  change(file, "PRAGMA user_version = 7");
  await assertUnsound(file.path, "it has schema version 7; this version of HookMQ knows up to 2");
});

Deno.test("hookmq check --data finds a page that is damaged", async () => {
  await using file = await writtenDatabase();
  const bytes = await Deno.readFile(file.path);
  bytes.fill(0xa5, 4096);
  await Deno.writeFile(file.path, bytes);
  await assertUnsound(file.path, /^not a HookMQ database, or damaged \(.*malformed.*\): restore a backup, or .*$/);
});

Deno.test("hookmq check --data finds an index that does not fit its table", async () => {
  await using file = await writtenDatabase();
  const content = await Deno.readFile(file.path);
  // The index says of other rows now that they are in it.
  content.set(new TextEncoder().encode("IS     NULL"), Buffer.from(content).indexOf("IS NOT NULL"));
  await Deno.writeFile(file.path, content);
  await assertUnsound(file.path, damaged("malformed: row 1 missing from index retained_expiry"));
});

Deno.test("hookmq check --data finds a message that is damaged", async () => {
  await using file = await writtenDatabase();
  change(file, "UPDATE messages SET frame = x'320100' WHERE id = 3");
  await assertUnsound(
    file.path,
    /^not a HookMQ database, or damaged \(malformed message 3: .*\): restore a backup, .*$/,
  );
});

Deno.test("hookmq check checks a configuration or a database, not both, and exits with 2", async () => {
  const { code, stderr } = await runHookmq(["check", "hookmq.yaml", "--data", "hookmq.db"]);
  assert.deepEqual({ code, stderr }, {
    code: 2,
    stderr: "hookmq: check hookmq.yaml or --data hookmq.db, one after the other\n",
  });
});

/** A database with two sessions, five messages for both of them, and a retained one; no broker uses it. */
async function writtenDatabase(): Promise<DatabaseFile> {
  const file = new DatabaseFile();
  const broker = await file.start();
  for (const clientId of ["a", "b"]) {
    const client = await broker.connect({ ...lasting(5), clientId });
    await client.subscribe("t", { qos: 1 });
    await client.disconnect();
  }
  for (let count = 0; count < 5; count++) await broker.publish("t", "message", { qos: 1 });
  await broker.publish("r", "retained", { qos: 1, retain: true });
  await file.stop();
  return file;
}

/** Has a broker use the file once more. */
async function leave(file: DatabaseFile, end: typeof ends[number]): Promise<void> {
  const broker = await file.start();
  await broker.publish("r", "again", { qos: 1, retain: true });
  if (end === "shutdown") await file.stop();
  else await file.abandon();
}

function change(file: DatabaseFile, sql: string): void {
  using database = new DatabaseSync(file.path);
  database.exec(sql);
}

const damaged = (message: string) =>
  `not a HookMQ database, or damaged (${message}): restore a backup, or move it away to start afresh`;

async function assertUnsound(path: string, reason: string | RegExp): Promise<void> {
  const { code, stdout, stderr } = await runHookmq(["check", "--data", path]);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  const start = `hookmq: ${path}: `;
  assert.equal(stderr.slice(0, start.length), start);
  const said = stderr.slice(start.length).trimEnd();
  if (typeof reason === "string") assert.equal(said, reason);
  else assert.match(said, reason);
}
