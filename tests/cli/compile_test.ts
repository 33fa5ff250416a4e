import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import packageFile from "../../deno.json" with { type: "json" };
import { run } from "../interop/programs.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The only form in which the compiler sees that a file is needed: a worker, by a literal name. */
const worker = /new Worker\(new URL\("(\.[^"]+)", import\.meta\.url\)/;

Deno.test("everything that is loaded by its URL is a worker that the compiler finds", () => {
  const loads = [...sources()].flatMap((path) =>
    Deno.readTextFileSync(path).split("\n").filter((line) => line.includes("import.meta.") && !line.includes(".main"))
  );
  assert.notEqual(loads.length, 0);
  assert.deepEqual(loads.filter((line) => !worker.test(line)), []);
});

Deno.test("deno task compile embeds the command line, and the workers under the names by which they are loaded", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const output = `${directory}/hookmq`;
    const [, command, ...args] = packageFile.tasks.compile.split(" ");
    args.splice(args.indexOf("--output") + 1, 1, output);
    // What the program is appended to does not matter here, and the real one would have to be downloaded.
    const env = { NO_COLOR: "1", DENORT_BIN: Deno.execPath() };
    const { code, stderr } = await run(Deno.execPath(), [command, "--no-check", ...args], { env, cwd: root });
    assert.equal(code, 0, stderr);
    const embedded = [...stderr.matchAll(/[├└]── (\S+\.mjs)/g)].map(([, name]) => name);
    const workers = embedded.filter((name) => name.includes("worker"));
    assert.equal(workers.length, [...sources()].filter((path) => worker.test(Deno.readTextFileSync(path))).length);
    const binary = Buffer.from(await Deno.readFile(output));
    for (const name of workers) assert.ok(binary.includes(`new Worker(new URL("./${name}", import.meta.url)`), name);
    assert.equal(embedded.length, workers.length + 1, `one bundle and the workers, but: ${embedded}`);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

/** The program's own files. */
function* sources(): Generator<string> {
  yield `${root}cli.ts`;
  for (const folder of ["broker", "cli", "codec", "hooks"]) yield* sourcesIn(root + folder);
}

function* sourcesIn(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* sourcesIn(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield `${folder}/${name}`;
  }
}
