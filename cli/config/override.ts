import { isGroup, type Path } from "./option.ts";

/** A value that is given elsewhere than in the file, and goes before what stands there. */
export interface Override {
  readonly path: Path;
  readonly value: unknown;
  /** Who gives it, as errors name it: an environment variable or an option of the command line. */
  readonly origin: string;
}

/** A configuration with overrides in it; the later ones go before the earlier. */
export function override(config: unknown, overrides: readonly Override[]): unknown {
  return overrides.reduce((value, { path, value: replacement }) => replace(value, path, replacement), config);
}

function replace(value: unknown, [key, ...rest]: Path, replacement: unknown): unknown {
  if (key === undefined) return replacement;
  // What is neither is wrong, and stays so that it is found to be.
  if (typeof key === "number") {
    if (value !== undefined && !Array.isArray(value)) return value;
    const list = [...value ?? []];
    list[key] = replace(list[key], rest, replacement);
    return list;
  }
  if (value !== undefined && !isGroup(value)) return value;
  return { ...value, [key]: replace(value?.[key], rest, replacement) };
}
