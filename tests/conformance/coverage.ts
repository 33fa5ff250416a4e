import { type DeclaredTest, testsIn } from "./conformance.ts";
import { serverStatements, type Statement } from "./statements.ts";
import { levels, type Version } from "./test_name.ts";

/** A test with the file that declares it. */
export interface LocatedTest extends DeclaredTest {
  /** The file's name, in this directory. */
  file: string;
}

/** How a run of one test ended; `undefined` if it did not run. */
export type Result = "passed" | "failed" | undefined;

/** A statement with its tests, as a row of the table. */
export interface Row {
  statement: Statement;
  tests: LocatedTest[];
  result: "passed" | "failed" | "not run" | "no test" | "cannot be observed";
}

/** Every test of the specification, in the order of its sections. */
export async function declaredTests(): Promise<LocatedTest[]> {
  const tests: LocatedTest[] = [];
  for (const file of testFiles()) {
    for (const test of await testsIn(`./${file}`)) tests.push({ ...test, file });
  }
  return tests;
}

/** The files that declare them: one for each section, and those that go across sections. */
export function testFiles(): string[] {
  return [...Deno.readDirSync(new URL(".", import.meta.url))]
    .map(({ name }) => name)
    .filter((name) => /^(\d.*|properties|reason_codes)_test\.ts$/.test(name))
    .sort(new Intl.Collator("en", { numeric: true }).compare);
}

/** A row for every statement that binds a server. */
export function coverage(tests: LocatedTest[], resultOf: (test: LocatedTest) => Result): Row[] {
  return serverStatements.map((statement) => {
    const own = tests.filter(({ version, ids }) => version === statement.version && ids.includes(statement.id));
    return { statement, tests: own, result: overall(statement, own.map(resultOf)) };
  });
}

function overall({ unobservable }: Statement, results: Result[]): Row["result"] {
  if (results.includes("failed")) return "failed";
  if (results.includes(undefined)) return "not run";
  if (results.length > 0) return "passed";
  return unobservable === undefined ? "no test" : "cannot be observed";
}

/** The table for a terminal. */
export function coverageText(rows: Row[], tests: LocatedTest[]): string {
  const lines = rows.map(({ statement: { id, version, unobservable }, tests, result }) => {
    const count = `${tests.length} ${tests.length === 1 ? "test" : "tests"}`;
    const reason = result === "cannot be observed" ? `: ${unobservable}` : "";
    return `${id.padEnd(15)} ${version.padEnd(6)} ${count.padStart(8)}  ${result}${reason}`;
  });
  return [...lines, "", ...summary(rows, tests)].join("\n");
}

/** The content of `COVERAGE.md`. */
export function coverageMarkdown(rows: Row[], tests: LocatedTest[]): string {
  const lines = rows.map(({ statement: { id, version, unobservable }, tests, result }) => {
    const byFile = Map.groupBy(tests, ({ file }) => file).entries().map(([file, tests]) =>
      `[${file}](${file}): ${tests.map(({ sentence }) => escape(sentence)).join("<br>")}`
    );
    return `| ${id} | ${version} | ${[...byFile].join("<br>") || unobservable || "none"} | ${result} |`;
  });
  return `<!-- deno-fmt-ignore-file -->

# Which statements of the MQTT specifications are proved

${summary(rows, tests).map((line) => `- ${line}`).join("\n")}

Each test talks to a broker that runs from the command line, in a process of its own, and has in its name what it proves.
This file is written by \`deno task conformance --write\`. [statements.tsv](statements.tsv) has the statements' words; they
are from MQTT 5.0 and MQTT 3.1.1, Copyright © OASIS Open. All Rights Reserved.

| statement | level | tests | result |
| --- | --- | --- | --- |
${lines.join("\n")}
`;
}

/** For each version, how many of its statements are proved, and how many tests go beyond them. */
function summary(rows: Row[], tests: LocatedTest[]): string[] {
  return (Object.keys(levels) as Version[]).map((version) => {
    const own = rows.filter(({ statement }) => statement.version === version);
    const count = (wanted: Row["result"]) => own.filter(({ result }) => result === wanted).length;
    const beyond = tests.filter((test) => test.version === version && test.ids.length === 0).length;
    return own.length === 0
      ? `MQTT ${version}: ${beyond} tests; its statements have no numbers.`
      : `MQTT ${version}: ${count("passed")} of ${own.length} statements that bind a server are proved, ` +
        `${
          count("cannot be observed")
        } cannot be observed; ${beyond} tests are about what no statement has a number for.`;
  });
}

/** Markdown that shows this text as it is. */
function escape(text: string): string {
  return text.replace(/[\\|*_<>[\]`#$]/g, "\\$&");
}
