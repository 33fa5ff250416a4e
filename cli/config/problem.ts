import type { Path } from "./option.ts";

/** Something that is wrong with a configuration. */
export interface Problem {
  /** The option that it is about. */
  readonly path: Path;
  /** What is wrong, in one line. */
  readonly message: string;
  /** What stands where the problem is, if that is something else, such as a key that should not be there. */
  readonly place?: Path;
}

/** A configuration cannot be used. */
export class ConfigError extends Error {
  /** Everything that is wrong, a line each, with the place where it stands. */
  readonly lines: readonly string[];

  /** An error of these lines. */
  constructor(lines: readonly string[]) {
    super(lines.join("\n"));
    this.name = "ConfigError";
    this.lines = lines;
  }
}

/** A path as errors show it, e.g. `hooks.acl.rules[2].topicFilter`. */
export function formatPath(path: Path): string {
  return path.reduce<string>((before, key) => {
    if (typeof key === "number") return `${before}[${key}]`;
    const name = /^[\w-]+$/.test(key) ? key : JSON.stringify(key);
    return before === "" ? name : `${before}.${name}`;
  }, "");
}
