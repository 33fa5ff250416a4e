import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";
import packageFile from "../../deno.json" with { type: "json" };
import { runDeno } from "../docs/run_deno.ts";
import { connect } from "../interop/mqttjs_client.ts";
import { type Outcome, run, startReady } from "../interop/programs.ts";

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

Deno.test("deno task compile embeds all of the command line: it runs from an empty directory", async () => {
  await using directory = await temporaryDirectory();
  const base = await compile(["--into", directory.path]);
  const files = embeddedFiles(Buffer.from(await Deno.readFile(`${directory.path}/hookmq`)));
  const names = [...files.keys()];
  const workers = [...sources()].filter((path) => worker.test(Deno.readTextFileSync(path)));
  assert.equal(names.length, workers.length + 1, `one bundle and the workers, but: ${names}`);

  const taken = `${directory.path}/taken`;
  await Deno.mkdir(taken);
  for (const [name, text] of files) await Deno.writeFile(`${taken}/${name}`, text);
  const bundle = names.find((name) => name.includes("bundle"));
  await assertWhole(Deno.execPath(), ["run", "-A", "--no-config", "--no-npm", "--no-remote", `${taken}/${bundle}`]);

  if (base === "real") await assertWhole(`${directory.path}/hookmq`, []);
  else sayNotRun("the binary of deno task compile, for want of a base binary; what is embedded in it has been run");
});

Deno.test("deno task compile --target builds for another system, under its name", async () => {
  await using directory = await temporaryDirectory();
  const target = Deno.build.arch === "x86_64" ? "aarch64-unknown-linux-gnu" : "x86_64-unknown-linux-gnu";
  const { code, stderr } = await task(["--into", directory.path, "--target", target], { DENORT_BIN: Deno.execPath() });
  assert.equal(code, 0, stderr);
  const files = embeddedFiles(Buffer.from(await Deno.readFile(`${directory.path}/hookmq-${target}`)));
  assert([...files.keys()].some((name) => name.includes("worker")));
  sayNotRun(`the binary for ${target}; and those for macOS and Windows, which have not been built`);
});

Deno.test("deno task compile says what there is to do where it has no base binary", async () => {
  await using directory = await temporaryDirectory();
  const { code, stderr } = await task(["--into", directory.path], { DENORT_BIN: `${directory.path}/none` });
  assert.equal(code, 1);
  assert.match(stderr, /^not built: this system\. About base binaries, see "Binaries" in docs\/operations\.md$/m);
  assert.match(await Deno.readTextFile(`${root}docs/operations.md`), /^## Binaries$/m);
});

Deno.test("deno task compile does not take one base binary for several systems", async () => {
  const { code, stderr } = await task(["--all"], { DENORT_BIN: Deno.execPath() });
  assert.equal(code, 1);
  assert.match(stderr, /^error: DENORT_BIN is the base binary of one system/m);
});

/** Runs the task; with the machine's own base binary, or, if there is none and none can be had, with one that stands in. */
async function compile(args: string[]): Promise<"real" | "stand-in"> {
  const { code, stderr } = await task(args);
  if (code === 0) return "real";
  assert.match(stderr, /Setting up base binary/);
  // What the program is appended to makes no difference to what is appended.
  const again = await task(args, { DENORT_BIN: Deno.execPath() });
  assert.equal(again.code, 0, again.stderr);
  return "stand-in";
}

function task(args: string[], env?: Record<string, string>): Promise<Outcome> {
  return runDeno(["task", "compile", ...args], env);
}

/** The files that the compiler has appended: a list of their names, offsets and lengths as JSON, and then all of them. */
function embeddedFiles(binary: Buffer): Map<string, Buffer> {
  const start = binary.lastIndexOf('[{"File":{"n":".deno_compile_');
  assert.notEqual(start, -1, "nothing is embedded");
  const end = start + Number(binary.readBigUInt64LE(start - 8));
  const list: { File: { n: string; o: [number, number] } }[] = JSON.parse(binary.subarray(start, end).toString());
  const content = end + 8;
  return new Map(list.map(({ File: { n: name, o: [offset, length] } }) => [
    name,
    binary.subarray(content + offset, content + offset + length),
  ]));
}

/** Makes sure that a command line has its version, its schema and its database with it. */
async function assertWhole(command: string, args: string[]): Promise<void> {
  await using directory = await temporaryDirectory();
  const cwd = directory.path;
  const print = async (...words: string[]) => (await run(command, [...args, ...words], { cwd })).stdout;
  assert.equal(await print("--version"), `${packageFile.version}\n`);
  assert.equal(await print("check", "--example"), await Deno.readTextFile(`${root}hookmq.yaml`));

  const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
  const serve = async () => {
    const program = await startReady(listening, command, [...args, "--port", 0], { cwd });
    return { ...program, port: Number((await program.printed(listening))[1]) };
  };
  const session = { clientId: "phone", clean: false, protocolVersion: 4 } as const;
  {
    await using broker = await serve();
    const subscriber = await connect(broker, session);
    await subscriber.client.subscribeAsync("letters", { qos: 1 });
    await subscriber.client.endAsync();
    await using publisher = await connect(broker, { protocolVersion: 4 });
    await publisher.client.publishAsync("letters", "waiting", { qos: 1 });
    // It is killed here.
  }
  await using broker = await serve();
  await using subscriber = await connect(broker, session);
  assert.equal((await subscriber.next()).payload, "waiting");
}

/** For whoever reads what the tests have printed: `.ci/run` repeats these lines at its end. */
function sayNotRun(what: string): void {
  console.log(`not run: ${what}`);
}

async function temporaryDirectory(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

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
