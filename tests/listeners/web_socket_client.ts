import type { Socket } from "node:net";
import { Duplex as NodeDuplex } from "node:stream";
// @ts-types="npm:@types/ws@^8.18.2"
import { type ClientOptions, WebSocket } from "ws";
import { withDeadline } from "../interop/programs.ts";
import type { Duplex } from "../support/raw_client.ts";
import type { Identity } from "./certificates.ts";

/** How a WebSocket was closed: 1006 means without a word. */
export interface Close {
  code: number;
  reason: string;
}

/** What to ask for when a WebSocket is opened. */
export interface OpenOptions extends Pick<ClientOptions, "headers" | "origin"> {
  /** Subprotocols to offer. Default `["mqtt"]`. */
  protocols?: string[];
  /** Which authority to trust, with `wss:`. */
  authority?: Identity;
}

/** A client's end of a WebSocket. What is written goes out in one frame a piece; it reads only when it is asked to. */
export class WebSocketClient implements Duplex, AsyncDisposable {
  readonly socket: WebSocket;
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  readonly #closed = Promise.withResolvers<Close>();

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("close", (code, reason) => this.#closed.resolve({ code, reason: reason.toString() }));
    let cancelled = false;
    this.readable = new ReadableStream({
      start: (controller) => {
        socket.on("message", (data: Uint8Array) => {
          if (cancelled) return;
          controller.enqueue(data);
          socket.pause();
        });
        socket.on("close", () => {
          if (!cancelled) controller.close();
        });
        socket.pause();
      },
      pull: () => socket.resume(),
      cancel: () => {
        cancelled = true;
        socket.terminate();
      },
    }, { highWaterMark: 0 });
    this.writable = new WritableStream({
      write: (chunk) => this.sendFrame(chunk),
      close: () => socket.close(),
      abort: () => socket.terminate(),
    });
  }

  /** Sends a binary frame, or the beginning or middle of one message if `fin` is false; a text goes out as a text frame. */
  sendFrame(data: Uint8Array | string, fin = true): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.send(data, { fin }, (error) => error ? reject(error) : resolve());
    });
  }

  /** Reads on, whatever comes, until the WebSocket is closed. */
  closed(): Promise<Close> {
    this.socket.resume();
    return withDeadline(this.#closed.promise, () => "the close of the WebSocket");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.terminate();
    await this.closed();
  }
}

/** Opens a WebSocket; rejects with `Unexpected server response: 403` and the like if it is refused. */
export async function openWebSocket(
  url: string,
  { protocols = ["mqtt"], authority, ...options }: OpenOptions = {},
): Promise<WebSocketClient> {
  const { hostname, port, protocol, host, pathname, search } = new URL(url);
  const conn = protocol === "wss:"
    ? await Deno.connectTls({ hostname, port: Number(port), caCerts: [authority!.certificate] })
    : await Deno.connect({ hostname, port: Number(port) });
  // The runtime's own connections stop reading when nobody wants more, its Node TLS sockets do not.
  const stream = NodeDuplex.fromWeb(conn as unknown as Parameters<typeof NodeDuplex.fromWeb>[0]) as Socket;
  const socket = new WebSocket(`ws://${host}${pathname}${search}`, protocols, {
    ...options,
    createConnection: () => stream,
  });
  const opened = new Promise<WebSocketClient>((resolve, reject) => {
    socket.once("open", () => resolve(new WebSocketClient(socket)));
    socket.once("error", reject);
  });
  return await withDeadline(opened, () => `${url} to open`);
}
