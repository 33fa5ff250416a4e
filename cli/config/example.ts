import { stringify } from "yaml";
import { configOption, expectation, type Option } from "./option.ts";

const LINE_WIDTH = 120;

const introduction = [
  "Every option of HookMQ with its default, for: hookmq serve --config hookmq.yaml",
  "",
  'A line that begins with "#" and no space behind it is an option that is not set, with an example, or with the default ' +
  'that it has once the group around it is there. Take the "#" away to set it. Check a changed file with: hookmq check ' +
  "hookmq.yaml",
  "",
  "Paths start at this file's directory. An environment variable goes before what stands here: HOOKMQ_LIMITS_PACKET_SIZE " +
  "for limits.packetSize, HOOKMQ_LISTENERS_0_PORT for the port of the first listener; what is no text is read as YAML. " +
  "With _FILE behind its name, it names a file that holds the value. Options of the command line go before both.",
];

/** The text of `hookmq.yaml`: every option with what it means, what it can be and its default. It is valid as it is. */
export function exampleConfig(): string {
  const { properties = {} } = configOption();
  const options = Object.entries(properties).flatMap(([name, option]) => ["", ...setting(name, option, "", true)]);
  return [...introduction.flatMap((text) => comment(text, "")), ...options].join("\n") + "\n";
}

/** The lines of an option: what it is, and its name and value, behind a `#` if it is not set. */
function setting(name: string, option: Option, indent: string, groupIsSet: boolean, required = false): string[] {
  const value = option.const ?? option.default;
  const isSet = groupIsSet && value !== undefined;
  return [
    ...comment(explanation(option, required), indent),
    `${indent}${isSet ? "" : "#"}${name}:${inOneLine(option) ? ` ${inline(value ?? option.example)}` : ""}`,
    ...below(option, `${indent}  `, isSet),
  ];
}

/** The lines of what is in an option. */
function below({ properties, required = [], items }: Option, indent: string, isSet: boolean): string[] {
  if (properties !== undefined) {
    return Object.entries(properties).flatMap(([name, option], index) => [
      ...(index > 0 && option.properties !== undefined ? [""] : []),
      ...setting(name, option, indent, isSet, required.includes(name)),
    ]);
  }
  if (items?.oneOf !== undefined) {
    return items.oneOf.flatMap((variant, index) => [
      ...(index > 0 ? [""] : []),
      ...entry(variant, indent, isSet && index === 0),
    ]);
  }
  return items?.properties === undefined ? [] : entry(items, indent, false);
}

/** The lines of a list's entry: those of a group, of which the first option has the entry's dash in front of it. */
function entry(option: Option, indent: string, isSet: boolean): string[] {
  const [first, ...rest] = Object.entries(option.properties ?? {});
  const isRequired = (name: string) => option.required?.includes(name);
  const [name, { const: value, example, ...explained }] = first;
  return [
    ...comment(explanation(explained, value === undefined && isRequired(name)), indent),
    `${indent}${isSet ? "" : "#"}- ${name}: ${inline(value ?? example)}`,
    ...rest.flatMap(([name, option]) => setting(name, option, `${indent}  `, isSet, isRequired(name))),
  ];
}

/** What an option means, and what it can be if that does not say so. */
function explanation(option: Option, required = false): string {
  const says = option.enum !== undefined || option.expects !== undefined || /number|integer/.test(option.type ?? "");
  const notes = [...(required ? ["required"] : []), ...(says ? [expectation(option)] : [])];
  return `${option.description}${notes.length > 0 ? ` (${notes.join("; ")})` : ""}`;
}

function inOneLine({ properties, items }: Option): boolean {
  return properties === undefined && items?.properties === undefined && items?.oneOf === undefined;
}

function inline(value: unknown): string {
  return stringify(value, { collectionStyle: "flow", flowCollectionPadding: false, lineWidth: 0 }).trimEnd();
}

/** A text as comment lines of at most `LINE_WIDTH` characters. */
function comment(text: string, indent: string): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`;
    if (indent.length + 1 + longer.length <= LINE_WIDTH) lines[lines.length - 1] = longer;
    else lines.push(` ${word}`);
  }
  return lines.map((line) => `${indent}#${line}`.trimEnd());
}
