import { WebSocketClient } from "./web_socket_client.ts";

/** What MQTT runs over: TCP, TLS, or WebSocket over TCP. */
export type Transport = "tcp" | "tls" | "ws";

/** A stream of bytes in both directions. */
export interface Socket {
  /** Reads into the buffer; the number of bytes read, or null at the end. */
  read(buffer: Uint8Array): Promise<number | null>;
  /** Writes some or all of the bytes; how many. */
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Where a broker is, and how to speak to it. */
export interface SocketAddress {
  hostname: string;
  port: number;
  /** Default `"tcp"`. */
  transport?: Transport;
  /** Over TLS, who the broker's certificate may be signed by besides those whom the system trusts: PEM text. */
  certificateAuthority?: string;
}

/** Connects without Nagle's delay, and shakes hands where the transport does that. */
export async function openSocket(address: SocketAddress): Promise<Socket> {
  const { hostname, port, transport } = address;
  const connection = await Deno.connect({ hostname, port });
  connection.setNoDelay(true);
  switch (transport) {
    case "tls":
      return await openTls(connection, address);
    case "ws":
      return await openWebSocket(connection, address);
    default:
      return connection;
  }
}

async function openTls(connection: Deno.TcpConn, address: SocketAddress): Promise<Socket> {
  const { hostname, certificateAuthority } = address;
  const caCerts = certificateAuthority === undefined ? [] : [certificateAuthority];
  // The connection becomes part of this one.
  const secured = await Deno.startTls(connection, { hostname, caCerts });
  try {
    await secured.handshake();
    return secured;
  } catch (error) {
    secured.close();
    throw error;
  }
}

async function openWebSocket(connection: Deno.TcpConn, { hostname }: SocketAddress): Promise<Socket> {
  try {
    return await WebSocketClient.open(connection, hostname);
  } catch (error) {
    connection.close();
    throw error;
  }
}
