import { encode } from "@msgpack/msgpack";
import { type Arrived, stateOf } from "./arrivals.ts";
import type { LocalSession } from "./local_session.ts";
import type { Qos } from "../../codec/mod.ts";
import type { RedisCommand, RedisValue } from "./command.ts";
import { type EncodedMessages, encodeEntry, type QueueEntry } from "./queue_entry.ts";
import { appendScript } from "./scripts.ts";
import type { SessionKeys } from "./session_keys.ts";
import type { Change } from "./writer.ts";

/** The first element of an arrival, which a node gets on its own channel: `[ARRIVAL, clientId, first, entries]`. */
export const ARRIVAL = "arrival";

/** The first element of what the node that has dropped messages is told of them: `[DROPPED, clientId, entries]`. */
export const DROPPED = "dropped";

/** How much a session's queue holds while its client is not connected, and what happens to more. */
export interface QueueLimits {
  /** In messages. */
  readonly messages: number;
  /** In bytes. */
  readonly bytes: number;
  /** Whether the oldest are dropped then, and not the new ones. */
  readonly dropsOldest: boolean;
}

/** A message that is to be appended to a queue. */
export interface AppendedItem {
  readonly entry: QueueEntry;
  /** How much room it takes in the queue, in bytes; known when it has been sent. */
  size: number;
  /** Where it is kept in mind, if it goes out without coming back from the queue. */
  readonly own: { readonly local: LocalSession; readonly arrived: Arrived } | undefined;
  /** The client that will send it again if it is not acknowledged, or in whose session it has waited before. */
  readonly guardianId: string | undefined;
  /** At which QoS it was published. */
  readonly publishedQos: Qos;
}

/** What became of messages that were to be appended. */
export interface Appended {
  /** Where the client is connected; empty if it is not. */
  readonly node: string;
  readonly dropped: number;
  /**
   * The messages with their numbers, in their order; 0 for one that was dropped, or refused. Missing if it cannot be told:
   * they were appended before, and not all of them are meant now.
   */
  readonly items: readonly (readonly [number: number, item: AppendedItem])[] | undefined;
}

/** What a {@linkcode QueueAppend} is given. */
export interface QueueAppendOptions {
  readonly clientId: string;
  readonly keys: SessionKeys;
  /** What the channels of all nodes begin with. */
  readonly channelPrefix: string;
  readonly nodeId: string;
  readonly incarnation: string;
  readonly limits: QueueLimits;
  readonly messages: EncodedMessages;
  /** The claim of a session here; `undefined` if it is not here. */
  readonly claimOf: (clientId: string) => string | undefined;
  /** Whether a script may look at several sessions: not on a Redis Cluster. */
  readonly isGuarded: boolean;
  /** Whether messages that are dropped are to come back as an event. */
  readonly observesDrops: () => boolean;
  /** Told when the messages are in the queue; `undefined` if there is no such session, or nothing to append. */
  readonly onAppended: (appended: Appended | undefined) => void;
}

const ARRAY_OF_3 = 0x93;
const ARRAY_OF_4 = 0x94;

/** Messages that one batch appends to one session's queue. */
export class QueueAppend implements Change {
  readonly #options: QueueAppendOptions;
  #items: AppendedItem[] = [];
  /** How many there were when they were sent first. */
  #firstSent: number | undefined;

  constructor(options: QueueAppendOptions) {
    this.#options = options;
  }

  push(item: AppendedItem): void {
    this.#items.push(item);
  }

  /** Takes out the QoS 2 messages of a client that has gone to another node: it sends them again there, or has them there. */
  withdraw(guardianId: string): void {
    this.#items = this.#items.filter((item) => item.guardianId !== guardianId || item.publishedQos < 2);
  }

  commands(batchNumber: number): RedisCommand[] {
    const { clientId, keys, channelPrefix, nodeId, incarnation, limits, claimOf, messages } = this.#options;
    this.#firstSent ??= this.#items.length;
    if (this.#items.length === 0) return [];
    const arrival = encode([ARRIVAL, clientId]);
    arrival[0] = ARRAY_OF_4;
    const dropped = encode([DROPPED, clientId]);
    dropped[0] = ARRAY_OF_3;
    const guards = this.#guards();
    const allKeys = [keys.session(clientId), keys.queue(clientId), keys.inflight(clientId), ...guards.keys];
    const values: RedisValue[] = [arrival, nodeId, incarnation, batchNumber, claimOf(clientId) ?? ""];
    values.push(bounded(limits.messages), bounded(limits.bytes), limits.dropsOldest ? 1 : 0, channelPrefix);
    values.push(this.#options.observesDrops() ? dropped : "", Math.floor(Date.now() / 1000));
    for (const item of this.#items) {
      // Not before: while they wait for Redis one copy of them is enough.
      const encoded = encodeEntry(item.entry, messages.of(item.entry.message, batchNumber));
      item.size = encoded.length;
      values.push(encoded, item.own === undefined ? "" : stateOf(item.own.arrived), guards.of(item));
    }
    return [["EVALSHA", appendScript.sha, allKeys.length, ...allKeys, ...values]];
  }

  settled(replies: readonly unknown[]): void {
    const [reply] = replies as ([first: number, node: string, dropped: number, numbers?: number[]] | null)[];
    if (!reply) return this.#options.onAppended(undefined);
    const [first, node, dropped, numbers] = reply;
    const isCertain = this.#firstSent === this.#items.length;
    const items = this.#items.map((item, index) => [numbers?.[index] ?? first + index, item] as const);
    this.#options.onAppended({ node, dropped, items: isCertain ? items : undefined });
  }

  /** The sessions of the clients that these QoS 2 messages come from, under their claims here. */
  #guards(): { keys: string[]; of: (item: AppendedItem) => string } {
    const { keys, claimOf, isGuarded } = this.#options;
    const places = new Map<string, string>();
    const guardKeys: string[] = [];
    const of = ({ guardianId, publishedQos }: AppendedItem) => {
      if (!isGuarded || guardianId === undefined || publishedQos < 2) return "";
      let guard = places.get(guardianId);
      if (guard === undefined) {
        const claim = claimOf(guardianId);
        if (claim === undefined) guard = "";
        else guard = `${3 + guardKeys.push(keys.session(guardianId))} ${claim}`;
        places.set(guardianId, guard);
      }
      return guard;
    };
    for (const item of this.#items) of(item);
    return { keys: guardKeys, of };
  }
}

/** A number for a script, which knows no infinity. */
function bounded(value: number): number {
  return Math.min(value, Number.MAX_SAFE_INTEGER);
}
