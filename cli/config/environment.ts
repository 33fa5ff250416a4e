import { parse } from "yaml";
import { nearest } from "./nearest.ts";
import { configOption, type Option, type Path } from "./option.ts";
import type { Override } from "./override.ts";
import { readValueFile } from "./text_file.ts";

/** What the environment says, and the lines about what is wrong with it. */
export interface EnvironmentOptions {
  readonly overrides: readonly Override[];
  readonly faults: readonly string[];
}

const PREFIX = "HOOKMQ_";

/**
 * Reads the variables that begin with `HOOKMQ_`: an option's names in capitals with `_` between the words and the levels,
 * and numbers from 0 for the entries of lists, e.g. `HOOKMQ_LISTENERS_0_PORT` or `HOOKMQ_LIMITS_PACKET_SIZE`. With
 * `_FILE` behind it, the variable names the file that holds the value, e.g. `HOOKMQ_HOOKS_AUTH_CREDENTIALS_FILE`. What is
 * no text is read as YAML; an empty variable is as good as none.
 */
export async function readEnvironment(variables: Readonly<Record<string, string>>): Promise<EnvironmentOptions> {
  const ours = Object.entries(variables).filter(([name, text]) => name.startsWith(PREFIX) && text !== "").sort();
  const overrides: Override[] = [];
  const faults: string[] = [];
  if (ours.length === 0) return { overrides, faults };
  const root = configOption();
  for (const [name, text] of ours) {
    try {
      overrides.push(await readVariable(root, name, text));
    } catch (error) {
      faults.push(`${name}: ${(error as Error).message}`);
    }
  }
  // A list as a whole comes before one of its entries.
  return { overrides: overrides.sort((one, other) => one.path.length - other.path.length), faults };
}

async function readVariable(root: Option, name: string, text: string): Promise<Override> {
  const found = findOption(root, name.slice(PREFIX.length));
  if (found !== undefined) return { ...read(found, text), origin: name };
  const inFile = name.endsWith("_FILE") ? findOption(root, name.slice(PREFIX.length, -"_FILE".length)) : undefined;
  if (inFile === undefined) throw new Error(`there is no such option${suggestion(root, name)}`);
  return { ...read(inFile, await readValueFile(text)), origin: name };
}

/** The name of the variable that stands for an option, e.g. `HOOKMQ_LISTENERS_0_PORT`. */
export function variableName(path: Path): string {
  return PREFIX + path.map((part) => inCapitals(String(part))).join("_");
}

interface Found {
  readonly option: Option;
  readonly path: Path;
}

/** The option that the rest of a variable's name stands for, e.g. `LISTENERS_0_PORT`. */
function findOption(option: Option, rest: string, path: Path = []): Found | undefined {
  if (rest === "") return { option, path };
  const [, index, behind] = rest.match(/^(\d{1,3})(?:_|$)(.*)/) ?? [];
  if (option.items !== undefined) {
    return index === undefined ? undefined : findOption(option.items, behind, [...path, Number(index)]);
  }
  for (const [name, part] of partsOf(option)) {
    const word = inCapitals(name);
    const found = rest === word
      ? findOption(part, "", [...path, name])
      : rest.startsWith(`${word}_`)
      ? findOption(part, rest.slice(word.length + 1), [...path, name])
      : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The options in one, of all its variants. */
function partsOf({ properties = {}, oneOf = [] }: Option): [name: string, part: Option][] {
  return [...Object.entries(properties), ...oneOf.flatMap(partsOf)];
}

/** `packetSize` becomes `PACKET_SIZE`. */
function inCapitals(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

function read({ option, path }: Found, text: string): Pick<Override, "path" | "value"> {
  if (option.type === "string") return { path, value: text };
  try {
    return { path, value: parse(text, { prettyErrors: false, logLevel: "error" }) };
  } catch {
    throw new Error("its value is no YAML");
  }
}

function suggestion(root: Option, name: string): string {
  const given = name.slice(PREFIX.length);
  const index = given.match(/_(\d{1,3})_/)?.[1] ?? "0";
  const names = [...variablesOf(root, "", index)];
  const near = nearest(given, names) ?? names.find((candidate) => candidate.endsWith(`_${given}`));
  return near === undefined ? "" : `; did you mean ${PREFIX}${near}?`;
}

function* variablesOf(option: Option, prefix: string, index: string): Generator<string> {
  const parts: [string, Option][] = option.items === undefined
    ? partsOf(option).map(([name, part]) => [inCapitals(name), part])
    : [[index, option.items]];
  for (const [word, part] of parts) {
    yield prefix + word;
    yield* variablesOf(part, `${prefix}${word}_`, index);
  }
}
