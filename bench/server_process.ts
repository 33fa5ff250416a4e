const stopSeconds = 3;

/** A server that runs as a child of this process, until it is stopped. */
export class ServerProcess {
  readonly pid: number;
  /** Whether it has ended by itself or has been stopped. */
  hasEnded = false;
  /** Why it ended, as far as it said so on standard error: the last line that speaks of an error, or the last of all. */
  readonly lastWords: Promise<string>;

  readonly #child: Deno.ChildProcess;

  /** Starts the command, with as many open files (and so connections) as the system allows. */
  constructor(command: string[], signal: AbortSignal) {
    const [program, ...args] = withAllDescriptors(command);
    const options = { args, stdin: "null", stdout: "null", stderr: "piped", env: { NO_COLOR: "1" }, signal } as const;
    this.#child = new Deno.Command(program, options).spawn();
    this.pid = this.#child.pid;
    this.lastWords = lastError(this.#child.stderr);
    this.#child.status.then(() => this.hasEnded = true);
  }

  /** Asks it to end, and makes it end where it does not within some seconds. */
  async stop(): Promise<void> {
    if (this.hasEnded) return;
    this.#child.kill("SIGTERM");
    const impatience = setTimeout(() => this.#child.kill("SIGKILL"), stopSeconds * 1000);
    await this.#child.status;
    clearTimeout(impatience);
  }
}

function withAllDescriptors(command: string[]): string[] {
  if (Deno.build.os === "windows") return command;
  return ["sh", "-c", 'ulimit -n "$(ulimit -H -n)"; exec "$0" "$@"', ...command];
}

async function lastError(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let end = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) end = (end + text).slice(-10_000);
  const lines = end.trim().split("\n");
  return (lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1)!).trim();
}
