import type { ListenContext, Listener, NetworkAddress } from "../listener.ts";
import { SocketTransport } from "../transports/socket_transport.ts";
import { hostAndPort } from "./host_and_port.ts";
import type { ProxyProtocolOptions } from "./proxy_protocol.ts";
import { listenForSockets } from "./socket_server.ts";
import { TlsContext, type TlsOptions } from "./tls_context.ts";

/**
 * Where to listen for TLS connections, and with which certificates.
 *
 * @example
 * ```ts
 * import { Broker, type TlsListenOptions } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const options: TlsListenOptions = { transport: "tls", port: 0, certificate: "server.pem", key: "server.key" };
 * await broker.listen(options).catch((error) => console.error(error.message)); // e.g. that there is no server.pem
 * ```
 */
export interface TlsListenOptions extends TlsOptions {
  /** Tells this listener from the others. */
  transport: "tls";
  /** 0 lets the system choose one. Default 8883. */
  port?: number;
  /** A host name or address of this machine, `"0.0.0.0"` for all of them. Default `"127.0.0.1"`. */
  hostname?: string;
  /** Which peers say in a PROXY protocol header whom they connect for. Default: none. */
  proxyProtocol?: ProxyProtocolOptions;
}

/**
 * Listens for TLS on a TCP port.
 *
 * @throws {Error} If the port cannot be had, or the certificates cannot be used; the message says why and what to do.
 */
export async function listenTls(options: TlsListenOptions, context: ListenContext): Promise<Listener<NetworkAddress>> {
  const { port = 8883, hostname = "127.0.0.1", proxyProtocol } = options;
  const tls = await TlsContext.load(options);
  const server = await listenForSockets({ hostname, port, proxyProtocol }, context, (newcomer) => {
    tls.secure(newcomer, (socket, certificateName) => {
      newcomer.arrived();
      context.accept(new SocketTransport(socket), { remoteAddress: newcomer.remoteAddress, certificateName });
    });
  });
  return {
    address: { transport: "tls", hostname, port: server.port },
    url: `mqtts://${hostAndPort(hostname, server.port)}`,
    reload: () => tls.reload(),
    close: () => server.close(),
  };
}
