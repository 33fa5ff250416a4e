import assert from "node:assert/strict";
import { loadConfig } from "../../cli/config.ts";
import { configDirectory, refusalOf } from "./config_directory.ts";

/** What is wrong with the files that a broker with this configuration would write. */
function faultsOf(config: string): Promise<string[]> {
  return refusalOf(config, { tryFiles: true });
}

Deno.test("a database, a log and a socket in a directory that is not there are reported", async () => {
  const config = `
listeners:
  - { transport: unix, path: run/hookmq.sock }
hooks:
  sqlite: { path: data/broker/hookmq.db }
log:
  file: log/hookmq.log
`;
  const missing = (name: string, directory: string) =>
    `cannot write ${name}: there is no directory ${directory}; make it (mkdir -p ${directory}), or name another`;
  assert.deepEqual(await faultsOf(config), [
    `hookmq.yaml:3:24: listeners[0].path: ${missing("run/hookmq.sock", "run")}`,
    `hookmq.yaml:5:13: hooks.sqlite.path: ${missing("data/broker/hookmq.db", "data/broker")}`,
    `hookmq.yaml:7:3: log.file: ${missing("log/hookmq.log", "log")}`,
  ]);
  await using directory = await configDirectory(config);
  await loadConfig({ file: directory.file, environment: {} });
});

Deno.test("a directory in place of a file, and a file in place of a directory or a socket, are reported", async () => {
  const config = `
listeners:
  - { transport: unix, path: hookmq.yaml }
hooks:
  sqlite: { path: . }
log:
  file: hookmq.yaml/hookmq.log
`;
  const [socket, database, log, ...others] = await faultsOf(config);
  assert.equal(
    socket,
    "hookmq.yaml:3:24: listeners[0].path: cannot write hookmq.yaml: there is a file that is no socket",
  );
  assert.match(database, /^hookmq\.yaml:5:13: hooks\.sqlite\.path: cannot write \/\S+: it is a directory$/);
  assert.equal(
    log,
    "hookmq.yaml:7:3: log.file: cannot write hookmq.yaml/hookmq.log: hookmq.yaml is no directory",
  );
  assert.deepEqual(others, []);
});

Deno.test("a directory in which nothing can be made is reported", {
  // There nobody may, root neither.
  ignore: Deno.build.os !== "linux",
}, async () => {
  const [line, ...others] = await faultsOf("hooks: { sqlite: { path: /sys/hookmq.db } }\n");
  const begin = "hookmq.yaml:1:20: hooks.sqlite.path: cannot write /sys/hookmq.db: ";
  assert.equal(line.slice(0, begin.length), begin);
  assert.match(line.slice(begin.length), /^(this user may not make|no) files .*in \/sys/);
  assert.deepEqual(others, []);
});

Deno.test("what can be written is left as it is, and nothing is made", async () => {
  await using directory = await configDirectory(
    `
listeners:
  - { transport: unix, path: hookmq.sock }
hooks:
  sqlite: { path: hookmq.db }
log:
  file: old.log
`,
    { "old.log": "a line\n" },
  );
  await loadConfig({ file: directory.file, environment: {}, tryFiles: true });
  assert.deepEqual(Array.from(Deno.readDirSync(directory.path), ({ name }) => name).sort(), ["hookmq.yaml", "old.log"]);
  assert.equal(await Deno.readTextFile(`${directory.path}/old.log`), "a line\n");
});
