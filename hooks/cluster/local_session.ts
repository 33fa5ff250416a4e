import type { StoredSubscription } from "../../broker/hooks.ts";
import type { Will } from "../../codec/mod.ts";
import { Arrivals } from "./arrivals.ts";
import { publishCommand } from "./publish.ts";
import { SessionChange } from "./session_change.ts";
import type { SessionOptions } from "./session_options.ts";

/** Who is told what has turned out when changes of a session were made. */
export interface LocalSessionObserver {
  /** They were not: another node has the session. */
  lost(local: LocalSession): void;
  /** They were, but another node looks after the session now, whose client has not gone there. */
  adopted(local: LocalSession): void;
}

/** A session that this node looks after: its client is connected here, or was connected here last. */
export class LocalSession {
  readonly clientId: string;
  /** Under what it is ours, and what we change of it counts; `undefined` if it is not, or not yet. */
  claim: string | undefined = undefined;
  /** Whether the claim is under way: until then the broker has the session as it was before, if it had it. */
  isClaiming = false;
  /** Whether its client waits for its CONNACK until the session is stored. */
  isEntering = false;
  /** Whether the broker has the session, as it is or as it was before. */
  isHere = true;
  /** Whether another node has it now. */
  isLost = false;
  /** Whether it outlives its connection. */
  isDurable = false;
  /** Whether its client is connected. */
  isConnected = false;
  /** Whether the broker is about to end the session that was there before. */
  isReplacing = false;
  /** When its client connected, in milliseconds since 1970. */
  connectedAt = 0;
  will: Will | undefined = undefined;
  readonly subscriptions = new Map<string, StoredSubscription>();
  readonly arrivals: Arrivals;

  readonly #options: SessionOptions;
  readonly #observer: LocalSessionObserver;
  #change: SessionChange | undefined;
  #lastChange: SessionChange | undefined;
  readonly #claimed = Promise.withResolvers<void>();

  constructor(clientId: string, options: SessionOptions, observer: LocalSessionObserver) {
    const { link, cluster, logger, keys } = options;
    this.clientId = clientId;
    this.#options = options;
    this.#observer = observer;
    const queueKey = keys.queue(clientId);
    const sessionKey = keys.session(clientId);
    this.arrivals = new Arrivals({ clientId, link, cluster, logger, queueKey, sessionKey });
  }

  /** It is ours from now on. */
  claimedAs(claim: string): void {
    this.claim = claim;
    this.#claimed.resolve();
  }

  /** Calls `run` when the session is ours: at once if it is. What is called for a session that never will be, is not. */
  whenClaimed(run: () => Promise<void>): Promise<void> {
    return this.claim === undefined && !this.isLost ? this.#claimed.promise.then(run) : run();
  }

  /** What the next batch changes of it. */
  change(): SessionChange {
    if (this.#change === undefined || !this.#options.writer.holds(this.#change)) this.#change = this.#newChange(false);
    return this.#change;
  }

  /** What the next batch changes of it when all messages of the batch are stored. */
  lastChange(): SessionChange {
    if (this.#lastChange === undefined || !this.#options.writer.holds(this.#lastChange)) {
      this.#lastChange = this.#newChange(true);
    }
    return this.#lastChange;
  }

  #newChange(isLast: boolean): SessionChange {
    const { keys, link, writer } = this.#options;
    const publish = (channel: string, event: Uint8Array) => {
      writer.addLasting({ commands: () => [publishCommand(link, channel, event)] }, event.length).catch(() => {});
    };
    return new SessionChange({
      clientId: this.clientId,
      keys,
      claim: () => this.claim,
      onLost: () => this.#observer.lost(this),
      onAdopted: () => this.#observer.adopted(this),
      isLast,
      publish: link.isCluster ? publish : undefined,
    });
  }
}
