import type { ClientInfo } from "../../broker/hooks.ts";

/** The most decisions that are remembered for one client before its own are forgotten. */
const MOST_OF_CLIENT = 16_384;
/** The most decisions that are remembered before all are forgotten. */
const MOST = 262_144;
/** Decisions on longer topic names, in UTF-16 code units, are not remembered: clients could fill the memory with them. */
const LONGEST_TOPIC = 256;

/** Decides about one client's topics. */
export type Decide = (topic: string) => boolean;

interface ClientDecisions {
  /** Whose decisions these are; enhanced authentication can change it. */
  readonly username: string | undefined;
  readonly decide: Decide;
  readonly byTopic: Map<string, boolean>;
  /** The last topic that was looked up: most clients ask for one topic again and again. */
  lastTopic: string | undefined;
  lastDecision: boolean;
}

/**
 * Remembers what has been decided, so that a decision is made once for a client and a topic and not for every message.
 * Clients that are gone take theirs with them.
 */
export class Decisions {
  readonly #deciderFor: (client: ClientInfo) => Decide;
  #byClient = new WeakMap<ClientInfo, ClientDecisions>();
  #count = 0;
  /** Whom the last decision was about, and what is remembered of that client: messages come many at a time. */
  #lastClient: ClientInfo | undefined;
  #last!: ClientDecisions;

  /** `deciderFor` is asked once for each client, or again if its user name has changed or all has been forgotten. */
  constructor(deciderFor: (client: ClientInfo) => Decide) {
    this.#deciderFor = deciderFor;
  }

  /** The decision, made now if it has not been made before. */
  get(client: ClientInfo, topic: string): boolean {
    const decisions = client === this.#lastClient ? this.#last : this.#decisionsOf(client);
    if (decisions.username !== client.username) return this.#decide(this.#begin(client), topic);
    if (decisions.lastTopic === topic) return decisions.lastDecision;
    const decision = decisions.byTopic.get(topic);
    if (decision === undefined) return this.#decide(decisions, topic);
    decisions.lastTopic = topic;
    decisions.lastDecision = decision;
    return decision;
  }

  /** Forgets everything. */
  clear(): void {
    this.#byClient = new WeakMap();
    this.#lastClient = undefined;
    this.#count = 0;
  }

  #decisionsOf(client: ClientInfo): ClientDecisions {
    const decisions = this.#byClient.get(client) ?? this.#begin(client);
    this.#lastClient = client;
    this.#last = decisions;
    return decisions;
  }

  #begin(client: ClientInfo): ClientDecisions {
    const decisions = {
      username: client.username,
      decide: this.#deciderFor(client),
      byTopic: new Map(),
      lastTopic: undefined,
      lastDecision: false,
    };
    this.#byClient.set(client, decisions);
    this.#lastClient = undefined;
    return decisions;
  }

  #decide({ decide, byTopic }: ClientDecisions, topic: string): boolean {
    const decision = decide(topic);
    if (topic.length > LONGEST_TOPIC) return decision;
    if (byTopic.size >= MOST_OF_CLIENT) {
      this.#count -= byTopic.size;
      byTopic.clear();
    }
    if (this.#count >= MOST) this.clear();
    byTopic.set(topic, decision);
    this.#count += 1;
    return decision;
  }
}
