import type { LogLevel } from "@logtape/logtape";
import { Broker } from "../../mod.ts";
import { type ConfigSources, loadConfig, loadConfigOrFail } from "../config.ts";
import { isExposed } from "../config/exposure.ts";
import { createHooks } from "../config/hooks.ts";
import { onTerminationSignal } from "../signals.ts";
import { overridesOf } from "./command_line.ts";
import { greeting } from "./greeting.ts";
import { configureLogging, logUncaughtErrors } from "./logging.ts";
import { reload, type Running } from "./reload.ts";
import { onReloadSignal } from "./reload_signal.ts";

/** The options of the command `serve`, as they were given. */
export interface ServeOptions {
  config?: string;
  host?: string;
  port?: number;
  wsPort?: number;
  user?: string[];
  anonymous?: true;
  data?: string;
  memory?: true;
  /** The addresses in the URL. */
  cluster?: string[];
  nodeId?: string;
  logLevel?: LogLevel;
}

/** Runs a broker until a signal ends it. */
export async function start(options: ServeOptions): Promise<void> {
  const sources: ConfigSources = {
    file: options.config,
    environment: Deno.env.toObject(),
    commandLine: (config) => overridesOf(options, config),
  };
  const config = await loadConfigOrFail({ ...sources, tryFiles: true });
  const logger = configureLogging(config.log);
  logUncaughtErrors(logger);
  const stopped = Promise.withResolvers<void>();
  using _termination = onTerminationSignal(() => stopped.resolve());
  const broker = new Broker(config);
  const running: Running = { broker, hooks: createHooks(config.hooks), logger, config };
  try {
    for (const hook of Object.values(running.hooks)) await broker.use(hook);
    for (const listener of config.listeners) await broker.listen(listener);
    using _reload = onReloadSignal(() => reload(running, () => loadConfig(sources)));
    console.log(greeting(running));
    warnOfStrangers(running);
    await stopped.promise;
  } finally {
    await broker.close();
  }
}

function warnOfStrangers({ config, logger }: Running): void {
  const asksForPassword = config.hooks.auth !== undefined && !config.hooks.auth.allowAnonymous;
  if (asksForPassword || !config.listeners.some(isExposed)) return;
  logger.warn("anybody who reaches this machine can connect: nobody is asked who they are");
}
