import assert from "node:assert/strict";
import { fuzzRun } from "./fuzz_run.ts";

// The same seed each time: longer runs, with other ones, are what `deno task fuzz` is for.
for (const [store, durable] of [["memory", false], ["a database", true]] as const) {
  Deno.test(`a broker that stores in ${store} serves others while clients say what is almost MQTT, and forgets them`, async (t) => {
    const { faults, summary } = await fuzzRun({ seed: 1, seconds: 3, durable });
    await t.step(summary, () => {});
    assert.deepEqual(faults, []);
  });
}
