import { isGroup } from "../config/option.ts";
import type { Override } from "../config/override.ts";
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
  const isSaid = isGroup(hooks) && hooks.sqlite !== undefined;
  // A configuration file says all there is; without one, nothing that was acknowledged is to be lost.
  const data = options.data ?? (options.config === undefined && !isSaid && !options.memory ? DEFAULT_DATA : undefined);
  if (data !== undefined) say("--data", ["hooks", "sqlite", "path"], data);
  if (options.memory && isSaid) say("--memory", ["hooks", "sqlite"], undefined);
  if (options.logLevel !== undefined) say("--log-level", ["log", "level"], options.logLevel);
  return overrides;
}
