import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

Deno.test("examples/in_process_client.ts: the program answers a temperature with what the heating is to do", async () => {
  await using example = await startExample("in_process_client.ts");
  await using client = await connect(example, { protocolVersion: 5 });
  await client.client.subscribeAsync("rooms/+/heating");
  for (const [room, celsius, heating] of [["kitchen", "18.5", "on"], ["bath", "23", "off"]]) {
    await client.client.publishAsync(`rooms/${room}/temperature`, celsius);
    const { topic, payload } = await client.next();
    assert.deepEqual([topic, payload], [`rooms/${room}/heating`, heating]);
  }
});
