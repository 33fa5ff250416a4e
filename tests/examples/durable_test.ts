import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

const phone = {
  protocolVersion: 5,
  clientId: "my-phone",
  clean: false,
  properties: { sessionExpiryInterval: 3600 },
} as const;

Deno.test("examples/durable.ts: what was acknowledged is delivered after the broker was killed and started again", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    {
      await using example = await startExample("durable.ts", { cwd });
      const subscriber = await connect(example, phone);
      await subscriber.client.subscribeAsync("letters", { qos: 1 });
      await subscriber.client.endAsync();
      await using publisher = await connect(example, { protocolVersion: 5 });
      await publisher.client.publishAsync("letters", "waiting", { qos: 1 });
    }
    await using example = await startExample("durable.ts", { cwd });
    await using subscriber = await connect(example, phone);
    assert.equal(subscriber.connack.sessionPresent, true);
    assert.equal((await subscriber.next()).payload, "waiting");
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});
