import assert from "node:assert/strict";
import { runHookmq } from "../interop/programs.ts";
import { inlineCodeOf, inProject, readDocuments } from "./markdown.ts";

/** A command of `hookmq` in a document. */
interface Mention {
  place: string;
  command: string;
  words: string[];
}

Deno.test("every command and option of hookmq that the documents name is one", async () => {
  const mentions = (await readDocuments("README.md")).flatMap((document) => [
    ...document.blocks.filter(({ language }) => language === "sh").flatMap(({ place, text }) =>
      text.replaceAll("\\\n", " ").split("\n").flatMap((line) => mentionsIn(line, place))
    ),
    ...inlineCodeOf(document).flatMap((code) => mentionsIn(code, document.path)),
  ]);
  assert(mentions.length > 30, `${mentions.length} commands`);
  const help = new Map<string, Set<string>>();
  for (const { place, command, words } of mentions) {
    let options = help.get(command);
    if (options === undefined) {
      const { code, stdout } = await runHookmq([command, "--help"], { env: { NO_COLOR: "1" } });
      assert.equal(code, 0, `${place}: hookmq ${command}`);
      help.set(command, options = optionsIn(stdout));
    }
    for (const word of words) assert(options.has(word), `${place}: hookmq ${command} ${word}`);
  }
});

Deno.test("every task that the documents name is one, and every script is there", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(inProject("deno.json")));
  for (const { path, prose, blocks } of await readDocuments("README.md", "ARCHITECTURE.md")) {
    const text = [prose, ...blocks.map(({ text }) => text)].join("\n");
    for (const [, name] of text.matchAll(/deno task (\w+)/g)) assert(name in tasks, `${path}: deno task ${name}`);
    for (const [, script] of text.matchAll(/deno run -A (\w[\w/]*\/\w+\.ts)/g)) {
      assert((await Deno.stat(inProject(script))).isFile, `${path}: ${script}`);
    }
  }
});

/** What a line asks of `hookmq`, with the options that it gives. */
function mentionsIn(line: string, place: string): Mention[] {
  const [, given] = line.match(/^\s*(?:\.\/)?(?:hookmq|deno run -A cli\.ts)(?![\w.])([^|;#]*)/) ?? [];
  if (given === undefined) return [];
  const [first = "", ...rest] = given.trim().split(/\s+/);
  const hasCommand = /^[a-z][a-z-]*$/.test(first);
  const words = (hasCommand ? rest : [first, ...rest]).filter((word) => /^(-[a-zA-Z]|--\w[\w-]*)$/.test(word));
  return [{ place, command: hasCommand ? first : "serve", words }];
}

function optionsIn(help: string): Set<string> {
  return new Set(
    [...help.matchAll(/(?<=^|[\s,])(-[a-zA-Z]|--\w[\w-]*)\b/gm)].map(([option]) => option).concat("--version"),
  );
}
