import type { RedisCommand, RedisValue } from "./command.ts";
import { changeScript } from "./scripts.ts";
import type { SessionKeys } from "./session_keys.ts";
import type { Change } from "./writer.ts";

/** The place of each kind of key among those of a session. */
const place = { none: 0, session: 1, subscriptions: 2, queue: 3, inflight: 4, received: 5 } as const;

/** So many values go into one command at most: scripts cannot take more at once. */
const MOST_VALUES = 1000;

/** So many values go into one script at most, a command's more: a call cannot have any number of them. */
const MOST_IN_SCRIPT = 10_000;

/** What a {@linkcode SessionChange} is given. */
export interface SessionChangeOptions {
  readonly clientId: string;
  readonly keys: SessionKeys;
  /** The claim under which the changes are made, when they are sent. */
  readonly claim: () => string | undefined;
  /** Called if that is not the session's any more. */
  readonly onLost: () => void;
  /** Called if another node looks after the session, but its client has not gone there. */
  readonly onAdopted: () => void;
  /** As in {@linkcode Change}. */
  readonly isLast: boolean;
  /** Publishes an event, where the session's server is not the one by which events go: in a Redis Cluster. */
  readonly publish: ((channel: string, event: Uint8Array) => void) | undefined;
}

/** What is changed of one session in one batch; nothing of it if the session has gone to another node meanwhile. */
export class SessionChange implements Change {
  readonly isLast: boolean;
  readonly #options: SessionChangeOptions;
  readonly #commands: RedisValue[][] = [];
  /** By their numbers, the messages that are in flight now. */
  readonly #inflight = new Map<number, () => string>();
  readonly #removed = new Set<number>();
  /** What is published when all that is made. */
  readonly #events: [channel: string, event: Uint8Array][] = [];
  /** By packet identifier, whether the client has sent the message and not released it. */
  readonly #received = new Map<number, boolean>();

  constructor(options: SessionChangeOptions) {
    this.#options = options;
    this.isLast = options.isLast;
  }

  /** A command on one of the session's keys. */
  add(name: string, key: Exclude<keyof typeof place, "none">, ...values: RedisValue[]): void {
    if (values.length > 0) this.#push(name, place[key], values);
  }

  /** Tells all nodes when the changes are made. */
  publish(channel: string, event: Uint8Array): void {
    if (this.#options.publish === undefined) this.#push("PUBLISH", place.none, [channel, event]);
    else this.#events.push([channel, event]);
  }

  /** A message is in flight. What is stored of that is asked for when it is sent. */
  setInflight(number: number, state: () => string): void {
    this.#inflight.set(number, state);
  }

  /** A message is done. */
  remove(number: number): void {
    this.#inflight.delete(number);
    this.#removed.add(number);
  }

  /** The client has sent a QoS 2 message, or has released it. */
  setReceived(packetId: number, isReceived: boolean): void {
    this.#received.set(packetId, isReceived);
  }

  /** All that the session holds goes, and what was to be changed of it. */
  removeContents(): void {
    this.#inflight.clear();
    this.#removed.clear();
    this.#received.clear();
    for (const key of ["subscriptions", "queue", "inflight", "received"] as const) this.#push("DEL", place[key], []);
  }

  /** All of it goes. */
  removeAll(): void {
    this.removeContents();
    this.#push("DEL", place.session, []);
  }

  commands(): RedisCommand[] {
    const claim = this.#options.claim();
    if (claim === undefined) return [];
    const keys = this.#options.keys.all(this.#options.clientId);
    return [...this.#parts()].map((values) => ["EVALSHA", changeScript.sha, keys.length, ...keys, claim, ...values]);
  }

  settled(replies: readonly unknown[]): void {
    const { onLost, onAdopted, publish } = this.#options;
    if (replies.includes(0)) return onLost();
    if (replies.includes(2)) onAdopted();
    for (const event of this.#events) publish!(...event);
  }

  /** The commands' values, as many as one script takes at a time. */
  *#parts(): Generator<RedisValue[]> {
    let part: RedisValue[] = [];
    for (const values of [...this.#commands, ...this.#collected()]) {
      if (part.length + values.length > MOST_IN_SCRIPT) {
        yield part;
        part = [];
      }
      part.push(...values);
    }
    yield part;
  }

  *#collected(): Generator<RedisValue[]> {
    yield* commandsOf("XDEL", place.queue, [...this.#removed].map((number) => `${number}-0`));
    yield* commandsOf("HDEL", place.inflight, [...this.#removed]);
    const states = [...this.#inflight].flatMap(([number, state]) => [number, state()]);
    yield* commandsOf("HSET", place.inflight, states);
    const received = (isReceived: boolean) =>
      [...this.#received].filter(([, value]) => value === isReceived).map(([packetId]) => packetId);
    yield* commandsOf("SADD", place.received, received(true));
    yield* commandsOf("SREM", place.received, received(false));
  }

  #push(name: string, key: number, values: RedisValue[]): void {
    this.#commands.push([values.length, name, key, ...values]);
  }
}

function* commandsOf(name: string, key: number, values: RedisValue[]): Generator<RedisValue[]> {
  for (let from = 0; from < values.length; from += MOST_VALUES) {
    const part = values.slice(from, from + MOST_VALUES);
    yield [part.length, name, key, ...part];
  }
}
