/**
 * The configuration of a broker: from a YAML file, over it the environment, and over that the command line.
 *
 * @module
 */
import { dirname } from "node:path";
import { readEnvironment } from "./config/environment.ts";
import { explain } from "./config/explain.ts";
import { takeFileValues } from "./config/file_values.ts";
import { faultsOfHooks } from "./config/hooks.ts";
import { configOption, isGroup } from "./config/option.ts";
import { type Override, override } from "./config/override.ts";
import { linesOf } from "./config/places.ts";
import { ConfigError } from "./config/problem.ts";
import { type Config, configSchema } from "./config/schema.ts";
import { readYamlFile } from "./config/yaml_file.ts";

export { ConfigError };
export type { Config, Override };

/** Where a configuration comes from. */
export interface ConfigSources {
  /** The YAML file's path. Default: none. */
  file?: string;
  /** The environment, of which the variables that begin with `HOOKMQ_` count. */
  environment: Readonly<Record<string, string>>;
  /** What the command line says, given what the file and the environment do. */
  commandLine?: (config: unknown) => Override[];
  /** Whether files that hold secrets are read. Default true. */
  readSecrets?: boolean;
}

/**
 * Puts a configuration together and checks it.
 *
 * @throws {ConfigError} If anything is wrong with it: everything, in as many lines.
 */
export async function loadConfig(
  { file, environment, commandLine = () => [], readSecrets = true }: ConfigSources,
): Promise<Config> {
  const root = configOption();
  const yaml = file === undefined ? undefined : await readYamlFile(file);
  const inFile = await takeFileValues(root, yaml?.value ?? {}, { directory: dirname(file ?? ""), readSecrets });
  const inEnvironment = await readEnvironment(environment);
  const given = override(withListener(inFile.value), inEnvironment.overrides);
  const inCommandLine = commandLine(given);
  const config = override(given, inCommandLine);

  const { data, error } = configSchema.safeParse(config);
  const problems = [
    ...yaml?.problems ?? [],
    ...inFile.problems,
    ...error === undefined ? faultsOfHooks(data.hooks) : error.issues.flatMap((issue) => explain(issue, root, config)),
  ];
  const lines = [
    ...linesOf(problems, yaml, [...inEnvironment.overrides, ...inCommandLine]),
    ...inEnvironment.faults,
  ];
  if (lines.length > 0) throw new ConfigError(lines);
  return data!;
}

/** With the listener that there is unless others are named, so that overrides can change it. */
function withListener(config: unknown): unknown {
  return isGroup(config) && config.listeners === undefined ? { ...config, listeners: [{}] } : config;
}
