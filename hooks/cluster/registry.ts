import { encode } from "@msgpack/msgpack";
import type { Logger } from "../../broker/logger.ts";
import type { Channel } from "./channel.ts";
import { NodeKeys } from "./node_keys.ts";
import type { Link } from "./link.ts";
import { scanHash } from "./scan.ts";

/** For so many times its time to live, what is kept for a dead node is kept: it may only be cut off, and come back. */
const GRACE = 6;

/** How long to wait before looking again whether another broker with our node id is still there, in milliseconds. */
const INTRUDER_INTERVAL = 200;

/** What a node says of itself. */
export interface Heartbeat {
  /** Tells its life from all others. */
  readonly incarnation: string;
  /** Which version of HookMQ it runs. */
  readonly version: string;
  /** When its broker was started, in milliseconds since 1970. */
  readonly startedAt: number;
  /** Clients that are connected. */
  readonly clients: number;
  /** Sessions, of connected clients and of others. */
  readonly sessions: number;
  /** Messages that clients have published, on average since the heartbeat before. */
  readonly messagesPerSecond: number;
  /** How many events there have been about its routes. */
  readonly routesVersion: number;
}

/** A node that is alive, as it describes itself. */
export interface NodeInfo extends Heartbeat {
  readonly nodeId: string;
}

/** Somebody to be told of other nodes. What rejects is tried again. */
export interface NodeWatcher {
  /** A node has come, or begun a new life. It may be dead already. */
  appeared(nodeId: string, incarnation: string, isAlive: boolean): Promise<void>;
  /** A node that was known has died, or come back in the same life. */
  turned(nodeId: string, isAlive: boolean): void;
  /** A node is gone for good. */
  gone(nodeId: string): void;
  /** A live node has said that its routes have had so many events; it is some time ago. */
  atLeast(nodeId: string, routesVersion: number): Promise<void>;
  /** A dead node's sessions are to be looked after; called again and again until there are none. */
  adopt(nodeId: string): Promise<void>;
  /** Redis has lost what it held, or others have forgotten this node: all that is ours is to be written again. */
  forgotten(lost: Exclude<Loss, "node">): Promise<void>;
  /** The node's heart beats. */
  check(): Promise<void>;
}

/** What a {@linkcode Registry} is given. */
export interface RegistryOptions {
  readonly link: Link;
  readonly keys: NodeKeys;
  readonly nodeId: string;
  readonly incarnation: string;
  /** In milliseconds. */
  readonly heartbeatInterval: number;
  /** In milliseconds. */
  readonly nodeTtl: number;
  /** What to say of this node. */
  readonly describe: () => Heartbeat;
  readonly watcher: NodeWatcher;
  readonly logger: Logger;
}

/** What Redis does not know of what this node has there: nothing yet, or the routes no more, or nothing at all any more. */
export type Loss = "node" | "routes" | "everything";

type NodeEvent = [type: typeof NODE, nodeId: string];
const NODE = "node";

interface KnownNode {
  incarnation: string;
  isAlive: boolean;
  heartbeat: Heartbeat | undefined;
  diedAt: number;
}

/** An incarnation that says that a node has gone in order. */
const LEFT = "";

/** Which nodes there are: says that this one is, and looks for the others. */
export class Registry {
  readonly #options: RegistryOptions;
  readonly #nodes = new Map<string, KnownNode>();
  /** Nodes that this one has removed from the others. */
  readonly #forgotten = new Set<string>();
  #clusterName: string | undefined;
  /** What Redis has lost of what is ours, and has not been given again. */
  #lost: Loss | undefined;
  #restoring: Promise<unknown> = Promise.resolve();
  #connectedAt = 0;
  #beatTimer: ReturnType<typeof setTimeout> | undefined;
  #lookTimer: ReturnType<typeof setTimeout> | undefined;
  #looking: Promise<void> | undefined;
  #lookAgain = false;
  #conflict: string | undefined;
  #isStopped = false;

  /** @param events The channel of all nodes. */
  constructor(options: RegistryOptions, events: Channel) {
    this.#options = options;
    events.on(NODE, (fields) => {
      if ((fields as NodeEvent)[1] !== options.nodeId) this.#lookSoon();
    });
  }

  /** Why this node is not one of the cluster, although Redis is there; `undefined` if it is. */
  get conflict(): string | undefined {
    return this.#conflict;
  }

  /** The ids of all nodes that are alive, this one included. */
  alive(): string[] {
    const others = [...this.#nodes].filter(([, { isAlive }]) => isAlive).map(([nodeId]) => nodeId);
    return [this.#options.nodeId, ...others].sort();
  }

  /**
   * Makes this node known, after every connection to Redis, and has its heart beat from then on. Settles with what Redis had
   * lost of what is ours.
   *
   * @throws {Error} As a rejection: if another broker has its id.
   */
  async register(): Promise<Loss | undefined> {
    this.#connectedAt = Date.now();
    const lost = await this.#restore();
    await this.#beat();
    return lost;
  }

  /** Looks which other nodes there are. Settles when the watcher has heard of all that has changed. */
  look(): Promise<void> {
    if (this.#looking !== undefined) this.#lookAgain = true;
    return this.#looking ??= this.#lookUntilDone().finally(() => this.#looking = undefined);
  }

  /** Looks for other nodes from now on, again and again. */
  start(): void {
    this.#lookOn();
  }

  /** Beats no more, and looks at nobody any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#beatTimer);
    clearTimeout(this.#lookTimer);
    await this.#looking?.catch(() => {});
  }

  /** Tells the others that this node goes; they look after its sessions. */
  async leave(): Promise<void> {
    const { link, keys, nodeId, incarnation } = this.#options;
    if (await link.redis.hget(keys.nodes, nodeId) !== incarnation) return;
    await link.call("HSET", keys.nodes, nodeId, LEFT);
    await link.call("DEL", keys.node(nodeId));
    await link.call("UNLINK", keys.routes(nodeId));
    await link.call("UNLINK", keys.inbox(nodeId));
    await this.#announce();
  }

  /**
   * Beats from now on, again and again. Looking, and reading and writing all when a connection has come, take their time
   * when there is much; this does not wait for them.
   */
  #beatOn(): void {
    clearTimeout(this.#beatTimer);
    if (this.#isStopped) return;
    this.#beatTimer = setTimeout(async () => {
      // What is wrong is found out, and said, when this node looks around.
      await this.#beatIfKnown().catch(() => {});
      this.#beatOn();
    }, this.#options.heartbeatInterval);
    Deno.unrefTimer(this.#beatTimer);
  }

  async #beatIfKnown(): Promise<void> {
    const { link, keys, nodeId, incarnation } = this.#options;
    if (await link.redis.hget(keys.nodes, nodeId) === incarnation) await this.#beat();
  }

  #lookOn(): void {
    if (this.#isStopped) return;
    this.#lookTimer = setTimeout(async () => {
      await this.#lookAround();
      this.#lookOn();
    }, this.#options.heartbeatInterval);
    Deno.unrefTimer(this.#lookTimer);
  }

  async #lookAround(): Promise<void> {
    const { link, logger } = this.#options;
    if (!link.isConnected) return;
    try {
      await this.#restore();
      await this.#cleanUp();
      await this.look();
      await this.#options.watcher.check();
    } catch (error) {
      if (link.isConnected && !this.#isStopped) logger.warn("looking for other nodes failed: {error}", { error });
    }
  }

  #lookSoon(): void {
    if (this.#isStopped) return;
    this.look().catch((error) => {
      if (!this.#isStopped) this.#options.logger.warn("looking for other nodes failed: {error}", { error });
    });
  }

  /** Gives Redis again what it has lost, all of it before anything else is found to be lost. Settles with what that was. */
  #restore(): Promise<Loss | undefined> {
    const restored = this.#restoring.then(async () => {
      const lost = await this.#whatIsLost();
      if (lost !== undefined) await this.#enter(lost);
      this.#lost = undefined;
      return lost;
    });
    this.#restoring = restored.catch(() => {});
    return restored;
  }

  /** It counts as lost until it has been given to Redis, also if the connection is lost, too, before. */
  async #whatIsLost(): Promise<Loss | undefined> {
    const { link, keys, nodeId, incarnation } = this.#options;
    await link.call("SET", keys.cluster, crypto.randomUUID(), "NX");
    const clusterName = (await link.redis.get(keys.cluster))!;
    const known = await link.redis.hget(keys.nodes, nodeId);
    const isNew = this.#clusterName === undefined;
    const isEmptied = !isNew && this.#clusterName !== clusterName;
    if (known !== null && known !== incarnation && known !== LEFT) await this.#awaitEnd(known, isNew);
    this.#conflict = undefined;
    this.#clusterName = clusterName;
    if (isNew) this.#lost = "node";
    else if (isEmptied) this.#lost = "everything";
    else if (known !== incarnation) this.#lost ??= "routes";
    return this.#lost;
  }

  /** Waits until another life of this node is over. @throws {Error} If it goes on. */
  async #awaitEnd(incarnation: string, isNew: boolean): Promise<void> {
    const { link, keys, nodeId, nodeTtl } = this.#options;
    const deadline = isNew ? Date.now() + nodeTtl + INTRUDER_INTERVAL : 0;
    for (;;) {
      const heartbeat = await this.#heartbeatOf(nodeId);
      if (heartbeat?.incarnation !== incarnation || await this.#isProcessGone()) return;
      if (Date.now() >= deadline) break;
      await new Promise((resolve) => setTimeout(resolve, INTRUDER_INTERVAL));
    }
    this.#conflict = `node id "${nodeId}" is in use by another broker on the same Redis (${keys.nodes})`;
    throw new Error(`${this.#conflict}: choose another one, or another key prefix`, { cause: link.address });
  }

  /** Whether nobody but us listens on our channel: then what had our id was our last life, and was killed. */
  async #isProcessGone(): Promise<boolean> {
    const { link, keys, nodeId } = this.#options;
    // A server of a Redis Cluster knows only of its own connections.
    if (link.isCluster) return false;
    const [, listeners] = await link.call("PUBSUB", "NUMSUB", keys.fanout(nodeId)) as [unknown, number];
    return listeners <= 1;
  }

  async #enter(lost: Loss): Promise<void> {
    const { link, keys, nodeId, incarnation, watcher } = this.#options;
    await link.call("UNLINK", keys.routes(nodeId));
    await link.call("UNLINK", keys.inbox(nodeId));
    // Whoever finds it must not take it for dead, and see to sessions that it is still writing.
    await this.#beat();
    await link.call("HSET", keys.nodes, nodeId, incarnation);
    this.#beatOn();
    if (lost !== "node") await watcher.forgotten(lost);
    await this.#announce();
  }

  async #beat(): Promise<void> {
    const { link, keys, nodeId, nodeTtl, describe } = this.#options;
    await link.call("SET", keys.node(nodeId), JSON.stringify(describe()), "PX", nodeTtl);
  }

  async #announce(): Promise<void> {
    const { link, keys, nodeId } = this.#options;
    const event: NodeEvent = [NODE, nodeId];
    await link.call("PUBLISH", keys.events, encode(event));
  }

  async #lookUntilDone(): Promise<void> {
    do {
      this.#lookAgain = false;
      await this.#look();
    } while (this.#lookAgain);
  }

  async #look(): Promise<void> {
    const { link, keys, nodeId: ownId, watcher } = this.#options;
    const incarnations = new Map<string, string>();
    for await (const page of scanHash(link, keys.nodes)) {
      for (const [nodeId, incarnation] of page) incarnations.set(nodeId, new TextDecoder().decode(incarnation));
    }
    incarnations.delete(ownId);
    for (const nodeId of this.#nodes.keys()) {
      if (incarnations.has(nodeId)) continue;
      this.#nodes.delete(nodeId);
      watcher.gone(nodeId);
    }
    await Promise.all([...incarnations].map(async ([nodeId, incarnation]) => {
      await this.#lookAt(nodeId, incarnation, await this.#heartbeatOf(nodeId));
    }));
  }

  async #lookAt(nodeId: string, incarnation: string, heartbeat: Heartbeat | undefined): Promise<void> {
    const { watcher, nodeTtl, logger } = this.#options;
    const known = this.#nodes.get(nodeId);
    const beats = heartbeat?.incarnation === incarnation;
    if (known?.incarnation !== incarnation) {
      await watcher.appeared(nodeId, incarnation, beats);
      this.#nodes.set(nodeId, { incarnation, isAlive: beats, heartbeat, diedAt: beats ? 0 : Date.now() });
      if (beats) logger.info("node {node} is there", { node: nodeId });
      else if (incarnation === LEFT) logger.info("node {node} has gone", { node: nodeId });
      else logger.warn("node {node} is dead", { node: nodeId });
    } else if (beats) {
      // What was true at the heartbeat before must have reached us by now.
      if (known.heartbeat !== undefined) await watcher.atLeast(nodeId, known.heartbeat.routesVersion);
      known.heartbeat = heartbeat;
      this.#turn(nodeId, known, true);
    } else if (known.isAlive && Date.now() - this.#connectedAt > nodeTtl) {
      // Unless we were cut off, and perhaps all the others with us: then they have some time to come back.
      known.diedAt = Date.now();
      this.#turn(nodeId, known, false);
    }
    if (!this.#nodes.get(nodeId)!.isAlive) await this.#bury(nodeId, this.#nodes.get(nodeId)!);
  }

  #turn(nodeId: string, known: KnownNode, isAlive: boolean): void {
    if (known.isAlive === isAlive) return;
    known.isAlive = isAlive;
    this.#options.watcher.turned(nodeId, isAlive);
    const { logger } = this.#options;
    if (isAlive) logger.info("node {node} is back", { node: nodeId });
    else logger.warn("node {node} is dead: it has said nothing for too long", { node: nodeId });
  }

  /** Sees to what a dead node has left, and after some time to its being forgotten. */
  async #bury(nodeId: string, { incarnation, diedAt }: KnownNode): Promise<void> {
    const { link, keys, watcher, nodeTtl } = this.#options;
    await watcher.adopt(nodeId);
    if (incarnation !== LEFT && Date.now() - diedAt < GRACE * nodeTtl) return;
    if (await link.call("SCARD", keys.sessions(nodeId)) as number > 0) return;
    if (await link.redis.hget(keys.nodes, nodeId) !== incarnation) return;
    // Only one of us does the rest.
    if (await link.call("HDEL", keys.nodes, nodeId) as number === 0) return;
    this.#forgotten.add(nodeId);
    await this.#announce();
    this.#lookAgain = true;
  }

  /** Removes what forgotten nodes have left, when all have heard that there is nobody any more to send messages to. */
  async #cleanUp(): Promise<void> {
    const { link, keys } = this.#options;
    for (const nodeId of this.#forgotten) {
      this.#forgotten.delete(nodeId);
      // It has come back.
      if (this.#nodes.has(nodeId)) continue;
      await link.call("UNLINK", keys.routes(nodeId));
      await link.call("UNLINK", keys.inbox(nodeId));
    }
  }

  #heartbeatOf(nodeId: string): Promise<Heartbeat | undefined> {
    const { link, keys } = this.#options;
    return readHeartbeat(link, keys, nodeId);
  }
}

/** The nodes that are alive, for somebody who is none of them. */
export async function readNodes(link: Link, keyPrefix: string): Promise<NodeInfo[]> {
  const keys = new NodeKeys(keyPrefix);
  const nodes = new Map<string, NodeInfo>();
  for await (const page of scanHash(link, keys.nodes)) {
    for (const [nodeId] of page) {
      const heartbeat = await readHeartbeat(link, keys, nodeId);
      if (heartbeat !== undefined) nodes.set(nodeId, { nodeId, ...heartbeat });
    }
  }
  return [...nodes.values()].sort((first, second) => first.nodeId < second.nodeId ? -1 : 1);
}

async function readHeartbeat(link: Link, keys: NodeKeys, nodeId: string): Promise<Heartbeat | undefined> {
  const heartbeat = await link.redis.get(keys.node(nodeId));
  return heartbeat === null ? undefined : JSON.parse(heartbeat);
}
