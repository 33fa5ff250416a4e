import { z } from "zod";
import { configSchema } from "./schema.ts";

/** What is known of an option, or of a group of options: its part of the configuration's JSON Schema. */
export interface Option {
  readonly description?: string;
  readonly type?: "object" | "array" | "string" | "number" | "integer" | "boolean";
  /** The only values that it can have. */
  readonly enum?: readonly (string | number)[];
  readonly const?: string;
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly minItems?: number;
  readonly minLength?: number;
  /** The options in it, if these have fixed names. */
  readonly properties?: Readonly<Record<string, Option>>;
  readonly required?: readonly string[];
  /** What each value is, if users choose the names. */
  readonly additionalProperties?: Option | false;
  /** What each entry of a list is. */
  readonly items?: Option;
  /** What it can be, told apart by the one property that is `const`. */
  readonly oneOf?: readonly Option[];
  /** A value to show of an option that has no default. */
  readonly example?: unknown;
  /** What it must be, in words, where the rest of this does not say it. */
  readonly expects?: string;
  /** Whether it is a file's path. */
  readonly isPath?: boolean;
  /** Whether its value is not to be shown. */
  readonly isSecret?: boolean;
}

/** The names and numbers that lead to an option, e.g. `["listeners", 0, "port"]`. */
export type Path = readonly (string | number)[];

/** The option that is the whole configuration. */
export function configOption(): Option {
  return z.toJSONSchema(configSchema, { io: "input" }) as Option;
}

/** The part of an option that a name or number leads to; `value` is what the option has been set to. */
export function partOf(option: Option, key: string | number, value: unknown): Option | undefined {
  if (option.items !== undefined) return option.items;
  const variants = option.oneOf?.flatMap(({ properties }) => properties?.[key]?.const ?? []) ?? [];
  if (variants.length > 0) return { type: "string", enum: variants };
  const { properties, additionalProperties } = variantOf(option, value);
  if (properties !== undefined && Object.hasOwn(properties, key)) return properties[key];
  return additionalProperties === false ? undefined : additionalProperties;
}

/** Of an option that can be one of several, the one that a value is; otherwise the option itself. */
export function variantOf(option: Option, value: unknown): Option {
  if (option.oneOf === undefined) return option;
  const given = isGroup(value) ? value : {};
  return option.oneOf.find(({ properties = {} }) =>
    Object.entries(properties).some(([name, part]) => part.const !== undefined && part.const === given[name])
  ) ?? option.oneOf[0];
}

/** Whether a value is a group of options. */
export function isGroup(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What an option must be, e.g. `"a whole number from 0 to 65535"`. */
export function expectation(option: Option): string {
  if (option.expects !== undefined) return option.expects;
  if (option.enum !== undefined) return `one of ${option.enum.join(", ")}`;
  switch (option.type) {
    case "integer":
      return `a whole number ${range(option)}`;
    case "number":
      return `a number ${range(option)}`;
    case "string":
      return option.isPath ? "a file's path" : option.minLength === 1 ? "a text that is not empty" : "a text";
    case "boolean":
      return "true or false";
    case "array":
      return option.minItems === 1 ? "a list with at least one entry" : "a list";
    default:
      return option.properties === undefined ? "names with values (name: value)" : "a group of options (name: value)";
  }
}

function range({ minimum, maximum, exclusiveMinimum }: Option): string {
  if (exclusiveMinimum !== undefined) {
    return maximum === undefined ? `above ${exclusiveMinimum}` : `above ${exclusiveMinimum}, up to ${maximum}`;
  }
  return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER
    ? `from ${minimum} on`
    : `from ${minimum} to ${maximum}`;
}
