import { resolve } from "node:path";
import { isGroup, type Option, partOf, type Path } from "./option.ts";
import type { Problem } from "./problem.ts";
import { isPem, readValueFile } from "./text_file.ts";

/** How the values of a configuration file are taken. */
export interface FileValueOptions {
  /** The directory from which paths in the file are looked for. */
  directory: string;
  /** Whether the files that secrets are in are read. */
  readFiles: boolean;
}

/**
 * The values of a configuration file as the schema expects them: paths start at the file's directory, `{ file: path }` is
 * the secret that is in that file, and a group of options with nothing below it is an empty one.
 */
export async function takeFileValues(
  root: Option,
  config: unknown,
  { directory, readFiles }: FileValueOptions,
): Promise<{ value: unknown; problems: Problem[] }> {
  const problems: Problem[] = [];
  return { value: await take(root, config, []), problems };

  async function take(option: Option, value: unknown, path: Path): Promise<unknown> {
    if (value === null && option.properties !== undefined) return {};
    if (option.isPath && typeof value === "string" && value !== "") return inDirectory(value);
    const isSecretText = option.isSecret && option.type === "string" && !option.isPath;
    if (isSecretText && isGroup(value) && typeof value.file === "string") return await secret(value.file, path);
    if (Array.isArray(value)) {
      return await Promise.all(value.map((item, index) => part(option, index, item, value, path)));
    }
    if (!isGroup(value)) return value;
    const parts = Object.entries(value).map(async (
      [name, inner],
    ) => [name, await part(option, name, inner, value, path)]);
    return Object.fromEntries(await Promise.all(parts));
  }

  function part(option: Option, key: string | number, inner: unknown, value: unknown, path: Path): unknown {
    const known = partOf(option, key, value);
    return known === undefined ? inner : take(known, inner, [...path, key]);
  }

  function inDirectory(path: string): string {
    return isPem(path) ? path : resolve(directory, path);
  }

  async function secret(file: string, path: Path): Promise<string> {
    if (!readFiles) return "not read";
    try {
      return await readValueFile(inDirectory(file));
    } catch (error) {
      problems.push({ path, message: (error as Error).message });
      return "not read";
    }
  }
}
