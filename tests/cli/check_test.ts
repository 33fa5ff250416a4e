import assert from "node:assert/strict";
import { exampleConfig } from "../../cli/config/example.ts";
import { configDirectory } from "../config/config_directory.ts";
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
log: { level: warning, format: json, file: /var/log/hookmq.log }
`);
  assert.deepEqual(await runHookmq(["check", directory.file]), {
    code: 0,
    stdout: `${directory.file} is valid
  listeners: tcp 127.0.0.1:1884, ws [::1]:8083, unix ${directory.path}/hookmq.sock
  hooks: acl, sys
  log: warning, as json, in /var/log/hookmq.log
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
