import type { Duplex, Transport } from "../transport.ts";

const noBytes = new Uint8Array(0);
/** Size of the buffer that a byte stream is read into, in bytes. */
const READ_BUFFER = 64 * 1024;

/** Reads any pair of web streams: through a BYOB reader where the stream is a byte stream. */
export class StreamTransport implements Transport {
  readonly closesOrderly = false;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #byobReader: ReadableStreamBYOBReader | undefined;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  /** What a byte stream is read into. */
  #buffer: ArrayBufferLike = noBytes.buffer;
  #received: Uint8Array = noBytes;
  /** Settles the `write` that waits for a peer that may never read. */
  #abandonWrite: ((error: Error) => void) | undefined;

  constructor({ readable, writable }: Duplex) {
    try {
      this.#byobReader = readable.getReader({ mode: "byob" });
      this.#buffer = new ArrayBuffer(READ_BUFFER);
    } catch {
      this.#reader = readable.getReader();
    }
    this.#writer = writable.getWriter();
  }

  async read(): Promise<number | null> {
    for (;;) {
      const { value, done } = this.#byobReader === undefined
        ? await this.#reader!.read()
        : await this.#byobReader.read(new Uint8Array(this.#buffer));
      if (done) return null;
      if (this.#byobReader !== undefined) this.#buffer = value.buffer;
      this.#received = value;
      // An empty chunk holds no part of a packet.
      if (value.length > 0) return value.length;
    }
  }

  received(): Uint8Array {
    return this.#received;
  }

  /** Streams keep what they are given, so they are given a copy. */
  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#abandonWrite = reject;
      this.#writer.write(bytes.slice()).then(() => resolve(bytes.length), reject);
    });
  }

  closeWrite(): Promise<void> {
    return this.#writer.close();
  }

  close(): void {
    const ignore = () => {};
    (this.#byobReader ?? this.#reader)!.cancel().catch(ignore);
    // What has been written is still delivered where the peer reads it; `abort` would throw it away.
    this.#writer.close().catch(ignore);
    this.#abandonWrite?.(new Error("the connection was closed before everything was written"));
  }
}
