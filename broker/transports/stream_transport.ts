import type { Duplex, Transport } from "../transport.ts";

const noBytes = new Uint8Array(0);
/** Size of the buffer that a byte stream is read into, in bytes. */
const READ_BUFFER = 64 * 1024;

/** Reads any pair of web streams: through a BYOB reader where the stream is a byte stream. */
export class StreamTransport implements Transport {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #byobReader: ReadableStreamBYOBReader | undefined;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  #buffer: ArrayBufferLike = new ArrayBuffer(READ_BUFFER);
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
