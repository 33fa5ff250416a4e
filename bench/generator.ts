import type { LoadResult } from "../cli/bench/load.ts";
import type { BenchOptions } from "../cli/bench/run.ts";
import { generatorCore, pinned } from "./pinning.ts";

/** The load to generate: options of the command `bench`, which has defaults for what may be left out. */
export type LoadOptions =
  & Pick<BenchOptions, "scenario" | "publishers" | "subscribers" | "qos" | "payload" | "properties" | "window">
  & Pick<BenchOptions, "rate" | "storm" | "level" | "seconds" | "warmUp" | "host" | "port" | "username" | "pw">
  & Pick<BenchOptions, "brokerPid" | "cafile">
  & Partial<Pick<BenchOptions, "topicsPerSubscriber" | "transport">>;

const cli = `${import.meta.dirname}/../cli.ts`;

/** Beyond the time measured: for connecting, and for what is under way when the publishing ends. */
const graceSeconds = 60;

/**
 * Runs the load generator, `hookmq bench`, in a process of its own.
 *
 * @throws {Error} If the load could not be carried out, with the generator's own words.
 */
export async function generateLoad(load: LoadOptions, signal: AbortSignal): Promise<LoadResult> {
  const command = [Deno.execPath(), "run", "-A", cli, "bench", "--json", ...commandArguments(load)];
  const [program, ...args] = pinned(generatorCore, command);
  const timeLimit = AbortSignal.timeout((load.warmUp + load.seconds + graceSeconds) * 1000);
  const options = {
    args,
    stdin: "null",
    env: { NO_COLOR: "1" },
    signal: AbortSignal.any([signal, timeLimit]),
  } as const;

  const { stdout, stderr } = await new Deno.Command(program, options).output();
  if (timeLimit.aborted) throw new Error(`the load generator did not end within ${graceSeconds} seconds of grace`);
  // It prints figures also where it exits with 1 because messages were lost.
  if (stdout.length === 0) throw new Error(new TextDecoder().decode(stderr).trim());
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** `{ warmUp: 1, properties: true }` as `--warm-up=1 --properties`. */
function commandArguments(load: LoadOptions): string[] {
  return Object.entries(load)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => {
      const option = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
      return value === true ? option : `${option}=${value}`;
    });
}
