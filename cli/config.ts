/**
 * The configuration of a broker: from a YAML file, over it the environment, and over that the command line.
 *
 * @module
 */
import { dirname } from "node:path";
import { readEnvironment } from "./config/environment.ts";
import { explain } from "./config/explain.ts";
import { takeFileValues } from "./config/file_values.ts";
import { faultsOfFiles } from "./config/files.ts";
import { faultsOfHooks } from "./config/hooks.ts";
import { faultsOfListeners } from "./config/listeners.ts";
import { configOption, isGroup } from "./config/option.ts";
import { type Override, override } from "./config/override.ts";
import { linesOf } from "./config/places.ts";
import { ConfigError } from "./config/problem.ts";
import { type Config, configSchema } from "./config/schema.ts";
import { faultsOfWrittenFiles } from "./config/written_files.ts";
import { readYamlFile } from "./config/yaml_file.ts";
import { Failure } from "./failure.ts";

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
  /** Whether the files that it names are read, too: secrets, certificates, the password file. Default true. */
  readFiles?: boolean;
  /** Whether it is tried to write the others: the database, the log, sockets. Never while a broker runs. Default false. */
  tryFiles?: boolean;
}

/**
 * Puts a configuration together and checks it.
 *
 * @throws {ConfigError} If anything is wrong with it: everything, in as many lines.
 */
export async function loadConfig(
  { file, environment, commandLine = () => [], readFiles = true, tryFiles = false }: ConfigSources,
): Promise<Config> {
  const root = configOption();
  const yaml = file === undefined ? undefined : await readYamlFile(file);
  const inFile = await takeFileValues(root, yaml?.value ?? {}, { directory: dirname(file ?? ""), readFiles });
  const inEnvironment = await readEnvironment(environment);
  const given = override(withListener(inFile.value), inEnvironment.overrides);
  const inCommandLine = commandLine(given);
  const config = override(given, inCommandLine);

  const { data, error } = configSchema.safeParse(config);
  const problems = [
    ...yaml?.problems ?? [],
    ...inFile.problems,
    ...error?.issues.flatMap((issue) => explain(issue, root, config)) ?? [],
    ...data === undefined ? [] : faultsOfListeners(data),
    ...data === undefined ? [] : faultsOfHooks(data.hooks),
    ...data === undefined || !readFiles ? [] : await faultsOfFiles(data),
    ...data === undefined || !tryFiles ? [] : await faultsOfWrittenFiles(data),
  ];
  const lines = [
    ...linesOf(problems, yaml, [...inEnvironment.overrides, ...inCommandLine]),
    ...inEnvironment.faults,
  ];
  if (lines.length > 0) throw new ConfigError(lines);
  return data!;
}

/**
 * Does the same for a command, which it ends if anything is wrong.
 *
 * @throws {Failure} When everything that is wrong has been printed.
 */
export async function loadConfigOrFail(sources: ConfigSources): Promise<Config> {
  try {
    return await loadConfig(sources);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const line of error.lines) console.error(line);
    // A line begins with the place of what is wrong.
    throw new Failure("", error.lines.every((line) => line.startsWith("--")) ? 2 : 1);
  }
}

/** With the listener that there is unless others are named, so that overrides can change it. */
function withListener(config: unknown): unknown {
  return isGroup(config) && config.listeners === undefined ? { ...config, listeners: [{}] } : config;
}
