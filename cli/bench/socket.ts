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
    throw new Error(handshakeProblem(error as Error), { cause: error });
  }
}

/** What to say of certificates where the runtime's words help little, by parts of those. */
const certificateProblems: Readonly<Record<string, string>> = {
  CaUsedAsEndEntity:
    "its certificate is one for an authority (CA:TRUE), which bench does not accept of a server (make " +
    "it with -addext basicConstraints=critical,CA:FALSE)",
  UnknownIssuer: "nobody who is trusted has signed its certificate (name who did with --cafile)",
};

function handshakeProblem(error: Error): string {
  const part = Object.keys(certificateProblems).find((part) => error.message.includes(part));
  if (part !== undefined) return certificateProblems[part];
  const { UnexpectedEof, ConnectionReset } = Deno.errors;
  const isNoTls = error instanceof UnexpectedEof || error instanceof ConnectionReset ||
    error.message.includes("InvalidContentType");
  return isNoTls ? "it does not answer with TLS (is this its port for that?)" : error.message;
}

async function openWebSocket(connection: Deno.TcpConn, { hostname }: SocketAddress): Promise<Socket> {
  try {
    return await WebSocketClient.open(connection, hostname);
  } catch (error) {
    connection.close();
    throw error;
  }
}
