import type { Connection } from "./connection.ts";
import { Header, type PublishTemplate, type QoS, unexpectedPacket } from "./packets.ts";

const acknowledgementSize = 4;
const duplicateFlag = 0x08;

/** Called with the time that messages have taken, from just before their write to just after their read. */
export type OnLatency = (milliseconds: number, messages: number) => void;

/**
 * A client that counts what it is sent and acknowledges it, all of one read in one write. Every packet boundary is looked
 * at: anything but the expected PUBLISH (and PUBREL at QoS 2) is an error.
 */
export class Subscriber {
  /** Messages that have come, each counted once; at QoS 2, those that the broker has released. */
  delivered = 0;
  /** Messages that came again, or behind a later one of their publisher. */
  duplicates = 0;

  readonly #connection: Connection;
  readonly #template: PublishTemplate;
  readonly #qos: QoS;
  readonly #onLatency: OnLatency;
  /** For each publisher, the number of the message that should come next. */
  readonly #expected: number[] = [];

  constructor(connection: Connection, template: PublishTemplate, qos: QoS, onLatency: OnLatency = () => {}) {
    this.#connection = connection;
    this.#template = template;
    this.#qos = qos;
    this.#onLatency = onLatency;
  }

  /**
   * Takes messages until the connection ends; calls `onDelivered` after each read. For `unhurried` see
   * {@linkcode Connection.receive}.
   */
  receive(onDelivered: () => void, options?: { unhurried: boolean }): Promise<never> {
    return this.#connection.receive((buffer, end) => {
      const consumed = this.#qos === 0 ? this.#count(buffer, end) : this.#acknowledge(buffer, end);
      onDelivered();
      return consumed;
    }, options);
  }

  #count(buffer: Uint8Array, end: number): number {
    const { packet } = this.#template;
    const consumed = end - end % packet.length;
    for (let offset = 0; offset < consumed; offset += packet.length) {
      if (buffer[offset] !== packet[0] || buffer[offset + 1] !== packet[1]) throw this.#unexpected(buffer, offset);
    }
    this.#readStamps(buffer, 0, consumed);
    this.delivered += consumed / packet.length;
    return consumed;
  }

  #acknowledge(buffer: Uint8Array, end: number): number {
    const { packet, packetIdOffset } = this.#template;
    let offset = 0;
    while (end - offset >= acknowledgementSize) {
      if ((buffer[offset] & ~duplicateFlag) === packet[0] && buffer[offset + 1] === packet[1]) {
        if (end - offset < packet.length) break;
        this.#answer(this.#qos === 1 ? Header.puback : Header.pubrec, buffer, offset + packetIdOffset);
        this.#readStamps(buffer, offset, offset + packet.length);
        if (this.#qos === 1) this.delivered++;
        offset += packet.length;
      } else if (buffer[offset] === Header.pubrel && this.#qos === 2) {
        const size = 2 + buffer[offset + 1];
        if (end - offset < size) break;
        this.#answer(Header.pubcomp, buffer, offset + 2);
        this.delivered++;
        offset += size;
      } else {
        throw this.#unexpected(buffer, offset);
      }
    }
    this.#connection.flush();
    return offset;
  }

  /** Looks at the stamps of the messages from `start` to `end`. */
  #readStamps(buffer: Uint8Array, start: number, end: number): void {
    const { packet, payloadOffset } = this.#template;
    const now = performance.now();
    const stamps = new DataView(buffer.buffer);
    // Messages of one batch were sent at one time, and mostly come together.
    let sentAt = 0;
    let together = 0;
    for (let stamp = start + payloadOffset; stamp < end; stamp += packet.length) {
      const time = stamps.getFloat64(stamp);
      if (time !== sentAt) {
        if (together > 0) this.#onLatency(now - sentAt, together);
        sentAt = time;
        together = 0;
      }
      together++;
      this.#follow(stamps.getUint32(stamp + 8), stamps.getUint32(stamp + 12));
    }
    if (together > 0) this.#onLatency(now - sentAt, together);
  }

  #follow(publisher: number, number: number): void {
    // In 32 bits, in which the numbers of a long run begin anew.
    const ahead = (number - (this.#expected[publisher] ?? 0)) | 0;
    if (ahead >= 0) {
      this.#expected[publisher] = (number + 1) >>> 0;
    } else {
      this.duplicates++;
      // It is counted as any other, now or when it is released.
      this.delivered--;
    }
  }

  #answer(header: number, received: Uint8Array, packetIdOffset: number): void {
    const offset = this.#connection.reserve(acknowledgementSize);
    const { outbound } = this.#connection;
    outbound[offset] = header;
    outbound[offset + 1] = 2;
    outbound[offset + 2] = received[packetIdOffset];
    outbound[offset + 3] = received[packetIdOffset + 1];
  }

  #unexpected(buffer: Uint8Array, offset: number): Error {
    return unexpectedPacket(`a subscriber at QoS ${this.#qos}`, buffer, offset);
  }
}
