/**
 * The command line: `serve` (also when no command is given), `pub`, `sub`, `bench`, `passwd`, `check`, `nodes` and
 * `import-mosquitto`, each in its own file in `cli/`.
 *
 * @module
 */

import { Command, CommanderError } from "commander";
import { addBenchCommand } from "./cli/bench.ts";
import { addCheckCommand } from "./cli/check.ts";
import { Failure } from "./cli/failure.ts";
import { addImportMosquittoCommand } from "./cli/import_mosquitto.ts";
import { addNodesCommand } from "./cli/nodes.ts";
import { addPasswdCommand } from "./cli/passwd.ts";
import { addPubCommand } from "./cli/pub.ts";
import { addServeCommand } from "./cli/serve.ts";
import { addSubCommand } from "./cli/sub.ts";
import packageFile from "./deno.json" with { type: "json" };

/**
 * Runs the command line and resolves with the exit code when the command has ended: 0 if all went well, 1 after a
 * failure, 2 for a wrong use, and those that a command has of its own. What went wrong is printed on stderr, in one
 * line. It never rejects.
 *
 * @param args What stands behind the program's name, e.g. `["serve", "--port", "1884"]`.
 *
 * @example
 * ```ts
 * import { main } from "@hookmq/broker/cli";
 *
 * const exitCode = await main(["--version"]);
 * if (exitCode !== 0) console.error("that went wrong");
 * ```
 */
export async function main(args: string[]): Promise<number> {
  let quiet = false;
  const program = new Command("hookmq")
    .description("An MQTT broker (3.1, 3.1.1 and 5.0), and clients to try it with.")
    .version(packageFile.version, "--version", "print the version")
    .helpOption("--help", "show this help")
    .helpCommand(false)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`hookmq: ${oneLine(text)}\n`),
      // Help has no colours; to find out whether it may, commander would ask for variables of the environment.
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .addHelpText("after", "\nWithout a command it serves. Each command has a help of its own: hookmq sub --help")
    .hook("preAction", (_program, command) => {
      quiet = command.opts().quiet === true;
    });
  addServeCommand(program);
  addPubCommand(program);
  addSubCommand(program);
  addBenchCommand(program);
  addPasswdCommand(program);
  addCheckCommand(program);
  addNodesCommand(program);
  addImportMosquittoCommand(program);
  try {
    const [first] = args;
    if (first !== undefined && /^\w/.test(first) && !program.commands.some((command) => command.name() === first)) {
      program.error(
        `unknown command '${first}'; there are serve, pub, sub, bench, passwd, check, nodes and import-mosquitto`,
      );
    }
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    // Commander has printed its message; it knows only 1 as the exit code of a wrong use.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const { message } = error as Error;
    if (message !== "" && !quiet) console.error(`hookmq: ${message}`);
    return error instanceof Failure ? error.exitCode : 1;
  }
}

function oneLine(text: string): string {
  return text.replace(/^error: /, "").trim().replaceAll(/\s*\n\s*/g, " ");
}

if (import.meta.main) Deno.exit(await main(Deno.args));
