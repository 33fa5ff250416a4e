import { fileURLToPath } from "node:url";
import { type BrokerProcess, type Program, startReady } from "../interop/programs.ts";

/** An example that runs in a process of its own. */
export interface Example extends Program, BrokerProcess {
  /** The URLs that it has printed, in their order. */
  readonly urls: readonly string[];
}

/** What to give an example besides free ports. */
export interface StartExampleOptions {
  /** How many ports it listens on. Default 1. */
  ports?: number;
  /** The directory that it runs in. */
  cwd?: string;
}

/** Starts an example with the permissions that it says it needs, on free ports, and resolves when it listens. */
export async function startExample(name: string, { ports = 1, cwd }: StartExampleOptions = {}): Promise<Example> {
  const args = [...await commandOf(name), ...Array(ports).fill(0)];
  const program = await startReady(/^listening on .*\n/m, Deno.execPath(), args, { cwd });
  const [line] = await program.printed(/^listening on .*\n/m);
  const urls = line.match(/\w+:\/\/[^\s,]+/g)!;
  return { ...program, urls, port: Number(new URL(urls[0]).port) };
}

/** The arguments of `deno` that run an example as the command at its head does. */
export async function commandOf(name: string): Promise<string[]> {
  const file = fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));
  const command = (await Deno.readTextFile(file)).match(/^\/\/ {3}deno run (.*)examples\/(.*)$/m);
  if (command?.[2] !== name) throw new Error(`${file} does not say how it is run`);
  const flags = command[1].split(" ").filter((flag) => flag !== "");
  return ["run", "--no-prompt", ...flags, file];
}
