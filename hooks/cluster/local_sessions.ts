import { LocalSession } from "./local_session.ts";
import type { RemoteSessions } from "./remote_sessions.ts";
import type { SessionChange } from "./session_change.ts";
import type { SessionOptions } from "./session_options.ts";
import type { Change } from "./writer.ts";

/** What a change takes besides what it holds, in bytes, roughly. */
const CHANGE_SIZE = 64;

/** So many notices are kept in mind that came before we knew of the claim that they are about. */
const MOST_EARLY = 1000;

/** Is told whose session another node has now, and under what it was ours. */
type OnLost = (clientId: string, claim: string | undefined) => void;

/** The sessions that this node looks after. */
export class LocalSessions {
  readonly #options: SessionOptions;
  readonly #remote: RemoteSessions;
  readonly #onLost: OnLost;
  readonly #onAdopted: (clientId: string) => void;
  readonly #sessions = new Map<string, LocalSession>();
  /** By client id, the last of the changes that are being made. */
  readonly #pending = new Map<string, Promise<void>>();
  /** By claims that we did not know of when they were taken from us, where the clients have gone. */
  readonly #takenEarly = new Map<string, string>();
  #lastClaim = 0;

  /** @param onAdopted Called with the ids of clients whose sessions another node looks after, though they are here. */
  constructor(
    options: SessionOptions,
    remote: RemoteSessions,
    onLost: OnLost,
    onAdopted: (clientId: string) => void,
  ) {
    this.#options = options;
    this.#remote = remote;
    this.#onLost = onLost;
    this.#onAdopted = onAdopted;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** A session, also while it is claimed. */
  get(clientId: string): LocalSession | undefined {
    return this.#sessions.get(clientId);
  }

  /** A session that the broker has; while one is claimed, what the broker says is about what it had before. */
  entered(clientId: string): LocalSession | undefined {
    const local = this.#sessions.get(clientId);
    return local?.isClaiming ? undefined : local;
  }

  /** A session is looked after from now on, in place of what is known of the same client. */
  add(clientId: string): LocalSession {
    const local = new LocalSession(clientId, this.#options, {
      lost: (local) => this.lose(local, ""),
      adopted: (local) => this.#onAdopted(local.clientId),
    });
    this.#sessions.set(clientId, local);
    return local;
  }

  /** A session is not looked after any more. Returns whether it was. */
  delete(local: LocalSession): boolean {
    return this.#sessions.get(local.clientId) === local && this.#sessions.delete(local.clientId);
  }

  /** What is known of a client again, after a claim that has failed. */
  putBack(former: LocalSession): void {
    this.#sessions.set(former.clientId, former);
    if (former.claim !== undefined) this.giveUpIfTaken(former, former.claim);
  }

  /** A name for a claim: no two are the same. */
  nextClaim(): string {
    return `${this.#options.incarnation}:${++this.#lastClaim}`;
  }

  /** Has something changed of a session with the next batch; that is never refused. Settles when it is. */
  change(local: LocalSession, edit: (change: SessionChange) => void, size = CHANGE_SIZE): Promise<void> {
    const change = local.change();
    edit(change);
    return this.write(local.clientId, change, size);
  }

  /** Has a change made that has to do with a client's session. */
  write(clientId: string, change: Change, size = CHANGE_SIZE): Promise<void> {
    const written = this.#options.writer.addLasting(change, size);
    if (this.#pending.get(clientId) !== written) {
      this.#pending.set(clientId, written);
      const forget = () => {
        if (this.#pending.get(clientId) === written) this.#pending.delete(clientId);
      };
      written.then(forget, forget);
    }
    return written;
  }

  /** Settles when all changes are made that have to do with a client's session. */
  async written(clientId: string): Promise<void> {
    await this.#pending.get(clientId)?.catch(() => {});
  }

  /** Whether changes are being made, or wait, that have to do with a client's session. */
  isChanging(clientId: string): boolean {
    return this.#pending.has(clientId);
  }

  /** Has a client's id forgotten among those that this node looks after. */
  forget(clientId: string): void {
    const { keys, nodeId } = this.#options;
    const change: Change = {
      isLast: true,
      commands: () => this.#sessions.has(clientId) ? [] : [["SREM", keys.ofNode(nodeId), clientId]],
    };
    this.write(clientId, change).catch(() => {});
  }

  /** Another node has claimed a session that was ours under a claim: its client has gone to `node`. */
  taken(clientId: string, claim: string, node: string): void {
    const local = this.#sessions.get(clientId);
    if (local?.claim === claim) return this.lose(local, node);
    this.#takenEarly.set(claim, node);
    if (this.#takenEarly.size > MOST_EARLY) this.#takenEarly.delete(this.#takenEarly.keys().next().value!);
  }

  /** A session has become ours under a claim. It is given up if another node has taken it before we knew. */
  giveUpIfTaken(local: LocalSession, claim: string): void {
    const node = this.#takenEarly.get(claim);
    if (node === undefined) return;
    this.#takenEarly.delete(claim);
    this.lose(local, node);
  }

  /** Another node has a session now. Its client is connected to `node`, or to none if that is empty. */
  lose(local: LocalSession, node: string): void {
    if (local.isLost) return;
    local.isLost = true;
    const { clientId, claim } = local;
    local.claim = undefined;
    // Whoever claims it sees it.
    if (local.isClaiming || !this.delete(local)) return;
    local.arrivals.close();
    this.#onLost(clientId, claim);
    this.#options.cluster.releaseSession(clientId);
    if (local.isDurable) {
      this.#remote.add(clientId, node, [...local.subscriptions.values()]);
      // It may have changed, or ended, before we have heard of it.
      this.#remote.refreshSoon(clientId);
    }
    this.forget(clientId);
  }

  [Symbol.iterator](): IteratorObject<LocalSession> {
    return this.#sessions.values();
  }
}
