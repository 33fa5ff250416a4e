import type { Hook } from "../broker/hooks.ts";
import type { PublishPacket } from "../codec/mod.ts";
import type { ClusterHealth } from "./cluster/cluster_node.ts";
import { nodeHook } from "./cluster/node_hook.ts";
import { assertNodeOptions, type RedisClient, type RedisConnectionOptions } from "./cluster/options.ts";

/**
 * Options of {@linkcode clusterHook}.
 *
 * @example
 * ```ts
 * import { clusterHook, type ClusterOptions } from "@hookmq/broker/hooks";
 *
 * const options: ClusterOptions = {
 *   addrs: ["redis-1.example.org:6379", "redis-2.example.org:6379"],
 *   nodeId: "broker-1",
 *   heartbeatInterval: 1,
 *   nodeTtl: 5,
 * };
 * clusterHook(options);
 * ```
 */
export interface ClusterOptions extends RedisConnectionOptions {
  /**
   * Names this broker among the nodes of the cluster; no two that run may have the same. 1 to 128 letters, digits, and
   * characters of `._-:@`. A broker that is started again gets the name that it had.
   */
  nodeId: string;
  /** Addresses of servers of a Redis Cluster, in place of `addr`; one that answers is enough to find the others. */
  addrs?: string[];
  /** How often the node says that it is there, and looks for the others, in seconds, from 0.1 to 3,600. Default 3. */
  heartbeatInterval?: number;
  /**
   * After how many seconds without such a word a node is taken for dead, and the others look after its sessions; at least
   * twice `heartbeatInterval`, at most 86,400. Default 10.
   */
  nodeTtl?: number;
}

/**
 * What {@linkcode clusterHook} returns.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type ClusterHook, clusterHook } from "@hookmq/broker/hooks";
 *
 * const [addr] = Deno.args;
 * const cluster: ClusterHook = clusterHook({ addr, nodeId: "broker-1" });
 * await using broker = new Broker();
 * if (addr !== undefined) {
 *   await broker.use(cluster);
 *   console.log(await cluster.getActiveNodes()); // e.g. ["broker-1", "broker-2"]
 * }
 * ```
 */
export interface ClusterHook extends Hook {
  /** The client of ioredis that commands go by. @throws {Error} Before the hook has been added to a broker. */
  readonly client: RedisClient;
  /** The name of this node. */
  readonly nodeId: string;
  /** The ids of the nodes that are alive, this one included, in alphabetical order. */
  getActiveNodes(): Promise<string[]>;
  /**
   * Puts a message into the queue of a client's durable session, wherever that is, as if it had been published to that client
   * alone; one at QoS 0 at QoS 1, since nothing else waits. Nothing happens if it has no durable session.
   */
  queueMessage(clientId: string, packet: PublishPacket): Promise<void>;
  /**
   * Stores a QoS 1 or 2 message as one that a client has been sent with this packet identifier, and not acknowledged.
   *
   * @throws {RangeError} As a rejection, if the client has no durable session at this node.
   */
  trackInflight(clientId: string, packetId: number, packet: PublishPacket): Promise<void>;
  /**
   * Forgets the message that a client was sent with this packet identifier, if there is one.
   *
   * @throws {RangeError} As a rejection, if the client has no durable session at this node.
   */
  ackInflight(clientId: string, packetId: number): Promise<void>;
  /** Makes a message its topic's retained one on every node; one without a payload removes it. */
  storeRetained(topic: string, packet: PublishPacket): Promise<void>;
  /** The retained messages whose topics match a filter. */
  getRetained(topicFilter: string): Promise<PublishPacket[]>;
  /** Whether the node is connected with the others, and why not. @throws {Error} As `client` does. */
  health(): ClusterHealth;
}

/**
 * Makes brokers on several machines one, over Redis or Valkey: a client may connect to any of them, gets what is published
 * at any of them, and finds its session at any of them. When a node dies, the others look after its sessions, and its
 * clients go on elsewhere.
 *
 * Every node knows in memory where messages go. When Redis is away, clients of one node go on exchanging messages;
 * QoS 1 and 2 messages for others are acknowledged when it is back, and refused with 0x97 when too many wait.
 *
 * @example
 * ```ts ignore
 * import { Broker } from "@hookmq/broker";
 * import { clusterHook } from "@hookmq/broker/hooks";
 *
 * const broker = new Broker();
 * await broker.use(clusterHook({ addr: "redis.example.org:6379", nodeId: "broker-1" }));
 * await broker.listen({ hostname: "0.0.0.0" });
 * ```
 *
 * @example A node if it is told where Redis is, and otherwise a broker for itself
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { clusterHook } from "@hookmq/broker/hooks";
 *
 * const [addr] = Deno.args;
 * await using broker = new Broker();
 * if (addr !== undefined) await broker.use(clusterHook({ addr, nodeId: Deno.hostname() }));
 * ```
 *
 * `broker.use` rejects if Redis cannot be used, or if another broker that runs has the node id.
 *
 * @throws {RangeError} If an option has a value that it cannot have.
 */
export function clusterHook(options: ClusterOptions): ClusterHook {
  assertNodeOptions(options);
  return nodeHook("cluster", options, true);
}
