import type { ListenContext, Listener, NetworkAddress } from "../listener.ts";
import { ConnTransport } from "../transports/conn_transport.ts";
import { acceptAll } from "./accept_loop.ts";
import { cannotListenOnPort } from "./cannot_listen.ts";
import { hostAndPort } from "./host_and_port.ts";
import { type ProxyHeader, type ProxyProtocolOptions, readProxyHeader, trustedPeers } from "./proxy_protocol.ts";

/**
 * Where to listen for TCP connections.
 *
 * @example
 * ```ts
 * import { Broker, type TcpListenOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const everywhere: TcpListenOptions = { hostname: "0.0.0.0", port: 0 };
 * await broker.listen(everywhere);
 * ```
 */
export interface TcpListenOptions {
  /** Default `"tcp"`. */
  transport?: "tcp";
  /** 0 lets the system choose one. Default 1883. */
  port?: number;
  /** A host name or address of this machine, `"0.0.0.0"` for all of them. Default `"127.0.0.1"`. */
  hostname?: string;
  /** Which peers say in a PROXY protocol header whom they connect for. Default: none. */
  proxyProtocol?: ProxyProtocolOptions;
}

/**
 * Listens on a TCP port.
 *
 * @throws {Error} If the port cannot be had; the message says why and what to do.
 */
export function listenTcp(options: TcpListenOptions, context: ListenContext): Listener<NetworkAddress> {
  const { port = 1883, hostname = "127.0.0.1", proxyProtocol } = options;
  const isTrusted = proxyProtocol === undefined ? undefined : trustedPeers(proxyProtocol);
  const listener = open(port, hostname);
  /** Connections from proxies whose header has not come yet. */
  const newcomers = new Set<Deno.TcpConn>();
  void acceptAll(listener, (conn) => {
    const remoteAddress = conn.remoteAddr.hostname;
    // Messages are collected into large writes already; the kernel's waiting for more only adds latency.
    conn.setNoDelay(true);
    if (isTrusted?.(remoteAddress)) {
      newcomers.add(conn);
      return void acceptProxied(conn, context).finally(() => newcomers.delete(conn));
    }
    context.accept(new ConnTransport(conn, context.pool), { remoteAddress });
  }, context.logger);
  const address = { transport: "tcp" as const, hostname, port: listener.addr.port };
  return {
    address,
    url: `mqtt://${hostAndPort(hostname, address.port)}`,
    reload: () => Promise.resolve(),
    close() {
      listener.close();
      for (const conn of newcomers) closeQuietly(conn);
    },
  };
}

function open(port: number, hostname: string): Deno.TcpListener {
  try {
    return Deno.listen({ port, hostname, tcpBacklog: 4096 });
  } catch (error) {
    throw cannotListenOnPort(hostname, port, error as Error);
  }
}

/** Reads the header in front of the first packet. A proxy that takes too long about it is dropped. */
async function acceptProxied(conn: Deno.TcpConn, { accept, limits, logger, pool }: ListenContext): Promise<void> {
  const peerAddress = conn.remoteAddr.hostname;
  const timeout = setTimeout(() => closeQuietly(conn), limits.connectTimeout * 1000);
  try {
    const found = await readHeader(conn);
    if (found === undefined) return closeQuietly(conn);
    const { header: { remoteAddress = peerAddress }, rest } = found;
    accept(new ConnTransport(conn, pool, rest.length > 0 ? rest : undefined), { remoteAddress });
  } catch (error) {
    logger.warn("a connection from the proxy {peerAddress} is dropped: {error}", { peerAddress, error });
    closeQuietly(conn);
  } finally {
    clearTimeout(timeout);
  }
}

/** `undefined` if the connection ends before the header does: the peer, or who waits for it, has closed it. */
async function readHeader(conn: Deno.TcpConn): Promise<{ header: ProxyHeader; rest: Uint8Array } | undefined> {
  // Longer than any header: it never fills up before one is read or refused.
  const buffer = new Uint8Array(8192);
  let length = 0;
  for (;;) {
    const read = await conn.read(buffer.subarray(length)).catch(() => null);
    if (read === null) return undefined;
    length += read;
    const header = readProxyHeader(buffer.subarray(0, length));
    if (header !== undefined) return { header, rest: buffer.subarray(header.length, length) };
  }
}

function closeQuietly(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // It is closed already.
  }
}
