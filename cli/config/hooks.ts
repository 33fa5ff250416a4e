import type { Hook } from "../../broker/hooks.ts";
import {
  aclHook,
  authHook,
  clusterHook,
  loggerHook,
  metricsHook,
  rateLimitHook,
  redisHook,
  sqliteHook,
  sysHook,
} from "../../hooks/mod.ts";
import type { Problem } from "./problem.ts";
import type { Config } from "./schema.ts";

/** The options of a configuration's hooks. */
type HookOptions = Config["hooks"];

/**
 * What makes each hook, in the order in which they are added: a client is authenticated first; its messages count before
 * they are refused; what is logged is what clients get.
 */
const factories = {
  auth: authHook,
  rateLimit: rateLimitHook,
  acl: aclHook,
  logger: loggerHook,
  sqlite: sqliteHook,
  redis: redisHook,
  cluster: (options) => clusterHook({ ...options, nodeId: nodeIdOf(options) }),
  sys: sysHook,
  metrics: metricsHook,
} satisfies { [Name in keyof HookOptions]-?: (options: NonNullable<HookOptions[Name]>) => Hook };

/** The id of a node, which has its machine's name unless it was given another. */
export function nodeIdOf({ nodeId = Deno.hostname() }: NonNullable<HookOptions["cluster"]>): string {
  return nodeId;
}

type HookName = keyof typeof factories;

/** The hooks that a configuration switches on. */
export type ConfiguredHooks = { [Name in HookName]?: ReturnType<typeof factories[Name]> };

/** Makes the hooks that a configuration switches on, in the order in which they are to be added. */
export function createHooks(options: HookOptions): ConfiguredHooks {
  return Object.fromEntries(namesIn(options).map((name) => [name, create(name, options)]));
}

/** What the hooks themselves have to say against their options. */
export function faultsOfHooks(options: HookOptions): Problem[] {
  return namesIn(options).flatMap((name) => {
    try {
      create(name, options);
      return [];
    } catch (error) {
      return [{ path: ["hooks", name], message: (error as Error).message }];
    }
  });
}

function namesIn(options: HookOptions): HookName[] {
  return (Object.keys(factories) as HookName[]).filter((name) => options[name] !== undefined);
}

function create(name: HookName, options: HookOptions): Hook {
  return (factories[name] as (options: HookOptions[HookName]) => Hook)(options[name]);
}
