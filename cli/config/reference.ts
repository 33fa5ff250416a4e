import { stringify } from "yaml";
import { variableName } from "./environment.ts";
import { configOption, expectation, type Option, type Path } from "./option.ts";
import { formatPath } from "./problem.ts";

const introduction = `<!-- deno-fmt-ignore-file -->

# Configuration

Every option, with its default. This page is made by \`deno run -A cli.ts check --reference\`;
[hookmq.yaml](../hookmq.yaml) holds the same as a file to begin with.

An option is taken from the first of these places that has it:

1. the command line (\`hookmq serve --help\` lists its options),
2. an environment variable, whose name stands below the option's,
3. the YAML file of \`hookmq serve --config FILE\`,
4. the default.

- **Paths** in the file start at the file's directory, all others at the directory that the broker is started in.
- **Lists** are counted from 0 in the names of variables: \`HOOKMQ_LISTENERS_1_PORT\` is the port of the second listener.
  The tables show the first entry.
- **Variables** hold text as it is, and everything else as YAML: \`HOOKMQ_HOOKS_SYS='{}'\` switches on a hook. An empty
  variable counts as none. With \`_FILE\` behind its name, a variable names a file that holds the value, as secrets of
  container platforms do.
- **Mistakes** are told before anything is started: a line for each, with its place and the nearest key that there is.
  \`hookmq check FILE\` tells the same without a start.
- **SIGHUP** reads the file and the environment again. Applied are \`hooks.auth.credentials\` and the password file,
  \`hooks.acl.rules\`, the certificates of listeners, and \`log\`. Of everything else that has changed, the log says that it
  takes a restart. If anything is wrong, everything stays as it is.
- A **hook** is in use if its name stands there, also with nothing below it. At most one of \`hooks.sqlite\`,
  \`hooks.redis\` and \`hooks.cluster\` can be.
`;

/** The text of `docs/configuration.md`: every option with its type, default and meaning, and its variable. */
export function configReference(): string {
  const { properties: { limits, listeners, hooks, log, ...others } = {} } = configOption();
  const lines = [
    ...section("##", "General", "What holds for the broker as a whole.", { properties: others }, []),
    ...heading("##", "`listeners`", listeners.description!),
    ...(listeners.items?.oneOf ?? []).flatMap(listenerSection),
    ...section("##", "`limits`", limits.description!, limits, ["limits"]),
    ...heading("##", "`hooks`", hooks.description!),
    ...Object.entries(hooks.properties!).flatMap(([name, hook]) =>
      section("###", `\`hooks.${name}\``, hook.description!, hook, ["hooks", name])
    ),
    ...section("##", "`log`", log.description!, log, ["log"]),
  ];
  return `${introduction}\n${lines.join("\n").trimEnd()}\n`;
}

function listenerSection(variant: Option): string[] {
  const { transport, ...options } = variant.properties!;
  const { const: name, description } = transport;
  const isRequired = variant.required?.includes("transport");
  const note = isRequired ? "" : " It is the one that is meant where no transport is named.";
  return section("###", `\`transport: ${name}\``, description! + note, { ...variant, properties: options }, [
    "listeners",
    0,
  ]);
}

function section(level: string, title: string, description: string, group: Option, path: Path): string[] {
  return [
    ...heading(level, title, description),
    "| Option and variable | Default | What it can be | Meaning |",
    "| ------------------- | ------- | -------------- | ------- |",
    ...rows(group, path, path.length),
    "",
  ];
}

function heading(level: string, title: string, description: string): string[] {
  return [`${level} ${title}`, "", escape(description), ""];
}

/** A row for each option in a group. Names are written without the first `known` parts of their paths. */
function rows({ properties = {}, required = [] }: Option, path: Path, known: number): string[] {
  return Object.entries(properties).flatMap(([name, option]) => {
    const ownPath = [...path, name];
    return [
      row(option, ownPath, known, required.includes(name)),
      ...(option.properties === undefined ? [] : rows(option, ownPath, known)),
      ...(option.items?.properties === undefined ? [] : rows(option.items, [...ownPath, 0], known)),
    ];
  });
}

function row(option: Option, path: Path, known: number, isRequired: boolean): string {
  const cells = [
    `\`${formatPath(path.slice(known))}\`<br>\`${variableName(path)}\``,
    isRequired ? "required" : option.default === undefined ? "not set" : `\`${inline(option.default)}\``,
    escape(whatItCanBe(option)),
    escape(option.description!) + (option.example === undefined ? "" : ` Example: \`${inline(option.example)}\``),
  ];
  return `| ${cells.join(" | ")} |`;
}

function whatItCanBe(option: Option): string {
  const entries = option.items?.enum;
  return entries === undefined ? expectation(option) : `a list of any of ${entries.join(", ")}`;
}

function inline(value: unknown): string {
  return stringify(value, { collectionStyle: "flow", flowCollectionPadding: false, lineWidth: 0 }).trimEnd();
}

/** A text in which nothing means anything to Markdown. */
function escape(text: string): string {
  return text.replaceAll(/[*|<]/g, "\\$&");
}
