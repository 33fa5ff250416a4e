import { decode } from "@msgpack/msgpack";
import type { Will } from "../../codec/mod.ts";
import { toBytes } from "./command.ts";
import type { SessionOptions } from "./session_options.ts";
import { toText } from "./stored_values.ts";

/** So many reports are kept in mind that came before the claim that they are about was answered. */
const MOST_EARLY = 1000;

/** How long a connecting client waits for what another node has to say about its will, at most, in milliseconds. */
const PATIENCE = 500;

interface TakenWill {
  readonly clientId: string;
  readonly nodeId: string;
  /** Under what the session was that node's. */
  readonly claim: string;
  readonly will: Will;
  /** Whether it is known here alone, since the session is over. */
  isOurs: boolean;
  /** Settles when somebody has seen to it. */
  readonly done: PromiseWithResolvers<void>;
}

/** The field of a session in which such a will is kept; as scripts write it. */
export function takenField(nodeId: string, claim: string): string {
  return `taken:${nodeId} ${claim}`;
}

/**
 * The wills of clients that were connected to another node when they connected here. That node alone knows whether a will
 * is due: its client may just have said goodbye. But if it turns out to be dead, it publishes nothing any more, and we do.
 * Whoever takes a will out of the session in Redis sees to it: others may be waiting, too.
 */
export class TakenWills {
  readonly #options: SessionOptions;
  /** By the claims. */
  readonly #waiting = new Map<string, TakenWill>();
  /** What nodes have seen to before we knew that we would wait for it. */
  readonly #early = new Set<string>();

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Waits for dead nodes, or those that may be: the fields of a session with its wills. */
  addStored(clientId: string, fields: readonly Uint8Array[]): void {
    for (let index = 0; index < fields.length; index += 2) {
      const [, nodeId, claim] = /^taken:(.*) (.*)$/.exec(toText(fields[index]))!;
      if (this.#early.delete(claim) || this.#waiting.has(claim)) continue;
      const will = decode(toBytes(fields[index + 1])) as Will;
      const done = Promise.withResolvers<void>();
      this.#waiting.set(claim, { clientId, nodeId, claim, will, isOurs: false, done });
    }
  }

  /** Settles when somebody has seen to a will, or that takes long. It is published at once if its node is dead. */
  async wait(claim: string): Promise<void> {
    const taken = this.#waiting.get(claim);
    if (taken === undefined || await this.#publishIfDue(taken)) return;
    const timer = setTimeout(taken.done.resolve, PATIENCE);
    await taken.done.promise;
    clearTimeout(timer);
  }

  /** A node has seen to the will of a connection that it had under a claim. */
  done(claim: string): void {
    const taken = this.#waiting.get(claim);
    if (taken !== undefined) {
      this.#waiting.delete(claim);
      return taken.done.resolve();
    }
    this.#early.add(claim);
    if (this.#early.size > MOST_EARLY) this.#early.delete(this.#early.values().next().value!);
  }

  /** A will is not due: its client is back in time. */
  async forget(claim: string): Promise<void> {
    const taken = this.#waiting.get(claim);
    if (taken !== undefined) await this.#take(taken);
  }

  /** A session is over, and Redis forgets its wills. */
  ended(clientId: string): void {
    for (const taken of this.#waiting.values()) if (taken.clientId === clientId) taken.isOurs = true;
  }

  /** Publishes the wills whose nodes have died. */
  async check(): Promise<void> {
    for (const taken of this.#waiting.values()) await this.#publishIfDue(taken);
  }

  /** Whether a node beats still, in the life in which it had a claim. */
  async isAlive(nodeId: string, claim: string): Promise<boolean> {
    const { link, nodeKeys } = this.#options;
    const heartbeat = await link.call("GET", nodeKeys.node(nodeId)) as Uint8Array | null;
    if (heartbeat === null) return false;
    const { incarnation } = JSON.parse(toText(heartbeat)) as { incarnation: string };
    return claim.startsWith(`${incarnation}:`);
  }

  /** Returns whether there is nothing more to wait for. */
  async #publishIfDue(taken: TakenWill): Promise<boolean> {
    if (await this.isAlive(taken.nodeId, taken.claim)) return false;
    if (await this.#take(taken)) this.#options.publishWill(taken.will);
    return true;
  }

  /** Waits no longer. Returns whether the will is ours to see to. */
  async #take({ clientId, nodeId, claim, isOurs }: TakenWill): Promise<boolean> {
    const { link, keys } = this.#options;
    const removed = await link.call("HDEL", keys.session(clientId), takenField(nodeId, claim));
    return this.#waiting.delete(claim) && (isOurs || removed === 1);
  }
}
