import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { Broker } from "../../mod.ts";
import { sqliteHook } from "../../hooks/mod.ts";
import { inspectDatabase } from "../../hooks/sqlite/inspection.ts";
import { lasting } from "../broker/versions.ts";
import { DatabaseFile } from "./sqlite_broker.ts";

/** A database that does not open: the error is one line, and names the file. */
async function assertRefused(path: string, reason: string): Promise<void> {
  await using broker = new Broker();
  await assert.rejects(broker.use(sqliteHook({ path })), { message: `${path}: ${reason}` });
}

const damaged = (message: string) =>
  `not a HookMQ database, or damaged (${message}): restore a backup, or move it away to start afresh`;
const inUse = "another process is using it (another broker? give each its own with --data)";
const cannotBeOpened =
  "it cannot be opened: it must be a file, in a directory that exists, which this user may read and write";

/** A file with many messages, which no broker uses. */
async function writtenFile(): Promise<DatabaseFile> {
  const file = new DatabaseFile();
  const broker = await file.start();
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { qos: 1 });
  await client.disconnect();
  for (let count = 0; count < 100; count++) await broker.publish("t", new Uint8Array(1000), { qos: 1 });
  await file.stop();
  return file;
}

Deno.test("a database that another broker uses is refused", async () => {
  await using file = new DatabaseFile();
  const broker = await file.start();
  await assertRefused(file.path, inUse);
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { qos: 1 });
});

Deno.test("a database that another process uses is refused by the command line, in one line", async () => {
  await using file = new DatabaseFile();
  await file.start();
  const cli = new URL("../../cli.ts", import.meta.url).pathname;
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", cli, "serve", "--port", "0", "--data", file.path],
    env: { NO_COLOR: "1" },
    stdout: "null",
  }).output();
  assert.deepEqual([code, new TextDecoder().decode(stderr).trim()], [1, `hookmq: ${file.path}: ${inUse}`]);
});

Deno.test("a database is free again when its broker is closed, or could not use it", async () => {
  await using file = new DatabaseFile();
  await file.start();
  await assertRefused(file.path, inUse);
  await file.restart("shutdown");
});

Deno.test("a text file is refused, and left as it is", async () => {
  await using file = new DatabaseFile();
  const text = "listeners:\n  - port: 1883\n".repeat(100);
  await Deno.writeTextFile(file.path, text);
  await assertRefused(file.path, damaged("file is not a database"));
  assert.equal(await Deno.readTextFile(file.path), text);
});

Deno.test("another program's database is refused, and left as it is", async () => {
  await using file = new DatabaseFile();
  {
    using database = new DatabaseSync(file.path);
    database.exec("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine');");
  }
  const before = await Deno.readFile(file.path);
  await assertRefused(file.path, damaged("file is not a HookMQ database"));
  assert.deepEqual(await Deno.readFile(file.path), before);
});

Deno.test("a database of a newer version is refused, and left as it is", async () => {
  await using file = await writtenFile();
  {
    using database = new DatabaseSync(file.path);
    database.exec("PRAGMA user_version = 7");
  }
  const before = file.rows();
  await assertRefused(file.path, "it has schema version 7; this version of HookMQ knows up to 2");
  assert.deepEqual(file.rows(), before);
});

Deno.test("a database of an older version is brought up to date, with what is in it", async () => {
  await using file = await writtenFile();
  const rows = file.rows();
  {
    using database = new DatabaseSync(file.path);
    database.exec("DROP TABLE last_batch; PRAGMA user_version = 1");
  }
  const broker = await file.start();
  assert.equal(broker.stats().queuedMessages, 100);
  await file.stop();
  assert.deepEqual(file.rows(), rows);
});

Deno.test("an empty file becomes a database", async () => {
  await using file = new DatabaseFile();
  await Deno.writeFile(file.path, new Uint8Array());
  const broker = await file.start();
  const client = await broker.connect({ ...lasting(5), clientId: "a" });
  await client.subscribe("t", { qos: 1 });
});

Deno.test("a database whose pages are damaged is refused", async () => {
  await using file = await writtenFile();
  const bytes = await Deno.readFile(file.path);
  bytes.fill(0xa5, 4096);
  await Deno.writeFile(file.path, bytes);
  await assertRefused(file.path, damaged("database disk image is malformed"));
});

Deno.test("a database that has lost its end is refused", async () => {
  await using file = await writtenFile();
  await Deno.truncate(file.path, 5000);
  await assertRefused(file.path, damaged("database disk image is malformed"));
});

Deno.test("a database with a damaged message is refused, and free again", async () => {
  await using file = await writtenFile();
  for (let attempt = 0; attempt < 2; attempt++) {
    {
      using database = new DatabaseSync(file.path);
      database.exec("UPDATE messages SET frame = x'320100' WHERE id = 3");
    }
    await using broker = new Broker();
    await assert.rejects(broker.use(sqliteHook({ path: file.path })), (error: Error) => {
      assert.match(
        error.message,
        /not a HookMQ database, or damaged \(malformed message 3: .*\): restore a backup, or/,
      );
      return error.message.startsWith(`${file.path}: `);
    });
  }
});

for (const table of ["subscriptions", "outgoing"]) {
  Deno.test(`a database with damaged subscription identifiers in ${table} is refused, and found damaged`, async () => {
    await using file = await writtenFile();
    const write = (identifiers: string) => {
      using database = new DatabaseSync(file.path);
      database.exec(`UPDATE ${table} SET identifiers = '${identifiers}'`);
    };
    write("[1,268435455]");
    assert.equal(inspectDatabase(file.path).messages, 100);
    await file.start();
    await file.stop();
    const [begin, end] = damaged("|").split("|");
    const isRefusal = ({ message }: Error) =>
      message.startsWith(`${file.path}: ${begin}malformed subscription identifiers of "a": `) && message.endsWith(end);
    for (const identifiers of ["[1", "7", "[0]", '["1"]', "null", "[268435456]"]) {
      write(identifiers);
      assert.throws(() => inspectDatabase(file.path), isRefusal);
      await using broker = new Broker();
      await assert.rejects(broker.use(sqliteHook({ path: file.path })), isRefusal);
    }
  });
}

Deno.test("a directory is refused", async () => {
  await using file = new DatabaseFile();
  await Deno.mkdir(file.path);
  await assertRefused(file.path, cannotBeOpened);
});

Deno.test("a path in a directory that does not exist is refused", async () => {
  await using file = new DatabaseFile();
  await assertRefused(`${file.path}/hookmq.db`, cannotBeOpened);
});

Deno.test("a path that nobody may write is refused", async () => {
  await assertRefused("/proc/hookmq.db", cannotBeOpened);
});
