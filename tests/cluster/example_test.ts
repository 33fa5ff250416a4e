import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { loadConfig } from "../../cli/config.ts";

Deno.test("the configuration that the nodes of examples/cluster have in common is valid", async () => {
  const file = fileURLToPath(new URL("../../examples/cluster/node.yaml", import.meta.url));
  const { hooks, listeners } = await loadConfig({ file, environment: {} });
  assert.equal(hooks.cluster?.addr, "redis://valkey:6379");
  assert.deepEqual(listeners.map(({ transport = "tcp" }) => transport), ["tcp"]);
});
