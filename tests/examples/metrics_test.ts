import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

Deno.test("examples/metrics.ts: clients are counted below $SYS/broker and for Prometheus", async () => {
  await using example = await startExample("metrics.ts", { ports: 2 });
  await using watcher = await connect(example, { protocolVersion: 5 });
  await watcher.client.subscribeAsync("$SYS/broker/clients/connected");
  let connected = "";
  while (connected !== "1") connected = (await watcher.next()).payload;
  const response = await fetch(example.urls[1]);
  assert.match(await response.text(), /^hookmq_clients_connected 1$/m);
});
