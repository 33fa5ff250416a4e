import { hostAndPort } from "../../broker/listeners/host_and_port.ts";
import { Failure } from "../failure.ts";
import {
  type ClientIdentity,
  connackReceiveMaximum,
  connackRefusal,
  connectPacket,
  disconnectPacket,
  packetSize,
  type ProtocolLevel,
  type QoS,
  subackRefusal,
  subscribePacket,
  unsubackRefusal,
  unsubscribePacket,
} from "./packets.ts";
import { openSocket, type Socket, type SocketAddress } from "./socket.ts";

const readBufferSize = 128 * 1024;

/** A read of fewer bytes was hardly worth it. */
const smallRead = 1024;

/** Who connects where. */
export interface ConnectOptions extends ClientIdentity, SocketAddress {}

/**
 * One MQTT client connection that costs its process as little as possible: packets are written into one outbound buffer,
 * which {@linkcode flush} hands to the kernel in one piece, and read in pieces of up to 128 KB.
 */
export class Connection {
  /** What waits to be sent; valid up to the end of what {@linkcode reserve} gave out, until the next `flush`. */
  outbound: Uint8Array = new Uint8Array();
  /** How many QoS 1 and 2 messages the broker takes at a time. */
  receiveMaximum = 65_535;

  readonly #socket: Socket;
  readonly #level: ProtocolLevel;
  #outboundLength = 0;
  #spare: Uint8Array = new Uint8Array();
  #writing = false;
  #closed = false;
  /** What came right behind the answer to a request: messages that waited for a session. */
  #early: Uint8Array = new Uint8Array();

  private constructor(socket: Socket, level: ProtocolLevel) {
    this.#socket = socket;
    this.#level = level;
  }

  /**
   * Connects and waits for CONNACK.
   *
   * @throws {Failure} If there is no broker, or if it refuses.
   */
  static async open(options: ConnectOptions): Promise<Connection> {
    const broker = hostAndPort(options.hostname, options.port);
    const socket = await openSocket(options).catch((error) => {
      const refused = error instanceof Deno.errors.ConnectionRefused;
      const problem = refused ? "connection refused (is a broker running there?)" : error.message;
      throw new Failure(`cannot connect to ${broker}: ${problem}`);
    });
    const connection = new Connection(socket, options.level);
    try {
      const connack = await connection.#request(connectPacket(options));
      const refusal = connackRefusal(connack);
      if (refusal !== undefined) throw new Failure(`${broker} ${refusal}`);
      if (options.level === 5) connection.receiveMaximum = connackReceiveMaximum(connack);
      return connection;
    } catch (error) {
      socket.close();
      throw error;
    }
  }

  /**
   * Subscribes and waits for SUBACK.
   *
   * @throws {Failure} If the broker grants another QoS, or none.
   */
  subscribe(filter: string, qos: QoS): Promise<void> {
    return this.subscribeAll([filter], qos);
  }

  /**
   * Subscribes to all filters at once and waits for SUBACK.
   *
   * @throws {Failure} If the broker grants another QoS to one of them, or none.
   */
  async subscribeAll(filters: string[], qos: QoS): Promise<void> {
    const suback = await this.#request(subscribePacket(1, filters, qos, this.#level));
    const refusal = subackRefusal(suback, filters.length, qos);
    if (refusal !== undefined) throw new Failure(`the broker ${refusal}`);
  }

  /**
   * Unsubscribes and waits for UNSUBACK; messages to this client must not be under way.
   *
   * @throws {Failure} If the broker answers with something else.
   */
  async unsubscribe(filter: string): Promise<void> {
    const refusal = unsubackRefusal(await this.#request(unsubscribePacket(1, [filter], this.#level)));
    if (refusal !== undefined) throw new Failure(`the broker ${refusal}`);
  }

  /** Makes room for `length` bytes at the end of {@linkcode outbound} and returns their offset. */
  reserve(length: number): number {
    const offset = this.#outboundLength;
    this.#outboundLength += length;
    if (this.#outboundLength > this.outbound.length) {
      const larger = new Uint8Array(this.#outboundLength * 2);
      larger.set(this.outbound);
      this.outbound = larger;
    }
    return offset;
  }

  /** Sends what is in the outbound buffer; what is added while a write is under way leaves together with the next. */
  async flush(): Promise<void> {
    if (this.#writing) return;
    this.#writing = true;
    while (this.#outboundLength > 0) {
      const leaving = this.outbound.subarray(0, this.#outboundLength);
      [this.outbound, this.#spare] = [this.#spare, this.outbound];
      this.#outboundLength = 0;
      try {
        await this.#write(leaving);
      } catch {
        // Reading ends too then, and reports it.
        return;
      }
    }
    this.#writing = false;
  }

  /**
   * Reads until the connection ends, and gives everything that has come to `consume`, which returns the number of bytes
   * of whole packets that it has dealt with; the rest is given again with what comes next.
   *
   * With `unhurried`, a small read is followed by a pause of a millisecond in which more can gather. A broker that writes
   * every message by itself would otherwise be met with a read for every message, and the load generator be as busy as
   * the broker.
   *
   * @throws {Error} When the connection ends: in a measurement no broker should end one.
   */
  async receive(
    consume: (buffer: Uint8Array, end: number) => number,
    { unhurried = false }: { unhurried?: boolean } = {},
  ): Promise<never> {
    const buffer = new Uint8Array(readBufferSize);
    buffer.set(this.#early);
    let kept = this.#early.length;
    for (;;) {
      const count = await this.#socket.read(kept === 0 ? buffer : buffer.subarray(kept)).catch((error) => {
        if (!this.#closed) throw error;
        return undefined;
      });
      if (count === undefined) return await new Promise(() => {});
      if (count === null) throw new Error("the broker closed a connection");
      const end = kept + count;
      const consumed = consume(buffer, end);
      kept = end - consumed;
      if (kept > 0) buffer.copyWithin(0, consumed, end);
      if (unhurried && count < smallRead) await sleepOneMillisecond();
    }
  }

  /** Says goodbye and closes the connection: nothing more is received. */
  async disconnect(): Promise<void> {
    this.#closed = true;
    // A connection that the broker has closed needs no goodbye.
    await this.#write(disconnectPacket).catch(() => {});
    this.#socket.close();
  }

  /** Closes the connection without a word: nothing more is received. */
  close(): void {
    this.#closed = true;
    this.#socket.close();
  }

  async #request(packet: Uint8Array): Promise<Uint8Array> {
    await this.#write(packet);
    const buffer = new Uint8Array(1024);
    let end = 0;
    for (;;) {
      const count = await this.#socket.read(buffer.subarray(end));
      if (count === null) throw new Error("the broker closed a connection during its handshake");
      end += count;
      const size = packetSize(buffer.subarray(0, end));
      if (size !== undefined && size <= end) {
        this.#early = buffer.subarray(size, end);
        return buffer.subarray(0, size);
      }
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let written = 0;
    while (written < bytes.length) written += await this.#socket.write(bytes.subarray(written));
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));
let pause: Promise<void> | undefined;

/**
 * Lets what is ready at this moment be dealt with, then puts the whole process to sleep for a millisecond, once for all
 * connections that ask for it. A timer would not do: every segment that arrives would still wake the process, and make
 * the broker pay for it.
 */
function sleepOneMillisecond(): Promise<void> {
  return pause ??= new Promise((resolve) => {
    setTimeout(() => {
      Atomics.wait(sleeper, 0, 0, 1);
      pause = undefined;
      resolve();
    }, 0);
  });
}
