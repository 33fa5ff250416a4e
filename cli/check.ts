import type { Command } from "commander";
import type { Config } from "./config.ts";
import { Failure } from "./failure.ts";
import { hostAndPort } from "./host_and_port.ts";

interface CheckOptions {
  syntaxOnly?: true;
  example?: true;
}

/** Adds the command `check`, which says what is wrong with a configuration file before a broker is started with it. */
export function addCheckCommand(program: Command): void {
  program.command("check")
    .description("Check a configuration file, and the files that it names, as serve --config would take them.")
    .argument("[file]", "the YAML file")
    .option("--syntax-only", "do not look whether certificates, the password file and secrets can be read")
    .option("--example", "print a file that lists every option with its default, instead of checking one")
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
It prints everything that is wrong, a line each, and exits with 1. Environment variables such as HOOKMQ_LISTENERS_0_PORT
go before what the file says, as they do with serve.

Examples:
  hookmq check hookmq.yaml
  hookmq check --syntax-only hookmq.yaml
  hookmq check --example > hookmq.yaml`,
    )
    .action(check);
}

async function check(file: string | undefined, { syntaxOnly, example }: CheckOptions): Promise<void> {
  // Only now, since the other commands are done in less time than all of this takes to load.
  if (example) {
    const { exampleConfig } = await import("./config/example.ts");
    return console.log(exampleConfig().trimEnd());
  }
  if (file === undefined) throw new Failure("which file shall be checked? name it, e.g. hookmq check hookmq.yaml", 2);
  const { loadConfigOrFail } = await import("./config.ts");
  const config = await loadConfigOrFail({ file, environment: Deno.env.toObject(), readFiles: !syntaxOnly });
  console.log([`${file} is valid`, ...summary(config)].join("\n"));
}

/** What a configuration comes to, in a few lines. */
function summary({ listeners, hooks, log }: Config): string[] {
  const where = listeners.map((listener) =>
    listener.transport === "unix"
      ? `unix ${listener.path}`
      : `${listener.transport ?? "tcp"} ${hostAndPort(listener.hostname, listener.port)}`
  );
  return [
    `  listeners: ${where.join(", ")}`,
    `  hooks: ${Object.keys(hooks).join(", ") || "none"}`,
    `  log: ${log.level}, as ${log.format}, ${log.file === undefined ? "on standard error" : `in ${log.file}`}`,
  ];
}
