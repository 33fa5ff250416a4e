import assert from "node:assert/strict";
import { existsSync } from "node:fs";

const examples = new URL("../../examples/", import.meta.url);

Deno.test("every example is in the list, and has a test", async () => {
  const list = await Deno.readTextFile(new URL("README.md", examples));
  const names = Array.from(Deno.readDirSync(examples), ({ name }) => name).filter((name) => name.endsWith(".ts"));
  assert(names.length > 0);
  for (const name of names) {
    assert(list.includes(`[${name}](${name})`), `examples/README.md does not list ${name}`);
    const test = new URL(name.replace(".ts", "_test.ts"), import.meta.url);
    assert(existsSync(test), `there is no ${test.pathname}`);
  }
});
