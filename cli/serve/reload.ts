import type { Logger } from "@logtape/logtape";
import type { Broker } from "../../broker/broker.ts";
import type { AuthHook } from "../../hooks/mod.ts";
import { type Config, ConfigError } from "../config.ts";
import type { ConfiguredHooks } from "../config/hooks.ts";
import { leadsTo, type Path } from "../config/option.ts";
import { formatPath } from "../config/problem.ts";
import { changesOf } from "./changes.ts";
import { configureLogging } from "./logging.ts";

/** A broker that runs, and what it runs with. */
export interface Running {
  readonly broker: Broker;
  readonly hooks: ConfiguredHooks;
  readonly logger: Logger;
  /** What is in force. */
  config: Config;
}

/** What is applied while the broker runs, where it was there before and still is. */
const reloadable: readonly Path[] = [["hooks", "auth", "credentials"], ["hooks", "acl", "rules"], ["log"]];

/**
 * Reads the configuration again, and the files that it names, and applies what can be applied to a broker that runs: users,
 * ACL rules, certificates and the log's options. It logs what has changed but takes a restart. If anything is wrong, all
 * stays as it is, and the log says what it is. Never rejects.
 */
export async function reload(running: Running, load: () => Promise<Config>): Promise<void> {
  const { broker, hooks, logger, config } = running;
  let next: Config;
  try {
    next = await load();
    configureLogging(next.log);
  } catch (error) {
    const problems = error instanceof ConfigError ? error.lines : [(error as Error).message];
    for (const problem of problems) logger.error(literally(problem));
    return logger.error("everything stays as it is, since the configuration cannot be used");
  }
  for (const path of changesOf(config, next)) {
    if (reloadable.some((start) => leadsTo(start, path))) continue;
    logger.warn("{option} has changed, which takes a restart", { option: formatPath(path) });
  }
  running.config = inForce(config, next);
  await reloadCertificates(broker, logger);
  if (hooks.auth !== undefined) await reloadUsers(hooks.auth, config, running.config);
  hooks.acl?.setRules(running.config.hooks.acl!.rules);
  logger.info("the configuration has been read again");
}

/** What has been there before, with what can be applied of the next. */
function inForce(before: Config, next: Config): Config {
  const { auth, acl } = before.hooks;
  return {
    ...before,
    log: next.log,
    hooks: {
      ...before.hooks,
      ...auth && next.hooks.auth && { auth: { ...auth, credentials: next.hooks.auth.credentials } },
      ...acl && next.hooks.acl && { acl: { ...acl, rules: next.hooks.acl.rules } },
    },
  };
}

async function reloadCertificates(broker: Broker, logger: Logger): Promise<void> {
  for (const listener of broker.listeners) {
    await listener.reload().catch((error) => {
      logger.error("{url} keeps its certificate: {error}", { url: listener.url, error });
    });
  }
}

async function reloadUsers(auth: AuthHook, before: Config, after: Config): Promise<void> {
  const old = before.hooks.auth?.credentials ?? {};
  const credentials = after.hooks.auth?.credentials ?? {};
  for (const username of Object.keys(old)) {
    if (!Object.hasOwn(credentials, username)) auth.removeUser(username);
  }
  for (const [username, password] of Object.entries(credentials)) {
    if (old[username] !== password) auth.addUser(username, password);
  }
  await auth.reload();
}

/** A text as a message in which braces stand for themselves. */
function literally(text: string): string {
  return text.replaceAll(/[{}]/g, "$&$&");
}
