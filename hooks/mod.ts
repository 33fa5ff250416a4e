/**
 * What a hook is. The hooks that come with HookMQ are exported from here as they are added.
 *
 * @module
 */
export type { Hook, HookContext } from "../broker/hooks.ts";
export { aclHook } from "./acl.ts";
export type { AclHook, AclOptions, AclRule } from "./acl.ts";
export { authHook } from "./auth.ts";
export type { AuthHook, AuthOptions, AuthStats, RemoveUserOptions, Validator } from "./auth.ts";
export { clusterHook } from "./cluster.ts";
export type { ClusterHook, ClusterOptions } from "./cluster.ts";
export type { ClusterHealth } from "./cluster/cluster_node.ts";
export type { RedisClient, RedisConnectionOptions, RedisTlsOptions } from "./cluster/options.ts";
export { hashPassword } from "./auth/password_hash.ts";
export type { HashOptions } from "./auth/password_hash.ts";
export { loggerHook, LogLevel } from "./logger.ts";
export type { LoggerOptions, LogLevelName } from "./logger.ts";
export { metricsHook } from "./metrics.ts";
export type { HealthReport, MetricsHook, MetricsOptions } from "./metrics.ts";
export { rateLimitHook } from "./rate_limit.ts";
export type { RateLimitCounters, RateLimitHook, RateLimitOptions } from "./rate_limit.ts";
export { redisHook } from "./redis.ts";
export type { RedisHook, RedisHookOptions } from "./redis.ts";
export { sysHook } from "./sys.ts";
export type { BrokerMetrics, LoadAverages, SysHook, SysLoad, SysMetrics, SysOptions } from "./sys.ts";
export { sqliteHook } from "./sqlite.ts";
export type { SqliteHook, SqliteOptions } from "./sqlite.ts";
