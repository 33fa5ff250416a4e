import type { LoadRequest, LoadResult } from "./load/request.ts";
import { generatorCore, pinned } from "./pinning.ts";

/** Beyond the time measured: for connecting, and for what is under way when the publishing ends. */
const graceSeconds = 60;

/**
 * Runs the load generator in a process of its own.
 *
 * @throws {Error} If the load could not be carried out, with the generator's own words.
 */
export async function generateLoad(request: LoadRequest, signal: AbortSignal): Promise<LoadResult> {
  const main = `${import.meta.dirname}/load/main.ts`;
  const [program, ...args] = pinned(generatorCore, [Deno.execPath(), "run", "-A", main, JSON.stringify(request)]);
  const timeLimit = AbortSignal.timeout((request.warmUpSeconds + request.seconds + graceSeconds) * 1000);
  const options = {
    args,
    stdin: "null",
    env: { NO_COLOR: "1" },
    signal: AbortSignal.any([signal, timeLimit]),
  } as const;

  const { success, stdout, stderr } = await new Deno.Command(program, options).output();
  if (timeLimit.aborted) throw new Error(`the load generator did not end within ${graceSeconds} seconds of grace`);
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
  return JSON.parse(new TextDecoder().decode(stdout));
}
