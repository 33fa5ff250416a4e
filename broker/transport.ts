import type { BufferPool } from "./buffer_pool.ts";

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

const noBytes = new Uint8Array(0);

/** The fast door for what the runtime's own connections offer, the streams for everything else. */
export function transportOf(duplex: Duplex, pool: BufferPool): Transport {
  return isConn(duplex) ? new ConnTransport(duplex, pool) : new StreamTransport(duplex);
}

function isConn(duplex: Duplex): duplex is Deno.Conn {
  const { read, write, closeWrite, close } = duplex as Partial<Deno.Conn>;
  return [read, write, closeWrite, close].every((method) => typeof method === "function");
}

/** The read buffer of a quiet connection, and of one that is sent a lot, in bytes. */
const SMALLEST_READ = 512;
const LARGEST_READ = 64 * 1024;
/** From one size of the read buffer to the next. */
const STEP = 4;
/** After so many reads that would have fitted into the next smaller buffer, the connection gets that one. */
const QUIET_READS = 8;

/** Reads with `conn.read(buffer)`: more than twice as fast as the connection's stream, and a tenth of its memory. */
class ConnTransport implements Transport {
  readonly #conn: Deno.Conn;
  readonly #pool: BufferPool;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(SMALLEST_READ);
  #quietReads = 0;
  #filled = false;

  constructor(conn: Deno.Conn, pool: BufferPool) {
    this.#conn = conn;
    this.#pool = pool;
  }

  /** Not an async function of its own: that would cost every idle connection another promise and what hangs on it. */
  read(): Promise<number | null> {
    this.#fitBuffer();
    return this.#conn.read(this.#buffer);
  }

  received(length: number): Uint8Array {
    this.#filled = length === this.#buffer.length;
    this.#quietReads = length * STEP > this.#buffer.length ? 0 : this.#quietReads + 1;
    return this.#buffer.subarray(0, length);
  }

  async write(bytes: Uint8Array): Promise<void> {
    let written = await this.#conn.write(bytes);
    while (written < bytes.length) written += await this.#conn.write(bytes.subarray(written));
  }

  closeWrite(): Promise<void> {
    return this.#conn.closeWrite();
  }

  close(): void {
    try {
      this.#conn.close();
    } catch {
      // It is closed already: the peer was faster, or an error did it.
    }
  }

  /** A read that filled the buffer is followed by a larger one; a connection that has gone quiet gives the memory back. */
  #fitBuffer(): void {
    const { length } = this.#buffer;
    if (this.#filled && length < LARGEST_READ) this.#replaceBuffer(length * STEP);
    else if (this.#quietReads >= QUIET_READS && length > SMALLEST_READ) this.#replaceBuffer(length / STEP);
  }

  #replaceBuffer(size: number): void {
    this.#pool.give(this.#buffer);
    this.#buffer = size === SMALLEST_READ ? new Uint8Array(size) : this.#pool.take(size);
    this.#quietReads = 0;
    this.#filled = false;
  }
}

/** Reads any pair of web streams: through a BYOB reader where the stream is a byte stream. */
class StreamTransport implements Transport {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #byobReader: ReadableStreamBYOBReader | undefined;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #buffer: ArrayBufferLike = new ArrayBuffer(LARGEST_READ);
  #received: Uint8Array = noBytes;

  constructor({ readable, writable }: Duplex) {
    try {
      this.#byobReader = readable.getReader({ mode: "byob" });
    } catch {
      this.#reader = readable.getReader();
    }
    this.#writer = writable.getWriter();
  }

  async read(): Promise<number | null> {
    const { value, done } = this.#byobReader === undefined
      ? await this.#reader!.read()
      : await this.#byobReader.read(new Uint8Array(this.#buffer));
    if (done || value === undefined) return null;
    if (this.#byobReader !== undefined) this.#buffer = value.buffer;
    this.#received = value;
    return value.length;
  }

  received(): Uint8Array {
    return this.#received;
  }

  /** Streams keep what they are given, so they are given a copy. */
  write(bytes: Uint8Array): Promise<void> {
    return this.#writer.write(bytes.slice());
  }

  closeWrite(): Promise<void> {
    return this.#writer.close();
  }

  close(): void {
    const ignore = () => {};
    (this.#byobReader ?? this.#reader)!.cancel().catch(ignore);
    // What has been written is still delivered where the peer reads it; `abort` would throw it away.
    this.#writer.close().catch(ignore);
  }
}
