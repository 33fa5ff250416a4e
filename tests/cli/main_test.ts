import assert from "node:assert/strict";
import packageFile from "../../deno.json" with { type: "json" };
import { main } from "../../cli.ts";
import { runHookmq } from "../interop/programs.ts";

Deno.test("hookmq --version prints the version of the package", async () => {
  assert.deepEqual(await runHookmq(["--version"]), { code: 0, stdout: `${packageFile.version}\n`, stderr: "" });
});

Deno.test("hookmq --help names the commands", async () => {
  const { code, stdout } = await runHookmq(["--help"]);
  assert.equal(code, 0);
  assert.deepEqual(stdout.match(/^ {2}(serve|pub|sub)\b/gm), ["  serve", "  pub", "  sub"]);
});

for (const command of ["serve", "pub", "sub"]) {
  Deno.test(`hookmq ${command} --help shows its options and examples`, async () => {
    const { code, stdout } = await runHookmq([command, "--help"]);
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^Usage: hookmq ${command} `));
    assert.match(stdout, /--host <host>/);
    assert.match(stdout, /^Examples:\n( {2}.*hookmq.*\n){3,}/m);
  });
}

const wrongUses = [
  {
    what: "an unknown command",
    args: ["srve"],
    message: "unknown command 'srve'; there are serve, pub, sub, bench, passwd, check, nodes and import-mosquitto",
  },
  {
    what: "an unknown option",
    args: ["sub", "--tpoic", "a"],
    message: "unknown option '--tpoic' (Did you mean --topic?)",
  },
  {
    what: "an argument that is no option",
    args: ["sub", "a/#"],
    message: "too many arguments for 'sub'. Expected 0 arguments but got 1: a/#.",
  },
  {
    what: "a port that is no port",
    args: ["serve", "--port", "65536"],
    message: "option '--port <number>' argument '65536' is invalid. It must be a whole number from 0 to 65535.",
  },
];

for (const { what, args, message } of wrongUses) {
  Deno.test(`${what} is answered with one line and exit code 2`, async () => {
    assert.deepEqual(await runHookmq(args), { code: 2, stdout: "", stderr: `hookmq: ${message}\n` });
  });
}

Deno.test("main() resolves with the exit code", async () => {
  assert.equal(await main(["pub", "--quiet", "-p", "1", "-t", "a", "-m", "x"]), 1);
});
