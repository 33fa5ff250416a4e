import type { Will } from "../../codec/mod.ts";
import type { SessionOptions } from "./session_options.ts";
import { toText } from "./stored_values.ts";

/** So many reports are kept in mind that came before the claim that they are about was answered. */
const MOST_EARLY = 1000;

interface TakenWill {
  readonly nodeId: string;
  /** Under what the session was that node's. */
  readonly claim: string;
  readonly will: Will;
}

/**
 * The wills of clients that were connected to another node when they connected here. That node alone knows whether a will
 * is due: its client may just have said goodbye. But if it turns out to be dead, it publishes nothing any more.
 */
export class TakenWills {
  readonly #options: SessionOptions;
  readonly #waiting = new Set<TakenWill>();
  /** What nodes have seen to before we knew that we would wait for it. */
  readonly #early = new Set<string>();

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  add(nodeId: string, claim: string, will: Will): void {
    if (!this.#early.delete(claim)) this.#waiting.add({ nodeId, claim, will });
  }

  /** A node has seen to the will of a connection that it had under a claim. */
  done(claim: string): void {
    const taken = this.#waiting.values().find((taken) => taken.claim === claim);
    if (taken !== undefined) return void this.#waiting.delete(taken);
    this.#early.add(claim);
    if (this.#early.size > MOST_EARLY) this.#early.delete(this.#early.values().next().value!);
  }

  /** Publishes the wills whose nodes have died. */
  async check(): Promise<void> {
    for (const taken of this.#waiting) {
      if (await this.isAlive(taken.nodeId, taken.claim)) continue;
      if (this.#waiting.delete(taken)) this.#options.publishWill(taken.will);
    }
  }

  /** Whether a node beats still, in the life in which it had a claim. */
  async isAlive(nodeId: string, claim: string): Promise<boolean> {
    const { link, nodeKeys } = this.#options;
    const heartbeat = await link.call("GET", nodeKeys.node(nodeId)) as Uint8Array | null;
    if (heartbeat === null) return false;
    const { incarnation } = JSON.parse(toText(heartbeat)) as { incarnation: string };
    return claim.startsWith(`${incarnation}:`);
  }
}
