import { decode } from "@msgpack/msgpack";
import type { ClusterContext } from "../../broker/hooks.ts";
import type { Logger } from "../../broker/logger.ts";
import type { Channel } from "./channel.ts";
import type { Fanout } from "./fanout.ts";
import type { Inbox } from "./inbox.ts";
import type { Link } from "./link.ts";
import type { NodeKeys } from "./node_keys.ts";
import { type Route, type RouteEvent, ROUTES, VERSION_FIELD } from "./own_routes.ts";
import { RemoteNode } from "./remote_node.ts";
import { scanHash } from "./scan.ts";

/** What {@linkcode Nodes} are given. */
export interface NodesOptions {
  readonly link: Link;
  readonly keys: NodeKeys;
  readonly cluster: ClusterContext;
  readonly fanout: Fanout;
  readonly inbox: Inbox;
  readonly logger: Logger;
}

/** The other nodes with their routes, as far as our broker knows them. */
export class Nodes {
  readonly #options: NodesOptions;
  readonly #nodes = new Map<string, RemoteNode>();

  /** @param events The channel of all nodes. */
  constructor(options: NodesOptions, events: Channel) {
    this.#options = options;
    events.on(ROUTES, (fields) => this.#change(fields as RouteEvent));
  }

  /** The ids of those that are alive. */
  alive(): IteratorObject<string> {
    return this.#nodes.values().filter(({ isAlive }) => isAlive).map(({ nodeId }) => nodeId);
  }

  /** A node has come. Settles when its routes are known. */
  async appeared(nodeId: string, incarnation: string, isAlive: boolean): Promise<void> {
    const { fanout, cluster } = this.#options;
    this.gone(nodeId);
    const node = new RemoteNode(nodeId, incarnation, fanout.to(nodeId), cluster);
    node.isAlive = isAlive;
    this.#nodes.set(nodeId, node);
    await this.#reload(node);
  }

  /** A node's heart has stopped, or beats again. */
  turned(nodeId: string, isAlive: boolean): void {
    const node = this.#nodes.get(nodeId);
    if (node !== undefined) node.isAlive = isAlive;
  }

  /** A node has gone for good, or this life of it. */
  gone(nodeId: string): void {
    const node = this.#nodes.get(nodeId);
    if (node === undefined) return;
    this.#nodes.delete(nodeId);
    node.clear();
    this.#options.fanout.remove(nodeId);
    this.#options.inbox.forget(node.incarnation);
  }

  /** Whether a life of a node is known here. */
  has(nodeId: string, incarnation: string): boolean {
    return this.#nodes.get(nodeId)?.incarnation === incarnation;
  }

  /** Settles when the routes of a node are known, if they are being read. */
  loading(nodeId: string): Promise<void> | undefined {
    return this.#nodes.get(nodeId)?.loading;
  }

  /** A node has said that there have been so many events about its routes. If some have been missed, all are read anew. */
  async atLeast(nodeId: string, version: number): Promise<void> {
    const node = this.#nodes.get(nodeId);
    if (node !== undefined && (node.isStale || node.version < version)) await this.#reload(node);
  }

  /** Reads all routes anew: events may have been missed. */
  async reload(): Promise<void> {
    for (const node of this.#nodes.values()) await this.#reload(node);
  }

  #change([, nodeId, incarnation, version, routes]: RouteEvent): void {
    const node = this.#nodes.get(nodeId);
    if (node?.incarnation !== incarnation || version <= node.version) return;
    for (const route of routes) node.change(...route);
    const isNext = version === node.version + 1;
    node.version = version;
    if (!isNext) this.#reload(node).catch((error) => this.#logFailure(nodeId, error));
  }

  /** Reads a node's routes anew, and once more if that turns out meanwhile to be necessary. */
  #reload(node: RemoteNode): Promise<void> {
    node.isStale = true;
    return node.loading ??= this.#load(node).finally(() => node.loading = undefined);
  }

  async #load(node: RemoteNode): Promise<void> {
    const { link, keys } = this.#options;
    const key = keys.routes(node.nodeId);
    while (node.isStale) {
      node.isStale = false;
      try {
        const version = Number(await link.redis.hget(key, VERSION_FIELD));
        node.version = Math.max(node.version, version);
        await node.reload(routesIn(link, key));
      } catch (error) {
        node.isStale = true;
        throw error;
      }
    }
  }

  #logFailure(nodeId: string, error: unknown): void {
    this.#options.logger.warn("the routes of node {node} cannot be read: {error}", { node: nodeId, error });
  }
}

async function* routesIn(link: Link, key: string): AsyncGenerator<[topicFilter: string, ...route: Route][]> {
  for await (const page of scanHash(link, key)) {
    yield page.filter(([field]) => field !== VERSION_FIELD).map((
      [topicFilter, value],
    ) => [topicFilter, ...decode(value) as Route]);
  }
}
