import { lookup } from "node:dns/promises";
import { createServer, isIP, type Socket } from "node:net";
import type { ListenContext } from "../listener.ts";
import { cannotListenOnPort } from "./cannot_listen.ts";
import { hostAndPort } from "./host_and_port.ts";
import { Newcomers } from "./newcomers.ts";
import { type ProxyProtocolOptions, readProxyHeader, trustedPeers } from "./proxy_protocol.ts";

/** Where to listen for sockets that something other than MQTT is spoken on first. */
export interface SocketServerOptions {
  hostname: string;
  port: number;
  proxyProtocol: ProxyProtocolOptions | undefined;
}

/** A server whose sockets are on their way to become connections. */
export interface SocketServer {
  /** The real one, also if 0 was asked for. */
  readonly port: number;
  close(): void;
}

/**
 * A socket that has not become a connection yet: a TLS handshake or an HTTP request comes first. It is destroyed when that
 * takes longer than a client may take to connect, unless `arrived` is called.
 */
export interface Newcomer {
  readonly socket: Socket;
  readonly remoteAddress: string | undefined;
  /** The socket is a connection now. */
  arrived(): void;
}

/**
 * Listens for Node sockets, and takes the PROXY protocol header off those that have one.
 *
 * @throws {Error} If the port cannot be had; the message says why and what to do.
 */
export async function listenForSockets(
  { hostname, port, proxyProtocol }: SocketServerOptions,
  context: ListenContext,
  onNewcomer: (newcomer: Newcomer) => void,
): Promise<SocketServer> {
  const isTrusted = proxyProtocol === undefined ? undefined : trustedPeers(proxyProtocol);
  const newcomers = new Newcomers(context.limits);
  const deadlines = new Set<ReturnType<typeof setTimeout>>();
  const server = createServer((socket) => {
    const peerAddress = socket.remoteAddress;
    const timeout = setTimeout(() => socket.destroy(), context.limits.connectTimeout * 1000);
    deadlines.add(timeout);
    const arrived = () => {
      clearTimeout(timeout);
      deadlines.delete(timeout);
      newcomers.delete(socket);
    };
    // A peer that goes away in the middle is nothing to report; the close that follows cleans up.
    socket.on("error", () => {});
    socket.on("close", arrived);
    socket.setNoDelay(true);
    const enter = (remoteAddress: string | undefined) => {
      if (!context.mayOpen(remoteAddress) || !newcomers.admit(socket, remoteAddress)) return void socket.destroy();
      onNewcomer({ socket, remoteAddress, arrived });
    };
    if (peerAddress === undefined || !isTrusted?.(peerAddress)) return enter(peerAddress);
    if (!newcomers.admit(socket, undefined)) return void socket.destroy();
    takeProxyHeader(
      socket,
      (remoteAddress = peerAddress) => enter(remoteAddress),
      (error) => {
        context.logger.warn("a connection from the proxy {peerAddress} is dropped: {error}", { peerAddress, error });
        socket.destroy();
      },
    );
  });
  try {
    const host = await permittedAddress(hostname, port);
    await new Promise<void>((resolve, reject) => {
      server.once("error", (error) => reject(asTheRuntimeSays(error, host, port)));
      server.listen({ host, port, backlog: 4096 }, resolve);
    });
  } catch (error) {
    throw cannotListenOnPort(hostname, port, error as Error);
  }
  server.on("error", (error) => context.logger.warn("cannot accept a connection: {error}", { error }));
  return {
    port: (server.address() as { port: number }).port,
    close() {
      server.close();
      newcomers.destroyAll();
      // Their sockets say only later that they are closed.
      for (const deadline of deadlines) clearTimeout(deadline);
    },
  };
}

/**
 * The address of a host, if this process may listen there: where it may not, a Node server throws what nobody can catch.
 *
 * @throws {Error} If there is none, or it may not.
 */
async function permittedAddress(hostname: string, port: number): Promise<string> {
  const isName = isIP(hostname) === 0;
  const address = isName ? await resolve(hostname) : hostname;
  const { state } = await Deno.permissions.request({ name: "net", host: hostAndPort(address, port) });
  if (state === "granted") return address;
  const host = address.includes(":") ? `[${address}]` : address;
  throw notPermitted(isName ? `${hostname},${host}` : host);
}

async function resolve(name: string): Promise<string> {
  try {
    return (await lookup(name)).address;
  } catch (error) {
    throw (error as Error & { code?: string }).code === "EPERM" ? notPermitted(name) : error;
  }
}

function notPermitted(hosts: string): Error {
  return new Error(`it needs the permission --allow-net=${hosts}`);
}

/** Of an address that this machine does not have, a Node server says only that it is invalid. */
function asTheRuntimeSays(error: Error & { code?: string }, hostname: string, port: number): Error {
  if (error.code !== "EINVAL") return error;
  try {
    Deno.listen({ hostname, port }).close();
    return error;
  } catch (reason) {
    return reason as Error;
  }
}

function takeProxyHeader(
  socket: Socket,
  onHeader: (remoteAddress: string | undefined) => void,
  onError: (error: Error) => void,
): void {
  let received = new Uint8Array(0);
  const onData = (chunk: Uint8Array) => {
    received = concatenated(received, chunk);
    try {
      const header = readProxyHeader(received);
      if (header === undefined) return;
      socket.off("data", onData);
      socket.pause();
      if (header.length < received.length) socket.unshift(received.subarray(header.length));
      onHeader(header.remoteAddress);
    } catch (error) {
      socket.off("data", onData);
      onError(error as Error);
    }
  };
  socket.on("data", onData);
}

function concatenated(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
