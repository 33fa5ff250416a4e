import { createServer, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
// @ts-types="npm:@types/ws@^8.18.2"
import type { WebSocket } from "ws";
import type { ListenContext, Listener, NetworkAddress, Peer } from "../listener.ts";
import { WebSocketTransport } from "../transports/web_socket_transport.ts";
import { hostAndPort } from "./host_and_port.ts";
import type { ProxyProtocolOptions } from "./proxy_protocol.ts";
import { listenForSockets, type Newcomer } from "./socket_server.ts";
import { TlsContext, type TlsOptions } from "./tls_context.ts";

/** One frame may hold several packets: so many bytes more than the largest packet has, in bytes. */
const FRAME_ALLOWANCE = 1024 * 1024;
/** How long a peer may take to answer to a close frame, in milliseconds. */
const CLOSE_TIMEOUT = 2000;

/**
 * Where to listen for WebSockets.
 *
 * @example
 * ```ts
 * import { Broker, type WebSocketListenOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const forThePage: WebSocketListenOptions = {
 *   transport: "ws",
 *   port: 0,
 *   path: "/mqtt",
 *   origins: ["https://dashboard.example.org"],
 * };
 * await broker.listen(forThePage);
 * ```
 */
export interface WebSocketListenOptions {
  /** Tells this listener from the others; `"wss"` is a WebSocket over TLS. */
  transport: "ws";
  /** 0 lets the system choose one. Default 8083, with TLS 8084. */
  port?: number;
  /** A host name or address of this machine, `"0.0.0.0"` for all of them. Default `"127.0.0.1"`. */
  hostname?: string;
  /** The only path that is answered, e.g. `"/mqtt"`. Default: any. */
  path?: string;
  /**
   * Which pages of other hosts may connect, e.g. `["https://dashboard.example.org"]`, or `["*"]` for all. A page of the same
   * host, from whatever port, and a client that is no browser, always may. Default: none.
   */
  origins?: readonly string[];
  /** Which peers say in a PROXY protocol header whom they connect for. Default: none. */
  proxyProtocol?: ProxyProtocolOptions;
}

/**
 * Where to listen for WebSockets over TLS, and with which certificates.
 *
 * @example
 * ```ts
 * import { Broker, type SecureWebSocketListenOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const options: SecureWebSocketListenOptions = {
 *   transport: "wss",
 *   port: 0,
 *   certificate: "server.pem",
 *   key: "server.key",
 * };
 * await broker.listen(options).catch((error) => console.error(error.message)); // e.g. that there is no server.pem
 * ```
 */
export interface SecureWebSocketListenOptions extends Omit<WebSocketListenOptions, "transport">, TlsOptions {
  /** Tells this listener from the others. */
  transport: "wss";
}

/**
 * Listens for WebSockets with the subprotocol `mqtt`. Source: MQTT 5.0 section 6.
 *
 * @throws {Error} If the port cannot be had, or the certificates cannot be used; the message says why and what to do.
 */
export async function listenWebSocket(
  options: WebSocketListenOptions | SecureWebSocketListenOptions,
  context: ListenContext,
): Promise<Listener<NetworkAddress>> {
  const { transport, port = transport === "ws" ? 8083 : 8084, hostname = "127.0.0.1", path, proxyProtocol } = options;
  const tls = transport === "wss" ? await TlsContext.load(options) : undefined;
  const newcomers = new WeakMap<Socket, Newcomer & Peer>();
  const http = createServer((_request, response) => {
    response.writeHead(426, { "content-type": "text/plain", "upgrade": "websocket", "connection": "close" });
    response.end("This is an MQTT broker: connect with a WebSocket.\n");
  });
  // Only now: the package reads the environment when it is loaded, which needs a permission that other listeners do not.
  const { WebSocketServer } = await import("ws");
  const settings = {
    server: http,
    clientTracking: false,
    closeTimeout: CLOSE_TIMEOUT,
    maxPayload: context.limits.packetSize + FRAME_ALLOWANCE,
    perMessageDeflate: false,
    // [MQTT-6.0.0-4]
    handleProtocols: (offered: Set<string>) => offered.has("mqtt") ? "mqtt" : false,
    verifyClient: ({ req }: { req: IncomingMessage }, answer: (...verdict: Verdict) => void) =>
      answer(...verdict(req, path, options.origins ?? [])),
  };
  const webSockets = new WebSocketServer(settings);
  webSockets.on("connection", (socket: WebSocket, request: IncomingMessage) => {
    const { remoteAddress, certificateName, arrived } = newcomers.get(request.socket)!;
    arrived();
    context.accept(new WebSocketTransport(socket), { remoteAddress, certificateName });
  });
  const server = await listenForSockets({ hostname, port, proxyProtocol }, context, (newcomer) => {
    const enter = (socket: Socket, certificateName?: string) => {
      newcomers.set(socket, { ...newcomer, remoteAddress: newcomer.remoteAddress, certificateName });
      http.emit("connection", socket);
      // It does not go on by itself with a socket that has been paused to read a PROXY protocol header.
      socket.resume();
    };
    if (tls === undefined) enter(newcomer.socket);
    else tls.secure(newcomer, enter);
  });
  return {
    address: { transport, hostname, port: server.port },
    url: `${transport}://${hostAndPort(hostname, server.port)}${path ?? ""}`,
    reload: async () => await tls?.reload(),
    close: () => server.close(),
  };
}

/** Whether a request may become a WebSocket; the HTTP status and a text for a person if not. */
type Verdict = [accepted: true] | [accepted: false, status: number, message: string];

function verdict({ url, headers }: IncomingMessage, path: string | undefined, origins: readonly string[]): Verdict {
  if (path !== undefined && url?.split("?")[0] !== path) return [false, 404, "There is nothing at this path."];
  const offered = headers["sec-websocket-protocol"]?.split(",").map((protocol) => protocol.trim()) ?? [];
  // [MQTT-6.0.0-3]
  if (!offered.includes("mqtt")) return [false, 400, 'The subprotocol "mqtt" has to be offered.'];
  const { origin, host } = headers;
  if (origin === undefined || origins.includes("*") || origins.includes(origin)) return [true];
  if (isSameHost(origin, `http://${host}`)) return [true];
  return [false, 403, "Pages of this origin may not connect here."];
}

/** Whatever the ports: a page never comes from the broker's own. */
function isSameHost(url: string, other: string): boolean {
  const hostname = URL.parse(url)?.hostname;
  return hostname !== undefined && hostname === URL.parse(other)?.hostname;
}
