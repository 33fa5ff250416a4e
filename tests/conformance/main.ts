/** Runs the tests of the specification and prints which of its statements they prove: `deno task conformance`. */

import { Command, Option } from "commander";
import { fileURLToPath } from "node:url";
import { coverage, coverageMarkdown, coverageText, declaredTests, type Result, testFiles } from "./coverage.ts";
import { parseJunit } from "./junit.ts";
import { transports } from "./transport.ts";

const directory = fileURLToPath(new URL(".", import.meta.url));

await new Command("deno task conformance")
  .description("Test what the MQTT specifications demand of a server, and print which of their statements are proved.")
  .addOption(new Option("--transport <name>", "over what to talk to the broker").choices(transports).default("tcp"))
  .option("--write", "write the table to tests/conformance/COVERAGE.md as well")
  .action(async ({ transport, write }: { transport: string; write?: true }) => {
    console.log(`running ${testFiles().length} files of tests over ${transport} …\n`);
    const { passed, results } = await runTests(transport);
    const tests = await declaredTests();
    const rows = coverage(tests, ({ name }) => results.get(name));
    console.log(coverageText(rows, tests));
    if (write) await Deno.writeTextFile(`${directory}COVERAGE.md`, coverageMarkdown(rows, tests));
    const complete = rows.every(({ result }) => result === "passed" || result === "cannot be observed");
    if (!passed || !complete) Deno.exitCode = 1;
  })
  .parseAsync(Deno.args, { from: "user" });

/** Runs them all over one transport; returns how each ended, by its name. What it printed is shown if it failed. */
async function runTests(transport: string): Promise<{ passed: boolean; results: Map<string, Result> }> {
  const report = await Deno.makeTempFile({ suffix: ".xml" });
  try {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "-A", "--parallel", `--junit-path=${report}`, ...testFiles()],
      cwd: directory,
      env: { CONFORMANCE_TRANSPORT: transport },
    }).output();
    if (!success) { for (const output of [stdout, stderr]) await Deno.stderr.write(output); }
    return { passed: success, results: parseJunit(await Deno.readTextFile(report)) };
  } finally {
    await Deno.remove(report);
  }
}
