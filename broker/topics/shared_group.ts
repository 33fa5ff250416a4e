import type { Subscriber, Subscription } from "./subscription_tree.ts";

/** How well a subscriber can take a message right now: the group prefers the highest. */
export const Readiness = {
  /** It is not connected; QoS 1 and 2 messages would wait for it. */
  Offline: 0,
  /** It is connected, but has as much unacknowledged or unwritten as it may have. */
  Busy: 1,
  /** It would be sent the message at once. */
  Ready: 2,
} as const;

/** One of the values of {@linkcode Readiness}. */
export type Readiness = (typeof Readiness)[keyof typeof Readiness];

/**
 * The members of a shared subscription, of whom one gets each message (MQTT 5.0 section 4.8.2): in turn, among those who
 * can take it best.
 */
export class SharedGroup {
  /** The filter that its members subscribe to, with `$share/…`. */
  readonly topicFilter: string;
  #members: Subscription[] = [];
  #next = 0;
  /** The same for those messages that another broker leaves to the members here: they are no turns of all members. */
  #nextHere = 0;

  constructor(topicFilter: string) {
    this.topicFilter = topicFilter;
  }

  get size(): number {
    return this.#members.length;
  }

  /** Adds a member, or replaces its subscription. Returns whether it is new. */
  add(subscription: Subscription): boolean {
    const index = this.#indexOf(subscription.subscriber);
    if (index === -1) this.#members.push(subscription);
    else this.#members[index] = subscription;
    return index === -1;
  }

  /** Returns whether it was a member. */
  remove(subscriber: Subscriber): boolean {
    const index = this.#indexOf(subscriber);
    if (index === -1) return false;
    this.#members.splice(index, 1);
    if (this.#next > index) this.#next -= 1;
    if (this.#nextHere > index) this.#nextHere -= 1;
    return true;
  }

  /** Whose turn it is; `undefined` if no member that may be chosen is at least as ready as `least`. */
  choose(least: Readiness, mayBeChosen?: (member: Subscription) => boolean): Subscription | undefined {
    const index = this.#find(this.#next, least, mayBeChosen);
    if (index === -1) return undefined;
    this.#next = index + 1;
    return this.#members[index];
  }

  /** The same among those members that need routes. */
  chooseHere(least: Readiness): Subscription | undefined {
    const index = this.#find(this.#nextHere, least, ({ subscriber }) => subscriber.needsRoute);
    if (index === -1) return undefined;
    this.#nextHere = index + 1;
    return this.#members[index];
  }

  #find(first: number, least: Readiness, mayBeChosen?: (member: Subscription) => boolean): number {
    let bestReadiness = least - 1;
    let bestIndex = -1;
    for (let step = 0; step < this.#members.length; step++) {
      const index = (first + step) % this.#members.length;
      const member = this.#members[index];
      if (mayBeChosen?.(member) === false) continue;
      const ready = member.subscriber.readiness;
      // Nothing at QoS 0 waits for a client that is not there.
      if (ready <= bestReadiness || (ready === Readiness.Offline && member.qos === 0)) continue;
      bestReadiness = ready;
      bestIndex = index;
      if (ready === Readiness.Ready) break;
    }
    return bestIndex;
  }

  [Symbol.iterator](): Iterator<Subscription> {
    return this.#members.values();
  }

  #indexOf(subscriber: Subscriber): number {
    return this.#members.findIndex((member) => member.subscriber === subscriber);
  }
}
