import type { Connection } from "./connection.ts";
import { Header, type PublishTemplate, type QoS } from "./packets.ts";

const acknowledgementSize = 4;

/**
 * A client that counts what it is sent and acknowledges it, all of one read in one write. Every packet boundary is looked
 * at: anything but the expected PUBLISH (and PUBREL at QoS 2) is an error.
 */
export class Subscriber {
  /** Messages that have come; at QoS 2, those that the broker has released. */
  delivered = 0;

  readonly #connection: Connection;
  readonly #template: PublishTemplate;
  readonly #qos: QoS;

  constructor(connection: Connection, template: PublishTemplate, qos: QoS) {
    this.#connection = connection;
    this.#template = template;
    this.#qos = qos;
  }

  /** Takes messages until the connection ends; calls `onDelivered` after each read. */
  receive(onDelivered: () => void): Promise<never> {
    const consume = (buffer: Uint8Array, end: number) => {
      const consumed = this.#qos === 0 ? this.#count(buffer, end) : this.#acknowledge(buffer, end);
      onDelivered();
      return consumed;
    };
    // Acknowledgements are waited for; a late count of QoS 0 messages is made up for by the window.
    return this.#connection.receive(consume, { unhurried: this.#qos === 0 });
  }

  /** Takes messages at QoS 0 until the connection ends; calls `onDelivered` with the timestamp in each payload. */
  receiveStamped(onDelivered: (timestamp: number) => void): Promise<never> {
    const size = this.#template.packet.length;
    return this.#connection.receive((buffer, end) => {
      const consumed = this.#count(buffer, end);
      const stamps = new DataView(buffer.buffer);
      for (let packet = 0; packet < consumed; packet += size) {
        onDelivered(stamps.getFloat64(packet + this.#template.payloadOffset));
      }
      return consumed;
    });
  }

  #count(buffer: Uint8Array, end: number): number {
    const { packet } = this.#template;
    const consumed = end - end % packet.length;
    for (let offset = 0; offset < consumed; offset += packet.length) {
      if (buffer[offset] !== packet[0] || buffer[offset + 1] !== packet[1]) throw this.#unexpected(buffer, offset);
    }
    this.delivered += consumed / packet.length;
    return consumed;
  }

  #acknowledge(buffer: Uint8Array, end: number): number {
    const { packet, packetIdOffset } = this.#template;
    let offset = 0;
    while (end - offset >= acknowledgementSize) {
      if (buffer[offset] === packet[0] && buffer[offset + 1] === packet[1]) {
        if (end - offset < packet.length) break;
        this.#answer(this.#qos === 1 ? Header.puback : Header.pubrec, buffer, offset + packetIdOffset);
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

  #answer(header: number, received: Uint8Array, packetIdOffset: number): void {
    const offset = this.#connection.reserve(acknowledgementSize);
    const { outbound } = this.#connection;
    outbound[offset] = header;
    outbound[offset + 1] = 2;
    outbound[offset + 2] = received[packetIdOffset];
    outbound[offset + 3] = received[packetIdOffset + 1];
  }

  #unexpected(buffer: Uint8Array, offset: number): Error {
    const found = [...buffer.subarray(offset, offset + 2)].map((byte) => byte.toString(16).padStart(2, "0"));
    return new Error(`a subscriber at QoS ${this.#qos} did not expect a packet that starts with ${found.join(" ")}`);
  }
}
