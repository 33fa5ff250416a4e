import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fileURLToPath } from "node:url";

/** How long a test waits for a program to do what it should; only a failing test waits so long. */
const deadlineMilliseconds = 30_000;

/** How a program ended. */
export interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/** A program that runs beside the test. Disposing it kills it, if it still runs. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** Resolves with the match as soon as the program's output so far, on stdout and then stderr, matches. */
  printed(pattern: RegExp): Promise<RegExpMatchArray>;
  /** Resolves with the output of a program that has ended by itself. */
  ended(): Promise<Outcome>;
  /** Sends a signal; does nothing if the program has ended. */
  kill(signal: Deno.Signal): void;
}

/** What to give a program besides its arguments. */
export interface StartOptions {
  /** All of its standard input; none by default. */
  input?: string | Uint8Array;
  env?: Record<string, string>;
  /** The directory that it runs in; ours by default. */
  cwd?: string;
}

/** Starts a program. */
export function start(command: string, args: (string | number)[], { input, env, cwd }: StartOptions = {}): Program {
  const child = new Deno.Command(command, {
    args: args.map(String),
    env,
    cwd,
    stdin: input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const name = [command, ...args].join(" ");
  const chunks: { stdout: Uint8Array[]; stderr: Uint8Array[] } = { stdout: [], stderr: [] };
  let running = true;
  let changed = Promise.withResolvers<void>();

  const collect = async (stream: ReadableStream<Uint8Array>, into: Uint8Array[]) => {
    for await (const chunk of stream) {
      into.push(chunk);
      changed.resolve();
      changed = Promise.withResolvers();
    }
  };
  const text = (stream: Uint8Array[]) => Buffer.concat(stream).toString();
  const end = Promise.all([
    child.status,
    collect(child.stdout, chunks.stdout),
    collect(child.stderr, chunks.stderr),
    input === undefined ? undefined : feed(child.stdin, input),
  ]).then(([{ code }]): Outcome => {
    running = false;
    changed.resolve();
    return { code, stdout: text(chunks.stdout), stderr: text(chunks.stderr) };
  });

  const output = () => text(chunks.stdout) + text(chunks.stderr);
  const waitFor = async (pattern: RegExp) => {
    for (;;) {
      const match = output().match(pattern);
      if (match !== null) return match;
      if (!running) throw new Error(`${name}: ended without printing ${pattern}, but:\n${output()}`);
      await changed.promise;
    }
  };
  const kill = (signal: Deno.Signal) => {
    try {
      child.kill(signal);
    } catch {
      // It has ended.
    }
  };
  return {
    pid: child.pid,
    printed: (pattern) => withDeadline(waitFor(pattern), () => `${name} to print ${pattern}; it printed:\n${output()}`),
    ended: () => withDeadline(end, () => `${name} to end; it printed:\n${output()}`),
    kill,
    async [Symbol.asyncDispose]() {
      kill("SIGKILL");
      await end;
    },
  };
}

/** Starts a program and resolves once its output matches `ready`; if it never does, the program is killed. */
export async function startReady(
  ready: RegExp,
  command: string,
  args: (string | number)[],
  options?: StartOptions,
): Promise<Program> {
  const program = start(command, args, options);
  try {
    await program.printed(ready);
    return program;
  } catch (error) {
    await program[Symbol.asyncDispose]();
    throw error;
  }
}

async function feed(stdin: WritableStream<Uint8Array>, input: string | Uint8Array): Promise<void> {
  try {
    await ReadableStream.from([Buffer.from(input)]).pipeTo(stdin);
  } catch {
    // The program has ended before it has read everything: its outcome says why.
  }
}

/** Resolves as `promise` does, or rejects when that takes too long. */
export async function withDeadline<T>(promise: Promise<T>, what: () => string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`waited too long for ${what()}`)), deadlineMilliseconds);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs a program to its end. */
export async function run(command: string, args: (string | number)[], options?: StartOptions): Promise<Outcome> {
  await using program = start(command, args, options);
  return await program.ended();
}

/** The arguments of `deno` that run `hookmq`, the project's own command line. */
const hookmq = ["run", "-A", fileURLToPath(new URL("../../cli.ts", import.meta.url))];

/** Starts `hookmq` and resolves once its output matches `ready`. */
export function startHookmq(ready: RegExp, args: (string | number)[], options?: StartOptions): Promise<Program> {
  return startReady(ready, Deno.execPath(), [...hookmq, ...args], options);
}

/** Runs `hookmq` to its end. */
export function runHookmq(args: (string | number)[], options?: StartOptions): Promise<Outcome> {
  return run(Deno.execPath(), [...hookmq, ...args], options);
}

/** A broker in a process of its own. Disposing it shuts it down, and fails if it did not run and end without a fault. */
export interface BrokerProcess extends AsyncDisposable {
  port: number;
}

/** Starts a broker with `hookmq serve`, on a free port of the loopback interface. */
export async function startBrokerProcess(): Promise<BrokerProcess> {
  const listening = /mqtt:\/\/127\.0\.0\.1:(\d+)/;
  const broker = await startHookmq(listening, ["serve", "--memory", "--port", 0]);
  const [, port] = await broker.printed(listening);
  return {
    port: Number(port),
    async [Symbol.asyncDispose]() {
      await using program = broker;
      program.kill("SIGTERM");
      const { code, stderr } = await program.ended();
      assert.doesNotMatch(stderr, /\[(error|fatal)\]|Uncaught/, "the broker met a fault of its own");
      assert.equal(code, 0, `the broker's exit code; it printed:\n${stderr}`);
    },
  };
}
