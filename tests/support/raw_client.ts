import {
  type AcknowledgementPacket,
  type ConnackPacket,
  type ConnectPacket,
  decode,
  type DisconnectPacket,
  encode,
  Framer,
  type Packet,
  PacketError,
  type ProtocolLevel,
  type PublishPacket,
  type SubackPacket,
  type SubscribeProperties,
  type SubscriptionRequest,
  type UnsubackPacket,
  type Will,
} from "../../codec/mod.ts";

/** How long the peer may take to do what is expected of it, in milliseconds. */
const DEADLINE = 10_000;

/** Anything that bytes go in and out of; a `Deno.Conn` is one. */
export interface Duplex {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** The packet of one type, e.g. `PublishPacket` for `"publish"`. */
export type PacketOf<T extends Packet["type"], P = Packet> = P extends AcknowledgementPacket
  ? T extends P["type"] ? P & { type: T } : never
  : P extends { type: T } ? P
  : never;

/** Fields of a CONNECT; the default is a client of level 5 that starts clean, keeps alive for 60 seconds and has no name. */
export interface ConnectOptions extends Partial<Omit<ConnectPacket, "type" | "protocolLevel" | "password" | "will">> {
  level?: ProtocolLevel;
  password?: string | Uint8Array;
  will?: Partial<Omit<Will, "payload">> & { topic: string; payload?: string | Uint8Array };
}

/** Fields of a PUBLISH; the default is an empty message at QoS 0, with the next packet identifier at QoS 1 and 2. */
export interface PublishOptions extends Partial<Omit<PublishPacket, "type" | "payload">> {
  payload?: string | Uint8Array;
}

/** Fields of a SUBSCRIBE; the default is QoS 0 without any other option, and the next packet identifier. */
export interface SubscribeOptions extends Partial<Omit<SubscriptionRequest, "topicFilter">> {
  packetId?: number;
  properties?: SubscribeProperties;
}

/**
 * An MQTT client for tests: sends any packet and any bytes, does nothing by itself, and expects what comes back, packet
 * by packet. It reads only when something is expected of the peer. Whatever is awaited has a deadline, and the error
 * says what was awaited and what came.
 */
export class RawClient implements AsyncDisposable {
  /** At which packets are encoded and decoded; a CONNECT that is sent sets it. */
  level: ProtocolLevel = 5;

  readonly #deadline: number;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #framer = new Framer();
  /** What has been asked for and has not come yet: a read goes on when its deadline is over. */
  #reading: Promise<Uint8Array | undefined> | undefined;
  readonly #received: Packet["type"][] = [];
  #connack: ConnackPacket | undefined;
  #lastPacketId = 0;

  /** A client at the other end of `duplex`, which the peer has this many milliseconds to answer. */
  constructor(duplex: Duplex, deadline = DEADLINE) {
    this.#deadline = deadline;
    this.#reader = duplex.readable.getReader();
    this.#writer = duplex.writable.getWriter();
  }

  /** What the peer answered to `connect`. */
  get connack(): ConnackPacket {
    if (this.#connack === undefined) throw new Error("the client has not called connect()");
    return this.#connack;
  }

  /** Sends packets as they are, all in one write. */
  async send(...packets: Packet[]): Promise<void> {
    const encoded = packets.map((packet) => {
      if (packet.type === "connect") this.level = packet.protocolLevel;
      return encode(packet, this.level);
    });
    await this.sendBytes(encoded.length === 1 ? encoded[0] : Uint8Array.from(encoded.flatMap((bytes) => [...bytes])));
  }

  /** Sends bytes, whatever they mean. */
  async sendBytes(bytes: Uint8Array): Promise<void> {
    await this.#withinDeadline(this.#writer.write(bytes), "the peer to take what is sent");
  }

  /** The next packet, which must be of this type. */
  async expect<T extends Packet["type"]>(type: T): Promise<PacketOf<T>> {
    const packet = await this.#next(type);
    if (packet === undefined) throw this.#failure(type, "the connection was closed");
    if (packet.type !== type) throw this.#failure(type, `got ${inspect(packet)}`);
    return packet as PacketOf<T>;
  }

  /** The next packet, which must consist of exactly these bytes. */
  async expectBytes(bytes: Uint8Array | number[]): Promise<void> {
    const awaited = `the packet ${hex(bytes)}`;
    const packet = await this.#nextBytes(awaited);
    if (packet === undefined) throw this.#failure(awaited, "the connection was closed");
    if (hex(packet) !== hex(bytes)) throw this.#failure(awaited, `got ${hex(packet)}`);
  }

  /** The peer closes the connection, and sends nothing before that. */
  async expectClosed(): Promise<void> {
    const awaited = "the end of the connection";
    const packet = await this.#next(awaited);
    if (packet !== undefined) throw this.#failure(awaited, `got ${inspect(packet)}`);
    if (this.#framer.incomplete) throw this.#failure(awaited, "got the beginning of a packet before it");
  }

  /** The peer has sent nothing: the answer to a PINGREQ is the next packet. */
  async expectNothing(): Promise<void> {
    await this.send({ type: "pingreq" });
    await this.expect("pingresp");
  }

  /** Sends a CONNECT, which must be accepted. */
  async connect(options: ConnectOptions = {}): Promise<ConnackPacket> {
    await this.send(connectPacket(options));
    this.#connack = await this.expect("connack");
    if (this.#connack.reasonCode !== 0) throw this.#failure("to be accepted", `got ${inspect(this.#connack)}`);
    return this.#connack;
  }

  /** Subscribes to one filter, or with the same options to several, and returns the answer. */
  async subscribe(topicFilter: string | string[], options: SubscribeOptions = {}): Promise<SubackPacket> {
    const { packetId = this.#nextPacketId(), properties, ...requested } = options;
    const subscriptions = [topicFilter].flat().map((topicFilter): SubscriptionRequest => ({
      topicFilter,
      qos: 0,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      ...requested,
    }));
    await this.send({ type: "subscribe", packetId, subscriptions, properties });
    return await this.#expectAnswer("suback", packetId);
  }

  /** Unsubscribes from one filter, or from several, and returns the answer. */
  async unsubscribe(topicFilter: string | string[]): Promise<UnsubackPacket> {
    const packetId = this.#nextPacketId();
    await this.send({ type: "unsubscribe", packetId, topicFilters: [topicFilter].flat() });
    return await this.#expectAnswer("unsuback", packetId);
  }

  /**
   * Publishes and goes through the whole handshake. Returns the reason code of the PUBACK or PUBREC, 0 at QoS 0. Between
   * its packets nothing else may come: a client that is subscribed itself uses `send` and `expect`.
   */
  async publish(options: PublishOptions): Promise<number> {
    const packet = publishPacket(options);
    if (packet.qos === 0) {
      await this.send(packet);
      return 0;
    }
    const packetId = packet.packetId ??= this.#nextPacketId();
    await this.send(packet);
    if (packet.qos === 1) return (await this.#expectAnswer("puback", packetId)).reasonCode;
    const { reasonCode } = await this.#expectAnswer("pubrec", packetId);
    if (reasonCode >= 0x80) return reasonCode;
    await this.send({ type: "pubrel", packetId, reasonCode: 0 });
    const pubcomp = await this.#expectAnswer("pubcomp", packetId);
    if (pubcomp.reasonCode !== 0) throw this.#failure("a PUBCOMP with reason code 0", `got ${inspect(pubcomp)}`);
    return reasonCode;
  }

  /** Sends a DISCONNECT, a normal one unless told otherwise, and waits until the peer has closed the connection. */
  async disconnect(fields: Partial<Omit<DisconnectPacket, "type">> = {}): Promise<void> {
    await this.send({ type: "disconnect", reasonCode: 0, ...fields });
    while (await this.#next("the end of the connection") !== undefined);
    await this.close();
  }

  /** Closes the connection without a word; does nothing if it is closed already. */
  async close(): Promise<void> {
    // In memory, a write that the peer never takes would keep its stream from ending for ever.
    const aborted = this.#withinDeadline(this.#writer.abort(), "the end of writing");
    await Promise.allSettled([this.#reader.cancel(), aborted]);
    await this.#reading;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The next packet; `undefined` if the connection ends before it. */
  async #next(awaited: string): Promise<Packet | undefined> {
    const bytes = await this.#nextBytes(awaited);
    if (bytes === undefined) return undefined;
    try {
      const packet = decode(bytes, this.level);
      this.#received.push(packet.type);
      return packet;
    } catch (error) {
      throw this.#withoutPacket(awaited, error);
    }
  }

  /** The bytes of the next packet; `undefined` if the connection ends before it. */
  async #nextBytes(awaited: string): Promise<Uint8Array | undefined> {
    try {
      while (!this.#framer.next()) {
        this.#reading ??= this.#read();
        const chunk = await this.#withinDeadline(this.#reading, awaited);
        this.#reading = undefined;
        if (chunk === undefined) return undefined;
        this.#framer.push(chunk);
      }
      // Not as a view, nor as the kind of array that it comes in.
      return new Uint8Array(this.#framer.packet());
    } catch (error) {
      throw this.#withoutPacket(awaited, error);
    }
  }

  /** The next bytes; `undefined` if the peer has ended the connection, in whatever manner. */
  async #read(): Promise<Uint8Array | undefined> {
    try {
      return (await this.#reader.read()).value;
    } catch {
      return undefined;
    }
  }

  async #withinDeadline<T>(promise: Promise<T>, awaited: string): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(this.#failure(awaited, `nothing in ${this.#deadline} ms`)), this.#deadline);
    });
    try {
      return await Promise.race([promise, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #expectAnswer<T extends "puback" | "pubrec" | "pubcomp" | "suback" | "unsuback">(
    type: T,
    packetId: number,
  ): Promise<PacketOf<T>> {
    const packet = await this.expect(type);
    if ((packet as Packet & { packetId: number }).packetId === packetId) return packet;
    throw this.#failure(`${type} with packet identifier ${packetId}`, `got ${inspect(packet)}`);
  }

  #nextPacketId(): number {
    return this.#lastPacketId += 1;
  }

  /** What to throw when bytes cannot be read as a packet. */
  #withoutPacket(awaited: string, error: unknown): unknown {
    return error instanceof PacketError ? this.#failure(awaited, `got what is no packet: ${error.message}`) : error;
  }

  #failure(awaited: string, got: string): Error {
    const before = this.#received.length === 0 ? "nothing" : this.#received.join(", ");
    return new Error(`awaited ${awaited}: ${got} (received so far: ${before})`);
  }
}

/** A CONNECT with these fields. */
export function connectPacket({ level = 5, password, will, ...fields }: ConnectOptions = {}): ConnectPacket {
  return {
    type: "connect",
    protocolLevel: level,
    clientId: "",
    cleanStart: true,
    keepAlive: 60,
    ...fields,
    ...(password === undefined ? {} : { password: bytes(password) }),
    ...(will === undefined ? {} : { will: { qos: 0, retain: false, ...will, payload: bytes(will.payload) } }),
  };
}

/** A PUBLISH with these fields, and without a packet identifier unless there is one among them. */
export function publishPacket({ payload, ...fields }: PublishOptions): PublishPacket {
  return { type: "publish", topic: "", qos: 0, retain: false, dup: false, ...fields, payload: bytes(payload) };
}

function bytes(payload: string | Uint8Array = ""): Uint8Array {
  return typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
}

function hex(bytes: Uint8Array | number[]): string {
  return Uint8Array.from(bytes).toHex();
}

function inspect(packet: Packet): string {
  return Deno.inspect(packet, { breakLength: Infinity, depth: Infinity });
}
