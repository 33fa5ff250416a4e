import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

Deno.test("examples/basic.ts: a message goes from one client to another", async () => {
  await using example = await startExample("basic.ts");
  await using subscriber = await connect(example, { protocolVersion: 5 });
  await using publisher = await connect(example, { protocolVersion: 4 });
  await subscriber.client.subscribeAsync("greetings/#");
  await publisher.client.publishAsync("greetings/world", "hello");
  const { topic, payload } = await subscriber.next();
  assert.deepEqual([topic, payload], ["greetings/world", "hello"]);
});
