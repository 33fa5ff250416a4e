import type { Qos } from "../../codec/packet.ts";
import { parseSharedFilter } from "../../codec/topic.ts";
import type { FormerPlace } from "../former_place.ts";
import type { Message } from "../message.ts";
import { type Readiness, SharedGroup } from "./shared_group.ts";
import { SmallMap } from "./small_map.ts";

/** Whoever gets messages: a client's session, or the program that embeds the broker. */
export interface Subscriber {
  /** The client identifier; `undefined` for the embedding program. */
  readonly clientId: string | undefined;
  /** How well it can take a message right now. */
  readonly readiness: Readiness;
  /** Whether other brokers forward messages for it: it is here, and messages do not come to it through a queue of its own. */
  readonly needsRoute: boolean;
  /** Takes a message that one of its subscriptions matched. `group` is set if it was chosen among a group's members. */
  deliver(message: Message, delivery: Delivery, group?: SharedGroup, formerPlace?: FormerPlace): void;
}

/** On what terms a subscriber gets a message. */
export interface Delivery {
  readonly subscriber: Subscriber;
  /** The highest QoS that was granted. */
  readonly qos: Qos;
  /** Whether the message keeps the retain flag that it was published with. */
  readonly retainAsPublished: boolean;
  /** The identifiers of the subscriptions that matched. */
  readonly identifiers: readonly number[] | undefined;
  /** Whether messages from the subscriber itself are on other terms. */
  readonly noLocal: boolean;
  /** Those terms; `undefined` if it does not get its own messages at all. */
  readonly own?: Delivery;
}

/** What a subscriber has asked for with one topic filter. */
export interface Subscription extends Delivery {
  /** As it was asked for, with `$share/…` if the subscription is shared. */
  readonly topicFilter: string;
}

/** Everybody who gets the messages of one topic. */
export interface Matches {
  /** One for each subscriber, however many of its subscriptions match. */
  readonly deliveries: readonly Delivery[];
  /** One member of each of these gets a message of its own. */
  readonly groups: readonly SharedGroup[];
}

class Node {
  readonly children = new SmallMap<string, Node>();
  readonly subscriptions = new SmallMap<Subscriber, Subscription>();
  readonly groups = new SmallMap<string, SharedGroup>();

  get empty(): boolean {
    return this.children.size === 0 && this.subscriptions.size === 0 && this.groups.size === 0;
  }
}

/** All subscriptions, as a tree of topic levels. */
export class SubscriptionTree {
  readonly #root = new Node();
  #size = 0;
  #shared = 0;
  /** Changes with every change of the tree: what was matched at another version may be wrong. */
  version = 0;

  /** How many subscriptions there are; each member of a shared group counts. */
  get size(): number {
    return this.#size;
  }

  /** How many of them are shared. */
  get shared(): number {
    return this.#shared;
  }

  /** Adds a subscription in place of one with the same subscriber and filter. Returns whether there was none. */
  add(subscription: Subscription): boolean {
    const { shareName, topicFilter } = split(subscription.topicFilter);
    let node = this.#root;
    for (const level of topicFilter.split("/")) {
      let child = node.children.get(level);
      if (child === undefined) node.children.set(level, child = new Node());
      node = child;
    }
    this.version += 1;
    const isNew = shareName === undefined ? addPlain(node, subscription) : addShared(node, shareName, subscription);
    if (isNew) this.#size += 1;
    if (isNew && shareName !== undefined) this.#shared += 1;
    return isNew;
  }

  /** Takes a subscription out. Returns whether it was there. */
  remove(subscriber: Subscriber, filter: string): boolean {
    const { shareName, topicFilter } = split(filter);
    const levels = topicFilter.split("/");
    const path = [this.#root];
    for (const level of levels) {
      const child = path[path.length - 1].children.get(level);
      if (child === undefined) return false;
      path.push(child);
    }
    const node = path[path.length - 1];
    if (shareName === undefined) {
      if (!node.subscriptions.delete(subscriber)) return false;
    } else {
      const group = node.groups.get(shareName);
      if (group === undefined || !group.remove(subscriber)) return false;
      if (group.size === 0) node.groups.delete(shareName);
    }
    for (let depth = levels.length; depth > 0 && path[depth].empty; depth--) {
      path[depth - 1].children.delete(levels[depth - 1]);
    }
    this.#size -= 1;
    if (shareName !== undefined) this.#shared -= 1;
    this.version += 1;
    return true;
  }

  /** The group of a shared subscription's filter, while it has members. */
  group(filter: string): SharedGroup | undefined {
    const { shareName, topicFilter } = split(filter);
    let node: Node | undefined = this.#root;
    for (const level of topicFilter.split("/")) node = node?.children.get(level);
    return shareName === undefined ? undefined : node?.groups.get(shareName);
  }

  /** All subscriptions. */
  *[Symbol.iterator](): Generator<Subscription> {
    const nodes = [this.#root];
    for (let node = nodes.pop(); node !== undefined; node = nodes.pop()) {
      yield* node.subscriptions.values();
      for (const group of node.groups.values()) yield* group;
      for (const child of node.children.values()) nodes.push(child);
    }
  }

  /** Who gets a message on this topic. */
  match(topicName: string): Matches {
    const found: Node[] = [];
    // Wildcards at the first level do not match topics that begin with "$" [MQTT-4.7.2-1].
    collect(this.#root, topicName.split("/"), 0, topicName.startsWith("$"), found);
    const bySubscriber = new Map<Subscriber, Delivery>();
    const groups: SharedGroup[] = [];
    for (const node of found) {
      for (const subscription of node.subscriptions.values()) {
        const other = bySubscriber.get(subscription.subscriber);
        bySubscriber.set(subscription.subscriber, other === undefined ? subscription : merge(other, subscription));
      }
      for (const group of node.groups.values()) groups.push(group);
    }
    return { deliveries: [...bySubscriber.values()], groups };
  }
}

function split(filter: string): { shareName?: string; topicFilter: string } {
  return parseSharedFilter(filter) ?? { topicFilter: filter };
}

function addPlain(node: Node, subscription: Subscription): boolean {
  const { size } = node.subscriptions;
  node.subscriptions.set(subscription.subscriber, subscription);
  return node.subscriptions.size > size;
}

function addShared(node: Node, shareName: string, subscription: Subscription): boolean {
  let group = node.groups.get(shareName);
  if (group === undefined) node.groups.set(shareName, group = new SharedGroup(subscription.topicFilter));
  return group.add(subscription);
}

function collect(node: Node, levels: string[], depth: number, isDollar: boolean, found: Node[]): void {
  const wildcards = !(isDollar && depth === 0);
  if (wildcards) {
    // "a/#" matches "a" as well: the multi-level wildcard includes the parent level.
    const hash = node.children.get("#");
    if (hash !== undefined) found.push(hash);
  }
  if (depth === levels.length) {
    found.push(node);
    return;
  }
  const child = node.children.get(levels[depth]);
  if (child !== undefined) collect(child, levels, depth + 1, isDollar, found);
  const plus = wildcards ? node.children.get("+") : undefined;
  if (plus !== undefined) collect(plus, levels, depth + 1, isDollar, found);
}

/**
 * A subscriber with several matching subscriptions gets one copy, at the highest QoS among them [MQTT-3.3.4-2] and with
 * the identifiers of all [MQTT-3.3.4-4].
 */
function merge(first: Delivery, second: Delivery): Delivery {
  const merged = combine(first, second);
  if (!first.noLocal && !second.noLocal) return merged;
  const ownTerms = [first, second].map((delivery) => delivery.noLocal ? delivery.own : delivery)
    .filter((delivery) => delivery !== undefined);
  return {
    ...merged,
    noLocal: true,
    own: ownTerms.length === 2 ? combine(ownTerms[0], ownTerms[1]) : ownTerms[0],
  };
}

function combine(first: Delivery, second: Delivery): Delivery {
  const identifiers = [...first.identifiers ?? [], ...second.identifiers ?? []];
  return {
    subscriber: first.subscriber,
    qos: first.qos > second.qos ? first.qos : second.qos,
    retainAsPublished: first.retainAsPublished || second.retainAsPublished,
    identifiers: identifiers.length > 0 ? identifiers : undefined,
    noLocal: false,
  };
}
