import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { createSecureContext, createServer, type SecureContextOptions, type Server, type TLSSocket } from "node:tls";
import type { Newcomer } from "./socket_server.ts";

/** With what a listener proves who it is, and what it asks of its clients. */
export interface TlsOptions {
  /** The server's certificate, with intermediate ones behind it: a file's path, or the PEM text itself. */
  certificate: string;
  /** The certificate's private key: a file's path, or the PEM text itself. */
  key: string;
  /**
   * The authority that clients' certificates must be signed by: a file's path, or the PEM text itself. Given, a client
   * without such a certificate is turned away during the handshake (mutual TLS).
   */
  clientCertificateAuthority?: string;
}

/** What becomes of a newcomer's socket when its handshake is done. */
type OnSecure = (socket: TLSSocket, certificateName: string | undefined) => void;

/** Does the server's part of TLS handshakes, with certificates that can be replaced while it does. */
export class TlsContext {
  readonly #options: TlsOptions;
  /** It does not listen itself: it is handed sockets whose PROXY protocol header, if any, has been read. */
  readonly #server: Server;
  readonly #waiting = new Map<string, OnSecure>();

  private constructor(options: TlsOptions, material: SecureContextOptions) {
    this.#options = options;
    const isMutual = options.clientCertificateAuthority !== undefined;
    this.#server = createServer({ ...material, requestCert: isMutual, rejectUnauthorized: isMutual }, (socket) => {
      const name = isMutual ? socket.getPeerCertificate().subject?.CN : undefined;
      this.#waiting.get(connectionKey(socket))?.(socket, Array.isArray(name) ? name[0] : name);
    });
    // A handshake that fails is the client's problem; it has been sent the alert.
    this.#server.on("tlsClientError", (_error, socket) => socket.destroy());
  }

  /** @throws {Error} If a file cannot be read, or does not hold what it should. */
  static async load(options: TlsOptions): Promise<TlsContext> {
    return new TlsContext(options, await load(options));
  }

  /** Reads the files again. @throws {Error} As `load` does; the old certificates stay in force then. */
  async reload(): Promise<void> {
    this.#server.setSecureContext(await load(this.#options));
  }

  /** `onSecure` gets the common name of the client's certificate, if the client had to show one. */
  secure({ socket }: Newcomer, onSecure: OnSecure): void {
    const key = connectionKey(socket);
    this.#waiting.set(key, (secured, certificateName) => {
      pauseWith(secured, socket);
      onSecure(secured, certificateName);
    });
    socket.once("close", () => this.#waiting.delete(key));
    this.#server.emit("connection", socket);
  }
}

/** What a TLS socket and the socket below it have in common. */
function connectionKey({ remoteAddress, remotePort, localAddress }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress}`;
}

/**
 * Deno's TLS sockets read and decrypt on while they are paused, without end: whoever sends faster than it is served would
 * fill the memory. So the socket below is stopped, which only its handle can do.
 */
function pauseWith(secured: TLSSocket, below: Socket): void {
  const { _handle } = below as Socket & { _handle?: { readStop(): void; readStart(): void } };
  secured.on("pause", () => _handle?.readStop());
  secured.on("resume", () => _handle?.readStart());
}

async function load(options: TlsOptions): Promise<SecureContextOptions> {
  const [cert, key, ca] = await Promise.all([
    pem("certificate", options.certificate),
    pem("key", options.key),
    options.clientCertificateAuthority === undefined
      ? undefined
      : pem("clientCertificateAuthority", options.clientCertificateAuthority),
  ]);
  try {
    createSecureContext({ cert, key, ca });
    return { cert, key, ca };
  } catch (error) {
    throw new Error(`the certificate ${named(options.certificate)} cannot be used: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

async function pem(name: string, given: string): Promise<string> {
  const text = given.startsWith("-----BEGIN ") ? given : await readFile(given, "utf8").catch((error) => {
    throw new Error(`cannot read ${name} ${given}: ${error.message}`, { cause: error });
  });
  if (!text.includes("-----BEGIN ")) throw new Error(`${name} ${given} holds no PEM text`);
  return text;
}

function named(given: string): string {
  return given.startsWith("-----BEGIN ") ? "that was given" : given;
}
