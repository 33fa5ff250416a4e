import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { ClientInfo } from "./hooks.ts";
import { NEVER_EXPIRES, Session } from "./session.ts";
import { publishWill } from "./will.ts";

/** All sessions, those of connected clients and those that wait for theirs. */
export class Sessions {
  readonly #context: BrokerContext;
  readonly #sessions = new Map<string, Session>();

  constructor(context: BrokerContext) {
    this.#context = context;
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
  open(info: ClientInfo): { session: Session; present: boolean } {
    const { clientId, cleanStart } = info;
    this.#sessions.get(clientId)?.client?.disconnect(
      ReasonCode.SessionTakenOver,
      "another connection uses this client id",
    );
    const existing = this.#sessions.get(clientId);
    if (existing !== undefined && !cleanStart) {
      this.#context.timers.cancel(existing.expiryTimer);
      // [MQTT-3.1.3-9]
      this.#context.timers.cancel(existing.willTimer);
      existing.will = undefined;
      existing.info = info;
      return { session: existing, present: true };
    }
    if (existing !== undefined) this.end(existing);
    const session = new Session(info, this.#context);
    this.#sessions.set(clientId, session);
    return { session, present: false };
  }

  /** The session's connection has ended. Its will, if it still has one, is published when its delay is over. */
  release(session: Session): void {
    const { timers, closing } = this.#context;
    session.suspend();
    if (closing) return;
    const { expiryInterval, will } = session;
    if (expiryInterval === 0) return this.end(session);
    if (expiryInterval < NEVER_EXPIRES) {
      session.expiryTimer = timers.schedule(expiryInterval * 1000, () => this.end(session));
    }
    if (will === undefined) return;
    const delay = will.properties?.willDelayInterval ?? 0;
    if (delay === 0) publishWill(session, this.#context);
    else session.willTimer = timers.schedule(delay * 1000, () => publishWill(session, this.#context));
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
