import type { ProtocolLevel } from "../codec/packet.ts";
import { PublishHeader, readPublishHeader } from "../codec/publish.ts";
import { writeVariableByteInteger } from "../codec/variable_byte_integer.ts";
import { Message } from "./message.ts";
import type { Topic } from "./topics/topic_cache.ts";

/** The first byte of a PUBLISH at QoS 0 that is neither to be retained nor sent again. */
const PLAIN_PUBLISH = 0x30;

/** Larger packets, in bytes, are better not copied for everybody who gets them. */
const LARGEST = 16 * 1024;

/** Where one of several packets lies that follow each other. */
export interface PacketBounds {
  readonly start: number;
  /** Where its variable header begins. */
  readonly bodyStart: number;
  readonly end: number;
}

/** Where the packet lies that begins at `start`; it ends behind the bytes if it is cut off. */
export function packetBounds(bytes: Uint8Array, start: number): PacketBounds {
  let bodyStart = start + 1;
  let length = 0;
  for (let shift = 0; shift < 28; shift += 7) {
    const byte = bytes[bodyStart++];
    length |= (byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return { start, bodyStart, end: bodyStart + length };
}

/**
 * Messages from one publisher on one topic, at QoS 0 and without properties, whose MQTT 5 packets lie one behind the other:
 * whoever gets them as they are gets all of them at once.
 */
export class MessageRun {
  readonly topic: Topic;
  readonly publisherId: string | undefined;
  /** The packets. */
  readonly bytes: Uint8Array;
  /** How many there are. */
  readonly count: number;
  /** How many bytes the largest one has. */
  readonly largest: number;
  /** How many bytes all payloads have. */
  readonly payloadBytes: number;
  /** How many bytes everything in front of the payload takes, from the variable header on. */
  readonly #headerSize: number;
  #bytesForMqtt3: Uint8Array | undefined = undefined;
  #messages: readonly Message[] | undefined = undefined;

  private constructor(
    topic: Topic,
    publisherId: string | undefined,
    bytes: Uint8Array,
    count: number,
    largest: number,
    payloadBytes: number,
    headerSize: number,
  ) {
    this.topic = topic;
    this.publisherId = publisherId;
    this.bytes = bytes;
    this.count = count;
    this.largest = largest;
    this.payloadBytes = payloadBytes;
    this.#headerSize = headerSize;
  }

  /**
   * The run that a packet begins, if others follow that differ from it in their payloads only.
   *
   * @param header Has been read from the first packet.
   */
  static at(
    packets: Uint8Array,
    first: PacketBounds,
    header: PublishHeader,
    topic: Topic,
    publisherId: string | undefined,
  ): MessageRun | undefined {
    const { start, bodyStart, end } = first;
    const headerSize = header.payloadStart - bodyStart;
    let largest = end - start;
    const hasProperties = header.payloadStart > header.topicEnd + 1;
    if (packets[start] !== PLAIN_PUBLISH || hasProperties || largest > LARGEST) return undefined;
    let count = 1;
    let payloadBytes = end - header.payloadStart;
    let runEnd = end;
    while (packets[runEnd] === PLAIN_PUBLISH) {
      const next = packetBounds(packets, runEnd);
      const size = next.end - runEnd;
      if (next.end > packets.length || size > LARGEST || next.end - next.bodyStart < headerSize) break;
      if (!areEqual(packets, bodyStart, next.bodyStart, headerSize)) break;
      if (size > largest) largest = size;
      payloadBytes += next.end - next.bodyStart - headerSize;
      count += 1;
      runEnd = next.end;
    }
    if (count === 1) return undefined;
    const bytes = packets.subarray(start, runEnd);
    return new MessageRun(topic, publisherId, bytes, count, largest, payloadBytes, headerSize);
  }

  /** The packets as a client of this protocol level gets them. */
  bytesFor(level: ProtocolLevel): Uint8Array {
    return level === 5 ? this.bytes : this.#bytesForMqtt3 ??= this.#withoutProperties();
  }

  /** The messages one by one, for those who get them in another form, or not all of them. */
  get messages(): readonly Message[] {
    return this.#messages ??= this.#separated();
  }

  #separated(): Message[] {
    const { bytes, topic, publisherId } = this;
    const header = new PublishHeader();
    const messages: Message[] = [];
    for (let start = 0; start < bytes.length;) {
      const { bodyStart, end } = packetBounds(bytes, start);
      readPublishHeader(header, bytes, start, bodyStart, end, 5);
      messages.push(Message.received(topic, header, bytes.subarray(start, end), start, true, publisherId, false));
      start = end;
    }
    return messages;
  }

  /** Without the byte that says that there are none, which ends the header. */
  #withoutProperties(): Uint8Array {
    const { bytes } = this;
    const shorter = new Uint8Array(bytes.length - this.count);
    let offset = 0;
    for (let start = 0; start < bytes.length;) {
      const { bodyStart, end } = packetBounds(bytes, start);
      const payloadStart = bodyStart + this.#headerSize;
      shorter[offset++] = PLAIN_PUBLISH;
      offset = writeVariableByteInteger(shorter, offset, end - bodyStart - 1);
      for (let index = bodyStart; index < payloadStart - 1; index++) shorter[offset++] = bytes[index];
      shorter.set(bytes.subarray(payloadStart, end), offset);
      offset += end - payloadStart;
      start = end;
    }
    return shorter.subarray(0, offset);
  }
}

function areEqual(bytes: Uint8Array, first: number, second: number, length: number): boolean {
  for (let index = 0; index < length; index++) {
    if (bytes[first + index] !== bytes[second + index]) return false;
  }
  return true;
}
