import type { BufferPool } from "./buffer_pool.ts";
import { ConnTransport } from "./transports/conn_transport.ts";
import { StreamTransport } from "./transports/stream_transport.ts";

/** Anything that bytes go in and out of: a `Deno.Conn`, a pair of streams in memory, a tunnel. */
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
  /** Resolves when the bytes are handed over and may be overwritten. */
  write(bytes: Uint8Array): Promise<void>;
  /** Tells the peer that nothing more will come; reading goes on. */
  closeWrite(): Promise<void>;
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
