import {
  decode,
  encode,
  Framer,
  type Packet,
  type ProtocolLevel,
  type PublishPacket,
  ReasonCode,
} from "../../codec/mod.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";

/** How a client is, and what it reports. */
export interface PersistentClientOptions {
  clientId: string;
  level: ProtocolLevel;
  /** How many messages it takes before it has acknowledged one. Default: as many as come. */
  receiveMaximum?: number;
  /** Whether the broker may say that it cannot store what it is asked to (0x97). */
  mayBeRefused: boolean;
  /** Something happened that must not, e.g. that its session is gone. */
  onViolation(violation: string): void;
  /** A message has come: at QoS 2 not more than once, unless the broker sends it twice. */
  onMessage?(message: PublishPacket, text: string): void;
  /** The broker has taken responsibility for a message: PUBACK or PUBREC has come. */
  onAcknowledged?(text: string): void;
  /** The broker has refused a message. Whether it arrives is open; it is not sent again. */
  onRefused?(text: string): void;
}

/** A message that the client has sent and that is not acknowledged completely. */
interface Unfinished {
  readonly packet: PublishPacket;
  readonly text: string;
  /** Whether PUBREC has come: only PUBREL is sent again. */
  isReleased: boolean;
}

interface Connection {
  readonly conn: Deno.TcpConn;
  readonly connack: PromiseWithResolvers<void>;
  readonly suback: PromiseWithResolvers<void>;
  /** Settles when nothing comes any more. */
  ended: Promise<void>;
  /** Settles when all is written that has been sent. */
  written: Promise<void>;
}

/** Packet identifiers come again soon: one that the broker should have forgotten would swallow a message. */
const PACKET_IDS = 50;

const decoder = new TextDecoder();

/**
 * A client that keeps its side of the session over connections, as it has to: it sends again what is not acknowledged,
 * with the same packet identifiers, and takes a QoS 2 message once, however often its PUBLISH comes.
 */
export class PersistentClient {
  readonly clientId: string;
  /** Whether the broker has accepted the connection, and neither of them has ended it. */
  isConnected = false;
  readonly #options: PersistentClientOptions;
  #connection: Connection | undefined;
  #lastPacketId = 0;
  readonly #unfinished = new Map<number, Unfinished>();
  readonly #received = new Set<number>();
  /** Whether the broker has confirmed that there is a session. */
  #hasSession = false;
  #outbound: Uint8Array[] = [];

  constructor(options: PersistentClientOptions) {
    this.clientId = options.clientId;
    this.#options = options;
  }

  /** How many of its messages are not acknowledged completely. */
  get unfinished(): number {
    return this.#unfinished.size;
  }

  /**
   * Connects; if it is connected, the new connection takes the old one's place, whose last packets it does not see.
   *
   * @throws {Error} If the connection ends before the broker has accepted it.
   */
  async connect(port: number, will?: { topic: string; payload: string; qos: 1 | 2 }): Promise<void> {
    const { clientId, level, receiveMaximum } = this.#options;
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    conn.setNoDelay(true);
    const connection: Connection = {
      conn,
      connack: Promise.withResolvers(),
      suback: Promise.withResolvers(),
      ended: Promise.resolve(),
      written: Promise.resolve(),
    };
    for (const { promise } of [connection.connack, connection.suback]) promise.catch(() => {});
    this.isConnected = false;
    this.#connection = connection;
    connection.ended = this.#read(connection);
    const properties = level === 5 ? { sessionExpiryInterval: 0xffff_ffff, receiveMaximum } : undefined;
    this.#send(connectPacket({ clientId, level, cleanStart: false, properties, will }));
    await connection.connack.promise;
  }

  /** @throws {Error} If the connection ends before the broker has confirmed it. */
  async subscribe(topicFilter: string, qos: 1 | 2): Promise<void> {
    const request = { topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 2 } as const;
    this.#send({ type: "subscribe", packetId: this.#nextPacketId(), subscriptions: [request] });
    await this.#connection!.suback.promise;
  }

  /** Sends a message, which is sent again until it is acknowledged. */
  publish(topic: string, text: string, qos: 1 | 2, retain = false, payload = text): void {
    const packet = publishPacket({ topic, payload, qos, retain, packetId: this.#nextPacketId() });
    this.#unfinished.set(packet.packetId!, { packet, text, isReleased: false });
    if (this.isConnected) this.#send(packet);
  }

  /** Closes the connection without a word. */
  close(): void {
    this.isConnected = false;
    if (this.#connection !== undefined) close(this.#connection.conn);
  }

  /** Says goodbye. Settles when the broker has closed the connection. */
  async disconnect(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#send({ type: "disconnect", reasonCode: 0 });
    this.isConnected = false;
    await connection.ended;
  }

  /** Settles when nothing comes any more on the last connection. */
  async ended(): Promise<void> {
    await this.#connection?.ended;
  }

  async #read(connection: Connection): Promise<void> {
    const framer = new Framer();
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const length = await connection.conn.read(buffer);
        if (length === null) break;
        framer.push(buffer.subarray(0, length));
        while (framer.next()) {
          if (this.#connection !== connection) return;
          this.#handle(decode(framer.packet().slice(), this.#options.level), connection);
        }
        this.#flush();
      }
    } catch {
      // The broker was killed, or the connection closed by ourselves.
    } finally {
      if (this.#connection === connection) this.isConnected = false;
      for (const { reject } of [connection.connack, connection.suback]) reject(new Error("the connection has ended"));
      close(connection.conn);
    }
  }

  #handle(packet: Packet, connection: Connection): void {
    switch (packet.type) {
      case "connack":
        return this.#welcome(packet.reasonCode, packet.sessionPresent, connection);
      case "suback":
        if (packet.reasonCodes[0] >= 0x80) this.#refused("SUBACK", packet.reasonCodes[0]);
        return connection.suback.resolve();
      case "publish":
        return this.#receive(packet);
      case "pubrel":
        this.#received.delete(packet.packetId);
        return this.#answer({ type: "pubcomp", packetId: packet.packetId, reasonCode: 0 });
      case "puback":
      case "pubrec":
      case "pubcomp":
        return this.#acknowledged(packet.type, packet.packetId, packet.reasonCode);
      case "disconnect":
        // Another connection of ours has taken over, or the broker shuts down at the end.
        if (![0x8e, 0x8b].includes(packet.reasonCode)) this.#refused("DISCONNECT", packet.reasonCode);
        return;
      default:
        return this.#violation(`got ${packet.type}`);
    }
  }

  #welcome(reasonCode: number, sessionPresent: boolean, connection: Connection): void {
    if (reasonCode !== 0) {
      if (this.#hasSession) this.#violation(`CONNACK ${reasonCode}`);
      return this.#refused("CONNACK", reasonCode);
    }
    if (this.#hasSession && !sessionPresent) this.#violation("its session is gone");
    this.#hasSession = true;
    this.isConnected = true;
    for (const [packetId, { packet, isReleased }] of this.#unfinished) {
      this.#answer(isReleased ? { type: "pubrel", packetId, reasonCode: 0 } : { ...packet, dup: true });
    }
    connection.connack.resolve();
  }

  #receive(packet: PublishPacket): void {
    const { qos, packetId } = packet;
    if (qos === 1) this.#answer({ type: "puback", packetId: packetId!, reasonCode: 0 });
    if (qos === 2) {
      this.#answer({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
      if (this.#received.has(packetId!)) return;
      this.#received.add(packetId!);
    }
    this.#options.onMessage?.(packet, decoder.decode(packet.payload));
  }

  #acknowledged(type: "puback" | "pubrec" | "pubcomp", packetId: number, reasonCode: number): void {
    const unfinished = this.#unfinished.get(packetId);
    // A PUBREL that was sent again may be answered with 0x92: the broker has completed it before.
    const isRefused = reasonCode >= 0x80 && type !== "pubcomp";
    if (isRefused) this.#refused(type, reasonCode);
    if (unfinished === undefined) return;
    if (isRefused) {
      this.#unfinished.delete(packetId);
      return this.#options.onRefused?.(unfinished.text);
    }
    if (type === "pubrec") {
      if (!unfinished.isReleased) this.#options.onAcknowledged?.(unfinished.text);
      unfinished.isReleased = true;
      return this.#answer({ type: "pubrel", packetId, reasonCode: 0 });
    }
    this.#unfinished.delete(packetId);
    if (type === "puback") this.#options.onAcknowledged?.(unfinished.text);
  }

  #nextPacketId(): number {
    do {
      this.#lastPacketId = this.#lastPacketId === PACKET_IDS ? 1 : this.#lastPacketId + 1;
    } while (this.#unfinished.has(this.#lastPacketId));
    return this.#lastPacketId;
  }

  #refused(what: string, reasonCode: number): void {
    if (!this.#options.mayBeRefused || reasonCode !== ReasonCode.QuotaExceeded) {
      this.#violation(`${what} ${reasonCode}`);
    }
  }

  #violation(violation: string): void {
    this.#options.onViolation(`${this.clientId}: ${violation}`);
  }

  #send(packet: Packet): void {
    this.#answer(packet);
    this.#flush();
  }

  /** Sends a packet together with the other answers to what has been read. */
  #answer(packet: Packet): void {
    this.#outbound.push(encode(packet, this.#options.level));
  }

  #flush(): void {
    if (this.#outbound.length === 0) return;
    const bytes = new Uint8Array(this.#outbound.reduce((sum, { length }) => sum + length, 0));
    let offset = 0;
    for (const packet of this.#outbound) {
      bytes.set(packet, offset);
      offset += packet.length;
    }
    this.#outbound = [];
    const connection = this.#connection!;
    connection.written = connection.written.then(() => writeAll(connection.conn, bytes)).catch(() => {});
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await conn.write(bytes.subarray(written));
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It is closed already.
  }
}
