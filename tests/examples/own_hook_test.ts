import assert from "node:assert/strict";
import { connect, type TestClient } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

async function nextOf({ next }: TestClient): Promise<string> {
  const { topic, payload } = await next();
  return `${topic} ${payload}`;
}

Deno.test("examples/own_hook.ts: clients find out who comes and goes", async () => {
  await using example = await startExample("own_hook.ts");
  await using alice = await connect(example, { protocolVersion: 5, clientId: "alice" });
  await alice.client.subscribeAsync("presence/#");
  assert.equal(await nextOf(alice), "presence/alice online");
  const bob = await connect(example, { protocolVersion: 5, clientId: "bob/+" });
  assert.equal(await nextOf(alice), "presence/bob%2F%2B online");
  await bob.client.endAsync();
  assert.equal(await nextOf(alice), "presence/bob%2F%2B offline");
});

Deno.test("examples/own_hook.ts: who is taken over by another connection stays online", async () => {
  await using example = await startExample("own_hook.ts");
  await using alice = await connect(example, { protocolVersion: 5, clientId: "alice" });
  await alice.client.subscribeAsync("presence/bob");
  await using _first = await connect(example, { protocolVersion: 5, clientId: "bob" });
  await using _second = await connect(example, { protocolVersion: 5, clientId: "bob" });
  const seen = [await nextOf(alice), await nextOf(alice), await nextOf(alice)];
  assert.equal(seen.at(-1), "presence/bob online");
});

Deno.test("examples/own_hook.ts: no client can say who is there", async () => {
  await using example = await startExample("own_hook.ts");
  await using client = await connect(example, { protocolVersion: 5 });
  await assert.rejects(client.client.publishAsync("presence/queen", "online", { qos: 1 }), { code: 0x87 });
});
