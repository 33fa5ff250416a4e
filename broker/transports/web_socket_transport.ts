// @ts-types="npm:@types/ws@^8.18.2"
import type { WebSocket } from "ws";
import { Fifo } from "../fifo.ts";
import type { Transport } from "../transport.ts";

/** So many bytes may wait to be read before the peer has to wait, in bytes. */
const HIGH_WATER = 64 * 1024;

const noBytes = new Uint8Array(0);

/** WebSocket close codes. Source: RFC 6455 section 7.4.1. */
const NORMAL_CLOSURE = 1000;
const UNSUPPORTED_DATA = 1003;

/**
 * MQTT over a WebSocket: the frames are a stream of bytes, whose borders mean nothing [MQTT-6.0.0-2]. A text frame ends the
 * connection [MQTT-6.0.0-1].
 */
export class WebSocketTransport implements Transport {
  readonly closesOrderly = false;
  readonly #socket: WebSocket;
  readonly #chunks = new Fifo<Uint8Array>();
  /** Bytes in `#chunks`. */
  #waiting = 0;
  #received: Uint8Array = noBytes;
  #ended = false;
  /** What the peer has done that it must not; it has been told in a close frame. */
  #error: Error | undefined;
  /** Settles the `read` that waits. */
  #wake: (() => void) | undefined;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Uint8Array, isBinary: boolean) => {
      if (this.#ended) return;
      if (!isBinary) return this.#refuseText();
      // An empty frame holds no part of a packet.
      if (data.length === 0) return;
      this.#chunks.push(data);
      this.#waiting += data.length;
      if (this.#waiting > HIGH_WATER) socket.pause();
      this.#wake?.();
    });
    socket.on("error", (error: Error) => this.#end(error));
    socket.on("close", () => this.#end());
  }

  async read(): Promise<number | null> {
    while (this.#chunks.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#wake = resolve);
      this.#wake = undefined;
    }
    const chunk = this.#chunks.shift();
    if (chunk === undefined) {
      if (this.#error !== undefined) throw this.#error;
      return null;
    }
    this.#received = chunk;
    this.#waiting -= chunk.length;
    if (this.#waiting <= HIGH_WATER && this.#socket.isPaused) this.#socket.resume();
    return chunk.length;
  }

  received(): Uint8Array {
    const chunk = this.#received;
    this.#received = noBytes;
    return chunk;
  }

  write(bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#socket.send(bytes, (error) => error ? reject(error) : resolve(bytes.length));
    });
  }

  closeWrite(): Promise<void> {
    this.#socket.close(NORMAL_CLOSURE);
    return Promise.resolve();
  }

  /** A peer that has been told what it has done wrong is left a moment to answer, and with that the time to be told. */
  close(): void {
    if (this.#error === undefined) this.#socket.terminate();
    this.#end();
  }

  #refuseText(): void {
    this.#socket.close(UNSUPPORTED_DATA, "MQTT needs binary frames");
    this.#end(new Error("a text frame: MQTT needs binary ones"));
  }

  #end(error?: Error): void {
    this.#error ??= error;
    this.#ended = true;
    this.#wake?.();
  }
}
