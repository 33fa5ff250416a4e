import assert from "node:assert/strict";
import { loadConfig } from "../../cli/config.ts";
import { readEnvironment, variableName } from "../../cli/config/environment.ts";
import { configOption, type Option, type Path } from "../../cli/config/option.ts";
import { configReference } from "../../cli/config/reference.ts";
import { configDirectory } from "../config/config_directory.ts";
import { runHookmq } from "../interop/programs.ts";
import { inlineCodeOf, inProject, readDocuments } from "./markdown.ts";

Deno.test("docs/configuration.md is up to date: deno run -A cli.ts check --reference > docs/configuration.md", async () => {
  const { stdout } = await runHookmq(["check", "--reference"]);
  assert.equal(await Deno.readTextFile(inProject("docs/configuration.md")), stdout);
});

Deno.test("docs/configuration.md has a row for every option, with its variable", () => {
  const variables = new Set(configReference().matchAll(/^\| .*`(HOOKMQ_\w+)`/gm).map(([, variable]) => variable));
  const paths = [...optionsIn(configOption())];
  assert(paths.length > 100, `${paths.length} options`);
  for (const path of paths) assert(variables.has(variableName(path)), path.join("."));
});

/** The paths of all options that are no groups themselves. */
function* optionsIn({ properties = {}, items, oneOf = [], ...option }: Option, path: Path = []): Generator<Path> {
  const parts = [
    ...Object.entries(properties).map(([name, part]) => [part, [...path, name]] as const),
    ...oneOf.map((variant) => [variant, path] as const),
    ...items?.properties === undefined && items?.oneOf === undefined ? [] : [[items, [...path, 0]] as const],
  ];
  if (parts.length === 0 && option.const === undefined) yield path;
  for (const [part, partPath] of parts) yield* optionsIn(part, partPath);
}

Deno.test("every environment variable that the documents name is one", async () => {
  for (const { path, prose, blocks } of await readDocuments("README.md")) {
    for (const [name] of [prose, ...blocks.map(({ text }) => text)].join("\n").matchAll(/\bHOOKMQ_[A-Z0-9_]+/g)) {
      // What it is set to does not matter here.
      const { faults } = await readEnvironment({ [name]: inProject("deno.json") });
      assert.deepEqual(faults.filter((fault) => fault.includes("no such option")), [], path);
    }
  }
});

Deno.test("every option that the documents name in full is one", async () => {
  const { properties: groups } = configOption();
  for (const document of await readDocuments("README.md")) {
    for (const code of inlineCodeOf(document)) {
      const names = code.match(/^(?:hooks|limits|log)(?:\.\w+)+(?=$|:)/)?.[0].split(".");
      let option: Option | undefined = { properties: groups };
      for (const name of names ?? []) option = (option?.items ?? option)?.properties?.[name];
      assert.notEqual(option, undefined, `${document.path}: ${code}`);
    }
  }
});

Deno.test("the documents' configurations are valid", async () => {
  const blocks = (await readDocuments("README.md")).flatMap(({ blocks }) => blocks)
    // Those of other programs begin with their file's name.
    .filter(({ language, text }) => language === "yaml" && !text.startsWith("# "));
  assert(blocks.length >= 6, `${blocks.length} configurations`);
  for (const { place, text } of blocks) {
    await using directory = await configDirectory(text);
    await assert.doesNotReject(loadConfig({ file: directory.file, environment: {}, readFiles: false }), place);
  }
});
