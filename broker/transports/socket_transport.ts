import type { Duplex as NodeDuplex } from "node:stream";
import type { Transport } from "../transport.ts";

/** Reads and writes a Node stream, such as a TLS socket: nothing more is read than the broker has asked for. */
export class SocketTransport implements Transport {
  readonly #socket: NodeDuplex;
  #chunk: Uint8Array | undefined;
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
    this.#chunk = undefined;
    if (!this.#ended) {
      const waiting = new Promise<void>((resolve) => this.#wake = resolve);
      this.#socket.resume();
      await waiting;
      this.#wake = undefined;
    }
    if (this.#chunk !== undefined) return this.#chunk.length;
    if (this.#error !== undefined) throw this.#error;
    return null;
  }

  received(): Uint8Array {
    const chunk = this.#chunk!;
    this.#chunk = undefined;
    return chunk;
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => error ? reject(error) : resolve());
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
