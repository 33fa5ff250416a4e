import { encode } from "@msgpack/msgpack";
import type { RemoteMessage, StoredSubscription } from "../../broker/hooks.ts";
import type { MaybePromise } from "../../broker/maybe_promise.ts";
import { RemoteSession, type SessionSender } from "./remote_session.ts";
import { scanHash, scanSet } from "./scan.ts";
import type { SessionOptions } from "./session_options.ts";
import { decodeSubscription, encodeTerms, toText } from "./stored_values.ts";

/** A durable session is at a node; its client is connected to `node`, or to none if that is empty. */
type PlaceEvent = [type: typeof PLACE, clientId: string, home: string, node: string];
const PLACE = "session";

/** A durable session has got subscriptions: by their filters, their terms. */
type SubscribedEvent = [
  type: typeof SUBSCRIBED,
  clientId: string,
  home: string,
  subscriptions: [topicFilter: string, terms: Uint8Array][],
];
const SUBSCRIBED = "subscribed";

/** A durable session has lost subscriptions. */
type UnsubscribedEvent = [type: typeof UNSUBSCRIBED, clientId: string, home: string, topicFilters: string[]];
const UNSUBSCRIBED = "unsubscribed";

/** A durable session is over. */
type EndedEvent = [type: typeof ENDED, clientId: string, home: string];
const ENDED = "ended";

export function placeEvent(clientId: string, home: string, node: string): Uint8Array {
  const event: PlaceEvent = [PLACE, clientId, home, node];
  return encode(event);
}

export function subscribedEvent(
  clientId: string,
  home: string,
  subscriptions: readonly StoredSubscription[],
): Uint8Array {
  const terms = subscriptions.map((each): [string, Uint8Array] => [each.topicFilter, encodeTerms(each)]);
  const event: SubscribedEvent = [SUBSCRIBED, clientId, home, terms];
  return encode(event);
}

export function unsubscribedEvent(clientId: string, home: string, topicFilters: string[]): Uint8Array {
  const event: UnsubscribedEvent = [UNSUBSCRIBED, clientId, home, topicFilters];
  return encode(event);
}

export function endedEvent(clientId: string, home: string): Uint8Array {
  const event: EndedEvent = [ENDED, clientId, home];
  return encode(event);
}

/** So many sessions are read at the same time. */
const PAGE = 100;

/** So many pages are read in one round. */
const PAGES_A_ROUND = 5;

/** The durable sessions that other nodes look after, as far as our broker knows them. */
export class RemoteSessions {
  readonly #options: SessionOptions;
  readonly #sender: SessionSender;
  readonly #isLocal: (clientId: string) => boolean;
  readonly #sessions = new Map<string, RemoteSession>();
  readonly #reading = new Set<Reading>();
  #round: AsyncGenerator<string[]> | undefined;

  /**
   * @param queue Puts a message into a session's queue.
   * @param isLocal Whether our own broker has a session.
   * @param onMoved Called when another node says that it has one of those.
   */
  constructor(
    options: SessionOptions,
    queue: (clientId: string, message: RemoteMessage) => MaybePromise<void>,
    isLocal: (clientId: string) => boolean,
    onMoved: (clientId: string) => void,
  ) {
    const { events, fanout, nodeId } = options;
    this.#options = options;
    this.#isLocal = isLocal;
    this.#sender = { queue, send: (nodeId, clientId, message) => fanout.to(nodeId).send(message, clientId) };
    const on = <E extends [string, string, string, ...unknown[]]>(type: E[0], handle: (event: E) => void) =>
      events.on(type, (fields) => {
        const event = fields as E;
        if (event[2] !== nodeId) this.#do(event[1], () => handle(event));
      });
    on<PlaceEvent>(PLACE, ([, clientId, , node]) => {
      if (isLocal(clientId)) return onMoved(clientId);
      if (!this.#sessions.has(clientId)) this.refreshSoon(clientId);
      this.#at(clientId).node = node;
    });
    on<SubscribedEvent>(SUBSCRIBED, ([, clientId, , subscriptions]) => {
      if (isLocal(clientId)) return;
      const session = this.#at(clientId);
      for (const subscription of subscriptions) session.subscribe(decodeSubscription(...subscription));
    });
    on<UnsubscribedEvent>(UNSUBSCRIBED, ([, clientId, , topicFilters]) => {
      for (const topicFilter of topicFilters) this.#sessions.get(clientId)?.unsubscribe(topicFilter);
    });
    on<EndedEvent>(ENDED, ([, clientId]) => this.remove(clientId));
  }

  /** How many there are. */
  get size(): number {
    return this.#sessions.size;
  }

  /** A session that was ours is another node's. */
  add(clientId: string, node: string, subscriptions: readonly StoredSubscription[]): void {
    const session = this.#at(clientId);
    session.node = node;
    session.replace(subscriptions);
  }

  /** A session is over, or our own broker has it. */
  remove(clientId: string): void {
    this.#sessions.get(clientId)?.replace([]);
    this.#sessions.delete(clientId);
  }

  /** Reads what other nodes look after from Redis: events may have been missed. */
  async reload(): Promise<void> {
    for await (const page of this.#pages()) await this.#refreshAll(page);
  }

  /**
   * Reads some of that once more, and what comes behind it in the next round: an event may have been lost without anybody's
   * noticing.
   */
  async reloadRound(): Promise<void> {
    this.#round ??= this.#pages();
    for (let count = 0; count < PAGES_A_ROUND; count++) {
      const { value: page } = await this.#round.next();
      if (page === undefined) {
        this.#round = undefined;
        return;
      }
      await this.#refreshAll(page);
    }
  }

  /** The ids of all clients with a session, and of those that we think have one, in pages. */
  async *#pages(): AsyncGenerator<string[]> {
    const { link, keys, nodeKeys } = this.#options;
    const found = new Set<string>();
    for await (const nodes of scanHash(link, nodeKeys.nodes)) {
      for (const [nodeId] of nodes) {
        for await (const clientIds of scanSet(link, keys.ofNode(nodeId))) {
          for (const clientId of clientIds) found.add(clientId);
          yield* paged(clientIds);
        }
      }
    }
    // One that has moved meanwhile may not have been found at any node.
    yield* paged([...this.#sessions.keys()].filter((clientId) => !found.has(clientId)));
  }

  async #refreshAll(clientIds: readonly string[]): Promise<void> {
    const others = clientIds.filter((clientId) => !this.#isLocal(clientId));
    await Promise.all(others.map((clientId) => this.refresh(clientId)));
  }

  /** Reads one session from Redis. */
  async refresh(clientId: string): Promise<void> {
    const { link, keys } = this.#options;
    const reading: Reading = { clientId, events: [] };
    this.#reading.add(reading);
    try {
      const [session, subscriptions] = await Promise.all([
        link.call("HMGET", keys.session(clientId), "durable", "node"),
        this.readSubscriptions(clientId),
      ]);
      const [durable, node] = session as [Uint8Array | null, Uint8Array | null];
      if (this.#isLocal(clientId)) return;
      if (durable === null) this.remove(clientId);
      else this.add(clientId, toText(node), subscriptions);
      // What was read may be older than what events have said meanwhile.
      for (const handle of reading.events) handle();
    } finally {
      this.#reading.delete(reading);
    }
  }

  /** Reads one session from Redis, for nobody who waits for it. */
  refreshSoon(clientId: string): void {
    this.refresh(clientId).catch((error) => {
      // When Redis is back, all are read.
      if (!this.#options.link.isConnected) return;
      this.#options.logger.warn("the session of {clientId} cannot be read: {error}", { clientId, error });
    });
  }

  /** A session's subscriptions, from Redis. */
  async readSubscriptions(clientId: string): Promise<StoredSubscription[]> {
    const { link, keys } = this.#options;
    const subscriptions: StoredSubscription[] = [];
    for await (const page of scanHash(link, keys.subscriptions(clientId))) {
      for (const [topicFilter, terms] of page) subscriptions.push(decodeSubscription(topicFilter, terms));
    }
    return subscriptions;
  }

  #at(clientId: string): RemoteSession {
    let session = this.#sessions.get(clientId);
    if (session === undefined) {
      session = new RemoteSession(clientId, this.#sender, this.#options.cluster);
      this.#sessions.set(clientId, session);
    }
    return session;
  }

  #do(clientId: string, handle: () => void): void {
    handle();
    for (const reading of this.#reading) if (reading.clientId === clientId) reading.events.push(handle);
  }
}

/** A session that is being read from Redis, and the events about it that have come since. */
interface Reading {
  readonly clientId: string;
  readonly events: (() => void)[];
}

function* paged(items: string[]): Generator<string[]> {
  for (let from = 0; from < items.length; from += PAGE) yield items.slice(from, from + PAGE);
}
