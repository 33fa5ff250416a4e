import type { Listener } from "../listener.ts";
import type { Logger } from "../logger.ts";

/** Where to listen for TCP connections. */
export interface TcpListenOptions {
  /** 0 lets the system choose one. Default 1883. */
  port?: number;
  /** A host name or address of this machine, `"0.0.0.0"` for all of them. Default `"127.0.0.1"`. */
  hostname?: string;
}

/** How long accepting pauses after it has failed, e.g. since no file descriptor is left, in milliseconds. */
const PAUSE_AFTER_FAILURE = 100;

/**
 * Listens on a TCP port and hands every connection to `accept`.
 *
 * @throws {Error} If the port cannot be had; the message says why and what to do.
 */
export function listenTcp(options: TcpListenOptions, accept: (conn: Deno.TcpConn) => void, logger: Logger): Listener {
  const { port = 1883, hostname = "127.0.0.1" } = options;
  const listener = open(port, hostname);
  void acceptAll(listener, accept, logger);
  return {
    address: listener.addr as Deno.NetAddr,
    close() {
      try {
        listener.close();
      } catch {
        // It is closed already.
      }
    },
  };
}

function open(port: number, hostname: string): Deno.TcpListener {
  try {
    return Deno.listen({ port, hostname, tcpBacklog: 4096 });
  } catch (error) {
    throw new Error(`cannot listen on ${hostname}:${port}: ${explanation(error as Error)}`, { cause: error });
  }
}

function explanation(error: Error): string {
  if (error instanceof Deno.errors.AddrInUse) return "address in use (another broker? try --port)";
  if (error instanceof Deno.errors.AddrNotAvailable) return "this machine has no such address (try --host)";
  if (error instanceof Deno.errors.PermissionDenied) {
    return "permission denied (ports below 1024 belong to the administrator; try --port)";
  }
  return error.message;
}

async function acceptAll(
  listener: Deno.TcpListener,
  accept: (conn: Deno.TcpConn) => void,
  logger: Logger,
): Promise<void> {
  for (;;) {
    try {
      const conn = await listener.accept();
      // Messages are collected into large writes already; the kernel's waiting for more only adds latency.
      conn.setNoDelay(true);
      accept(conn);
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
      logger.warn("cannot accept a connection: {error}", { error });
      await new Promise((resolve) => setTimeout(resolve, PAUSE_AFTER_FAILURE));
    }
  }
}
