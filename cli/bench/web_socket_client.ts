import type { Socket } from "./socket.ts";

/** The first byte of a frame that is a whole message, by what the message is. */
const Frame = { continuation: 0x80, binary: 0x82, ping: 0x89, pong: 0x8a } as const;

const finalFragment = 0x80;

/** A frame's header from a client: two bytes, up to eight of length, four of mask. */
const largestHeader = 14;

/**
 * The client's side of a WebSocket that carries MQTT, as cheap as it can be: frames are taken apart where they have been
 * read, and what is sent is masked with zeros, which leaves it as it is. The broker cannot tell, and takes it apart as any
 * other.
 */
export class WebSocketClient implements Socket {
  readonly #connection: Deno.TcpConn;
  /** Bytes that are still to come of the frame that is being read. */
  #remaining = 0;
  /** The beginning of a frame header of which the rest has not come yet. */
  #header: Uint8Array = new Uint8Array();

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  /**
   * Asks for the path `/mqtt` and the subprotocol of MQTT [MQTT-6.0.0-3].
   *
   * @throws {Error} If the server does not switch to WebSocket.
   */
  static async open(connection: Deno.TcpConn, hostname: string): Promise<WebSocketClient> {
    const request = [
      "GET /mqtt HTTP/1.1",
      `Host: ${hostname}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Protocol: mqtt",
      `Sec-WebSocket-Key: ${btoa("the nonce is 16.")}`,
    ];
    await writeAll(connection, new TextEncoder().encode(request.join("\r\n") + "\r\n\r\n"));
    const statusLine = await readStatusLine(connection);
    if (!/^HTTP\/1.1 101 /.test(statusLine)) throw new Error(`no WebSocket: ${statusLine}`);
    return new WebSocketClient(connection);
  }

  async read(buffer: Uint8Array): Promise<number | null> {
    for (;;) {
      const count = await this.#connection.read(buffer);
      if (count === null) return null;
      const payload = this.#takeApart(buffer, count);
      if (payload > 0) return payload;
    }
  }

  async write(bytes: Uint8Array): Promise<number> {
    await writeAll(this.#connection, frame(Frame.binary, bytes));
    return bytes.length;
  }

  close(): void {
    this.#connection.close();
  }

  /** Moves the payloads of the frames in `buffer` to its beginning, and returns how many bytes that are. */
  #takeApart(buffer: Uint8Array, count: number): number {
    let from = 0;
    let to = 0;
    while (from < count) {
      if (this.#remaining === 0) {
        from += this.#readHeader(buffer.subarray(from, count));
        continue;
      }
      const length = Math.min(this.#remaining, count - from);
      buffer.copyWithin(to, from, from + length);
      from += length;
      to += length;
      this.#remaining -= length;
    }
    return to;
  }

  /** Takes a frame's header from what has come, or as much as there is of it; returns how many bytes of it these are. */
  #readHeader(received: Uint8Array): number {
    const before = this.#header.length;
    const header = before === 0 ? received : concatenated(this.#header, received.subarray(0, largestHeader));
    const size = headerSize(header);
    if (size === undefined || size > header.length) {
      this.#header = header.slice();
      return received.length;
    }
    this.#header = new Uint8Array();
    this.#begin(header[0], payloadLength(header));
    return size - before;
  }

  #begin(kind: number, length: number): void {
    switch (kind | finalFragment) {
      case Frame.binary:
      case Frame.continuation:
        this.#remaining = length;
        return;
      case Frame.ping:
        if (length > 0) throw new Error("the broker sent a WebSocket ping that says something");
        writeAll(this.#connection, frame(Frame.pong, new Uint8Array())).catch(() => {});
        return;
      default:
        throw new Error(`the broker sent a WebSocket frame that begins with ${kind.toString(16)}`);
    }
  }
}

/** One frame with this payload, masked with zeros. */
function frame(kind: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const lengthBytes = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const whole = new Uint8Array(2 + lengthBytes + 4 + length);
  whole[0] = kind;
  whole[1] = 0x80 | (lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) new DataView(whole.buffer).setUint16(2, length);
  if (lengthBytes === 8) new DataView(whole.buffer).setBigUint64(2, BigInt(length));
  whole.set(payload, whole.length - length);
  return whole;
}

/** Of a frame from a server, which is not masked; undefined where it cannot be told yet. */
function headerSize(header: Uint8Array): number | undefined {
  if (header.length < 2) return undefined;
  return header[1] === 126 ? 4 : header[1] === 127 ? 10 : 2;
}

function payloadLength(header: Uint8Array): number {
  const view = new DataView(header.buffer, header.byteOffset);
  if (header[1] === 126) return view.getUint16(2);
  return header[1] === 127 ? Number(view.getBigUint64(2)) : header[1];
}

/** The first line of an HTTP response, whose header is read to its end: servers say nothing more before they are asked. */
async function readStatusLine(connection: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  while (!text.endsWith("\r\n\r\n")) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error("the broker closed a connection during its handshake");
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  return text.slice(0, text.indexOf("\r\n"));
}

async function writeAll(connection: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) written += await connection.write(bytes.subarray(written));
}

function concatenated(first: Uint8Array, second: Uint8Array): Uint8Array {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}
