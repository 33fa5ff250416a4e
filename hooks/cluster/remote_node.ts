import type { ClusterContext, RemoteMessage, RemoteSubscriber } from "../../broker/hooks.ts";
import type { MaybePromise } from "../../broker/maybe_promise.ts";
import type { Qos } from "../../codec/mod.ts";
import type { Outlet } from "./fanout.ts";
import type { Route } from "./own_routes.ts";

/** So many members of a shared subscription at one node take turns with those of other nodes; more have no more turns. */
const MOST_MEMBERS = 16;

/** Another node, as its subscribers that have no durable session are known to our broker. */
export class RemoteNode {
  readonly nodeId: string;
  /** Which life of it this is about. */
  readonly incarnation: string;
  /** How many events about its routes are known. */
  version = 0;
  /** Whether some may have been missed, so that its routes have to be read anew. */
  isStale = false;
  /** Settles when they have been. */
  loading: Promise<void> | undefined;
  readonly #outlet: Outlet;
  readonly #cluster: ClusterContext;
  readonly #routes = new Map<string, Route>();
  /** All its subscribers that are in no group. */
  readonly #all: RemoteSubscriber;
  /** Its members of groups: the first ones of each. */
  readonly #members: RemoteSubscriber[] = [];
  /** The filters that events have been about since the routes are read from Redis. */
  #touched: Set<string> | undefined;

  constructor(nodeId: string, incarnation: string, outlet: Outlet, cluster: ClusterContext) {
    this.nodeId = nodeId;
    this.incarnation = incarnation;
    this.#outlet = outlet;
    this.#cluster = cluster;
    this.#all = new NodeSubscriber(outlet);
  }

  /** Whether its heart beats. */
  get isAlive(): boolean {
    return this.#outlet.isAlive;
  }

  set isAlive(isAlive: boolean) {
    this.#outlet.isAlive = isAlive;
  }

  /** How many filters it has subscribers for. */
  get size(): number {
    return this.#routes.size;
  }

  /** An event has come about a route; without members it is gone. */
  change(topicFilter: string, maximumQos: Qos, members: number): void {
    this.#touched?.add(topicFilter);
    this.#set(topicFilter, maximumQos, members);
  }

  /**
   * Takes over what Redis holds, a part at a time. What events say meanwhile is newer, or followed by an event that is; and
   * what is neither in Redis nor in an event is gone.
   */
  async reload(pages: AsyncIterable<readonly [topicFilter: string, ...route: Route][]>): Promise<void> {
    const touched = this.#touched = new Set();
    const found = new Set<string>();
    for await (const page of pages) {
      for (const [topicFilter, maximumQos, members] of page) {
        found.add(topicFilter);
        if (!touched.has(topicFilter)) this.#set(topicFilter, maximumQos, members);
      }
    }
    for (const topicFilter of this.#routes.keys()) {
      if (!found.has(topicFilter) && !touched.has(topicFilter)) this.#set(topicFilter, 0, 0);
    }
    this.#touched = undefined;
  }

  /** Forgets all its routes. */
  clear(): void {
    for (const topicFilter of [...this.#routes.keys()]) this.#set(topicFilter, 0, 0);
  }

  #set(topicFilter: string, maximumQos: Qos, members: number): void {
    const before = this.#routes.get(topicFilter);
    if (before?.[0] === maximumQos && before[1] === members) return;
    if (members > 0) this.#routes.set(topicFilter, [maximumQos, members]);
    else this.#routes.delete(topicFilter);
    const subscribers = this.#subscribers(topicFilter, members);
    for (const subscriber of subscribers) {
      this.#cluster.addSubscription(subscriber, {
        topicFilter,
        qos: maximumQos,
        noLocal: false,
        retainAsPublished: true,
        identifiers: undefined,
      });
    }
    const former = this.#subscribers(topicFilter, before?.[1] ?? 0);
    for (const subscriber of former.slice(subscribers.length)) {
      this.#cluster.removeSubscription(subscriber, topicFilter);
    }
  }

  #subscribers(topicFilter: string, members: number): readonly RemoteSubscriber[] {
    if (!topicFilter.startsWith("$share/")) return members > 0 ? [this.#all] : [];
    const count = Math.min(members, MOST_MEMBERS);
    while (this.#members.length < count) this.#members.push(new NodeSubscriber(this.#outlet));
    return this.#members.slice(0, count);
  }
}

/** Stands for subscribers at another node. */
class NodeSubscriber implements RemoteSubscriber {
  readonly clientId = undefined;
  readonly #outlet: Outlet;

  constructor(outlet: Outlet) {
    this.#outlet = outlet;
  }

  get isConnected(): boolean {
    return this.#outlet.isAlive;
  }

  deliver(message: RemoteMessage): MaybePromise<void> {
    return this.#outlet.send(message);
  }
}
