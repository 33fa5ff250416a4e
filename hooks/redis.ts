import type { Hook } from "../broker/hooks.ts";
import type { PublishPacket } from "../codec/mod.ts";
import type { ClusterHealth } from "./cluster/cluster_node.ts";
import { nodeHook } from "./cluster/node_hook.ts";
import { assertNodeOptions, type RedisClient, type RedisConnectionOptions } from "./cluster/options.ts";

/**
 * Options of {@linkcode redisHook}.
 *
 * @example
 * ```ts
 * import { redisHook, type RedisHookOptions } from "@hookmq/broker/hooks";
 *
 * const options: RedisHookOptions = { addr: "rediss://broker:secret@redis.example.org:6380", nodeId: "broker-1" };
 * redisHook(options);
 * ```
 */
export interface RedisHookOptions extends RedisConnectionOptions {
  /**
   * Names this broker, and has messages routed between brokers that have a name: 1 to 128 letters, digits, and characters of
   * `._-:@`; no two brokers that run may have the same. Default: empty, and no routing.
   */
  nodeId?: string;
}

/**
 * What {@linkcode redisHook} returns.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type RedisHook, redisHook } from "@hookmq/broker/hooks";
 *
 * const [addr] = Deno.args;
 * const redis: RedisHook = redisHook({ addr });
 * await using broker = new Broker();
 * if (addr !== undefined) {
 *   await broker.use(redis);
 *   console.log(await redis.getRetained("#"), redis.health().ok);
 * }
 * ```
 */
export interface RedisHook extends Hook {
  /** The client of ioredis that commands go by. @throws {Error} Before the hook has been added to a broker. */
  readonly client: RedisClient;
  /** Makes a message its topic's retained one; one without a payload removes it. */
  storeRetained(topic: string, packet: PublishPacket): Promise<void>;
  /** The retained messages whose topics match a filter. */
  getRetained(topicFilter: string): Promise<PublishPacket[]>;
  /** Whether Redis can be used, and why not. @throws {Error} As `client` does. */
  health(): ClusterHealth;
}

/**
 * Keeps retained messages, and sessions that outlive their connection with their messages, in Redis or Valkey, so that they
 * survive the broker and another one can go on with them. Brokers that use the same server have the same of both.
 *
 * With a `nodeId` messages go from broker to broker as well: {@linkcode clusterHook} with the default times.
 *
 * @example
 * ```ts ignore
 * import { Broker } from "@hookmq/broker";
 * import { redisHook } from "@hookmq/broker/hooks";
 *
 * const broker = new Broker();
 * await broker.use(redisHook({ addr: "localhost:6379", password: "secret" }));
 * await broker.listen();
 * ```
 *
 * @example In Redis if the program is told where that is, and otherwise in memory
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { redisHook } from "@hookmq/broker/hooks";
 *
 * const [addr] = Deno.args;
 * await using broker = new Broker();
 * if (addr !== undefined) await broker.use(redisHook({ addr }));
 * ```
 *
 * `broker.use` rejects if Redis cannot be used, or if another broker that runs has the node id.
 *
 * @throws {RangeError} If an option has a value that it cannot have.
 */
export function redisHook(options: RedisHookOptions = {}): RedisHook {
  const { nodeId = "" } = options;
  // Also a broker without a name has to be told from others that use the same server.
  const node = { ...options, nodeId: nodeId === "" ? crypto.randomUUID() : nodeId };
  assertNodeOptions(node);
  return nodeHook("redis", node, nodeId !== "");
}
