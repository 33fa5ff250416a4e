import { type Program, run, startReady } from "../interop/programs.ts";

/** How a Redis server is started. */
export interface RedisServerOptions {
  /** More options of its command line, e.g. `["--requirepass", "secret"]`. */
  args?: string[];
}

/**
 * A Redis server of one test's own, on a free port of 127.0.0.1. It is empty when it starts, keeps nothing on the disk
 * besides what it needs while it runs, and is gone after its `await using` block, also if it was stopped.
 */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #directory: string;
  readonly #args: string[];
  #program: Program;

  private constructor(port: number, directory: string, args: string[], program: Program) {
    this.port = port;
    this.#directory = directory;
    this.#args = args;
    this.#program = program;
  }

  static async start({ args = [] }: RedisServerOptions = {}): Promise<RedisServer> {
    const directory = await Deno.makeTempDir({ prefix: "hookmq-redis-" });
    for (let attempt = 1;; attempt++) {
      // The system gives out ports only above these: none is taken while the server restarts.
      const port = 10_000 + crypto.getRandomValues(new Uint16Array(1))[0] % 10_000;
      try {
        return new RedisServer(port, directory, args, await startServer(port, directory, args));
      } catch (error) {
        if (/in use/.test((error as Error).message) && attempt < 20) continue;
        await Deno.remove(directory, { recursive: true });
        throw error;
      }
    }
  }

  /** Where it listens, e.g. `redis://127.0.0.1:12345`. */
  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /**
   * Has it carry out a command, and resolves with the reply as `redis-cli` prints it: a line for each value, an empty one
   * for none.
   *
   * @throws {Error} If it cannot be reached, or answers with an error.
   */
  async command(...words: (string | number)[]): Promise<string> {
    const { code, stdout, stderr } = await run("redis-cli", ["-e", "-p", this.port, ...words]);
    if (code !== 0) throw new Error(`${words.join(" ")}: ${(stderr || stdout).trim()}`);
    return stdout.trimEnd();
  }

  /** Stops it as SIGSTOP does: connections stay open, and nothing is answered until {@linkcode continue}. */
  stop(): void {
    this.#program.kill("SIGSTOP");
  }

  /** Lets it go on where {@linkcode stop} stopped it. */
  continue(): void {
    this.#program.kill("SIGCONT");
  }

  /** Kills it as SIGKILL does; all that it held is gone. */
  async kill(): Promise<void> {
    await this.#program[Symbol.asyncDispose]();
  }

  /** Starts it again on the same port, empty. If it runs, it is killed before. */
  async restart(): Promise<void> {
    await this.kill();
    await Deno.remove(this.#directory, { recursive: true });
    await Deno.mkdir(this.#directory);
    this.#program = await startServer(this.port, this.#directory, this.#args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.#directory, { recursive: true });
  }
}

function startServer(port: number, directory: string, args: string[]): Promise<Program> {
  const options = ["--port", port, "--bind", "127.0.0.1", "--dir", directory, "--save", "", "--appendonly", "no"];
  return startReady(/Ready to accept connections/, "redis-server", [...options, ...args]);
}
