import type { Duplex as NodeDuplex } from "node:stream";
import type { Transport } from "../transport.ts";

const noBytes = new Uint8Array(0);

/** Reads and writes a Node stream, such as a TLS socket: nothing more is read than the broker has asked for. */
export class SocketTransport implements Transport {
  readonly closesOrderly = false;
  readonly #socket: NodeDuplex;
  /** What has come and is not read yet: there is only one, since the socket is paused until the next is asked for. */
  #chunk: Uint8Array | undefined;
  #received: Uint8Array = noBytes;
  #ended = false;
  #error: Error | undefined;
  /** Settles the `read` that waits. */
  #wake: (() => void) | undefined;

  constructor(socket: NodeDuplex) {
    this.#socket = socket;
    socket.on("data", (chunk: Uint8Array) => {
      this.#chunk = chunk;
      socket.pause();
      this.#wake?.();
    });
    socket.on("error", (error: Error) => {
      this.#error = error;
      this.#end();
    });
    socket.on("end", () => this.#end());
    socket.on("close", () => this.#end());
    socket.pause();
  }

  async read(): Promise<number | null> {
    if (!this.#ended) {
      const waiting = new Promise<void>((resolve) => this.#wake = resolve);
      this.#socket.resume();
      await waiting;
      this.#wake = undefined;
    }
    const chunk = this.#chunk;
    if (chunk === undefined) {
      if (this.#error !== undefined) throw this.#error;
      return null;
    }
    this.#chunk = undefined;
    this.#received = chunk;
    return chunk.length;
  }

  received(): Uint8Array {
    const chunk = this.#received;
    this.#received = noBytes;
    return chunk;
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => error ? reject(error) : resolve(bytes.length));
    });
  }

  closeWrite(): Promise<void> {
    return new Promise((resolve) => this.#socket.end(() => resolve()));
  }

  close(): void {
    this.#socket.destroy();
    this.#end();
  }

  #end(): void {
    this.#ended = true;
    this.#wake?.();
  }
}
