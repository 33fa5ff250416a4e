import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

Deno.test("the examples in the documentation run as they are written", async () => {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    // Type checking would complain of exports that an example does not use: it is given all of its file's.
    args: ["test", "--allow-all", "--no-check", "--doc", "mod.ts", "broker/", "codec/"],
    cwd: fileURLToPath(new URL("../..", import.meta.url)),
    env: { NO_COLOR: "1" },
  }).output();
  const output = new TextDecoder().decode(stdout);
  assert(success, output + new TextDecoder().decode(stderr));
  assert.match(output, /^file:.*mod\.ts.* ok /m);
  assert.match(output, /^file:.*broker\.ts.* ok /m);
});
