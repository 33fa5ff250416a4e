import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

Deno.test("examples/auth.ts: users with the right password are let in", async () => {
  await using example = await startExample("auth.ts");
  for (const [username, password] of [["alice", "correct horse battery staple"], ["bob", "another secret"]]) {
    await using client = await connect(example, { protocolVersion: 5, username, password });
    assert.equal(client.connack.reasonCode, 0);
  }
});

Deno.test("examples/auth.ts: a wrong password, and none, is refused", async () => {
  await using example = await startExample("auth.ts");
  const wrong = connect(example, { protocolVersion: 5, username: "alice", password: "wrong" });
  await assert.rejects(wrong, { code: 0x86 });
  await assert.rejects(connect(example, { protocolVersion: 5 }), { code: 0x87 });
});
