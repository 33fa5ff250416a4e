import {
  type Alias,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  type YAMLError,
} from "yaml";
import { quote } from "../../codec/errors.ts";
import type { Path } from "./option.ts";
import { ConfigError, type Problem } from "./problem.ts";
import { readTextFile } from "./text_file.ts";

/** What stands in a configuration file, and where. */
export interface YamlFile {
  /** As the user named it. */
  readonly name: string;
  readonly value: unknown;
  /** What is wrong although it can be read. */
  readonly problems: readonly Problem[];
  /** Where an option stands; `undefined` if it does not. */
  positionOf(path: Path): Position | undefined;
}

/** A place in a file; both count from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** More aliases than a configuration needs: those of aliases could stand for billions of values. */
const MOST_ALIASES = 100;

/**
 * Reads a configuration file.
 *
 * @throws {ConfigError} If it cannot be read, or is no YAML.
 */
export async function readYamlFile(name: string): Promise<YamlFile> {
  const text = await readTextFile(name).catch((error) => {
    throw new ConfigError([error.message]);
  });
  return parseYamlFile(name, text);
}

/**
 * Reads the text of a configuration file.
 *
 * @throws {ConfigError} If it is no YAML.
 */
export function parseYamlFile(name: string, text: string): YamlFile {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: false,
    resolveKnownTags: false,
    logLevel: "error",
  });
  const placeAt = (offset: number): Position => {
    const { line, col: column } = lineCounter.linePos(offset);
    return { line, column };
  };
  // What comes behind the first one is often only its consequence.
  const [fault] = [...document.errors, ...document.warnings];
  if (fault !== undefined) {
    const { line, column } = placeAt(fault.pos[0]);
    throw new ConfigError([`${name}:${line}:${column}: ${syntaxFault(fault)}`]);
  }

  const problems: Problem[] = [];
  const offsets = new Map<string, number>();
  let aliases = 0;

  function valueOf(node: Node | null, path: Path): unknown {
    if (isMap(node)) return groupOf(node.items as { key: Node; value: Node | null }[], path);
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        note([...path, index], item as Node);
        return valueOf(item as Node, [...path, index]);
      });
    }
    if (isAlias(node)) return aliased(node, path);
    return isScalar(node) ? node.value : null;
  }

  function groupOf(pairs: { key: Node; value: Node | null }[], path: Path): Record<string, unknown> {
    // Names such as `__proto__` mean nothing special in it.
    const group = Object.create(null);
    for (const { key, value } of pairs) {
      const name = isScalar(key) ? String(key.value) : key.toString();
      const earlier = offsets.get(JSON.stringify([...path, name]));
      if (Object.hasOwn(group, name)) {
        const { line } = placeAt(earlier!);
        problems.push({
          path,
          message: `the key ${quote(name)} stands in line ${line} already`,
          place: [...path, name],
        });
      }
      note([...path, name], key);
      group[name] = valueOf(value, [...path, name]);
    }
    return group;
  }

  function aliased(alias: Alias, path: Path): unknown {
    const target = alias.resolve(document);
    if (target === undefined) fail(alias, 'an alias without an anchor: put a text that begins with "*" in quotes');
    aliases += 1;
    if (aliases > MOST_ALIASES) fail(alias, `there are more than ${MOST_ALIASES} aliases`);
    return valueOf(target, path);
  }

  function fail({ range }: Node, message: string): never {
    const { line, column } = placeAt(range![0]);
    throw new ConfigError([`${name}:${line}:${column}: ${message}`]);
  }

  function note(path: Path, node: Node): void {
    offsets.set(JSON.stringify(path), node.range![0]);
  }

  if (document.contents !== null) note([], document.contents);
  return {
    name,
    value: valueOf(document.contents, []),
    problems,
    positionOf(path) {
      const offset = offsets.get(JSON.stringify(path));
      return offset === undefined ? undefined : placeAt(offset);
    },
  };
}

/** The parser's words, or others where those are for people who know how a parser works. */
function syntaxFault({ code, message }: YAMLError): string {
  switch (code) {
    case "TAB_AS_INDENT":
      return "a line cannot be indented with tabs: use spaces";
    case "MULTIPLE_DOCS":
      return "a second document begins here, but there can be only one";
    case "MULTILINE_IMPLICIT_KEY":
      return "a key needs a colon behind it, on the same line";
    case "BLOCK_AS_IMPLICIT_KEY":
      return 'a value with ": " in it must be put in quotes';
    case "TAG_RESOLVE_FAILED":
      return 'tags are not used here: put a text that begins with "!" in quotes';
    case "BAD_SCALAR_START":
      return "a text that begins like this must be put in quotes";
    case "RESOURCE_EXHAUSTION":
      return "lists and groups are nested too deeply";
    default:
      if (/^Flow (map|sequence)/.test(message)) return "the bracket that ends a list or a group is missing before this";
      if (/^Missing closing .quote/.test(message)) return "the quote that ends a text is missing before this";
      return message.split("\n")[0].replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
  }
}
