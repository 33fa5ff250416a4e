import { configure, getLogger, getTextFormatter, type Logger, type LogLevel } from "@logtape/logtape";
import { type Command, Option } from "commander";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { Broker } from "../mod.ts";
import { Failure } from "./failure.ts";
import { integer } from "./option_values.ts";
import { onTerminationSignal } from "./signals.ts";

interface ServeOptions {
  host: string;
  port: number;
  memory?: true;
  anonymous?: true;
  logLevel: LogLevel;
}

/** Adds the command `serve`, which runs a broker until a signal ends it; it runs when no command is given. */
export function addServeCommand(program: Command): void {
  program.command("serve", { isDefault: true })
    .description("Run a broker until SIGINT or SIGTERM ends it. This is what hookmq does without a command.")
    .option("--host <host>", "address to listen on", "127.0.0.1")
    .addOption(
      new Option("--port <number>", "port to listen on; 0 picks a free one").default(1883).argParser(integer(0, 65535)),
    )
    .option(
      "--memory",
      "keep sessions and retained messages in memory, so that they end with the process (so far they always do)",
    )
    .option("--anonymous", "listen beyond this machine although nobody is asked for a password")
    .addOption(
      new Option("--log-level <level>", "how much to log, on stderr")
        .choices(["debug", "info", "warning", "error"]).default("info"),
    )
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
SIGINT (Ctrl+C) and SIGTERM shut down in order: clients of MQTT 5 are told, what is under way is sent, and the exit code
is 0. A second signal ends the process at once.

Examples:
  hookmq
  hookmq serve --port 1884 --log-level debug
  hookmq serve --host 0.0.0.0 --anonymous`,
    )
    .action(serve);
}

async function serve(options: ServeOptions): Promise<void> {
  if (!isLoopback(options.host) && !options.anonymous) {
    throw new Failure(
      `cannot listen on ${options.host} without authentication: anybody who reaches this machine could connect; ` +
        "allow that with --anonymous, or leave --host away to serve this machine only",
      2,
    );
  }
  const logger = await configureLogging(options.logLevel);
  const stopped = Promise.withResolvers<void>();
  using _signals = onTerminationSignal(() => stopped.resolve());
  const broker = new Broker();
  try {
    const { address } = await broker.listen({ hostname: options.host, port: options.port });
    console.log(greeting(address));
    if (!isLoopback(options.host)) {
      logger.warn("anybody who reaches this machine can connect: nobody is asked who they are");
    }
    await stopped.promise;
  } finally {
    await broker.close();
  }
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Sends log records to stderr, from `level` up, and also the errors that nothing has caught. */
async function configureLogging(level: LogLevel): Promise<Logger> {
  const format = getTextFormatter({ timestamp: "rfc3339", level: "full", category: "." });
  await configure({
    reset: true,
    sinks: { stderr: (record) => console.error(format(record).trimEnd()) },
    loggers: [
      { category: ["hookmq"], lowestLevel: level, sinks: ["stderr"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["stderr"] },
    ],
  });
  // A fault that nothing has caught shall not end the connections of every client.
  const logger = getLogger(["hookmq"]);
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    logger.error("unexpected error: {error}", { error: event.reason });
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    logger.error("unexpected error: {error}", { error: event.error });
  });
  return logger;
}

/** Where the broker listens, and two lines to copy that show it at work. */
function greeting({ hostname, port }: { hostname: string; port: number }): string {
  const where = hostname.includes(":") ? `[${hostname}]` : hostname;
  const toBroker = [
    ...(["127.0.0.1", "0.0.0.0"].includes(hostname) ? [] : ["-h", hostname]),
    ...(port === 1883 ? [] : ["-p", port]),
  ];
  const client = (...words: unknown[]) => [programName(), ...words, ...toBroker].join(" ");
  return `HookMQ listens on mqtt://${where}:${port} (MQTT 3.1, 3.1.1 and 5.0). Sessions and retained messages are in memory.
Try it:  ${client("sub", "-v", "-t", "'demo/#'")}
         ${client("pub", "-t", "demo/hello", "-m", "world")}`;
}

/** How this program was started, to be copied into a shell. */
function programName(): string {
  if (Deno.build.standalone) return "hookmq";
  const module = new URL(Deno.mainModule);
  return `deno run -A ${module.protocol === "file:" ? relative(Deno.cwd(), fileURLToPath(module)) : module}`;
}
