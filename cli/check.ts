import { type Command, Option } from "commander";
import { hostAndPort } from "../broker/listeners/host_and_port.ts";
import type { DatabaseSummary } from "../hooks/sqlite/inspection.ts";
import type { Config } from "./config.ts";
import { Failure } from "./failure.ts";

interface CheckOptions {
  data?: string;
  syntaxOnly?: true;
  example?: true;
  reference?: true;
}

/** Adds the command `check`, which says what is wrong with a configuration or a database before a broker is started. */
export function addCheckCommand(program: Command): void {
  program.command("check")
    .description("Check a configuration file, and the files that it names, as serve --config would take them.")
    .argument("[file]", "the YAML file")
    .option("--syntax-only", "do not look whether the files that it names can be read and written")
    .option("--example", "print a file that lists every option with its default, instead of checking one")
    .addOption(
      new Option("--reference", "print the reference of all options, as Markdown, instead of checking a file")
        .conflicts(["syntaxOnly", "example"]),
    )
    .addOption(
      new Option("--data <file>", "check the database of a broker that is not running, instead of a configuration")
        .conflicts(["syntaxOnly", "example", "reference"]),
    )
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
It prints everything that is wrong, a line each, and exits with 1. Environment variables such as HOOKMQ_LISTENERS_0_PORT
go before what the file says, as they do with serve. Files are tried for whoever runs it, which should be the broker's user.

With --data it reads the whole database, and says what it holds. A broker that is running has to be stopped first.

Examples:
  hookmq check hookmq.yaml
  hookmq check --syntax-only hookmq.yaml
  hookmq check --example > hookmq.yaml
  hookmq check --data hookmq.db`,
    )
    .action(check);
}

async function check(
  file: string | undefined,
  { data, syntaxOnly, example, reference }: CheckOptions,
): Promise<void> {
  // Only now, since the other commands are done in less time than all of this takes to load.
  if (example) {
    const { exampleConfig } = await import("./config/example.ts");
    return console.log(exampleConfig().trimEnd());
  }
  if (reference) {
    const { configReference } = await import("./config/reference.ts");
    return console.log(configReference().trimEnd());
  }
  if (data !== undefined) {
    if (file !== undefined) throw new Failure(`check ${file} or --data ${data}, one after the other`, 2);
    const { inspectDatabase } = await import("../hooks/sqlite/inspection.ts");
    return console.log([`${data} is sound`, contents(inspectDatabase(data))].join("\n"));
  }
  if (file === undefined) throw new Failure("which file shall be checked? name it, e.g. hookmq check hookmq.yaml", 2);
  const { loadConfigOrFail } = await import("./config.ts");
  const config = await loadConfigOrFail({
    file,
    environment: Deno.env.toObject(),
    readFiles: !syntaxOnly,
    tryFiles: !syntaxOnly,
  });
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

/** What a database holds, in a line. */
function contents({ schemaVersion, sessions, messages, retained, size }: DatabaseSummary): string {
  return `  schema version: ${schemaVersion}, sessions: ${sessions}, messages: ${messages}, ` +
    `retained messages: ${retained}, size: ${Math.ceil(size / 1024)} KB`;
}
