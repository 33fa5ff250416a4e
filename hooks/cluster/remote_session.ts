import type { ClusterContext, RemoteMessage, RemoteSubscriber, StoredSubscription } from "../../broker/hooks.ts";
import type { MaybePromise } from "../../broker/maybe_promise.ts";

/** Where the messages for sessions at other nodes go. */
export interface SessionSender {
  /** Puts a QoS 1 or 2 message into a session's queue. */
  queue(clientId: string, message: RemoteMessage): MaybePromise<void>;
  /** Sends a QoS 0 message to the node where the client is connected. */
  send(nodeId: string, clientId: string, message: RemoteMessage): MaybePromise<void>;
}

/** A durable session that another node looks after, as a subscriber here. */
export class RemoteSession implements RemoteSubscriber {
  readonly clientId: string;
  /** Where its client is connected; empty if it is not. */
  node = "";
  readonly #sender: SessionSender;
  readonly #cluster: ClusterContext;
  #subscriptions = new Map<string, StoredSubscription>();

  constructor(clientId: string, sender: SessionSender, cluster: ClusterContext) {
    this.clientId = clientId;
    this.#sender = sender;
    this.#cluster = cluster;
  }

  get isConnected(): boolean {
    return this.node !== "";
  }

  subscribe(subscription: StoredSubscription): void {
    this.#subscriptions.set(subscription.topicFilter, subscription);
    this.#cluster.addSubscription(this, subscription);
  }

  unsubscribe(topicFilter: string): void {
    if (this.#subscriptions.delete(topicFilter)) this.#cluster.removeSubscription(this, topicFilter);
  }

  /** Gives it these subscriptions, and no others. */
  replace(subscriptions: readonly StoredSubscription[]): void {
    const kept = new Set(subscriptions.map(({ topicFilter }) => topicFilter));
    for (const topicFilter of [...this.#subscriptions.keys()]) {
      if (!kept.has(topicFilter)) this.unsubscribe(topicFilter);
    }
    for (const subscription of subscriptions) {
      const before = this.#subscriptions.get(subscription.topicFilter);
      if (before === undefined || !isSame(before, subscription)) this.subscribe(subscription);
    }
  }

  deliver(message: RemoteMessage): MaybePromise<void> {
    if (message.qos > 0) return this.#sender.queue(this.clientId, message);
    if (this.node !== "") return this.#sender.send(this.node, this.clientId, message);
  }
}

function isSame(one: StoredSubscription, other: StoredSubscription): boolean {
  return one.qos === other.qos && one.noLocal === other.noLocal && one.retainAsPublished === other.retainAsPublished &&
    `${one.identifiers}` === `${other.identifiers}`;
}
