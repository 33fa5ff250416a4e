import assert from "node:assert/strict";
import { BrokerCluster } from "./cluster_brokers.ts";

for (const [name, payload] of [["a retained message", "x"], ["a removal", ""]] as const) {
  Deno.test(`${name} on the topic that is called like the index of retained messages does them no harm`, async () => {
    await using cluster = await BrokerCluster.start();
    const client = await (await cluster.node("a")).connect();
    for (const message of [{ topic: "t", payload: "1" }, { topic: "_idx", payload }, { topic: "u", payload: "2" }]) {
      assert.ok(await client.publish({ ...message, qos: 1, retain: true }) < 0x80, message.topic);
    }
    const { hook } = await cluster.node("b");
    const topics = (await hook.getRetained("#")).map(({ topic }) => topic).sort();
    assert.deepEqual(topics, payload === "" ? ["t", "u"] : ["_idx", "t", "u"]);
  });
}
