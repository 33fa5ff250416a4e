import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { createSecureContext, createServer, type Server, type TLSSocket } from "node:tls";
import type { Newcomer } from "./socket_server.ts";

/**
 * With what a listener proves who it is, and what it asks of its clients.
 *
 * @example
 * ```ts
 * import type { NetworkListenOptions, TlsOptions } from "@hookmq/broker";
 *
 * const mutual: TlsOptions = {
 *   certificate: "server.pem",
 *   key: "server.key",
 *   clientCertificateAuthority: "clients.pem",
 * };
 * const listeners: NetworkListenOptions[] = [{ transport: "tls", ...mutual }, { transport: "wss", ...mutual }];
 * console.log(listeners.length); // 2
 * ```
 */
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
  readonly #isMutual: boolean;
  #material: Material;
  /** It does not listen itself: it is handed sockets whose PROXY protocol header, if any, has been read. */
  readonly #server: Server;
  readonly #waiting = new Map<string, (socket: TLSSocket) => void>();
  /** Fingerprints of the clients' certificates that the authority in force has been found to have signed. */
  #verified = new Set<string>();

  private constructor(options: TlsOptions, material: Material) {
    this.#options = options;
    this.#isMutual = options.clientCertificateAuthority !== undefined;
    this.#material = material;
    const settings = { ...material, requestCert: this.#isMutual, rejectUnauthorized: this.#isMutual };
    this.#server = createServer(settings, (socket) => this.#waiting.get(connectionKey(socket))?.(socket));
    // A handshake that fails is the client's problem; it has been sent the alert.
    this.#server.on("tlsClientError", (_error, socket) => socket.destroy());
  }

  /** @throws {Error} If a file cannot be read, or does not hold what it should. */
  static async load(options: TlsOptions): Promise<TlsContext> {
    return new TlsContext(options, await load(options));
  }

  /** Reads the files again. @throws {Error} As `load` does; the old certificates stay in force then. */
  async reload(): Promise<void> {
    const material = await load(this.#options);
    if (material.ca !== this.#material.ca) this.#verified = new Set();
    this.#material = material;
    this.#server.setSecureContext(material);
  }

  /** `onSecure` gets the common name of the client's certificate, if the client had to show one. */
  secure({ socket: below }: Newcomer, onSecure: OnSecure): void {
    const key = connectionKey(below);
    // A reload while the handshake is under way does not change by which authority it is done.
    const verified = this.#verified;
    this.#waiting.set(key, (socket) => {
      if (this.#isMutual && !isVerified(socket, verified)) return void socket.destroy();
      pauseWith(socket, below);
      onSecure(socket, this.#isMutual ? commonName(socket) : undefined);
    });
    below.once("close", () => this.#waiting.delete(key));
    this.#server.emit("connection", below);
  }
}

/**
 * Whether the client has shown a certificate that this listener's authority has signed. That it resumes a session does
 * not say so: the runtime lets a session be resumed at any listener of the process, whatever was asked for at the one
 * where it began, and after a reload.
 */
function isVerified(socket: TLSSocket, verified: Set<string>): boolean {
  const { fingerprint256, valid_to } = socket.getPeerCertificate();
  if (fingerprint256 === undefined) return false;
  if (!socket.isSessionReused() && socket.authorized) verified.add(fingerprint256);
  return verified.has(fingerprint256) && Date.parse(valid_to) > Date.now();
}

function commonName(socket: TLSSocket): string | undefined {
  const name = socket.getPeerCertificate().subject?.CN;
  return Array.isArray(name) ? name[0] : name;
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

/** Texts in PEM. */
interface Material {
  cert: string;
  key: string;
  ca: string | undefined;
}

async function load(options: TlsOptions): Promise<Material> {
  const cert = await text("certificate", options.certificate);
  const key = await text("key", options.key);
  const ca = options.clientCertificateAuthority === undefined
    ? undefined
    : await text("clientCertificateAuthority", options.clientCertificateAuthority);
  // The runtime looks at most of them only when a client comes, which would then be turned away.
  const [certificate] = certificates(named("certificate", options.certificate), cert);
  if (!certificate.checkPrivateKey(privateKey(named("key", options.key), key))) {
    throw new Error(`${named("key", options.key)} does not belong to ${named("certificate", options.certificate)}`);
  }
  if (ca !== undefined) certificates(named("clientCertificateAuthority", options.clientCertificateAuthority!), ca);
  const material = { cert, key, ca };
  usable(named("certificate", options.certificate), () => createSecureContext(material));
  return material;
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
