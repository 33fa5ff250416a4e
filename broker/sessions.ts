import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { Client } from "./client.ts";
import type { RestoredSession, StoredMessage } from "./hooks.ts";
import { isPromise, type MaybePromise, then } from "./maybe_promise.ts";
import type { Message } from "./message.ts";
import { NEVER_EXPIRES, Session } from "./session.ts";
import { publishWill } from "./will.ts";

/** In seconds. */
function willDelay({ will }: Session): number {
  return will?.properties?.willDelayInterval ?? 0;
}

/** All sessions, those of connected clients and those that wait for theirs. */
export class Sessions {
  readonly #context: BrokerContext;
  readonly #sessions = new Map<string, Session>();
  #connected = 0;
  #clientsMaximum = 0;
  #restored: Session[] = [];
  /** By client id, the sessions that have ended and are still being forgotten by what stores them. */
  readonly #ending = new Map<string, Promise<void>>();

  constructor(context: BrokerContext) {
    this.#context = context;
  }

  /** Clients that are connected. */
  get connected(): number {
    return this.#connected;
  }

  /** The most clients that were connected at the same time. */
  get clientsMaximum(): number {
    return this.#clientsMaximum;
  }

  /** A session has got its client. */
  clientConnected(): void {
    this.#connected += 1;
    if (this.#connected > this.#clientsMaximum) this.#clientsMaximum = this.#connected;
  }

  /** A session has lost its client. */
  clientDisconnected(): void {
    this.#connected -= 1;
  }

  get size(): number {
    return this.#sessions.size;
  }

  get(clientId: string): Session | undefined {
    return this.#sessions.get(clientId);
  }

  /**
   * The session that a connecting client goes on with: its own, unless it wants a new one. A connection that has it is
   * closed [MQTT-3.1.4-3]. When `ready` has settled, nothing is stored any more of a session before it.
   */
  open(client: Client): { session: Session; present: boolean; ready: MaybePromise<void> } {
    const { info } = client;
    const { clientId, cleanStart } = info;
    this.#sessions.get(clientId)?.owner?.disconnect(
      ReasonCode.SessionTakenOver,
      "another connection uses this client id",
    );
    const existing = this.#sessions.get(clientId);
    // Whoever still owns it had not been answered: there is no will to publish.
    if (existing?.owner !== undefined) existing.will = undefined;
    if (existing !== undefined && !cleanStart && existing.established) {
      existing.owner = client;
      existing.disconnectedAt = undefined;
      this.#context.timers.cancel(existing.expiryTimer);
      // [MQTT-3.1.3-9]
      this.#context.timers.cancel(existing.willTimer);
      existing.will = undefined;
      existing.info = info;
      return { session: existing, present: true, ready: undefined };
    }
    if (existing !== undefined) this.end(existing);
    const session = new Session(info, this.#context);
    session.owner = client;
    this.#sessions.set(clientId, session);
    return { session, present: false, ready: this.#ending.get(clientId) };
  }

  /** The session's connection has ended. Its will, if it still has one, is published when its delay is over. */
  release(session: Session): void {
    session.suspend();
    if (this.#context.closing) return this.#store(session);
    if (session.expiryInterval === 0 || !session.established) return this.end(session);
    if (willDelay(session) > 0) this.#store(session);
    else this.#publishWill(session);
    this.#await(session);
  }

  /** Takes a session over that was stored before the process started. What it waits for begins with `awaitRestored`. */
  restore(stored: RestoredSession, messageOf: (stored: StoredMessage) => Message): void {
    const { clientId, protocolLevel, username } = stored;
    if (this.#sessions.has(clientId)) return;
    const session = new Session({
      clientId,
      protocolLevel,
      username,
      remoteAddress: undefined,
      certificateName: undefined,
      cleanStart: false,
      keepAlive: 0,
      connectedAt: 0,
    }, this.#context);
    this.#sessions.set(clientId, session);
    session.restore(stored, messageOf);
    this.#restored.push(session);
  }

  /**
   * All is restored, and can be stored: from now on sessions expire and wills are published, those at once whose time has
   * passed meanwhile. Who was connected has lost its connection now.
   */
  awaitRestored(): void {
    const restored = this.#restored;
    this.#restored = [];
    for (const session of restored) {
      // Its client may be back already.
      if (session.owner !== undefined) continue;
      if (session.disconnectedAt === undefined) {
        session.disconnectedAt = Date.now();
        this.#store(session);
      }
      this.#await(session);
    }
  }

  /** Has those sessions stored that there were before there was a hook that stores them. */
  storeAll(): void {
    for (const session of this.#sessions.values()) if (!session.isStored) this.#store(session);
  }

  /** Waits for the client of a session without a connection, as long as the session lasts. */
  #await(session: Session): void {
    const { timers } = this.#context;
    const waited = Date.now() - session.disconnectedAt!;
    const lifetime = session.expiryInterval < NEVER_EXPIRES ? session.expiryInterval * 1000 - waited : Infinity;
    if (lifetime <= 0) return this.#expire(session);
    if (lifetime < Infinity) session.expiryTimer = timers.schedule(lifetime, () => this.#expire(session));
    if (session.will === undefined) return;
    const delay = willDelay(session) * 1000 - waited;
    if (delay <= 0) this.#publishWill(session);
    else session.willTimer = timers.schedule(delay, () => this.#publishWill(session));
  }

  #expire(session: Session): void {
    this.#context.counters.sessionsExpired += 1;
    this.end(session);
  }

  /** Publishes the will of a session that goes on, and has both stored: that there is none any more, and what came of it. */
  #publishWill(session: Session): void {
    this.#context.storage.inBackground(then(publishWill(session, this.#context), () => this.#store(session)));
  }

  /** Has a session stored as it is now, unless it has ended meanwhile. */
  #store(session: Session): void {
    if (this.#sessions.get(session.clientId) === session) this.#context.storage.inBackground(session.store());
  }

  /** The session is over: its subscriptions are gone, and its will is published now at the latest. */
  end(session: Session): void {
    const { timers, hooks } = this.#context;
    if (this.#sessions.get(session.clientId) !== session) return;
    this.#sessions.delete(session.clientId);
    timers.cancel(session.expiryTimer);
    timers.cancel(session.willTimer);
    this.#forget(session.clientId, session.end());
    this.#context.storage.inBackground(publishWill(session, this.#context));
    for (const hook of hooks.on.onSessionEnded) {
      this.#context.observe(hook.id, "onSessionEnded", () => hook.onSessionEnded(session.clientId));
    }
  }

  #forget(clientId: string, forgotten: MaybePromise<void>): void {
    if (!isPromise(forgotten)) return;
    this.#ending.set(clientId, forgotten);
    this.#context.storage.inBackground(forgotten.finally(() => {
      if (this.#ending.get(clientId) === forgotten) this.#ending.delete(clientId);
    }));
  }

  *[Symbol.iterator](): Generator<Session> {
    yield* this.#sessions.values();
  }
}
