import { type Command, InvalidArgumentError, Option } from "commander";
import { collect, integer } from "./option_values.ts";
import { readRedisUrl, redisUrlForms } from "./redis_url.ts";
import type { ServeOptions } from "./serve/start.ts";

/** Adds the command `serve`, which runs a broker until a signal ends it; it runs when no command is given. */
export function addServeCommand(program: Command): void {
  program.command("serve", { isDefault: true })
    .description("Run a broker until SIGINT or SIGTERM ends it. This is what hookmq does without a command.")
    .option("--config <file>", "YAML file with any options; the others here go before what it says")
    .option("--host <host>", "address to listen on (default: 127.0.0.1)")
    .addOption(
      new Option("--port <number>", "port for MQTT over TCP; 0 picks a free one (default: 1883)")
        .argParser(integer(0, 65535)),
    )
    .addOption(
      new Option("--ws-port <number>", "port for MQTT over WebSocket; 0 picks a free one (default: none)")
        .argParser(integer(0, 65535)),
    )
    .addOption(
      new Option("--user <name:password>", "let in this user, and others only with a password; may be repeated")
        .argParser(users),
    )
    .option("--anonymous", "let clients in without a password, also those from beyond this machine")
    .addOption(
      new Option(
        "--data <file>",
        "database to keep sessions and retained messages in (default: ./hookmq.db, or what --config says)",
      )
        .conflicts("memory"),
    )
    .option("--memory", "keep sessions and retained messages in memory: they end with the process")
    .addOption(
      new Option(
        "--cluster <url>",
        "be one with other brokers, and keep sessions and retained messages in the Redis in which they meet: " +
          redisUrlForms,
      ).argParser(readRedisUrl),
    )
    .option("--node-id <id>", "this broker's name among the others of its cluster (default: the machine's name)")
    .addOption(
      new Option("--log-level <level>", "how much to log (default: info)")
        .choices(["debug", "info", "warning", "error"]),
    )
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
SIGINT (Ctrl+C) and SIGTERM shut down in order: clients of MQTT 5 are told, what is under way is sent, and the exit code
is 0. A second signal ends the process at once. SIGHUP reads the configuration again: users, ACL rules, certificates and
log options are applied, and the log says what takes a restart.

The file can hold many more options: hookmq check --example prints all of them. An environment variable goes before the
file, HOOKMQ_LIMITS_PACKET_SIZE for limits.packetSize. Others on this machine can see the passwords of --user and --cluster; a
file made with hookmq passwd, and HOOKMQ_HOOKS_CLUSTER_PASSWORD, keep them secret.

Examples:
  hookmq
  hookmq serve --port 1884 --log-level debug
  hookmq serve --host 0.0.0.0 --user alice:secret --user bob:sesame
  hookmq serve --cluster redis://127.0.0.1 --node-id a
  hookmq serve --config hookmq.yaml`,
    )
    .action(async (options: ServeOptions) => {
      // Only now, since the other commands are done in less time than all of this takes to load.
      const { start } = await import("./serve/start.ts");
      await start(options);
    });
}

function users(value: string, previous?: string[]): string[] {
  // A colon in front of the password is enough; it may hold others.
  if (!/^[^:]+:./.test(value)) throw new InvalidArgumentError("It must be NAME:PASSWORD.");
  return collect(value, previous);
}
