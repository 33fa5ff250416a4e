import assert from "node:assert/strict";
import { coverage, coverageMarkdown, declaredTests } from "./coverage.ts";
import { parseJunit } from "./junit.ts";
import { statements } from "./statements.ts";
import { parseTestName } from "./test_name.ts";

const tests = await declaredTests();

Deno.test("every statement that binds a server has a test, or a reason why it cannot be observed", () => {
  const without = coverage(tests, () => "passed").filter(({ result }) => result === "no test");
  assert.deepEqual(without.map(({ statement: { version, id } }) => `${version} ${id}`), []);
});

Deno.test("no statement that has a test is said to be unobservable", () => {
  const both = coverage(tests, () => "passed").filter((row) => row.statement.unobservable && row.tests.length > 0);
  assert.deepEqual(both.map(({ statement: { version, id } }) => `${version} ${id}`), []);
});

Deno.test("every statement that a test's name tells is one of the specification", () => {
  const known = new Set(statements.map(({ version, id }) => `${version} ${id}`));
  const unknown = tests.filter(({ version, ids }) => ids.some((id) => !known.has(`${version} ${id}`)));
  assert.deepEqual(unknown.map(({ file, name }) => `${file}: ${name}`), []);
});

Deno.test("no two tests of the specification have the same name", () => {
  const names = tests.map(({ name }) => name);
  assert.deepEqual(names.filter((name, index) => names.indexOf(name) !== index), []);
});

Deno.test("COVERAGE.md is what the tests prove (if not: deno task conformance --write)", () => {
  const written = Deno.readTextFileSync(new URL("COVERAGE.md", import.meta.url));
  assert.equal(written, coverageMarkdown(coverage(tests, () => "passed"), tests));
});

Deno.test("a test's name is taken apart into what it proves and its sentence", () => {
  assert.deepEqual(parseTestName("[5.0 MQTT-3.1.2-5 MQTT-3.1.2-6] [3.1.1 MQTT-3.3.1.-1] [3.1] a [b] c"), {
    proofs: [
      { version: "5.0", ids: ["MQTT-3.1.2-5", "MQTT-3.1.2-6"] },
      { version: "3.1.1", ids: ["MQTT-3.3.1.-1"] },
      { version: "3.1", ids: [] },
    ],
    sentence: "a [b] c",
  });
});

for (const name of ["a sentence", "[5.0 MQTT-3.1.4-3]", "[5.1] a", "[5.0 3.1.4-3] a", "[5.0]a", "[5.0] [4.0] a", ""]) {
  Deno.test(`"${name}" is no name for a test of the specification`, () => {
    assert.throws(() => parseTestName(name), SyntaxError);
  });
}

Deno.test("a JUnit report tells how each test ended", () => {
  const report = `<testsuites><testsuite name="a">
    <testcase name="a &amp; &lt;b&gt; &quot;c&quot; &apos;d&apos;" time="0.1">
    </testcase>
    <testcase name="e"><failure message="no">no</failure></testcase>
    <testcase name="f"><skipped/></testcase>
  </testsuite></testsuites>`;
  assert.deepEqual([...parseJunit(report)], [[`a & <b> "c" 'd'`, "passed"], ["e", "failed"], ["f", undefined]]);
});
