import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import packageFile from "../../deno.json" with { type: "json" };
import { inProject } from "./markdown.ts";
import { runDeno } from "./run_deno.ts";

/** The package's own settings, but that an example need not use every export that stands in its file. */
function configuration(): string {
  const { noUnusedLocals: _locals, noUnusedParameters: _parameters, ...compilerOptions } = packageFile.compilerOptions;
  const own = Object.entries(packageFile.exports).map(([name, path]) => [
    packageFile.name + name.slice(1),
    pathToFileURL(inProject(path)).href,
  ]);
  return JSON.stringify({ compilerOptions, imports: { ...packageFile.imports, ...Object.fromEntries(own) } });
}

Deno.test("the examples in docstrings are of the right types, and run", async () => {
  const config = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(config, configuration());
    const files = ["mod.ts", "cli.ts", "broker/", "codec/", "hooks/"];
    const args = ["test", "-A", "--doc", "--no-lock", "--config", config, ...files];
    const { code, stdout, stderr } = await runDeno(args);
    assert.equal(code, 0, stdout + stderr);
    for (const file of ["mod.ts", "cli.ts", "broker/broker.ts", "codec/mod.ts", "hooks/acl.ts"]) {
      assert.match(stdout, new RegExp(`^file:.*/${file}#.* ok `, "m"));
    }
  } finally {
    await Deno.remove(config);
  }
});

Deno.test("every function, class and constant of the package has an example", async () => {
  for (const path of Object.values(packageFile.exports)) {
    const { stdout } = await runDeno(["doc", "--json", path]);
    const { nodes }: { nodes: Record<string, { symbols: DocumentedSymbol[] }> } = JSON.parse(stdout);
    for (const { name, declarations } of Object.values(nodes).flatMap(({ symbols }) => symbols)) {
      if (!declarations.some(({ kind }) => ["function", "class", "variable"].includes(kind))) continue;
      const tags = declarations.flatMap(({ jsDoc }) => jsDoc?.tags ?? []);
      assert(tags.some(({ kind }) => kind === "example"), `${path}: ${name} has no example`);
    }
  }
});

/** What `deno doc --json` says of an export. */
interface DocumentedSymbol {
  name: string;
  declarations: { kind: string; jsDoc?: { tags?: { kind: string }[] } }[];
}
