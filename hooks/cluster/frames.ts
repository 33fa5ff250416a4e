import { encode, Encoder } from "@msgpack/msgpack";
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

/** The second one, which changes with the format: versions that do not understand each other must not seem to. */
const FORMAT = 2;

/**
 * A frame as it travels: one msgpack array. `packets` are PUBLISH packets, one behind the other; they come early, so that
 * they can be collected where they go out from. Those of one publisher and on the same terms that follow each other are a
 * run. For each run `runs` holds its publisher's place in `publishers` and its terms' place in `terms`, two bytes each, and
 * how many bytes its packets have, in four, always the low one first.
 */
type EncodedFrame = [
  type: typeof FRAME,
  format: typeof FORMAT,
  packets: Uint8Array,
  nodeId: string,
  incarnation: string,
  number: number,
  sentAt: number,
  publishers: (string | null)[],
  terms: Terms[],
  runs: Uint8Array,
];

/** So many messages have room in one frame: the places of their publishers and terms have two bytes. */
export const MOST_MESSAGES = 0xffff;

/** What is in front of a frame's packets: an array of ten elements, two of them, and the mark of bytes with their length. */
const HEAD = new Uint8Array([0x9a, ...encode(FRAME), FORMAT, 0xc6, 0, 0, 0, 0]);

/** The memory of a builder's first frame, in bytes. */
const FIRST_ALLOCATION = 4096;

/** How much memory is kept for the frames that are to come, in bytes: pieces of this size, and so many of them. */
const LARGEST_KEPT = 1024 * 1024;
const MOST_KEPT = 2;

/** How many bytes of a builder's memory are not the frame's: they are for whoever sends it. */
export interface Margins {
  readonly before: number;
  readonly after: number;
}

/** A frame's elements behind its packets. */
type RestOfFrame = EncodedFrame extends [unknown, unknown, unknown, ...infer Rest] ? Rest : never;

const noBytes = new Uint8Array(0);
const RUN_SIZE = 8;
const FOR_ALL = 0;

/** Collects messages for one node. */
export class FrameBuilder {
  readonly #margins: Margins;
  /** Where the packets begin in `#bytes`. */
  readonly #start: number;
  /** The margin, what is in front of the packets, and the packets. */
  #bytes: Uint8Array<ArrayBuffer> = noBytes;
  readonly #kept: Uint8Array<ArrayBuffer>[] = [];
  /** How many bytes of packets there are. */
  #size = 0;
  #count = 0;
  #runs = new DataView(new ArrayBuffer(512));
  /** How many bytes of `#runs` are used by those that have ended. */
  #runsSize = 0;
  /** Where the packets of the run begin that goes on. */
  #runStart = 0;
  #runPublisher: string | undefined = undefined;
  #runTerms = FOR_ALL;
  #publishers: (string | null)[] = [];
  #publisherIndexes = new Map<string | undefined, number>();
  #terms: Terms[] = [[true, [], []]];
  #groupIndexes = new Map<string, number>();
  /** The last message's sessions, if it is for sessions. */
  #lastSessions: SessionTerms[] | undefined = undefined;
  #lastClients = new Set<string>();
  readonly #encoder = new Encoder();

  constructor(margins: Margins = { before: 0, after: 0 }) {
    this.#margins = margins;
    this.#start = margins.before + HEAD.length;
  }

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

  /** The frame with all that has been added; the builder is empty again. Its memory may be given back with `reuse`. */
  finish({ nodeId, incarnation, number, sentAt }: FrameOrigin): Uint8Array<ArrayBuffer> {
    this.#endRun();
    const { before, after } = this.#margins;
    const runs = new Uint8Array(this.#runs.buffer, 0, this.#runsSize);
    const rest: RestOfFrame = [nodeId, incarnation, number, sentAt, this.#publishers, this.#terms, runs];
    // They are the frame's elements, not an array's of their own.
    const encodedRest = this.#encoder.encodeSharedRef(rest).subarray(1);
    const end = this.#start + this.#size;
    this.#reserve(end + encodedRest.length + after);
    const bytes = this.#bytes;
    bytes.set(HEAD, before);
    new DataView(bytes.buffer).setUint32(this.#start - 4, this.#size);
    bytes.set(encodedRest, end);
    this.#bytes = noBytes;
    this.#size = 0;
    this.#count = 0;
    this.#runsSize = 0;
    this.#runStart = 0;
    this.#publishers = [];
    this.#publisherIndexes.clear();
    this.#terms.length = 1;
    this.#groupIndexes.clear();
    this.#lastSessions = undefined;
    return bytes.subarray(before, end + encodedRest.length);
  }

  /** Has the memory of a frame used again, of which nobody has any more need: memory anew would cost more than all else. */
  reuse(frame: Uint8Array<ArrayBuffer>): void {
    if (this.#kept.length < MOST_KEPT && frame.buffer.byteLength <= LARGEST_KEPT) {
      this.#kept.push(new Uint8Array(frame.buffer));
    }
  }

  #add({ publish, publisherId }: FramedMessage, terms: number): void {
    if (publisherId !== this.#runPublisher || terms !== this.#runTerms) {
      this.#endRun();
      this.#runPublisher = publisherId;
      this.#runTerms = terms;
    }
    const start = this.#start + this.#size;
    const end = start + publish.length;
    if (end > this.#bytes.length) this.#reserve(end);
    this.#bytes.set(publish, start);
    this.#size += publish.length;
    this.#count += 1;
    this.#lastSessions = undefined;
  }

  /** Sees to it that there are so many bytes. */
  #reserve(length: number): void {
    if (this.#bytes.length === 0) this.#bytes = this.#kept.pop() ?? new Uint8Array(FIRST_ALLOCATION);
    if (this.#bytes.length < length) this.#bytes = grown(this.#bytes, length);
  }

  #endRun(): void {
    const size = this.#size - this.#runStart;
    if (size === 0) return;
    const offset = this.#runsSize;
    if (offset === this.#runs.byteLength) {
      const bytes = new Uint8Array(this.#runs.buffer);
      this.#runs = new DataView(grown(bytes, 2 * offset).buffer);
    }
    this.#runs.setUint16(offset, this.#publisherIndex(this.#runPublisher), true);
    this.#runs.setUint16(offset + 2, this.#runTerms, true);
    this.#runs.setUint32(offset + 4, size, true);
    this.#runsSize += RUN_SIZE;
    this.#runStart = this.#size;
  }

  #publisherIndex(publisherId: string | undefined): number {
    let index = this.#publisherIndexes.get(publisherId);
    if (index === undefined) {
      index = this.#publishers.push(publisherId ?? null) - 1;
      this.#publisherIndexes.set(publisherId, index);
    }
    return index;
  }

  /** Whether the last message was the same. If another one was, that is the same byte for byte, nobody can tell. */
  #isLast({ publish, publisherId }: FramedMessage): boolean {
    // It is alone in its run.
    if (this.#size - publish.length !== this.#runStart || publisherId !== this.#runPublisher) return false;
    const start = this.#start + this.#size - publish.length;
    for (let index = 0; index < publish.length; index++) {
      if (this.#bytes[start + index] !== publish[index]) return false;
    }
    return true;
  }
}

/** A copy with room for so many bytes at least. */
function grown(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(bytes.length * 2, length));
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
  readonly #runs: DataView;
  readonly #packets: Uint8Array;

  /**
   * @param fields The msgpack array that a frame is, decoded.
   * @throws {Error} If it is none.
   */
  constructor(fields: unknown) {
    if (!isFrame(fields)) throw new Error("malformed frame");
    const [, , packets, nodeId, incarnation, number, sentAt, publishers, terms, runs] = fields;
    this.nodeId = nodeId;
    this.incarnation = incarnation;
    this.number = number;
    this.sentAt = sentAt;
    this.#publishers = publishers;
    this.#terms = terms;
    this.#runs = new DataView(runs.buffer, runs.byteOffset, runs.byteLength);
    this.#packets = packets;
  }

  /** How many bytes its packets have. */
  get size(): number {
    return this.#packets.length;
  }

  /**
   * Calls `deliver` with the packets of one run after the other; they lie in the frame.
   *
   * @throws {Error} If the frame is malformed; what comes before the fault has been delivered.
   */
  forEachRun(deliver: (packets: Uint8Array, forwarded: Forwarded) => void): void {
    let start = 0;
    for (let offset = 0; offset < this.#runs.byteLength; offset += RUN_SIZE) {
      const end = start + this.#runs.getUint32(offset + 4, true);
      if (end > this.#packets.length) throw new Error("malformed frame: a message is cut off");
      const publisher = this.#runs.getUint16(offset, true);
      const terms = this.#runs.getUint16(offset + 2, true);
      deliver(this.#packets.subarray(start, end), this.#forwarded(publisher, terms));
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
  if (!Array.isArray(fields) || fields[0] !== FRAME) return false;
  if (fields[1] !== FORMAT) throw new Error("a frame of another version of the broker");
  const [, , packets, nodeId, incarnation, number, sentAt, publishers, terms, runs] = fields;
  return packets instanceof Uint8Array && typeof nodeId === "string" && typeof incarnation === "string" &&
    typeof number === "number" &&
    typeof sentAt === "number" && Array.isArray(publishers) && Array.isArray(terms) &&
    runs instanceof Uint8Array && runs.length % RUN_SIZE === 0;
}
