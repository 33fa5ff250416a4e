import type { Connection } from "./connection.ts";
import { refusal } from "../client.ts";
import { Header, type PublishTemplate, type QoS, twoByteInteger, unexpectedPacket } from "./packets.ts";

const acknowledgementSize = 4;

/** Options of a {@linkcode Publisher}. */
export interface PublisherOptions {
  /** Messages that it may have in flight at QoS 1 and 2. */
  window: number;
  /** Messages that it sends in one write. */
  batch: number;
  /** Its number among the publishers to its topic. Default 0. */
  index?: number;
}

/** A client that publishes to one topic, and at QoS 1 and 2 completes the exchange of every message. */
export class Publisher {
  readonly window: number;
  readonly batch: number;
  readonly qos: QoS;

  readonly #connection: Connection;
  readonly #template: PublishTemplate;
  readonly #run: Uint8Array;
  readonly #stamps: DataView;
  readonly #index: number;
  /** The number of the next message, in 32 bits. */
  #nextNumber = 0;
  /** Messages whose exchange is not complete; always 0 at QoS 0. */
  #inFlight = 0;
  #nextPacketId = 1;
  /** PUBACK [MQTT-4.6.0-2] and PUBREC [MQTT-4.6.0-3] come in the order of the messages. */
  #nextAcknowledgedId = 1;

  constructor(
    connection: Connection,
    template: PublishTemplate,
    qos: QoS,
    { window, batch, index = 0 }: PublisherOptions,
  ) {
    this.window = window;
    this.batch = batch;
    this.#connection = connection;
    this.#template = template;
    this.qos = qos;
    this.#run = repeat(template.packet, batch);
    this.#stamps = new DataView(this.#run.buffer);
    this.#index = index;
  }

  /** Whether a batch fits into the window. */
  get ready(): boolean {
    return this.#inFlight + this.batch <= this.window;
  }

  /** Whether the exchange of every message is complete. */
  get idle(): boolean {
    return this.#inFlight === 0;
  }

  /** How many messages are not acknowledged completely. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Sends a batch of messages in one write. */
  publish(): void {
    this.#stamp();
    const offset = this.#connection.reserve(this.#run.length);
    this.#connection.outbound.set(this.#run, offset);
    if (this.qos > 0) this.#numberPackets(offset, offset + this.#run.length);
    this.#connection.flush();
  }

  /** Takes the broker's acknowledgements, until the connection ends; calls `onCompleted` when some complete an exchange. */
  receive(onCompleted: () => void): Promise<never> {
    return this.#connection.receive((buffer, end) => {
      const before = this.#inFlight;
      const consumed = this.#acknowledge(buffer, end);
      if (this.#inFlight < before) onCompleted();
      this.#connection.flush();
      return consumed;
    });
  }

  /** Writes into each payload what {@linkcode stampSize} speaks of. */
  #stamp(): void {
    const { packet, payloadOffset } = this.#template;
    const now = performance.now();
    for (let stamp = payloadOffset; stamp < this.#run.length; stamp += packet.length) {
      this.#stamps.setFloat64(stamp, now);
      this.#stamps.setUint32(stamp + 8, this.#index);
      this.#stamps.setUint32(stamp + 12, this.#nextNumber);
      this.#nextNumber = (this.#nextNumber + 1) >>> 0;
    }
  }

  #numberPackets(start: number, end: number): void {
    const { outbound } = this.#connection;
    const size = this.#template.packet.length;
    for (let offset = start + this.#template.packetIdOffset; offset < end; offset += size) {
      outbound[offset] = this.#nextPacketId >> 8;
      outbound[offset + 1] = this.#nextPacketId & 0xff;
      this.#nextPacketId = packetIdAfter(this.#nextPacketId);
      this.#inFlight++;
    }
  }

  #acknowledge(buffer: Uint8Array, end: number): number {
    let offset = 0;
    while (end - offset >= acknowledgementSize) {
      const size = 2 + buffer[offset + 1];
      if (end - offset < size) break;
      const header = buffer[offset];
      const packetId = twoByteInteger(buffer, offset + 2);
      if (size > acknowledgementSize && buffer[offset + 4] >= 0x80) {
        throw new Error(`the broker refused a message: ${refusal(buffer[offset + 4])}`);
      }
      if (header === Header.pubcomp && this.qos === 2) {
        this.#inFlight--;
      } else if (
        header === (this.qos === 1 ? Header.puback : Header.pubrec) && packetId === this.#nextAcknowledgedId
      ) {
        this.#nextAcknowledgedId = packetIdAfter(packetId);
        if (this.qos === 1) this.#inFlight--;
        else this.#release(packetId);
      } else {
        throw unexpectedPacket(`a publisher at QoS ${this.qos}`, buffer, offset);
      }
      offset += size;
    }
    return offset;
  }

  #release(packetId: number): void {
    const offset = this.#connection.reserve(acknowledgementSize);
    const { outbound } = this.#connection;
    outbound[offset] = Header.pubrel;
    outbound[offset + 1] = 2;
    outbound[offset + 2] = packetId >> 8;
    outbound[offset + 3] = packetId & 0xff;
  }
}

function packetIdAfter(packetId: number): number {
  return packetId === 65_535 ? 1 : packetId + 1;
}

function repeat(packet: Uint8Array, count: number): Uint8Array {
  const run = new Uint8Array(packet.length * count);
  for (let i = 0; i < count; i++) run.set(packet, i * packet.length);
  return run;
}
