import { decodeTopicName } from "../../codec/publish.ts";
import { PacketError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import { encodeUtf8 } from "../../codec/utf8.ts";
import type { Limits } from "../limits.ts";
import { Slab } from "../slab.ts";
import type { Matches } from "./subscription_tree.ts";

const SLOTS = 1 << 17;
/** A crafted pile of colliding topics costs this many comparisons a look-up, not more. */
const LONGEST_PROBE = 16;

/** A topic name that has been seen, with all that is worth remembering about it. */
export class Topic {
  readonly name: string;
  /** The name in UTF-8. */
  readonly bytes: Uint8Array;
  /** Who gets a message on this topic, as the subscription tree was at `matchesVersion`. */
  matches: Matches | undefined = undefined;
  matchesVersion = -1;
  /** The generation in which it was looked up last. */
  generation = 0;

  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.bytes = bytes;
  }
}

/** So many bytes of topic names, and so many topics, are remembered of each of two generations. */
const MOST_BYTES = 4 * 1024 * 1024;
const MOST_TOPICS = SLOTS / 2;
/** So many deliveries to the topics' subscribers are remembered before all is forgotten. */
const MOST_DELIVERIES = 4 * 1024 * 1024;

/**
 * Finds a topic by the bytes in which it came, so that a known one is neither decoded nor checked nor matched again.
 *
 * Topics that have not been looked up in a whole generation, which is over when so many others have been, are forgotten.
 */
export class TopicCache {
  readonly #limits: Limits;
  readonly #slab = new Slab();
  #young = new Generation(0);
  #old = new Generation(-1);
  #deliveries = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * The topic whose name is `bytes[start, end)`.
   *
   * @throws {PacketError} 0x81 or 0x90 if it is not a topic name, 0x90 if it is longer or deeper than the limits allow.
   */
  find(bytes: Uint8Array, start: number, end: number): Topic {
    const home = hash(bytes, start, end) & (SLOTS - 1);
    const known = this.#young.find(bytes, start, end, home);
    if (known !== undefined) return known;
    const topic = this.#old.find(bytes, start, end, home) ?? this.#create(bytes, start, end);
    if (this.#young.isFull(topic)) this.#age();
    this.#young.add(topic, home);
    return topic;
  }

  /**
   * The topic with this name.
   *
   * @throws {PacketError} As `find` does.
   * @throws {RangeError} If the name is no string that MQTT can carry.
   */
  named(name: string): Topic {
    const bytes = encodeUtf8(name);
    return this.find(bytes, 0, bytes.length);
  }

  /** Has a topic remember who gets its messages, as the subscription tree is at this version. */
  rememberMatches(topic: Topic, matches: Matches, version: number): void {
    this.#deliveries += matches.deliveries.length - (topic.matches?.deliveries.length ?? 0);
    if (this.#deliveries > MOST_DELIVERIES) {
      this.#forgetAll();
      this.#deliveries = matches.deliveries.length;
    }
    topic.matches = matches;
    topic.matchesVersion = version;
  }

  #check({ name, bytes }: Topic): void {
    const { topicLength, topicLevels } = this.#limits;
    if (bytes.length > topicLength) {
      throw new PacketError(
        ReasonCode.TopicNameInvalid,
        `topic name is ${bytes.length} bytes long; at most ${topicLength} are accepted`,
      );
    }
    const levels = name.split("/").length;
    if (levels > topicLevels) {
      throw new PacketError(
        ReasonCode.TopicNameInvalid,
        `topic name has ${levels} levels; at most ${topicLevels} are accepted`,
      );
    }
  }

  #create(bytes: Uint8Array, start: number, end: number): Topic {
    const topic = new Topic(decodeTopicName(bytes, start, end), this.#slab.copy(bytes.subarray(start, end)));
    this.#check(topic);
    return topic;
  }

  /** A new generation begins. What retained messages and aliases still hold of topics that are forgotten is their names. */
  #age(): void {
    for (const topic of this.#old) {
      if (topic.generation === this.#young.number) continue;
      this.#deliveries -= topic.matches?.deliveries.length ?? 0;
      topic.matches = undefined;
    }
    this.#old = this.#young;
    this.#young = new Generation(this.#old.number + 1);
  }

  #forgetAll(): void {
    this.#age();
    this.#age();
    this.#deliveries = 0;
  }
}

/** Topics by the hashes of their names. */
class Generation {
  readonly number: number;
  #slots: (Topic | undefined)[] = [];
  #count = 0;
  #bytes = 0;

  constructor(number: number) {
    this.number = number;
  }

  find(bytes: Uint8Array, start: number, end: number, home: number): Topic | undefined {
    if (this.#count === 0) return undefined;
    for (let probe = 0; probe < LONGEST_PROBE; probe++) {
      const topic = this.#slots[(home + probe) & (SLOTS - 1)];
      if (topic === undefined || equal(topic.bytes, bytes, start, end)) return topic;
    }
    return undefined;
  }

  isFull(next: Topic): boolean {
    return this.#count >= MOST_TOPICS || (this.#count > 0 && this.#bytes + next.bytes.length > MOST_BYTES);
  }

  add(topic: Topic, home: number): void {
    topic.generation = this.number;
    if (this.#count === 0) this.#slots = new Array(SLOTS).fill(undefined);
    for (let probe = 0; probe < LONGEST_PROBE; probe++) {
      const slot = (home + probe) & (SLOTS - 1);
      if (this.#slots[slot] !== undefined) continue;
      this.#slots[slot] = topic;
      this.#count += 1;
      this.#bytes += topic.bytes.length;
      return;
    }
  }

  *[Symbol.iterator](): Generator<Topic> {
    for (const topic of this.#slots) if (topic !== undefined) yield topic;
  }
}

/** FNV-1a. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  let value = 0x811c9dc5 | 0;
  for (let index = start; index < end; index++) value = Math.imul(value ^ bytes[index], 0x01000193);
  return value ^ (value >>> 15);
}

function equal(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let index = start; index < end; index++) {
    if (known[index - start] !== bytes[index]) return false;
  }
  return true;
}
