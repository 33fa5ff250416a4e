import type {
  Hook,
  HookContext,
  RemoteMessage,
  RemoteSubscriber,
  RestoredSession,
  StoredOutgoing,
  StoredSession,
  StoredSubscription,
} from "../../mod.ts";

interface Entry {
  outgoing: Omit<StoredOutgoing, "id">;
  isAdmitted: boolean;
}

/** A durable session, as all nodes see it. */
class SharedSession implements RemoteSubscriber {
  readonly subscriptions = new Map<string, StoredSubscription>();
  readonly queue = new Map<number, Entry>();
  readonly received = new Set<number>();
  /** Where its client is connected. */
  node: MemoryNode | undefined;
  last = 0;
  readonly clientId: string;
  stored: StoredSession;

  constructor(stored: StoredSession) {
    this.clientId = stored.clientId;
    this.stored = stored;
  }

  get isConnected(): boolean {
    return this.node !== undefined;
  }

  deliver(message: RemoteMessage): void {
    const { qos, retain, identifiers, shareFilter } = message;
    if (qos > 0) {
      const outgoing = {
        message: message.stored(),
        qos,
        retain,
        identifiers,
        shareFilter,
        packetId: 0,
        released: false,
      };
      return this.append({ outgoing, isAdmitted: false });
    }
    const sessions = [{ clientId: this.clientId, retain, identifiers }];
    void this.node?.context.cluster.deliverForwarded(message.publish.slice(), {
      publisherId: message.publisherId,
      sentAt: Date.now(),
      toAll: false,
      groups: [],
      sessions,
    });
  }

  append(entry: Entry): void {
    const number = ++this.last;
    this.queue.set(number, entry);
    this.node?.arrive(this.clientId, number, entry);
  }
}

/** One broker of a cluster, with what the others know of it. */
class MemoryNode implements RemoteSubscriber {
  readonly clientId = undefined;
  readonly isConnected = true;
  readonly routes = new Map<string, StoredSubscription>();
  readonly context: HookContext;
  /** The places in their queues of the messages that are on their way from here. */
  readonly numbers = new Map<number, number>();

  constructor(context: HookContext) {
    this.context = context;
  }

  deliver({ publish, publisherId, shareFilter }: RemoteMessage) {
    return this.context.cluster.deliverForwarded(publish.slice(), {
      publisherId,
      sentAt: Date.now(),
      toAll: shareFilter === undefined,
      groups: shareFilter === undefined ? [] : [shareFilter],
      sessions: [],
    });
  }

  arrive(clientId: string, number: number, { outgoing, isAdmitted }: Entry): void {
    const id = this.context.cluster.nextOutgoingId();
    this.numbers.set(id, number);
    this.context.cluster.deliverQueued(clientId, { ...outgoing, id }, isAdmitted);
  }
}

/** Makes brokers in one process one cluster, in the simplest way that there is, to test what the broker does for it. */
export class MemoryCluster {
  readonly #nodes: MemoryNode[] = [];
  readonly #sessions = new Map<string, SharedSession>();
  /** At which node each client id was claimed last. */
  readonly #owners = new Map<string, MemoryNode>();

  /** Client ids with a session, and how many messages wait for each. */
  get queues(): Record<string, number> {
    return Object.fromEntries([...this.#sessions].map(([clientId, { queue }]) => [clientId, queue.size]));
  }

  /** A hook for one more broker. */
  hook(): Hook {
    let node: MemoryNode;
    const home = (clientId: string) => this.#sessions.get(clientId)!;
    return {
      id: "memory-cluster",
      init: (context) => {
        node = new MemoryNode(context);
        for (const other of this.#nodes) for (const route of other.routes.values()) this.#add(node, other, route);
        for (const session of this.#sessions.values()) {
          for (const subscription of session.subscriptions.values()) this.#add(node, session, subscription);
        }
        this.#nodes.push(node);
      },

      onRouteChanged: (topicFilter, qos, members) => {
        const route = { topicFilter, qos, noLocal: false, retainAsPublished: true, identifiers: undefined };
        if (members > 0) node.routes.set(topicFilter, route);
        else node.routes.delete(topicFilter);
        for (const other of this.#nodes) {
          if (other === node) continue;
          if (members > 0) this.#add(other, node, route);
          else other.context.cluster.removeSubscription(node, topicFilter);
        }
      },

      claimSession: async ({ clientId, cleanStart }) => {
        this.#owners.set(clientId, node);
        for (const other of this.#nodes) if (other !== node) other.context.cluster.releaseSession(clientId);
        // As long as an answer takes at least; somebody else may have claimed it by then.
        await new Promise((resolve) => setTimeout(resolve));
        if (this.#owners.get(clientId) !== node) throw new Error("another connection uses this client id");
        const session = this.#sessions.get(clientId);
        if (session === undefined) return;
        session.node = node;
        for (const { topicFilter } of session.subscriptions.values()) {
          node.context.cluster.removeSubscription(session, topicFilter);
          for (const other of this.#nodes) {
            if (other !== node) this.#add(other, session, session.subscriptions.get(topicFilter)!);
          }
        }
        return this.#restored(session, node, !cleanStart);
      },
      storeSession: (stored) => {
        const session = this.#sessions.get(stored.clientId) ?? new SharedSession(stored);
        this.#sessions.set(stored.clientId, session);
        session.stored = stored;
        session.node = stored.disconnectedAt === undefined ? node : undefined;
      },
      removeSession: (clientId) => {
        const session = home(clientId);
        this.#sessions.delete(clientId);
        for (const topicFilter of session.subscriptions.keys()) this.#forEachOther(node, session, topicFilter);
      },
      storeSubscriptions: (clientId, subscriptions) => {
        const session = home(clientId);
        for (const subscription of subscriptions) {
          session.subscriptions.set(subscription.topicFilter, subscription);
          for (const other of this.#nodes) if (other !== node) this.#add(other, session, subscription);
        }
      },
      removeSubscriptions: (clientId, topicFilters) => {
        for (const topicFilter of topicFilters) {
          home(clientId).subscriptions.delete(topicFilter);
          this.#forEachOther(node, home(clientId), topicFilter);
        }
      },
      queueOutgoing: (clientId, { isAdmitted, publisherId: _publisherId, isPublished: _isPublished, ...queued }) =>
        home(clientId).append({ outgoing: { ...queued, packetId: 0, released: false }, isAdmitted }),
      storeOutgoing: (clientId, { id, ...outgoing }) => {
        const session = home(clientId);
        const number = node.numbers.get(id) ?? ++session.last;
        node.numbers.set(id, number);
        session.queue.set(number, { outgoing, isAdmitted: true });
      },
      removeOutgoing: (clientId, { id }) => {
        this.#sessions.get(clientId)?.queue.delete(node.numbers.get(id)!);
        node.numbers.delete(id);
      },
      storeReceived: (clientId, packetId) => void home(clientId).received.add(packetId),
      removeReceived: (clientId, packetId) => void this.#sessions.get(clientId)?.received.delete(packetId),
    };
  }

  #restored(session: SharedSession, node: MemoryNode, isComplete: boolean): RestoredSession {
    const outgoing = [...session.queue].map(([number, { outgoing }]) => {
      const id = node.context.cluster.nextOutgoingId();
      node.numbers.set(id, number);
      return { ...outgoing, id };
    });
    return {
      ...session.stored,
      subscriptions: [...session.subscriptions.values()],
      outgoing: isComplete ? outgoing : [],
      received: [...session.received],
    };
  }

  #add(to: MemoryNode, subscriber: RemoteSubscriber, subscription: StoredSubscription): void {
    to.context.cluster.addSubscription(subscriber, subscription);
  }

  #forEachOther(node: MemoryNode, session: SharedSession, topicFilter: string): void {
    for (const other of this.#nodes) {
      if (other !== node) other.context.cluster.removeSubscription(session, topicFilter);
    }
  }
}
