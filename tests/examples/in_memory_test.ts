import assert from "node:assert/strict";
import { run } from "../interop/programs.ts";
import { commandOf } from "./start_example.ts";

Deno.test("examples/in_memory.ts: a client is served over streams, and no permission is needed for it", async () => {
  const command = await commandOf("in_memory.ts");
  assert.deepEqual(command.slice(0, -1), ["run", "--no-prompt"]);
  const { code, stdout, stderr } = await run(Deno.execPath(), command);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  assert.match(stdout, /^greetings\/world: hello$/m);
});
