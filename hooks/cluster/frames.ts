import { Encoder } from "@msgpack/msgpack";
import type { Forwarded, ForwardedToSession } from "../../broker/hooks.ts";

/** What a frame needs to know of a message. */
export interface FramedMessage {
  /** An MQTT 5 PUBLISH; it is copied. */
  readonly publish: Uint8Array;
  readonly publisherId: string | undefined;
}

/** Who has sent a frame, and when. */
export interface FrameOrigin {
  /** The sender's node id. */
  readonly nodeId: string;
  /** Tells the sender's life from all others. */
  readonly incarnation: string;
  /** Larger than those of all frames that it has sent before, in this life. */
  readonly number: number;
  /** In milliseconds since 1970. */
  readonly sentAt: number;
}

/** For whom a message is: `Forwarded` without what is the same for all of a frame. */
type Terms = [toAll: boolean, groups: string[], sessions: SessionTerms[]];
type SessionTerms = [clientId: string, retain: boolean, identifiers: readonly number[] | null];

/** The first element of a frame, which tells it from what else comes on a node's channel. */
export const FRAME = "frame";

/**
 * A frame as it travels: one msgpack array, whose last element is the PUBLISH packets, one behind the other. For each of
 * them `indexes` holds its publisher's place in `publishers` and its terms' place in `terms`, two bytes each, the low one
 * first.
 */
type EncodedFrame = [
  type: typeof FRAME,
  nodeId: string,
  incarnation: string,
  number: number,
  sentAt: number,
  publishers: (string | null)[],
  terms: Terms[],
  indexes: Uint8Array,
  packets: Uint8Array,
];

/** So many messages have room in one frame: their indexes have two bytes. */
export const MOST_MESSAGES = 0xffff;

/** How much memory a builder keeps for the next frame, in bytes. */
const LARGEST_KEPT = 1024 * 1024;

const INDEX_SIZE = 4;
const FOR_ALL = 0;

/** Collects messages for one node. */
export class FrameBuilder {
  #packets = new Uint8Array(4096);
  #size = 0;
  #indexes = new Uint8Array(256);
  #count = 0;
  #publishers: (string | null)[] = [];
  #publisherIndexes = new Map<string | undefined, number>();
  #lastPublisher: string | undefined = undefined;
  #lastPublisherIndex = -1;
  #terms: Terms[] = [[true, [], []]];
  #groupIndexes = new Map<string, number>();
  /** The last message's sessions, if it is for sessions. */
  #lastSessions: SessionTerms[] | undefined = undefined;
  #lastClients = new Set<string>();
  #encoder = new Encoder();

  /** How many bytes the packets have that are in it. */
  get size(): number {
    return this.#size;
  }

  /** How many messages are in it. */
  get count(): number {
    return this.#count;
  }

  /** Adds a message for all subscribers of the node that have no durable session and are not in a group. */
  addForAll(message: FramedMessage): void {
    this.#add(message, FOR_ALL);
  }

  /** Adds a message for one of the node's members of a shared subscription. */
  addForGroup(message: FramedMessage, topicFilter: string): void {
    let index = this.#groupIndexes.get(topicFilter);
    if (index === undefined) {
      index = this.#terms.push([false, [topicFilter], []]) - 1;
      this.#groupIndexes.set(topicFilter, index);
    }
    this.#add(message, index);
  }

  /** Adds a message for one durable session. */
  addForSession(message: FramedMessage, { clientId, retain, identifiers }: ForwardedToSession): void {
    const session: SessionTerms = [clientId, retain, identifiers ?? null];
    if (this.#lastSessions !== undefined && !this.#lastClients.has(clientId) && this.#isLast(message)) {
      this.#lastSessions.push(session);
    } else {
      const sessions = [session];
      this.#add(message, this.#terms.push([false, [], sessions]) - 1);
      this.#lastSessions = sessions;
      this.#lastClients.clear();
    }
    this.#lastClients.add(clientId);
  }

  /** The frame with all that has been added; the builder is empty again. The bytes are good until the next one is finished. */
  finish({ nodeId, incarnation, number, sentAt }: FrameOrigin): Uint8Array {
    const indexes = this.#indexes.subarray(0, this.#count * INDEX_SIZE);
    const packets = this.#packets.subarray(0, this.#size);
    const frame: EncodedFrame = [
      FRAME,
      nodeId,
      incarnation,
      number,
      sentAt,
      this.#publishers,
      this.#terms,
      indexes,
      packets,
    ];
    // Memory for each frame anew would cost as much as all else about it.
    const bytes = this.#encoder.encodeSharedRef(frame);
    if (this.#packets.length > LARGEST_KEPT) {
      this.#packets = new Uint8Array(4096);
      this.#encoder = new Encoder();
    }
    this.#size = 0;
    this.#count = 0;
    this.#publishers = [];
    this.#publisherIndexes.clear();
    this.#lastPublisherIndex = -1;
    this.#terms.length = 1;
    this.#groupIndexes.clear();
    this.#lastSessions = undefined;
    return bytes;
  }

  #add({ publish, publisherId }: FramedMessage, terms: number): void {
    if (this.#size + publish.length > this.#packets.length) this.#packets = grown(this.#packets, publish.length);
    this.#packets.set(publish, this.#size);
    this.#size += publish.length;
    const offset = this.#count * INDEX_SIZE;
    if (offset === this.#indexes.length) this.#indexes = grown(this.#indexes, INDEX_SIZE);
    const publisher = this.#publisherIndex(publisherId);
    this.#indexes[offset] = publisher;
    this.#indexes[offset + 1] = publisher >>> 8;
    this.#indexes[offset + 2] = terms;
    this.#indexes[offset + 3] = terms >>> 8;
    this.#count += 1;
    this.#lastSessions = undefined;
  }

  #publisherIndex(publisherId: string | undefined): number {
    // Messages of one publisher mostly come in a row.
    if (publisherId === this.#lastPublisher && this.#lastPublisherIndex !== -1) return this.#lastPublisherIndex;
    let index = this.#publisherIndexes.get(publisherId);
    if (index === undefined) {
      index = this.#publishers.push(publisherId ?? null) - 1;
      this.#publisherIndexes.set(publisherId, index);
    }
    this.#lastPublisher = publisherId;
    this.#lastPublisherIndex = index;
    return index;
  }

  /** Whether the last message was the same. If another one was, that is the same byte for byte, nobody can tell. */
  #isLast({ publish, publisherId }: FramedMessage): boolean {
    const start = this.#size - publish.length;
    if (start < 0 || this.#publisherIndex(publisherId) !== this.#publisherOfLast()) return false;
    for (let index = 0; index < publish.length; index++) {
      if (this.#packets[start + index] !== publish[index]) return false;
    }
    return true;
  }

  #publisherOfLast(): number {
    const offset = (this.#count - 1) * INDEX_SIZE;
    return this.#indexes[offset] | (this.#indexes[offset + 1] << 8);
  }
}

function grown(bytes: Uint8Array, by: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(bytes.length * 2, bytes.length + by));
  larger.set(bytes);
  return larger;
}

/** A frame that has come. */
export class Frame implements FrameOrigin {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly number: number;
  readonly sentAt: number;
  readonly #publishers: (string | null)[];
  readonly #terms: Terms[];
  readonly #indexes: Uint8Array;
  readonly #packets: Uint8Array;

  /**
   * @param fields The msgpack array that a frame is, decoded.
   * @throws {Error} If it is none.
   */
  constructor(fields: unknown) {
    if (!isFrame(fields)) throw new Error("malformed frame");
    const [, nodeId, incarnation, number, sentAt, publishers, terms, indexes, packets] = fields;
    this.nodeId = nodeId;
    this.incarnation = incarnation;
    this.number = number;
    this.sentAt = sentAt;
    this.#publishers = publishers;
    this.#terms = terms;
    this.#indexes = indexes;
    this.#packets = packets;
  }

  /** How many bytes its packets have. */
  get size(): number {
    return this.#packets.length;
  }

  /**
   * Calls `deliver` with one message after the other; their bytes lie in the frame.
   *
   * @throws {Error} If the frame is malformed; what comes before the fault has been delivered.
   */
  forEach(deliver: (publish: Uint8Array, forwarded: Forwarded) => void): void {
    const count = this.#indexes.length / INDEX_SIZE;
    let start = 0;
    let lastPublisher = -1;
    let lastTerms = -1;
    let forwarded: Forwarded | undefined;
    for (let message = 0; message < count; message++) {
      const offset = message * INDEX_SIZE;
      const publisher = this.#indexes[offset] | (this.#indexes[offset + 1] << 8);
      const terms = this.#indexes[offset + 2] | (this.#indexes[offset + 3] << 8);
      if (forwarded === undefined || publisher !== lastPublisher || terms !== lastTerms) {
        forwarded = this.#forwarded(publisher, terms);
        lastPublisher = publisher;
        lastTerms = terms;
      }
      const end = packetEnd(this.#packets, start);
      deliver(this.#packets.subarray(start, end), forwarded);
      start = end;
    }
  }

  #forwarded(publisher: number, index: number): Forwarded {
    const terms = this.#terms[index];
    if (terms === undefined) throw new Error("malformed frame: a message is for nobody");
    const [toAll, groups, sessions] = terms;
    return {
      publisherId: this.#publishers[publisher] ?? undefined,
      sentAt: this.sentAt,
      toAll,
      groups,
      sessions: sessions.map(([clientId, retain, identifiers]) => (
        { clientId, retain, identifiers: identifiers ?? undefined }
      )),
    };
  }
}

function isFrame(fields: unknown): fields is EncodedFrame {
  if (!Array.isArray(fields) || fields.length !== 9) return false;
  const [type, nodeId, incarnation, number, sentAt, publishers, terms, indexes, packets] = fields;
  return type === FRAME && typeof nodeId === "string" && typeof incarnation === "string" &&
    typeof number === "number" && typeof sentAt === "number" && Array.isArray(publishers) && Array.isArray(terms) &&
    indexes instanceof Uint8Array && packets instanceof Uint8Array;
}

/** Where the packet ends that begins at `start`: its length stands in its second byte and those that follow it. */
function packetEnd(bytes: Uint8Array, start: number): number {
  let length = 0;
  for (let index = 0; index < 4; index++) {
    const byte = bytes[start + 1 + index];
    if (byte === undefined) break;
    length |= (byte & 0x7f) << (7 * index);
    if (byte >= 0x80) continue;
    const end = start + 2 + index + length;
    if (end > bytes.length) break;
    return end;
  }
  throw new Error("malformed frame: a message is cut off");
}
