import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import packageFile from "../../deno.json" with { type: "json" };
import { inProject } from "./markdown.ts";
import { runDeno } from "./run_deno.ts";

/** An example in a docstring. */
interface Example {
  /** The file and the line of its first line, e.g. `codec/topic.ts:7`. */
  readonly place: string;
  /** Whether it is a program that goes on for ever, or needs what is not there; its types are checked all the same. */
  readonly isIgnored: boolean;
  readonly text: string;
}

async function readExamples(): Promise<Example[]> {
  const inFolders = ["broker", "codec", "hooks"].map(async (folder) =>
    (await readdir(inProject(folder), { recursive: true })).map((path) => `${folder}/${path}`)
  );
  const paths = ["mod.ts", "cli.ts", ...(await Promise.all(inFolders)).flat()].filter((path) => path.endsWith(".ts"));
  return (await Promise.all(paths.sort().map(examplesIn))).flat();
}

async function examplesIn(path: string): Promise<Example[]> {
  const source = await Deno.readTextFile(inProject(path));
  return [...source.matchAll(/^ *\* ```ts( ignore)?\n([^]*?)^ *\* ```$/gm)].map(({ index, 1: ignore, 2: lines }) => ({
    place: `${path}:${source.slice(0, index).split("\n").length + 1}`,
    isIgnored: ignore !== undefined,
    text: lines.replaceAll(/^ *\* ?/gm, ""),
  }));
}

/** The package's own settings, but that an example may leave it at making something, and its exports by their names. */
function configuration(): string {
  const { compilerOptions: { noUnusedLocals: _locals, ...compilerOptions }, test } = packageFile;
  const own = Object.entries(packageFile.exports).map(([name, path]) => [
    packageFile.name + name.slice(1),
    pathToFileURL(inProject(path)).href,
  ]);
  return JSON.stringify({ compilerOptions, test, imports: { ...packageFile.imports, ...Object.fromEntries(own) } });
}

Deno.test("the examples in docstrings are of the right types, and run", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const examples = await readExamples();
    assert(examples.length > 100, `${examples.length} examples`);
    // One process for all, which loads the package before the first of them: in one each they would take a minute.
    const tests = Object.keys(packageFile.exports).map((name) => `import "${packageFile.name}${name.slice(1)}";`);
    tests.push("Deno.chdir(await Deno.makeTempDir({ dir: import.meta.dirname }));");
    for (const { place, isIgnored, text } of examples) {
      const file = `${place.replaceAll(/\W/g, "_")}.ts`;
      await Deno.writeTextFile(`${directory}/${file}`, text);
      tests.push(`Deno.test${isIgnored ? ".ignore" : ""}("${place}", async () => void await import("./${file}"));`);
    }
    await Deno.writeTextFile(`${directory}/examples_test.ts`, tests.join("\n"));
    await Deno.writeTextFile(`${directory}/deno.json`, configuration());
    const args = ["test", "-A", "--no-lock", "--config", `${directory}/deno.json`, `${directory}/examples_test.ts`];
    const { code, stdout, stderr } = await runDeno(args);
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, new RegExp(` ${examples.filter(({ isIgnored }) => !isIgnored).length} passed `), stdout);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("every symbol of the package has an example that runs", async () => {
  const missing: string[] = [];
  for (const path of Object.values(packageFile.exports)) {
    const { stdout } = await runDeno(["doc", "--json", path]);
    const { nodes }: { nodes: Record<string, { symbols: DocumentedSymbol[] }> } = JSON.parse(stdout);
    for (const { name, declarations } of Object.values(nodes).flatMap(({ symbols }) => symbols)) {
      const tags = declarations.flatMap(({ jsDoc }) => jsDoc?.tags ?? []);
      if (!tags.some(({ kind, doc }) => kind === "example" && doc?.includes("```ts\n"))) {
        missing.push(`${path}: ${name}`);
      }
    }
  }
  assert.deepEqual(missing, []);
});

/** What `deno doc --json` says of an export. */
interface DocumentedSymbol {
  name: string;
  declarations: { kind: string; jsDoc?: { tags?: { kind: string; doc?: string }[] } }[];
}
