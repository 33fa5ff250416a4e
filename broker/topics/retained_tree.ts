import type { Message } from "../message.ts";
import { SmallMap } from "./small_map.ts";

class Node {
  readonly children = new SmallMap<string, Node>();
  message: Message | undefined = undefined;
  /** How many messages had been stored when this one was. */
  order = 0;
}

/** The last retained message of every topic, as a tree of topic levels: a wildcard costs what it finds, not what there is. */
export class RetainedTree {
  readonly #root = new Node();
  #size = 0;
  #stored = 0;

  /** How many topics have a retained message. */
  get size(): number {
    return this.#size;
  }

  /** The retained message of one topic. */
  get(topicName: string): Message | undefined {
    let node: Node | undefined = this.#root;
    for (const level of topicName.split("/")) {
      node = node.children.get(level);
      if (node === undefined) return undefined;
    }
    return node.message;
  }

  /** Makes a message its topic's retained message, in place of another [MQTT-3.3.1-5]. */
  set(message: Message): void {
    let node = this.#root;
    for (const level of message.topic.name.split("/")) {
      let child = node.children.get(level);
      if (child === undefined) node.children.set(level, child = new Node());
      node = child;
    }
    if (node.message === undefined) this.#size += 1;
    node.message = message;
    node.order = this.#stored++;
  }

  /** Forgets the retained message of one topic. Returns whether there was one. */
  delete(topicName: string): boolean {
    const levels = topicName.split("/");
    const path = [this.#root];
    for (const level of levels) {
      const child = path[path.length - 1].children.get(level);
      if (child === undefined) return false;
      path.push(child);
    }
    const node = path[levels.length];
    if (node.message === undefined) return false;
    node.message = undefined;
    this.#size -= 1;
    for (let depth = levels.length; depth > 0; depth--) {
      if (path[depth].message !== undefined || path[depth].children.size > 0) break;
      path[depth - 1].children.delete(levels[depth - 1]);
    }
    return true;
  }

  /**
   * The retained messages whose topics match a filter (not a shared one), expired ones included. Each is looked up when
   * it is asked for; what has been stored since the call is left out.
   */
  match(topicFilter: string): Generator<Message> {
    return collect(this.#root, topicFilter.split("/"), 0, this.#stored);
  }

  /** All retained messages, also those whose topics begin with "$"; those that have been stored since the call are left out. */
  all(): Generator<Message> {
    return collectAll(this.#root, false, this.#stored);
  }
}

function* collect(node: Node, levels: string[], depth: number, before: number): Generator<Message> {
  if (depth === levels.length) {
    if (node.message !== undefined && node.order < before) yield node.message;
    return;
  }
  const level = levels[depth];
  if (level === "#") {
    yield* collectAll(node, depth === 0, before);
  } else if (level === "+") {
    for (const [name, child] of node.children.entries()) {
      // Wildcards at the first level do not match topics that begin with "$" [MQTT-4.7.2-1].
      if (depth > 0 || !name.startsWith("$")) yield* collect(child, levels, depth + 1, before);
    }
  } else {
    const child = node.children.get(level);
    if (child !== undefined) yield* collect(child, levels, depth + 1, before);
  }
}

function* collectAll(node: Node, isFirstLevel: boolean, before: number): Generator<Message> {
  if (node.message !== undefined && node.order < before) yield node.message;
  for (const [name, child] of node.children.entries()) {
    if (!isFirstLevel || !name.startsWith("$")) yield* collectAll(child, false, before);
  }
}
