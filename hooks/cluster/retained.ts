import { decode as decodeMessagePack, encode as encodeMessagePack } from "@msgpack/msgpack";
import type { ClusterContext } from "../../broker/hooks.ts";
import type { Logger } from "../../broker/logger.ts";
import type { MaybePromise } from "../../broker/maybe_promise.ts";
import { decode, encode, type PublishPacket } from "../../codec/mod.ts";
import { covers, levelsOf } from "../acl/topic_levels.ts";
import type { Channel } from "./channel.ts";
import type { RedisCommand } from "./command.ts";
import type { NodeKeys } from "./node_keys.ts";
import { defineScript, type Link } from "./link.ts";
import { scanSet } from "./scan.ts";
import type { Change, Writer } from "./writer.ts";

/** A retained message as it is stored: when it was received, in milliseconds since 1970, and an MQTT 5 PUBLISH. */
type Stored = [receivedAt: number, publish: Uint8Array];

/** A topic's retained message has changed. One without a payload is none. */
type RetainedEvent = [type: typeof RETAINED, incarnation: string, number: number, stored: Stored];
const RETAINED = "retained";

/**
 * Stores or removes a retained message and tells all nodes: these see the changes of a topic in the order in which they
 * were made.
 *
 * KEYS: the message; on a single server also the index. ARGV: topic, the message or "", its lifetime in milliseconds or
 * "", events channel, event, "1" if it must not replace another one.
 */
const storeScript = defineScript(`
if ARGV[6] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[1])
  if KEYS[2] then redis.call('SREM', KEYS[2], ARGV[1]) end
else
  if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
  if KEYS[2] then redis.call('SADD', KEYS[2], ARGV[1]) end
end
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
`);

/**
 * Reads messages up to the first one with which they are more than so many bytes: one reply with all of them might be more
 * than Redis, or we, have memory for.
 *
 * KEYS: the messages. ARGV: the bytes. Returns the messages, nil for each that is not there.
 */
const readScript = defineScript(`
local messages, bytes = {}, 0
for i, key in ipairs(KEYS) do
  messages[i] = redis.call('GET', key)
  bytes = bytes + (messages[i] and #messages[i] or 0)
  if bytes > tonumber(ARGV[1]) then break end
end
return messages
`);

/** So many bytes are read at a time, but for the last message. */
const READ_BYTES = 4 * 1024 * 1024;

/** So many messages of a Redis Cluster are read at a time: their keys lie on different servers. */
const READ_OF_CLUSTER = 32;

/** What {@linkcode RetainedMessages} are given. */
export interface RetainedOptions {
  readonly link: Link;
  readonly writer: Writer;
  readonly keys: NodeKeys;
  readonly incarnation: string;
  readonly cluster: ClusterContext;
  readonly logger: Logger;
}

/**
 * The retained messages of the cluster: every node's broker has all of them in memory, and Redis decides which one of two
 * that come at the same time is the last.
 */
export class RetainedMessages {
  readonly #options: RetainedOptions;
  /** The last change of ours to each topic that has not come back as an event: others before it do not matter any more. */
  readonly #awaited = new Map<string, RetainedChange>();
  /** The topics that events have been about since all are read from Redis. */
  #touched: Set<string> | undefined;
  #lastNumber = 0;
  #isLoaded = false;
  /** What is left of the index in this round of the check. */
  #unchecked: AsyncGenerator<string[]> | undefined;

  /** @param events The channel of all nodes. */
  constructor(options: RetainedOptions, events: Channel) {
    this.#options = options;
    events.on(RETAINED, (fields) => this.#apply(fields as RetainedEvent));
  }

  /**
   * Stores a topic's retained message, here and in Redis; one without a payload removes it. Settles when Redis has it.
   *
   * @throws {ReasonCodeError} As a rejection: 0x97 if too much waits for Redis.
   */
  store(topic: string, packet: PublishPacket): MaybePromise<void> {
    // They describe one broker, and every other one has its own.
    if (topic.startsWith("$SYS/")) return;
    const { writer, cluster } = this.#options;
    if (writer.refuses) return Promise.reject(writer.refusal());
    const message = { ...packet, topic, retain: true };
    cluster.setRetained(message, Date.now());
    return this.#write(message, false);
  }

  /** The retained messages whose topics match a filter. */
  matching(topicFilter: string): PublishPacket[] {
    const filter = levelsOf(topicFilter);
    return [
      ...this.#options.cluster.retained()
        .map(({ packet }) => packet)
        .filter(({ topic }) => covers(filter, topic.split("/"))),
    ];
  }

  /**
   * Makes what the broker has what Redis has. What is only here is added to Redis the first time, or if that was emptied;
   * otherwise it has been removed while we were cut off.
   */
  async load({ isEmptied }: { isEmptied: boolean }): Promise<void> {
    const { cluster, logger } = this.#options;
    const touched = this.#touched = new Set();
    for (const [topic, { isApplied }] of this.#awaited) if (isApplied) this.#awaited.delete(topic);
    const isChanging = (topic: string) => touched.has(topic) || this.#awaited.has(topic);
    const here = new Map<string, PublishPacket>();
    for (const { packet } of cluster.retained()) {
      if (!packet.topic.startsWith("$SYS/")) here.set(packet.topic, packet);
    }
    for await (const [topic, value] of this.#readAll()) {
      const known = here.get(topic);
      here.delete(topic);
      if (isChanging(topic)) continue;
      try {
        const { packet, receivedAt } = fromStored(decodeMessagePack(value) as Stored);
        if (known === undefined || !isSame(known, packet)) cluster.setRetained(packet, receivedAt);
      } catch (error) {
        logger.error("the retained message of {topic} in Redis is of no use: {error}", { topic, error });
      }
    }
    for (const [topic, packet] of here) {
      if (isChanging(topic)) continue;
      if (isEmptied || !this.#isLoaded) this.#write(packet, true).catch(() => {});
      else this.#forget(topic);
    }
    this.#touched = undefined;
    this.#isLoaded = true;
  }

  /**
   * Takes the topics whose messages have expired out of a part of the index, out of all of it in the course of some rounds:
   * for every few seconds. Redis removes expired messages by itself, but not from there.
   */
  async checkRound(): Promise<void> {
    const { link, keys } = this.#options;
    this.#unchecked ??= scanSet(link, keys.retainedIndex);
    const { value: topics } = await this.#unchecked.next();
    if (topics === undefined) this.#unchecked = undefined;
    else await this.#correctIndex(await this.#withoutMessage(topics));
  }

  #write(packet: PublishPacket, isOnlyIfNone: boolean): Promise<void> {
    const { writer, link } = this.#options;
    const { topic } = packet;
    const message = { packet, receivedAt: Date.now(), number: ++this.#lastNumber, isOnlyIfNone };
    const last = this.#awaited.get(topic);
    const bytes = topic.length + packet.payload.length;
    if (last !== undefined && writer.holds(last)) {
      last.message = message;
      return writer.addLasting(last, bytes);
    }
    const change = new RetainedChange(message, this.#options, () => this.#reload(topic));
    this.#awaited.set(topic, change);
    const applied = writer.addLasting(change, bytes);
    applied.catch(() => this.#reload(topic));
    return link.isCluster ? applied.then(() => this.#correctIndex([topic])) : applied;
  }

  #apply([, incarnation, number, stored]: RetainedEvent): void {
    const { packet, receivedAt } = fromStored(stored);
    const { topic } = packet;
    this.#touched?.add(topic);
    const awaited = this.#awaited.get(topic);
    if (incarnation !== this.#options.incarnation) {
      if (awaited === undefined) this.#options.cluster.setRetained(packet, receivedAt);
    } else if (awaited !== undefined && number >= awaited.message.number) {
      this.#awaited.delete(topic);
    }
  }

  #forget(topic: string): void {
    const none: PublishPacket = {
      type: "publish",
      topic,
      payload: new Uint8Array(0),
      qos: 0,
      retain: true,
      dup: false,
    };
    this.#options.cluster.setRetained(none, Date.now());
  }

  /** Takes over what Redis has of one topic: our own change was not made. */
  async #reload(topic: string): Promise<void> {
    const { link, keys, cluster, logger } = this.#options;
    this.#awaited.delete(topic);
    try {
      const value = await link.call("GET", keys.retained(topic)) as Uint8Array | null;
      if (this.#awaited.has(topic)) return;
      if (value === null) return this.#forget(topic);
      const { packet, receivedAt } = fromStored(decodeMessagePack(value) as Stored);
      cluster.setRetained(packet, receivedAt);
    } catch (error) {
      // After a reconnection all are read anew.
      if (link.isConnected) logger.error("the retained message of {topic} cannot be read: {error}", { topic, error });
    }
  }

  /** All retained messages that Redis has. */
  async *#readAll(): AsyncGenerator<[topic: string, value: Uint8Array]> {
    const { link, keys } = this.#options;
    for await (const topics of scanSet(link, keys.retainedIndex)) {
      const expired: string[] = [];
      for (let index = 0; index < topics.length;) {
        for (const value of await this.#readSome(topics.slice(index))) {
          const topic = topics[index++];
          if (value === null) expired.push(topic);
          else yield [topic, value];
        }
      }
      await this.#correctIndex(expired);
    }
  }

  /** The messages of the first ones of these topics. */
  #readSome(topics: readonly string[]): Promise<(Uint8Array | null)[]> {
    const { link, keys } = this.#options;
    const names = topics.map((topic) => keys.retained(topic));
    if (!link.isCluster) return link.run(readScript, names, [READ_BYTES]) as Promise<(Uint8Array | null)[]>;
    const some = names.slice(0, READ_OF_CLUSTER);
    return Promise.all(some.map((name) => link.call("GET", name) as Promise<Uint8Array | null>));
  }

  /**
   * Makes the index say whether topics have a retained message. Whoever adds a message puts its topic into the index
   * afterwards: either that comes behind our taking it out, or we see the message.
   */
  async #correctIndex(topics: readonly string[]): Promise<void> {
    const { link, keys } = this.#options;
    if (topics.length === 0) return;
    await link.call("SREM", keys.retainedIndex, ...topics);
    const absent = new Set(await this.#withoutMessage(topics));
    const present = topics.filter((topic) => !absent.has(topic));
    if (present.length > 0) await link.call("SADD", keys.retainedIndex, ...present);
  }

  async #withoutMessage(topics: readonly string[]): Promise<string[]> {
    const { link, keys } = this.#options;
    const found = await Promise.all(topics.map((topic) => link.call("EXISTS", keys.retained(topic))));
    return topics.filter((_topic, index) => found[index] === 0);
  }
}

/** A retained message on its way to Redis. */
interface OwnMessage {
  readonly packet: PublishPacket;
  readonly receivedAt: number;
  readonly number: number;
  readonly isOnlyIfNone: boolean;
}

class RetainedChange implements Change {
  message: OwnMessage;
  /** Whether Redis has it. */
  isApplied = false;
  readonly #options: RetainedOptions;
  readonly #onOther: () => void;

  /** @param onOther Called if there was another message, which it must not replace. */
  constructor(message: OwnMessage, options: RetainedOptions, onOther: () => void) {
    this.message = message;
    this.#options = options;
    this.#onOther = onOther;
  }

  commands(): RedisCommand[] {
    const { keys, incarnation, link } = this.#options;
    const { packet, receivedAt, number, isOnlyIfNone } = this.message;
    const { topic, payload, properties } = packet;
    const stored: Stored = [receivedAt, encode({ ...packet, packetId: 1 }, 5)];
    const event: RetainedEvent = [RETAINED, incarnation, number, stored];
    const lifetime = properties?.messageExpiryInterval;
    const names = link.isCluster ? [keys.retained(topic)] : [keys.retained(topic), keys.retainedIndex];
    return [[
      "EVALSHA",
      storeScript.sha,
      names.length,
      ...names,
      topic,
      payload.length === 0 ? "" : encodeMessagePack(stored),
      lifetime === undefined ? "" : Math.max(1, receivedAt + lifetime * 1000 - Date.now()),
      keys.events,
      encodeMessagePack(event),
      isOnlyIfNone ? 1 : 0,
    ]];
  }

  settled([isStored]: readonly unknown[]): void {
    this.isApplied = true;
    if (isStored === 0) this.#onOther();
  }
}

function fromStored([receivedAt, publish]: Stored): { packet: PublishPacket; receivedAt: number } {
  const { packetId: _meaningless, ...packet } = decode(publish, 5) as PublishPacket;
  return { packet, receivedAt };
}

function isSame(first: PublishPacket, second: PublishPacket): boolean {
  const [left, right] = [first, second].map((packet) => encode({ ...packet, packetId: 1 }, 5));
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}
