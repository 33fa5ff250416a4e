import assert from "node:assert/strict";
import { connect } from "../interop/mqttjs_client.ts";
import { startExample } from "./start_example.ts";

const admin = { protocolVersion: 5, username: "admin", password: "top secret" } as const;
const alice = { protocolVersion: 5, username: "alice", password: "wonderland" } as const;
const sensor = { protocolVersion: 5, username: "sensor-1", password: "celsius" } as const;
const notAuthorized = 0x87;

Deno.test("examples/acl.ts: users have their own topics, and no others", async () => {
  await using example = await startExample("acl.ts");
  await using user = await connect(example, alice);
  const grants = await user.client.subscribeAsync(["home/alice/#", "announcements/#"]);
  assert.deepEqual(grants.map(({ qos }) => qos), [0, 0]);
  await assert.rejects(user.client.subscribeAsync("home/bob/#"), /not authorized/i);
  await assert.rejects(user.client.publishAsync("announcements/all", "x", { qos: 1 }), { code: notAuthorized });
});

Deno.test("examples/acl.ts: a sensor writes its measurements, and reads nothing", async () => {
  await using example = await startExample("acl.ts");
  await using administrator = await connect(example, admin);
  await administrator.client.subscribeAsync("#");
  await using device = await connect(example, sensor);
  await device.client.publishAsync("sensors/sensor-1/temperature", "18.5", { qos: 1 });
  assert.equal((await administrator.next()).payload, "18.5");
  const ofAnother = device.client.publishAsync("sensors/sensor-2/temperature", "99", { qos: 1 });
  await assert.rejects(ofAnother, { code: notAuthorized });
  await assert.rejects(device.client.subscribeAsync("home/sensor-1/#"), /not authorized/i);
});
