import type { z } from "zod";
import { quote } from "../../codec/errors.ts";
import { nearest } from "./nearest.ts";
import { expectation, isGroup, type Option, partOf, type Path, variantOf } from "./option.ts";
import type { Problem } from "./problem.ts";

/** What the schema found wrong with a configuration, in the words of whoever wrote it. */
export function explain(issue: z.core.$ZodIssue, root: Option, config: unknown): Problem[] {
  const path = issue.path as Path;
  const { option, value } = follow(root, config, path);
  if (issue.code === "unrecognized_keys") {
    const names = Object.keys(variantOf(option, value).properties ?? {});
    return issue.keys.map((key) => ({ path, message: unknownKey(key, names), place: [...path, key] }));
  }
  if (issue.code === "invalid_key") return [{ path: path.slice(0, -1), message: "a name is empty", place: path }];
  if (value === undefined) return [missing(path)];
  const what = issue.code === "custom" ? issue.message : `must be ${expected(option, value)}`;
  const isShown = !option.isSecret && !(issue.code === "custom" && isGroup(value));
  return [{ path, message: isShown ? `${shown(value)}: ${what}` : what }];
}

function follow(root: Option, config: unknown, path: Path): { option: Option; value: unknown } {
  let option = root;
  let value = config;
  for (const key of path) {
    option = partOf(option, key, value) ?? {};
    value = (value as Record<string | number, unknown>)[key];
  }
  return { option, value };
}

function unknownKey(key: string, names: readonly string[]): string {
  const near = nearest(key, names);
  return `unknown key ${quote(key)}${
    near === undefined ? `; there are ${names.join(", ")}` : `; did you mean "${near}"?`
  }`;
}

function missing(path: Path): Problem {
  const key = path.at(-1)!;
  if (typeof key === "number") return { path, message: "it is missing, although there are later ones" };
  return { path: path.slice(0, -1), message: `the key "${key}" is missing` };
}

function expected(option: Option, value: unknown): string {
  if (option.enum !== undefined && typeof value === "string") {
    const near = nearest(value, option.enum.map(String));
    return near === undefined ? expectation(option) : `${expectation(option)}; did you mean "${near}"?`;
  }
  const isScalar = typeof value === "number" || typeof value === "boolean";
  return option.type === "string" && option.expects === undefined && isScalar
    ? "a text: put it in quotes"
    : expectation(option);
}

/** A value as it was given; of a larger one only what it is. */
function shown(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (value === null) return "no value";
  if (Array.isArray(value)) return "a list";
  return isGroup(value) ? "a group of options" : String(value);
}
