import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { Client } from "./client.ts";
import type { RestoredSession, SessionClaim, StoredMessage } from "./hooks.ts";
import { forEachInTurn, isPromise, type MaybePromise, recover, then } from "./maybe_promise.ts";
import { Message } from "./message.ts";
import { NEVER_EXPIRES, Session } from "./session.ts";
import { publishWill } from "./will.ts";

/** How long the clients that a broker has disconnected may take to come back before their wills are published, in milliseconds. */
const TIME_TO_RETURN = 30_000;

/** A session about whose will hooks are asked. */
interface Mourned {
  readonly session: Session;
  /** Has stored what becomes of the session, in one go with the will. */
  store: () => void;
  /** Settles when that is done. */
  settled: Promise<void> | undefined;
}

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
  /** By client id, the sessions about whose wills hooks are asked. */
  readonly #mourned = new Map<string, Mourned>();
  /** By client id, the last of those connections whose claim for their session is under way. */
  readonly #claiming = new Map<string, Promise<void>>();

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
   * Makes a connecting client's session this broker's, if hooks know of others that may have it, and then calls `enter`.
   * Of several connections with one client id each waits until the one before has entered.
   */
  claim(client: Client, claim: SessionClaim, enter: () => MaybePromise<void>): MaybePromise<void> {
    if (this.#context.hooks.on.claimSession.length === 0) return enter();
    const { clientId } = client.info;
    const before = this.#claiming.get(clientId);
    const claimed = (before ?? Promise.resolve()).then(() => this.#claim(client, claim));
    let entered: MaybePromise<void>;
    const settled = claimed.then(() => {
      // Not waited for: the next one may take over while this one is being stored.
      if (client.state === "closed") this.#returnClaimed(clientId);
      else entered = recover(enter, (error) => Promise.reject(error));
    });
    const turn = settled.catch(() => {}).finally(() => {
      if (this.#claiming.get(clientId) === turn) this.#claiming.delete(clientId);
    });
    this.#claiming.set(clientId, turn);
    return settled.then(() => entered);
  }

  async #claim(client: Client, claim: SessionClaim): Promise<void> {
    const { info } = client;
    this.#takeOver(info.clientId);
    await this.#mourned.get(info.clientId)?.settled;
    await forEachInTurn(this.#context.hooks.on.claimSession, async (hook) => {
      const stored = await hook.claimSession(info, claim);
      if (stored === undefined) return;
      const known = this.#sessions.get(stored.clientId);
      if (known !== undefined) this.drop(known);
      this.#restore(stored, this.#messageOf);
    });
  }

  /** The connection that has claimed a session ended meanwhile: the session goes on waiting, or ends. */
  #returnClaimed(clientId: string): void {
    const session = this.#sessions.get(clientId);
    if (session === undefined) return this.#tellEnded(clientId);
    session.disconnectedAt = Date.now();
    this.#store(session);
    this.#await(session);
  }

  /** Closes the connection that a session has [MQTT-3.1.4-3]. */
  #takeOver(clientId: string): void {
    this.#sessions.get(clientId)?.owner?.disconnect(
      ReasonCode.SessionTakenOver,
      "another connection uses this client id",
    );
  }

  /**
   * The session that a connecting client goes on with: its own, unless it wants a new one. A connection that has it is
   * closed [MQTT-3.1.4-3].
   */
  open(client: Client): { session: Session; present: boolean } {
    const { info } = client;
    const { clientId, cleanStart } = info;
    this.#takeOver(clientId);
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
      return { session: existing, present: true };
    }
    if (existing !== undefined) this.end(existing);
    const session = new Session(info, this.#context);
    session.owner = client;
    this.#sessions.set(clientId, session);
    return { session, present: false };
  }

  /**
   * Has the session stored that a client has opened. Before that the will of its last connection is published, if it is
   * due; when it has settled, nothing is stored any more of a session before it.
   */
  storeOpened(client: Client): MaybePromise<void> {
    const { session, info: { clientId } } = client;
    return then(this.#mourned.get(clientId)?.settled, () => {
      if (client.state !== "closed") return then(session.store(), () => this.#ending.get(clientId));
    });
  }

  /** The session's connection has ended. Its will, if it still has one, is published when its delay is over. */
  release(session: Session): void {
    const isOurs = this.#sessions.get(session.clientId) === session;
    session.suspend(isOurs);
    if (!isOurs) return this.#publishDroppedWill(session);
    if (this.#context.closing) return this.#store(session);
    if (session.expiryInterval === 0 || !session.established) return this.end(session);
    if (willDelay(session) > 0) this.#store(session);
    else this.#publishWill(session);
    this.#await(session);
  }

  /** A connection has ended whose session is another broker's now: whether its will is due is known here alone. */
  #publishDroppedWill(session: Session): void {
    if (willDelay(session) === 0) this.#context.storage.inBackground(publishWill(session, this.#context));
  }

  /** Takes a session over that was stored before the process started. What it waits for begins with `awaitRestored`. */
  restore(stored: RestoredSession, messageOf: (stored: StoredMessage) => Message): void {
    if (!this.#sessions.has(stored.clientId)) this.#restored.push(this.#restore(stored, messageOf));
  }

  /** Takes a session over that was another broker's and has no connection. */
  adopt(stored: RestoredSession): void {
    if (this.#context.closing || this.#sessions.has(stored.clientId)) return;
    this.#goOn(this.#restore(stored, this.#messageOf));
  }

  /** Forgets a session that is another broker's now. */
  drop(session: Session): void {
    const { timers } = this.#context;
    this.#sessions.delete(session.clientId);
    timers.cancel(session.expiryTimer);
    timers.cancel(session.willTimer);
    session.unsubscribeAll();
  }

  readonly #messageOf = (stored: StoredMessage): Message =>
    Message.restored(this.#context.topics.named(stored.packet.topic), stored);

  #restore(stored: RestoredSession, messageOf: (stored: StoredMessage) => Message): Session {
    const { clientId, protocolLevel, username } = stored;
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
    return session;
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
      if (session.owner === undefined) this.#goOn(session);
    }
  }

  /** A session has been restored that has no connection: waits for its client from now on. */
  #goOn(session: Session): void {
    // A will without a delay outlives its connection only if that was the broker's doing.
    const isAwaited = session.disconnectedAt !== undefined && willDelay(session) === 0;
    if (session.disconnectedAt === undefined) {
      session.disconnectedAt = Date.now();
      this.#store(session);
    }
    this.#await(session, isAwaited ? TIME_TO_RETURN : 0);
  }

  /** Has those sessions stored that there were before there was a hook that stores them. */
  storeAll(): void {
    for (const session of this.#sessions.values()) if (!session.isStored) this.#store(session);
  }

  /** Has all durable sessions stored with all that they hold. */
  storeAllAgain(): void {
    for (const session of this.#sessions.values()) this.#context.storage.inBackground(session.storeAgain());
  }

  /** Waits for the client of a session without a connection, as long as the session lasts. */
  #await(session: Session, leastWillDelay = 0): void {
    const { timers } = this.#context;
    const waited = Date.now() - session.disconnectedAt!;
    const lifetime = session.expiryInterval < NEVER_EXPIRES ? session.expiryInterval * 1000 - waited : Infinity;
    if (lifetime <= 0) return this.#expire(session);
    if (lifetime < Infinity) session.expiryTimer = timers.schedule(lifetime, () => this.#expire(session));
    if (session.will === undefined) return;
    const delay = Math.max(leastWillDelay, willDelay(session) * 1000 - waited);
    if (delay <= 0) this.#publishWill(session);
    else session.willTimer = timers.schedule(delay, () => this.#publishWill(session));
  }

  #expire(session: Session): void {
    this.#context.counters.sessionsExpired += 1;
    this.end(session);
  }

  /** Publishes the will of a session that goes on, and has both stored: that there is none any more, and what came of it. */
  #publishWill(session: Session): void {
    this.#mourn(session, () => this.#store(session));
  }

  /**
   * Publishes a session's will, if it has one, and calls `store`, which has stored what becomes of the session: a crash must
   * leave the will or what came of it, and not both. While the will is under way, a later `store` takes its place.
   */
  #mourn(session: Session, store: () => void): void {
    const { clientId } = session;
    const { hooks, storage } = this.#context;
    const before = this.#mourned.get(clientId);
    if (before?.session === session) {
      before.store = store;
      return;
    }
    // Other brokers know also of a session that is not stored.
    if (!session.isStored && hooks.on.claimSession.length === 0) {
      const published = publishWill(session, this.#context);
      store();
      return storage.inBackground(published);
    }
    const mourned: Mourned = { session, store, settled: undefined };
    const forget = () => {
      if (this.#mourned.get(clientId) === mourned) this.#mourned.delete(clientId);
    };
    const inOneGo = () => {
      forget();
      mourned.store();
    };
    const published = then(before?.settled, () => publishWill(session, this.#context, inOneGo));
    if (!isPromise(published)) return;
    mourned.settled = published.finally(forget);
    this.#mourned.set(clientId, mourned);
    storage.inBackground(mourned.settled);
  }

  /** Has a session stored as it is now, unless it has ended meanwhile. */
  #store(session: Session): void {
    if (this.#sessions.get(session.clientId) === session) this.#context.storage.inBackground(session.store());
  }

  /** The session is over: its subscriptions are gone, and its will is published now at the latest. */
  end(session: Session): void {
    const { timers } = this.#context;
    if (this.#sessions.get(session.clientId) !== session) return;
    this.#sessions.delete(session.clientId);
    timers.cancel(session.expiryTimer);
    timers.cancel(session.willTimer);
    session.unsubscribeAll();
    this.#mourn(session, () => {
      this.#forget(session.clientId, session.end());
      this.#tellEnded(session.clientId);
    });
  }

  #tellEnded(clientId: string): void {
    for (const hook of this.#context.hooks.on.onSessionEnded) {
      this.#context.observe(hook.id, "onSessionEnded", () => hook.onSessionEnded(clientId));
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
