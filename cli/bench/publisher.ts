import type { Connection } from "./connection.ts";
import { refusal } from "../refusal.ts";
import { Header, type PublishTemplate, type QoS, stampSize, twoByteInteger, unexpectedPacket } from "./packets.ts";

const acknowledgementSize = 4;

/** Bytes of a message that takes longer to copy than to find. */
const largeMessage = 4096;

/** Options of a {@linkcode Publisher}. */
export interface PublisherOptions {
  /** Messages that it may have in flight at QoS 1 and 2. */
  window: number;
  /** Messages that it sends in one write. */
  batch: number;
  /** Its number among the publishers to its topic. Default 0. */
  index?: number;
  /** Topics that it publishes to in turn, each as long as the template's. Default: the template's. */
  topics?: string[];
}

/** A client that publishes, and at QoS 1 and 2 completes the exchange of every message. */
export class Publisher {
  readonly window: number;
  readonly batch: number;
  readonly qos: QoS;

  readonly #connection: Connection;
  readonly #template: PublishTemplate;
  /** One batch behind the other, until each topic has had its turn. */
  readonly #run: Uint8Array;
  readonly #stamps: DataView;
  /** Where in the run the next batch begins. */
  #nextBatch = 0;
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
    { window, batch, index = 0, topics = [] }: PublisherOptions,
  ) {
    this.window = window;
    this.batch = batch;
    this.#connection = connection;
    this.#template = template;
    this.qos = qos;
    this.#run = repeat(template.packet, Math.max(1, Math.ceil(topics.length / batch)) * batch);
    if (topics.length > 0) this.#writeTopics(topics);
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
    const start = this.#nextBatch;
    const end = start + this.batch * this.#template.packet.length;
    this.#stamp(start, end);
    const offset = this.#connection.reserve(end - start);
    this.#copy(start, end, offset);
    if (this.qos > 0) this.#numberPackets(offset, offset + end - start);
    this.#connection.flush();
    this.#nextBatch = end % this.#run.length;
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

  /** Of large messages only what is in front of the stamp's end: nobody looks at the rest, whatever it may be. */
  #copy(start: number, end: number, offset: number): void {
    const { outbound } = this.#connection;
    const { packet, payloadOffset } = this.#template;
    if (packet.length < largeMessage) {
      outbound.set(this.#run.subarray(start, end), offset);
      return;
    }
    const head = payloadOffset + stampSize;
    for (let from = start; from < end; from += packet.length) {
      outbound.set(this.#run.subarray(from, from + head), offset + from - start);
    }
  }

  #writeTopics(topics: string[]): void {
    const { packet, topicOffset } = this.#template;
    const encoded = topics.map((topic) => new TextEncoder().encode(topic));
    for (let number = 0; number * packet.length < this.#run.length; number++) {
      this.#run.set(encoded[number % encoded.length], number * packet.length + topicOffset);
    }
  }

  /** Writes into each payload what {@linkcode stampSize} speaks of. */
  #stamp(start: number, end: number): void {
    const { packet, payloadOffset } = this.#template;
    const now = performance.now();
    for (let stamp = start + payloadOffset; stamp < end; stamp += packet.length) {
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
