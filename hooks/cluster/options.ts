import { readFile } from "node:fs/promises";
import type { RedisOptions } from "ioredis";
import { parseAddress } from "./address.ts";
import type { ClusterNodeOptions } from "./cluster_node.ts";
import type { LinkOptions } from "./link.ts";

/**
 * A client of `npm:ioredis`: for a single server, or for a Redis Cluster.
 *
 * @example
 * ```ts
 * import { redisHook, type RedisClient } from "@hookmq/broker/hooks";
 * import { Redis } from "ioredis";
 *
 * const client: RedisClient = new Redis({ host: "redis.example.org", lazyConnect: true });
 * redisHook({ client });
 * client.disconnect();
 * ```
 */
export type RedisClient = InstanceType<typeof import("ioredis")["Redis"] | typeof import("ioredis")["Cluster"]>;

/**
 * How a connection to Redis is secured.
 *
 * @example
 * ```ts
 * import { redisHook, type RedisTlsOptions } from "@hookmq/broker/hooks";
 *
 * const tls: RedisTlsOptions = { certificateAuthority: "redis-ca.pem", certificate: "broker.pem", key: "broker.key" };
 * redisHook({ addr: "redis.example.org:6380", tls });
 * ```
 */
export interface RedisTlsOptions {
  /** The authority that has signed the server's certificate: a file's path, or the PEM text itself. Default: those of the system. */
  certificateAuthority?: string;
  /** The client's certificate, if the server wants one: a file's path, or the PEM text itself. */
  certificate?: string;
  /** Its private key: a file's path, or the PEM text itself. */
  key?: string;
}

/**
 * Where Redis is, and how a node behaves there: what {@linkcode redisHook} and {@linkcode clusterHook} have in common.
 *
 * @example
 * ```ts
 * import { clusterHook, type RedisConnectionOptions, redisHook } from "@hookmq/broker/hooks";
 *
 * const connection: RedisConnectionOptions = { addr: "redis.example.org", password: "secret", keyPrefix: "home:" };
 * redisHook(connection);
 * clusterHook({ ...connection, nodeId: "broker-1" });
 * ```
 */
export interface RedisConnectionOptions {
  /**
   * The address of a single Redis or Valkey server: `"host"`, `"host:port"`, or `"redis://user:password@host:port/database"`,
   * with `rediss` for TLS. Default `"localhost:6379"`.
   */
  addr?: string;
  /** The user name, for a server with access control lists. Default: the server's default user. */
  username?: string;
  /** The password. Default: none. */
  password?: string;
  /** The number of the database, from 0 on. Default 0. */
  db?: number;
  /** Whether, and how, the connection is secured by TLS. Default `false`. */
  tls?: boolean | RedisTlsOptions;
  /** What the names of all keys and channels begin with; without braces. Default `"mqtt:"`. */
  keyPrefix?: string;
  /** A client of ioredis, after whose options connections are made; all the options above but `keyPrefix` are ignored then. */
  client?: RedisClient;
}

/** What a node needs to know before it is made. */
export interface NodeOptions extends RedisConnectionOptions {
  addrs?: string[];
  nodeId: string;
  heartbeatInterval?: number;
  nodeTtl?: number;
}

/** In seconds. */
const SHORTEST_HEARTBEAT = 0.1;
const LONGEST_HEARTBEAT = 3600;

/** @throws {RangeError} If an option has a value that it cannot have; the message names it. */
export function assertNodeOptions(options: NodeOptions): void {
  const { addr, addrs, db = 0, keyPrefix = "mqtt:", nodeId, heartbeatInterval = 3, nodeTtl = 10 } = options;
  if (typeof nodeId !== "string" || !/^[\w.:@-]{1,128}$/.test(nodeId)) {
    throw new RangeError(
      `nodeId is ${JSON.stringify(nodeId)}; it must be 1 to 128 letters, digits, and characters of "._-:@"`,
    );
  }
  if (addr !== undefined && addrs !== undefined) {
    throw new RangeError("addr and addrs are both there; addr is for a single server, addrs for a Redis Cluster");
  }
  if (addrs?.length === 0) throw new RangeError("addrs is empty; it must hold the address of a server at least");
  for (const address of addrs ?? [addr ?? "localhost"]) parseAddress(address);
  if (!Number.isInteger(db) || db < 0) throw new RangeError(`db is ${db}; it must be a whole number from 0 on`);
  if (addrs !== undefined && db !== 0) throw new RangeError(`db is ${db}; a Redis Cluster has only database 0`);
  if (/[{}]/.test(keyPrefix)) throw new RangeError(`keyPrefix is "${keyPrefix}"; it may not hold braces`);
  assertSeconds("heartbeatInterval", heartbeatInterval, SHORTEST_HEARTBEAT, LONGEST_HEARTBEAT);
  assertSeconds("nodeTtl", nodeTtl, 2 * heartbeatInterval, 24 * LONGEST_HEARTBEAT);
}

function assertSeconds(name: string, value: number, least: number, most: number): void {
  if (typeof value === "number" && value >= least && value <= most) return;
  throw new RangeError(`${name} is ${value}; it must be a number of seconds from ${least} to ${most}`);
}

/** The options with their defaults, as a node takes them. @throws {Error} If a file of TLS cannot be read. */
export async function resolveNodeOptions(options: NodeOptions, forwards: boolean): Promise<ClusterNodeOptions> {
  const { addr = "localhost:6379", addrs, username, password, db, tls = false, client } = options;
  const { keyPrefix = "mqtt:", nodeId, heartbeatInterval = 3, nodeTtl = 10 } = options;
  const link: Omit<LinkOptions, "logger"> = { username, password, db, client, tls: await resolveTls(tls) };
  if (addrs === undefined) link.addr = addr;
  else link.addrs = addrs;
  return {
    link,
    keyPrefix,
    nodeId,
    forwards,
    heartbeatInterval: heartbeatInterval * 1000,
    nodeTtl: Math.round(nodeTtl * 1000),
  };
}

async function resolveTls(tls: boolean | RedisTlsOptions): Promise<boolean | RedisOptions["tls"]> {
  if (typeof tls === "boolean") return tls;
  const [ca, cert, key] = await Promise.all([
    readPem("tls.certificateAuthority", tls.certificateAuthority),
    readPem("tls.certificate", tls.certificate),
    readPem("tls.key", tls.key),
  ]);
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

async function readPem(name: string, value: string | undefined): Promise<string | undefined> {
  if (value === undefined || value.includes("-----BEGIN ")) return value;
  try {
    return await readFile(value, "utf8");
  } catch (error) {
    throw new Error(`${name}: cannot read ${value}: ${(error as Error).message}`);
  }
}
