import type { BufferPool } from "./buffer_pool.ts";
import type { Limits } from "./limits.ts";
import type { Logger } from "./logger.ts";
import type { Transport } from "./transport.ts";

/**
 * Where a listener on the network can be reached.
 *
 * @example
 * ```ts
 * import { Broker, type NetworkAddress } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const { address } = await broker.listen({ port: 0 });
 * const { transport, hostname, port }: NetworkAddress = address;
 * console.log(`${transport} on ${hostname}, port ${port}`); // e.g. tcp on 127.0.0.1, port 40123
 * ```
 */
export interface NetworkAddress {
  /** What it speaks. */
  readonly transport: "tcp" | "tls" | "ws" | "wss";
  /** As it was asked for. */
  readonly hostname: string;
  /** The real one, also if 0 was asked for. */
  readonly port: number;
}

/**
 * Where a listener on a Unix socket can be reached.
 *
 * @example
 * ```ts
 * import { Broker, type UnixAddress } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const { address } = await broker.listen({ transport: "unix", path: "hookmq.sock" });
 * const { path }: UnixAddress = address;
 * console.log(path); // hookmq.sock
 * ```
 */
export interface UnixAddress {
  /** What it speaks. */
  readonly transport: "unix";
  /** The socket's file. */
  readonly path: string;
}

/**
 * Something that accepts connections for a broker.
 *
 * @example
 * ```ts
 * import { Broker, type Listener } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const listener: Listener = await broker.listen({ port: 0 });
 * console.log(listener.url); // e.g. mqtt://127.0.0.1:40123
 * await listener.reload(); // after its certificates have been replaced, if it has any
 * listener.close();
 * ```
 */
export interface Listener<Address extends NetworkAddress | UnixAddress = NetworkAddress | UnixAddress> {
  /** Where it listens. */
  readonly address: Address;
  /** Where it listens, e.g. `"mqtt://127.0.0.1:1883"`, `"wss://0.0.0.0:8084/mqtt"` or `"unix:/run/hookmq.sock"`. */
  readonly url: string;
  /**
   * Reads its certificates again, if it has any that come from files; connections that exist go on.
   *
   * @throws {Error} If they cannot be used; the old ones stay in force then.
   */
  reload(): Promise<void>;
  /** Accepts no more connections; those that exist go on. */
  close(): void;
}

/**
 * What is known of a peer.
 *
 * @example
 * ```ts
 * import { Broker, type Peer } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * const toBroker = new TransformStream<Uint8Array, Uint8Array>();
 * const toClient = new TransformStream<Uint8Array, Uint8Array>();
 * const peer: Peer = { remoteAddress: "192.0.2.7" };
 * const served = broker.serve({ readable: toBroker.readable, writable: toClient.writable }, peer);
 * await toBroker.writable.close();
 * await served;
 * ```
 */
export interface Peer {
  /** Where it connects from, for hooks, logs and the limit of connections per address. */
  remoteAddress?: string;
  /** The common name of the certificate that it has shown, if it had to show one. */
  certificateName?: string;
}

/** What a listener needs of its broker. */
export interface ListenContext {
  readonly pool: BufferPool;
  readonly limits: Limits;
  readonly logger: Logger;
  /** Takes a connection. */
  accept(transport: Transport, peer: Peer): void;
  /** Whether the limits leave room for one more from this address, so that nothing is spent on others. */
  mayOpen(remoteAddress: string | undefined): boolean;
}
