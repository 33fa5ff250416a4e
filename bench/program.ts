import { Command } from "commander";

const controller = new AbortController();

/** Aborts when the program is interrupted, or told to end. */
export const interruption: AbortSignal = controller.signal;

/** A command line with `--help`, which exits with 2 after a wrong use. */
export function commandLine(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .helpOption("--help", "show this help")
    .exitOverride(({ exitCode }) => Deno.exit(exitCode === 0 ? 0 : 2));
}

/** Runs a bench and exits: with 0 if all is well, 1 if not, 2 where it could not be measured, 130 when interrupted. */
export async function runBench(bench: () => Promise<boolean>): Promise<never> {
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => controller.abort());
  try {
    Deno.exit(await bench() ? 0 : 1);
  } catch (error) {
    if (interruption.aborted) Deno.exit(130);
    console.error(messageOf(error));
    Deno.exit(2);
  }
}

/** What to tell the user of an error. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
