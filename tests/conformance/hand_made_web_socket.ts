import { Buffer } from "node:buffer";
import { withDeadline } from "../interop/programs.ts";

/** The kinds of frame. Source: RFC 6455 section 5.2. */
export const Opcode = { Continuation: 0, Text: 1, Binary: 2, Close: 8, Ping: 9, Pong: 10 } as const;

/** A frame as the server sends it. */
export interface Frame {
  fin: boolean;
  opcode: number;
  payload: Uint8Array;
}

/** A WebSocket whose every frame is made by the test, over a connection that is closed when it is disposed. */
export class HandMadeWebSocket implements Disposable {
  /** The server's answer to the opening handshake, up to the empty line. */
  readonly answer: string;
  readonly #conn: Deno.TcpConn;
  /** What has been read and not been taken yet. */
  #rest: Buffer;

  private constructor(conn: Deno.TcpConn, answer: string, rest: Buffer) {
    this.#conn = conn;
    this.answer = answer;
    this.#rest = rest;
  }

  /** Asks for a WebSocket with these subprotocols; whether it was granted stands in `answer`. */
  static async open(port: number, protocols: string[] = ["mqtt"]): Promise<HandMadeWebSocket> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    const lines = [
      "GET /mqtt HTTP/1.1",
      "Host: 127.0.0.1",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
      ...protocols.length > 0 ? [`Sec-WebSocket-Protocol: ${protocols.join(", ")}`] : [],
    ];
    await conn.write(Buffer.from(`${lines.join("\r\n")}\r\n\r\n`));
    let read: Buffer = Buffer.alloc(0);
    for (;;) {
      const end = read.indexOf("\r\n\r\n");
      if (end !== -1) return new HandMadeWebSocket(conn, read.toString("latin1", 0, end), read.subarray(end + 4));
      const chunk = await readSome(conn);
      if (chunk === undefined) throw new Error(`the connection ended in the handshake, behind: ${read.toString()}`);
      read = Buffer.concat([read, chunk]);
    }
  }

  /** Sends a frame; the mask that a client must have changes nothing. */
  async send(opcode: number, payload: Uint8Array, fin = true): Promise<void> {
    const length = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 0xff];
    length[0] |= 0x80;
    const bytes = Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | opcode, ...length, 0, 0, 0, 0]), payload]);
    for (let written = 0; written < bytes.length;) written += await this.#conn.write(bytes.subarray(written));
  }

  /** The server's next frame; `undefined` if it has closed the connection. */
  async receive(): Promise<Frame | undefined> {
    const head = await this.#take(2);
    if (head === undefined) return undefined;
    let length = head[1] & 0x7f;
    if (length === 126) length = (await this.#take(2))!.readUint16BE();
    else if (length === 127) length = Number((await this.#take(8))!.readBigUint64BE());
    return { fin: (head[0] & 0x80) !== 0, opcode: head[0] & 0x0f, payload: (await this.#take(length))! };
  }

  /** The frames of data that the server sends until it closes the connection. */
  async receiveToEnd(): Promise<Frame[]> {
    const frames: Frame[] = [];
    for (let frame; (frame = await this.receive()) !== undefined;) {
      if (frame.opcode === Opcode.Close) await this.send(Opcode.Close, frame.payload);
      else frames.push(frame);
    }
    return frames;
  }

  [Symbol.dispose](): void {
    this.#conn.close();
  }

  async #take(count: number): Promise<Buffer | undefined> {
    while (this.#rest.length < count) {
      const chunk = await readSome(this.#conn);
      if (chunk === undefined) return undefined;
      this.#rest = Buffer.concat([this.#rest, chunk]);
    }
    const taken = this.#rest.subarray(0, count);
    this.#rest = this.#rest.subarray(count);
    return taken;
  }
}

async function readSome(conn: Deno.TcpConn): Promise<Uint8Array | undefined> {
  const buffer = new Uint8Array(65536);
  const length = await withDeadline(conn.read(buffer), () => "bytes on the WebSocket's connection").catch(ifReset);
  return length === null ? undefined : buffer.subarray(0, length);
}

/** A peer that closes while we are sending resets the connection: that is an end as well. */
function ifReset(error: Error): null {
  if (error instanceof Deno.errors.ConnectionReset) return null;
  throw error;
}
