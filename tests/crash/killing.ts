import { fileURLToPath } from "node:url";
import { type Program, start } from "../interop/programs.ts";
import type { Ordeal } from "./ordeal.ts";

/** A compiled program to kill instead of what `deno run` runs. */
const compiled = Deno.env.get("CRASH_BINARY");
const program = compiled === undefined
  ? [Deno.execPath(), "run", "-A", fileURLToPath(new URL("../../cli.ts", import.meta.url))]
  : [compiled];

/** The command line as everybody uses it: nothing befalls it but SIGKILL. */
export class Killing implements Ordeal {
  readonly deadliness = 1;
  readonly mayRefuse = false;
  /** None. */
  readonly expectedErrors = /(?!)/;
  readonly summary = "killed at the end of each round";

  spawn(path: string): Program {
    // What a full queue drops would count as lost.
    const env = { NO_COLOR: "1", HOOKMQ_LIMITS_QUEUE_MESSAGES: "1000000", HOOKMQ_LIMITS_QUEUE_BYTES: "1000000000" };
    const [command, ...args] = program;
    return start(command, [...args, "serve", "--port", "0", "--data", path], { env });
  }

  strike(): Promise<void> {
    return Promise.resolve();
  }

  relent(): Promise<void> {
    return Promise.resolve();
  }

  failure(): Promise<undefined> {
    return Promise.resolve(undefined);
  }
}
