import type { LogLevel } from "@logtape/logtape";
import { type Command, InvalidArgumentError, Option } from "commander";
import { Broker } from "../mod.ts";
import { type Config, ConfigError, type ConfigSources, loadConfig, type Override } from "./config.ts";
import { isExposed } from "./config/exposure.ts";
import { createHooks } from "./config/hooks.ts";
import { isGroup } from "./config/option.ts";
import { Failure } from "./failure.ts";
import { collect, integer } from "./option_values.ts";
import { greeting } from "./serve/greeting.ts";
import { configureLogging, logUncaughtErrors } from "./serve/logging.ts";
import { reload, type Running } from "./serve/reload.ts";
import { onReloadSignal, onTerminationSignal } from "./signals.ts";

interface ServeOptions {
  config?: string;
  host?: string;
  port?: number;
  wsPort?: number;
  user?: string[];
  anonymous?: true;
  memory?: true;
  logLevel?: LogLevel;
}

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
    .option(
      "--memory",
      "keep sessions and retained messages in memory, so that they end with the process (so far they always do)",
    )
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
file, HOOKMQ_LIMITS_PACKET_SIZE for limits.packetSize. Others on this machine can see the passwords of --user; a file made
with hookmq passwd keeps them secret.

Examples:
  hookmq
  hookmq serve --port 1884 --log-level debug
  hookmq serve --host 0.0.0.0 --user alice:secret --user bob:sesame
  hookmq serve --config hookmq.yaml`,
    )
    .action(serve);
}

function users(value: string, previous?: string[]): string[] {
  // A colon in front of the password is enough; it may hold others.
  if (!/^[^:]+:./.test(value)) throw new InvalidArgumentError("It must be NAME:PASSWORD.");
  return collect(value, previous);
}

async function serve(options: ServeOptions): Promise<void> {
  const sources: ConfigSources = {
    file: options.config,
    environment: Deno.env.toObject(),
    commandLine: (config) => overridesOf(options, config),
  };
  const config = await load(sources);
  const logger = configureLogging(config.log);
  logUncaughtErrors(logger);
  const stopped = Promise.withResolvers<void>();
  using _termination = onTerminationSignal(() => stopped.resolve());
  const broker = new Broker(config);
  const running: Running = { broker, hooks: createHooks(config.hooks), logger, config };
  try {
    for (const hook of Object.values(running.hooks)) await broker.use(hook);
    for (const listener of config.listeners) await broker.listen(listener);
    using _reload = onReloadSignal(() => reload(running, () => loadConfig(sources)));
    console.log(greeting(broker, running.hooks));
    warnOfStrangers(running);
    await stopped.promise;
  } finally {
    await broker.close();
  }
}

async function load(sources: ConfigSources): Promise<Config> {
  try {
    return await loadConfig(sources);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.lines) console.error(line);
    throw new Failure("");
  }
}

/** What the command line says, as options of the configuration. */
function overridesOf(options: ServeOptions, config: unknown): Override[] {
  const overrides: Override[] = [];
  const say = (origin: string, path: Override["path"], value: unknown) => overrides.push({ origin, path, value });

  const given = isGroup(config) && Array.isArray(config.listeners) ? config.listeners : [];
  const transports = given.map((listener) => isGroup(listener) ? listener.transport ?? "tcp" : undefined);
  const firstOf = (transport: string) => {
    if (!transports.includes(transport)) transports.push(transport);
    return transports.indexOf(transport);
  };
  if (options.port !== undefined) {
    const index = firstOf("tcp");
    say("--port", ["listeners", index, "transport"], "tcp");
    say("--port", ["listeners", index, "port"], options.port);
  }
  if (options.wsPort !== undefined) {
    const index = firstOf("ws");
    say("--ws-port", ["listeners", index, "transport"], "ws");
    say("--ws-port", ["listeners", index, "port"], options.wsPort);
  }
  for (const [index, transport] of transports.entries()) {
    if (options.host === undefined || transport === "unix") continue;
    say("--host", ["listeners", index, "hostname"], options.host);
  }
  for (const user of options.user ?? []) {
    const [name] = user.split(":", 1);
    say("--user", ["hooks", "auth", "credentials", name], user.slice(name.length + 1));
  }
  if (options.anonymous) {
    say("--anonymous", ["anonymous"], true);
    const hasAuth = options.user !== undefined || (isGroup(config) && isGroup(config.hooks) && isGroup(config.hooks.auth));
    if (hasAuth) say("--anonymous", ["hooks", "auth", "allowAnonymous"], true);
  }
  if (options.logLevel !== undefined) say("--log-level", ["log", "level"], options.logLevel);
  return overrides;
}

function warnOfStrangers({ config, logger }: Running): void {
  const asksForPassword = config.hooks.auth !== undefined && !config.hooks.auth.allowAnonymous;
  if (asksForPassword || !config.listeners.some(isExposed)) return;
  logger.warn("anybody who reaches this machine can connect: nobody is asked who they are");
}
