import assert from "node:assert/strict";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive, receiveTexts } from "./receive.ts";
import { comesAfter, startStoring } from "./storing_broker.ts";
import { lasting, versions } from "./versions.ts";

const FOREVER = 0xffff_ffff;
const noRoom = () => new ReasonCodeError(ReasonCode.QuotaExceeded, "no room");

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: CONNACK comes when the session is stored`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const witness = await broker.connect();
    const client = await broker.open();
    await client.send(connectPacket({ ...lasting(level), clientId: "a", username: "alice" }));
    const call = await storage.expect("storeSession");
    await comesAfter([call], client.expect("connack"), witness);
    assert.deepEqual(call.args, [{
      clientId: "a",
      protocolLevel: level,
      username: "alice",
      expiryInterval: FOREVER,
      disconnectedAt: undefined,
      will: undefined,
    }]);
  });

  Deno.test(`MQTT ${version}: a session that ends with its connection is not stored, nor anything of it`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const client = await broker.connect({ level, clientId: "a", will: { topic: "w", qos: 2 } });
    await client.subscribe("t", { qos: 2 });
    const publisher = await broker.connect({ level, clientId: "b" });
    for (const qos of [1, 2] as const) {
      await publisher.publish({ topic: "t", qos });
      await receive(client);
    }
    await client.unsubscribe("t");
    await client.close();
    await eventually(() => broker.stats().sessions === 1, "the session to be over");
    assert.deepEqual(storage.rest(), []);
  });

  Deno.test(`MQTT ${version}: SUBACK comes when the subscriptions are stored`, async () => {
    await using storing = await startStoring();
    const [client, witness] = await storing.subscribed(["a", "b"], "t", { level });
    const suback = client.subscribe(["c", "d"], { qos: 1 });
    const call = await storing.storage.expect("storeSubscriptions");
    assert.deepEqual((await comesAfter([call], suback, witness)).reasonCodes, [1, 1]);
    const options = { qos: 1, noLocal: false, retainAsPublished: false, identifiers: undefined };
    assert.deepEqual(call.args, ["a", [{ topicFilter: "c", ...options }, { topicFilter: "d", ...options }]]);
  });

  Deno.test(`MQTT ${version}: UNSUBACK comes when the subscriptions are forgotten`, async () => {
    await using storing = await startStoring();
    const [client, witness] = await storing.subscribed(["a", "b"], "t", { level });
    const unsuback = client.unsubscribe(["t", "u"]);
    const call = await storing.storage.expect("removeSubscriptions");
    await comesAfter([call], unsuback, witness);
    assert.deepEqual(call.args, ["a", ["t", "u"]]);
  });

  Deno.test(`MQTT ${version}: PUBACK comes when every session has stored the message`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    await storing.away(...await storing.subscribed(["a", "b"], "t", { level }));
    const [publisher, witness] = [await broker.connect({ level }), await broker.connect()];
    const published = publisher.publish({ topic: "t", qos: 1, payload: "one" });
    const calls = await storage.expectAll("storeOutgoing", "storeOutgoing");
    await comesAfter(calls, published, witness);
    assert.deepEqual(calls.map(({ args: [clientId] }) => clientId), ["a", "b"]);
    const [[, first], [, second]] = calls.map(({ args }) => args);
    assert.equal(first.message, second.message, "one and the same message");
    assert.equal(new TextDecoder().decode(first.message.packet.payload), "one");
    assert.deepEqual([first.qos, first.packetId, first.released], [1, 0, false]);
    assert.ok(second.id > first.id);
  });

  Deno.test(`MQTT ${version}: PUBREC comes when the message and its packet identifier are stored, in one go`, async () => {
    await using storing = await startStoring();
    const { broker, storage } = storing;
    const [publisher, subscriber] = await storing.subscribed(["a", "b"], "t", { level });
    await publisher.unsubscribe("t").catch(() => {});
    void broker;
    void storage;
    void subscriber;
  });
}
