import { isGroup } from "../config/option.ts";
import type { Override } from "../config/override.ts";
import { Failure } from "../failure.ts";
import type { ServeOptions } from "./start.ts";

/** Where sessions and retained messages are kept if nobody says anything else. */
const DEFAULT_DATA = "./hookmq.db";

/**
 * What the command line says, as options of the configuration; `config` is what the file and the environment say. `--port`
 * and `--ws-port` are for the first listener of their transport, or add one; `--host` is for all.
 */
export function overridesOf(options: ServeOptions, config: unknown): Override[] {
  const overrides: Override[] = [];
  const say = (origin: string, path: Override["path"], value: unknown) => overrides.push({ origin, path, value });
  const { listeners, hooks } = isGroup(config) ? config : {};

  const transports = (Array.isArray(listeners) ? listeners : []).map((listener) =>
    isGroup(listener) ? listener.transport ?? "tcp" : undefined
  );
  const firstOf = (transport: string) => {
    if (!transports.includes(transport)) transports.push(transport);
    return transports.indexOf(transport);
  };
  if (options.port !== undefined) {
    const index = firstOf("tcp");
    say("--port", ["listeners", index, "transport"], "tcp");
    say("--port", ["listeners", index, "port"], options.port);
  }
  if (options.wsPort !== undefined) {
    const index = firstOf("ws");
    say("--ws-port", ["listeners", index, "transport"], "ws");
    say("--ws-port", ["listeners", index, "port"], options.wsPort);
  }
  for (const [index, transport] of transports.entries()) {
    if (options.host === undefined || transport === "unix") continue;
    say("--host", ["listeners", index, "hostname"], options.host);
  }
  for (const user of options.user ?? []) {
    const [name] = user.split(":", 1);
    say("--user", ["hooks", "auth", "credentials", name], user.slice(name.length + 1));
  }
  if (options.anonymous) {
    say("--anonymous", ["anonymous"], true);
    const asksForPassword = options.user !== undefined || (isGroup(hooks) && hooks.auth !== undefined);
    if (asksForPassword) say("--anonymous", ["hooks", "auth", "allowAnonymous"], true);
  }
  overrides.push(...storeOf(options, isGroup(hooks) ? hooks : {}));
  if (options.logLevel !== undefined) say("--log-level", ["log", "level"], options.logLevel);
  return overrides;
}

/** Where sessions and retained messages are kept; `hooks` is what the file and the environment say of hooks. */
function storeOf(options: ServeOptions, hooks: Record<string, unknown>): Override[] {
  const { data, memory, cluster, nodeId } = options;
  const isInCluster = cluster !== undefined || hooks.cluster !== undefined;
  const refused = data !== undefined ? "--data" : memory ? "--memory" : undefined;
  if (isInCluster && refused !== undefined) {
    const where = "the brokers of a cluster keep sessions and retained messages in Redis, and nowhere else";
    throw new Failure(`${refused} cannot be used with a cluster: ${where}`, 2);
  }
  if (!isInCluster && nodeId !== undefined) {
    throw new Failure(`--node-id ${nodeId}: there is no cluster; name its Redis with --cluster`, 2);
  }
  const overrides: Override[] = [];
  const say = (origin: string, path: Override["path"], value: unknown) => overrides.push({ origin, path, value });
  if (nodeId !== undefined) say("--node-id", ["hooks", "cluster", "nodeId"], nodeId);
  if (cluster !== undefined) {
    const [addr, addrs] = cluster.length === 1 ? [cluster[0], undefined] : [undefined, cluster];
    say("--cluster", ["hooks", "cluster", "addr"], addr);
    say("--cluster", ["hooks", "cluster", "addrs"], addrs);
  }
  if (memory) {
    for (const name of ["sqlite", "redis"]) {
      if (hooks[name] !== undefined) say("--memory", ["hooks", name], undefined);
    }
  }
  // A configuration file says all there is; without one, nothing that was acknowledged is to be lost.
  const isSaid = options.config !== undefined || isInCluster || hooks.sqlite !== undefined || hooks.redis !== undefined;
  const path = data ?? (isSaid || memory ? undefined : DEFAULT_DATA);
  if (path !== undefined) say("--data", ["hooks", "sqlite", "path"], path);
  return overrides;
}
