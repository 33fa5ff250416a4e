import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

Deno.test("examples/rate_limit.ts: what comes beyond twenty messages at once is refused, and counted", async () => {
  await using example = await startExample("rate_limit.ts");
  const { client } = await connect(example, { protocolVersion: 5, clientId: "hasty" });
  const publishing = Array.from({ length: 100 }, (_, index) => client.publishAsync("numbers", `${index}`, { qos: 1 }));
  const outcomes = await Promise.allSettled(publishing);
  assert(outcomes.slice(0, 20).every(({ status }) => status === "fulfilled"));
  const refused = outcomes.filter((outcome) => outcome.status === "rejected" && outcome.reason.code === 0x97);
  assert(refused.length > 0);
  await client.endAsync();
  await example.printed(new RegExp(`^hasty has left; refused so far: ${refused.length}$`, "m"));
});
