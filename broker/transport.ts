import type { BufferPool } from "./buffer_pool.ts";
import type { Loan } from "./loan.ts";
import { ConnTransport } from "./transports/conn_transport.ts";
import { StreamTransport } from "./transports/stream_transport.ts";

/**
 * Anything that bytes go in and out of: a `Deno.Conn`, a pair of streams in memory, a tunnel.
 *
 * @example
 * ```ts
 * import { Broker, type Duplex } from "@hookmq/broker";
 *
 * // Two ends of a connection in memory.
 * function pipe(): [Duplex, Duplex] {
 *   const there = new TransformStream<Uint8Array, Uint8Array>();
 *   const back = new TransformStream<Uint8Array, Uint8Array>();
 *   return [
 *     { readable: back.readable, writable: there.writable },
 *     { readable: there.readable, writable: back.writable },
 *   ];
 * }
 * await using broker = new Broker();
 * const [ours, brokers] = pipe();
 * const served = broker.serve(brokers);
 * await ours.writable.close();
 * await served;
 * ```
 */
export interface Duplex {
  /** What the peer sends. */
  readonly readable: ReadableStream<Uint8Array>;
  /** What the peer gets. */
  readonly writable: WritableStream<Uint8Array>;
}

/** How a connection reads and writes, whatever is below. */
export interface Transport {
  /** Waits for the next bytes and says how many there are; `null` when the peer has ended the stream. */
  read(): Promise<number | null>;
  /** Those bytes, valid until the next `read`. */
  received(length: number): Uint8Array;
  /** Has those bytes stay as they are until the loan is released. Missing where they have to be copied for that. */
  lend?(): Loan;
  /** Resolves when the first of the bytes, or all, are handed over and may be overwritten, with how many those are. */
  write(bytes: Uint8Array): Promise<number>;
  /** Tells the peer that nothing more will come; reading goes on. */
  closeWrite(): Promise<void>;
  /** Whether `close` tells the peer of the end as well as `closeWrite` does. */
  readonly closesOrderly: boolean;
  /** Ends everything; pending calls settle. Never throws. */
  close(): void;
}

/** The fast door for what the runtime's own connections offer, the streams for everything else. */
export function transportOf(duplex: Duplex, pool: BufferPool): Transport {
  return isConn(duplex) ? new ConnTransport(duplex, pool) : new StreamTransport(duplex);
}

function isConn(duplex: Duplex): duplex is Deno.Conn {
  const { read, write, closeWrite, close } = duplex as Partial<Deno.Conn>;
  return [read, write, closeWrite, close].every((method) => typeof method === "function");
}
