import type { ListenContext, Listener, UnixAddress } from "../listener.ts";
import { ConnTransport } from "../transports/conn_transport.ts";
import { acceptAll } from "./accept_loop.ts";
import { cannotListenOnPath } from "./cannot_listen.ts";

/**
 * Where to listen for connections from this machine, on a Unix socket.
 *
 * @example
 * ```ts
 * import { Broker, type UnixListenOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const forItsGroup: UnixListenOptions = { transport: "unix", path: "hookmq.sock", mode: 0o660 };
 * await broker.listen(forItsGroup);
 * ```
 */
export interface UnixListenOptions {
  /** Tells this listener from the others. */
  transport: "unix";
  /** The socket's file. One that nobody listens on any more is replaced. */
  path: string;
  /** The file's permissions, e.g. `0o660`. Default: what the process's umask leaves. */
  mode?: number;
}

/**
 * Listens on a Unix socket; its file is removed when the listener is closed.
 *
 * @throws {Error} If somebody else listens there, or the file cannot be made; the message says why.
 */
export async function listenUnix(options: UnixListenOptions, context: ListenContext): Promise<Listener<UnixAddress>> {
  const { path, mode } = options;
  await removeStale(path);
  const listener = open(path);
  // Until then the umask alone decides who may connect.
  if (mode !== undefined) Deno.chmodSync(path, mode);
  void acceptAll(listener, (conn) => context.accept(new ConnTransport(conn, context.pool), {}), context.logger);
  return {
    address: { transport: "unix", path },
    url: `unix:${path}`,
    reload: () => Promise.resolve(),
    close() {
      // The runtime does so only later, when the process may have ended already.
      removeQuietly(path);
      listener.close();
    },
  };
}

/** Removes the socket of a broker that has gone without doing so itself. */
async function removeStale(path: string): Promise<void> {
  const found = await Deno.lstat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket) {
    throw new Error(`cannot listen on ${path}: there is a file that is no socket (try another path)`);
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return removeQuietly(path);
    throw cannotListenOnPath(path, error as Error);
  }
  throw new Error(`cannot listen on ${path}: somebody listens there already (another broker? try another path)`);
}

function open(path: string): Deno.UnixListener {
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    throw cannotListenOnPath(path, error as Error);
  }
}

function removeQuietly(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // It has gone already.
  }
}
