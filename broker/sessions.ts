import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { Client } from "./client.ts";
import type { RestoredSession, StoredMessage } from "./hooks.ts";
import type { Message } from "./message.ts";
import { NEVER_EXPIRES, Session } from "./session.ts";
import { publishWill } from "./will.ts";

/** All sessions, those of connected clients and those that wait for theirs. */
export class Sessions {
  readonly #context: BrokerContext;
  readonly #sessions = new Map<string, Session>();
  #connected = 0;
  #clientsMaximum = 0;
  #restored: { session: Session; disconnectedAt: number | undefined }[] = [];

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
   * closed [MQTT-3.1.4-3].
   */
  open(client: Client): { session: Session; present: boolean } {
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

  /** The session's connection has ended. Its will, if it still has one, is published when its delay is over. */
  release(session: Session): void {
    const { closing } = this.#context;
    session.suspend();
    if (closing) return this.#context.storage.inBackground(session.store());
    if (session.expiryInterval === 0 || !session.established) return this.end(session);
    if (session.will !== undefined && (session.will.properties?.willDelayInterval ?? 0) === 0) {
      publishWill(session, this.#context);
    }
    this.#context.storage.inBackground(session.store());
    this.#await(session, Date.now());
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
    this.#restored.push({ session, disconnectedAt: stored.disconnectedAt });
  }

  /** All is restored: from now on sessions expire and wills are published. Who was connected has lost its connection now. */
  awaitRestored(): void {
    for (const { session, disconnectedAt } of this.#restored) {
      if (disconnectedAt === undefined) this.#context.storage.inBackground(session.store());
      this.#await(session, disconnectedAt ?? Date.now());
    }
    this.#restored = [];
  }

  /** Sets the timers of a session without a connection. */
  #await(session: Session, disconnectedAt: number): void {
    const { timers } = this.#context;
    const waited = Date.now() - disconnectedAt;
    const { expiryInterval, will } = session;
    if (expiryInterval < NEVER_EXPIRES) {
      session.expiryTimer = timers.schedule(expiryInterval * 1000 - waited, () => {
        this.#context.counters.sessionsExpired += 1;
        this.end(session);
      });
    }
    if (will !== undefined) {
      const delay = (will.properties?.willDelayInterval ?? 0) * 1000 - waited;
      session.willTimer = timers.schedule(delay, () => {
        publishWill(session, this.#context);
        this.#context.storage.inBackground(session.store());
      });
    }
  }

  /** The session is over: its subscriptions are gone, and its will is published now at the latest. */
  end(session: Session): void {
    const { timers, hooks } = this.#context;
    if (this.#sessions.get(session.clientId) !== session) return;
    this.#sessions.delete(session.clientId);
    timers.cancel(session.expiryTimer);
    timers.cancel(session.willTimer);
    session.end();
    publishWill(session, this.#context);
    for (const hook of hooks.on.onSessionEnded) {
      this.#context.observe(hook.id, "onSessionEnded", () => hook.onSessionEnded(session.clientId));
    }
  }

  *[Symbol.iterator](): Generator<Session> {
    yield* this.#sessions.values();
  }
}
