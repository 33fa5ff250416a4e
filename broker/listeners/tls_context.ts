import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from "node:tls";
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
    text("certificate", options.certificate),
    text("key", options.key),
    options.clientCertificateAuthority === undefined
      ? undefined
      : text("clientCertificateAuthority", options.clientCertificateAuthority),
  ]);
  // The runtime looks at them only when a client comes, which would then be turned away.
  const [certificate] = certificates(named("certificate", options.certificate), cert);
  if (!certificate.checkPrivateKey(privateKey(named("key", options.key), key))) {
    throw new Error(`${named("key", options.key)} does not belong to ${named("certificate", options.certificate)}`);
  }
  if (ca !== undefined) certificates(named("clientCertificateAuthority", options.clientCertificateAuthority!), ca);
  return { cert, key, ca };
}

async function text(name: string, given: string): Promise<string> {
  if (isPem(given)) return given;
  return await readFile(given, "utf8").catch((error) => {
    throw new Error(`cannot read ${name} ${given}: ${error.message}`, { cause: error });
  });
}

function certificates(name: string, pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/g);
  if (blocks === null) throw new Error(`${name} holds no certificate`);
  return blocks.map((block) => usable(name, () => new X509Certificate(block)));
}

function privateKey(name: string, pem: string): KeyObject {
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) throw new Error(`${name} holds no private key`);
  if (pem.includes("ENCRYPTED")) throw new Error(`${name} is encrypted (store it without a passphrase)`);
  return usable(name, () => createPrivateKey(pem));
}

function usable<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(`${name} cannot be used: ${(error as Error).message}`, { cause: error });
  }
}

/** How messages call what was given: a key itself is not for them. */
function named(name: string, given: string): string {
  return isPem(given) ? `the ${name} that was given` : `${name} ${given}`;
}

function isPem(given: string): boolean {
  return given.includes("-----BEGIN ");
}
