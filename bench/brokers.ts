import { executable } from "./executable.ts";
import { brokerCore, pinned } from "./pinning.ts";
import { ServerProcess } from "./server_process.ts";

/** A broker that the bench can measure. */
export interface Broker {
  name: string;
  /** Starts it, or merely names its address where somebody else has. It ends when the signal aborts. */
  start(signal: AbortSignal): Promise<RunningBroker>;
}

/** A broker that accepts connections; disposing of it ends its process. */
export interface RunningBroker extends AsyncDisposable {
  hostname: string;
  port: number;
  /** Undefined for a broker of which only the address is known. */
  pid?: number;
}

/** How a broker is started that is installed on this machine. */
export interface LocalBroker {
  /** Path of its program; undefined where it is not installed. */
  program: string | undefined;
  /** What its configuration file holds, for those that need one. */
  configuration?(port: number): string;
  commandArguments(port: number, configurationFile: string): string[];
}

const hostname = "127.0.0.1";
const readySeconds = 15;

/** One entry for each broker that the bench can start by itself. */
const localBrokers: Record<string, LocalBroker> = {
  hookmq: {
    program: Deno.execPath(),
    commandArguments: (port) => {
      const cli = `${import.meta.dirname}/../cli.ts`;
      return ["run", "-A", cli, "serve", "--memory", "--host", hostname, "--port", String(port)];
    },
  },
  mosquitto: {
    program: executable("mosquitto"),
    // No limit of its own may drop a message, or hold one back longer than the load generator's window does.
    configuration: (port) =>
      `
      listener ${port} ${hostname}
      allow_anonymous true
      persistence false
      max_queued_messages 0
      max_inflight_messages 0
      set_tcp_nodelay true
      log_dest stderr
      log_type error
    `.replace(/^ +/gm, ""),
    commandArguments: (_port, configurationFile) => ["-c", configurationFile],
  },
};

/** The brokers that can be asked for by name. */
export const brokerNames: string[] = Object.keys(localBrokers);

/**
 * The broker that a command line names: one of {@linkcode brokerNames}, or any that runs already as `name=host:port`, or
 * `name=host:port,pid` to have figures of its process as well. Undefined where a known broker is not installed.
 *
 * @throws {RangeError} If it is neither.
 */
export function findBroker(text: string): Broker | undefined {
  if (text in localBrokers) {
    const local = localBrokers[text];
    if (local.program === undefined) return undefined;
    return { name: text, start: (signal) => startLocal(text, local, signal) };
  }
  const address = /^(?<name>[^=]+)=(?<hostname>.+):(?<port>\d+)(,(?<pid>\d+))?$/.exec(text)?.groups;
  if (address === undefined) {
    throw new RangeError(
      `neither one of ${brokerNames.join(", ")} nor of the form name=host:port or name=host:port,pid`,
    );
  }
  const running: RunningBroker = {
    hostname: address.hostname,
    port: Number(address.port),
    pid: address.pid === undefined ? undefined : Number(address.pid),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  return { name: address.name, start: () => Promise.resolve(running) };
}

/**
 * Starts a broker on a free port, pinned to its core.
 *
 * @throws {Error} If it does not listen within some seconds, with its own words.
 */
export async function startLocal(
  name: string,
  local: LocalBroker,
  signal: AbortSignal,
): Promise<RunningBroker> {
  const port = freePort();
  const configurationFile = await Deno.makeTempFile({ prefix: `bench-${name}-`, suffix: ".conf" });
  await Deno.writeTextFile(configurationFile, local.configuration?.(port) ?? "");
  const command = [local.program!, ...local.commandArguments(port, configurationFile)];
  const server = new ServerProcess(pinned(brokerCore, command), signal);

  async function stop() {
    await server.stop();
    await Deno.remove(configurationFile);
  }

  try {
    await untilListening(name, server, port);
  } catch (error) {
    await stop();
    throw error;
  }
  return { hostname, port, pid: server.pid, [Symbol.asyncDispose]: stop };
}

/** A port that nobody listens on: one that the system gave out, given back. */
function freePort(): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}

async function untilListening(name: string, server: ServerProcess, port: number): Promise<void> {
  const deadline = performance.now() + readySeconds * 1000;
  while (!await accepts(port)) {
    if (server.hasEnded) throw new Error(`${name} did not start: ${await server.lastWords}`);
    if (performance.now() > deadline) {
      throw new Error(`${name} does not listen on ${hostname}:${port} after ${readySeconds} seconds`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function accepts(port: number): Promise<boolean> {
  try {
    const connection = await Deno.connect({ hostname, port });
    connection.close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}
