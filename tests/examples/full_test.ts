import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

const admin = { protocolVersion: 5, username: "admin", password: "top secret" } as const;
const alice = { protocolVersion: 5, username: "alice", password: "wonderland" } as const;

Deno.test("examples/full.ts: what it promises works together, and it ends in order", async () => {
  const cwd = await Deno.makeTempDir();
  try {
    await using example = await startExample("full.ts", { ports: 3, cwd });
    assert.deepEqual(example.urls.map((url) => url.split(":")[0]), ["mqtt", "ws", "http"]);
    await assert.rejects(connect(example, { ...alice, password: "wrong" }), { code: 0x86 });

    const user = await connect(example, { ...alice, clientId: "alice's phone" });
    const administrator = await connect(example, admin);
    await user.client.subscribeAsync("home/alice/#");
    await assert.rejects(user.client.subscribeAsync("home/bob/#"), /not authorized/i);
    await administrator.client.publishAsync("home/alice/lamp", "on", { qos: 1, retain: true });
    assert.equal((await user.next()).payload, "on");
    await example.printed(/alice's phone/);
    assert.match(await (await fetch(example.urls[2])).text(), /^hookmq_clients_connected 2$/m);
    await user.client.endAsync();
    await administrator.client.endAsync();

    example.kill("SIGTERM");
    const { code, stderr } = await example.ended();
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    assert((await Deno.stat(`${cwd}/hookmq.db`)).isFile);
  } finally {
    await Deno.remove(cwd, { recursive: true });
  }
});
