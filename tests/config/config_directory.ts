import { ConfigError, type ConfigSources, loadConfig } from "../../cli/config.ts";

/** A directory with a configuration in `hookmq.yaml`. Disposing it removes it. */
export interface ConfigDirectory extends AsyncDisposable {
  readonly path: string;
  /** The configuration's path. */
  readonly file: string;
  /** Writes a file, by default the configuration. */
  write(content: string | Uint8Array, name?: string): Promise<void>;
}

/** Makes a directory with a configuration, and other files by their names. */
export async function configDirectory(
  config: string | Uint8Array,
  others: Record<string, string> = {},
): Promise<ConfigDirectory> {
  const path = await Deno.makeTempDir();
  const directory: ConfigDirectory = {
    path,
    file: `${path}/hookmq.yaml`,
    write: (content, name = "hookmq.yaml") =>
      Deno.writeFile(`${path}/${name}`, typeof content === "string" ? new TextEncoder().encode(content) : content),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
  await directory.write(config);
  for (const [name, content] of Object.entries(others)) await directory.write(content, name);
  return directory;
}

/** Loads a configuration that must be refused, and returns the lines that say why, without the directory's name. */
export async function refusalOf(
  config: string | Uint8Array | undefined,
  sources: Partial<ConfigSources> = {},
): Promise<string[]> {
  await using directory = await configDirectory(config ?? "");
  const file = config === undefined ? undefined : directory.file;
  try {
    await loadConfig({ file, environment: {}, ...sources });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.lines.map((line) => line.replaceAll(`${directory.path}/`, ""));
  }
  throw new Error("the configuration was not refused");
}
