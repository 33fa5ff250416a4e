import type { Hook, HookChain, QueuedMessage, StoredOutgoing, StoredSession, StoredSubscription } from "./hooks.ts";
import type { Logger } from "./logger.ts";
import { isPromise, type MaybePromise, recover } from "./maybe_promise.ts";

/** The events of a hook that stores sessions. */
type StorageEvent =
  | "storeSession"
  | "removeSession"
  | "storeSubscriptions"
  | "removeSubscriptions"
  | "storeOutgoing"
  | "removeOutgoing"
  | "storeReceived"
  | "removeReceived";

/** What durable sessions are stored with: all hooks that do, as one. Each method settles when every one of them has. */
export class Storage {
  readonly #hooks: HookChain;
  readonly #logger: Logger;
  #lastOutgoingId = 0;

  constructor(hooks: HookChain, logger: Logger) {
    this.#hooks = hooks;
    this.#logger = logger;
  }

  /** Whether there is a hook that stores sessions. */
  get enabled(): boolean {
    return this.#hooks.on.storeOutgoing.length > 0;
  }

  /** Whether the hook that stores sessions keeps their queues as well, from which messages come back one by one. */
  get queues(): boolean {
    return this.#hooks.on.queueOutgoing.length > 0;
  }

  /** A number for a message that is to be stored; larger ones are later. */
  nextOutgoingId(): number {
    return ++this.#lastOutgoingId;
  }

  /** Numbers up to this one are taken, by what was stored before. */
  skipOutgoingIds(id: number): void {
    this.#lastOutgoingId = Math.max(this.#lastOutgoingId, id);
  }

  storeSession(session: StoredSession): MaybePromise<void> {
    return this.#all("storeSession", (hook) => hook.storeSession!(session));
  }

  removeSession(clientId: string): MaybePromise<void> {
    return this.#all("removeSession", (hook) => hook.removeSession!(clientId));
  }

  storeSubscriptions(clientId: string, subscriptions: StoredSubscription[]): MaybePromise<void> {
    return this.#all("storeSubscriptions", (hook) => hook.storeSubscriptions!(clientId, subscriptions));
  }

  removeSubscriptions(clientId: string, topicFilters: string[]): MaybePromise<void> {
    return this.#all("removeSubscriptions", (hook) => hook.removeSubscriptions!(clientId, topicFilters));
  }

  storeOutgoing(clientId: string, outgoing: StoredOutgoing): MaybePromise<void> {
    return this.#all("storeOutgoing", (hook) => hook.storeOutgoing!(clientId, outgoing));
  }

  /** Puts a message into a session's queue. Only one hook has queues. */
  queueOutgoing(clientId: string, queued: QueuedMessage): MaybePromise<void> {
    return recover(
      () => this.#hooks.on.queueOutgoing[0].queueOutgoing(clientId, queued),
      (error) => Promise.reject(error),
    );
  }

  removeOutgoing(clientId: string, outgoing: StoredOutgoing): MaybePromise<void> {
    return this.#all("removeOutgoing", (hook) => hook.removeOutgoing!(clientId, outgoing));
  }

  storeReceived(clientId: string, packetId: number): MaybePromise<void> {
    return this.#all("storeReceived", (hook) => hook.storeReceived!(clientId, packetId));
  }

  removeReceived(clientId: string, packetId: number): MaybePromise<void> {
    return this.#all("removeReceived", (hook) => hook.removeReceived!(clientId, packetId));
  }

  /** For what no one waits for: a failure is logged. */
  inBackground(stored: MaybePromise<void>): void {
    if (isPromise(stored)) stored.catch((error) => this.#logger.error("a change was not stored: {error}", { error }));
  }

  #all(event: StorageEvent, call: (hook: Hook) => MaybePromise<void>): MaybePromise<void> {
    const hooks: readonly Hook[] = this.#hooks.on[event];
    try {
      // The promise itself: many messages are often stored with one.
      if (hooks.length === 1) return call(hooks[0]);
      const pending = hooks.map(call).filter(isPromise);
      return pending.length > 0 ? Promise.all(pending).then(() => {}) : undefined;
    } catch (error) {
      return Promise.reject(error);
    }
  }
}
