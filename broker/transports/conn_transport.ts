import type { BufferPool } from "../buffer_pool.ts";
import type { Transport } from "../transport.ts";

/** The read buffer of a quiet connection, and of one that is sent a lot, in bytes. */
const SMALLEST_READ = 512;
const LARGEST_READ = 64 * 1024;
/** From one size of the read buffer to the next. */
const STEP = 4;
/** After so many reads that would have fitted into the next smaller buffer, the connection gets that one. */
const QUIET_READS = 8;

/** Reads with `conn.read(buffer)`: more than twice as fast as the connection's stream, and a tenth of its memory. */
export class ConnTransport implements Transport {
  readonly #conn: Deno.Conn;
  readonly #pool: BufferPool;
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(SMALLEST_READ);
  #quietReads = 0;
  #filled = false;
  /** What was read from the connection before it got here. */
  #early: Uint8Array | undefined;

  constructor(conn: Deno.Conn, pool: BufferPool, early?: Uint8Array) {
    this.#conn = conn;
    this.#pool = pool;
    this.#early = early;
  }

  /** Not an async function of its own: that would cost every idle connection another promise and what hangs on it. */
  read(): Promise<number | null> {
    if (this.#early !== undefined) return this.#readEarly(this.#early);
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

  #readEarly(early: Uint8Array): Promise<number> {
    this.#early = undefined;
    this.#replaceBuffer(early.length);
    this.#buffer.set(early);
    return Promise.resolve(early.length);
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
