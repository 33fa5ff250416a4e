/**
 * Builds the command line as one binary, with its worker and every package in it: `deno task compile`.
 *
 * Deno appends the program to a base binary, which it downloads once for each system; see "Binaries" in
 * docs/operations.md for machines that cannot.
 */

import { Command, Option } from "commander";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** Those that `deno compile` knows. */
const targets = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

interface Options {
  target?: string[];
  all?: true;
  into: string;
}

const program = new Command("deno task compile")
  .description("Builds hookmq as one binary, which needs neither Deno nor Node.")
  .addOption(
    new Option("--target <name...>", "build for these systems, as hookmq-NAME (default: for this one, as hookmq)")
      .choices(targets),
  )
  .addOption(new Option("--all", "build for all of them").conflicts("target"))
  .option("--into <directory>", "where to put what is built", ".")
  .addHelpText("after", "\nDENORT_BIN names a base binary, where it cannot be downloaded: that of one system.")
  .parse(Deno.args, { from: "user" });
const { target, all, into }: Options = program.opts();
const wanted = all ? targets : target;

// The variable would be taken for each of them.
if (Deno.env.has("DENORT_BIN") && wanted !== undefined && wanted.length > 1) {
  program.error("error: DENORT_BIN is the base binary of one system: build for one --target at a time");
}
const failed = [];
for (const name of wanted ?? [undefined]) if (!await build(name)) failed.push(name ?? "this system");
if (failed.length > 0) {
  console.error(`not built: ${failed.join(", ")}. About base binaries, see "Binaries" in docs/operations.md`);
  Deno.exit(1);
}

/** Builds for one system, this one if none is named. */
async function build(target: string | undefined): Promise<boolean> {
  const output = resolve(into, target === undefined ? "hookmq" : `hookmq-${target}`);
  // Without `--bundle` the compiler overflows its stack on a file of prom-client's. Types are checked by `deno task check`.
  const args = ["compile", "-A", "--bundle", "--no-check", "--output", output];
  if (target !== undefined) args.push("--target", target);
  // Elsewhere it does not find the worker.
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const { success } = await new Deno.Command(Deno.execPath(), { args: [...args, "cli.ts"], cwd }).spawn().status;
  return success;
}
