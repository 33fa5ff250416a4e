import { brokerCore, pinned } from "./pinning.ts";
import { ServerProcess } from "./server_process.ts";

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
  /** Makes what it needs besides its configuration, in a directory that is removed when it has ended. */
  prepare?(directory: string): Promise<void>;
  /** What its configuration file holds, for those that need one. */
  configuration?(port: number, directory: string): string;
  commandArguments(port: number, configurationFile: string): string[];
}

const hostname = "127.0.0.1";
const readySeconds = 15;

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
  const directory = await Deno.makeTempDir({ prefix: "bench-broker-" });
  const configurationFile = `${directory}/configuration`;
  let server: ServerProcess | undefined;

  async function stop() {
    await server?.stop();
    await Deno.remove(directory, { recursive: true });
  }

  try {
    await local.prepare?.(directory);
    await Deno.writeTextFile(configurationFile, local.configuration?.(port, directory) ?? "");
    const command = [local.program!, ...local.commandArguments(port, configurationFile)];
    server = new ServerProcess(pinned(brokerCore, command), signal);
    await untilListening(name, server, port);
  } catch (error) {
    await stop();
    throw error;
  }
  return { hostname, port, pid: server.pid, [Symbol.asyncDispose]: stop };
}

/** A port that nobody listens on: one that the system gave out, given back. */
export function freePort(): number {
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
