import assert from "node:assert/strict";
import { type ProtocolLevel, type Qos, ReasonCode, ReasonCodeError } from "../../mod.ts";
import { connectPacket } from "./raw_client.ts";
import { startBroker } from "./start_broker.ts";

for (const level of [3, 4, 5] as ProtocolLevel[]) {
  Deno.test(`a client of level ${level} connects, subscribes, publishes and disconnects`, async () => {
    await using broker = await startBroker();
    const subscriber = await broker.connect({ level });
    assert.equal(subscriber.connack.reasonCode, 0);
    assert.deepEqual((await subscriber.subscribe("a/#", { qos: 2 })).reasonCodes, [2]);
    const publisher = await broker.connect({ level });
    for (const qos of [0, 1, 2] as Qos[]) {
      assert.equal(await publisher.publish({ topic: "a/b", payload: `at ${qos}`, qos }), 0);
      const packet = await subscriber.expect("publish");
      assert.deepEqual([packet.topic, new TextDecoder().decode(packet.payload), packet.qos], ["a/b", `at ${qos}`, qos]);
    }
    await publisher.disconnect();
  });
}

Deno.test("the broker is a Broker, which publishes by itself, too", async () => {
  await using broker = await startBroker();
  const client = await broker.connect();
  await client.subscribe("t");
  await broker.publish("t", "from inside");
  assert.equal(new TextDecoder().decode((await client.expect("publish")).payload), "from inside");
});

Deno.test("clients that connect at the same time have names of their own", async () => {
  await using broker = await startBroker();
  await Promise.all(Array.from({ length: 5 }, () => broker.connect()));
  assert.equal(broker.stats().clients, 5);
  assert.equal(broker.disconnect("client-5"), true);
});

Deno.test("options pass through to the broker", async () => {
  await using broker = await startBroker({ limits: { packetSize: 1024 } });
  const client = await broker.connect();
  assert.equal(client.connack.properties?.maximumPacketSize, 1024);
});

Deno.test("an open connection has sent nothing, and can send any bytes", async () => {
  await using broker = await startBroker();
  const raw = await broker.open();
  await raw.sendBytes(new Uint8Array([0xff, 0xff, 0xff, 0xff, 0xff]));
  await raw.expectClosed();
});

Deno.test("an open connection can send a CONNECT that is refused", async () => {
  await using broker = await startBroker();
  await broker.use({
    id: "closed",
    onConnect() {
      throw new ReasonCodeError(ReasonCode.Banned, "closed on Sundays");
    },
  });
  const raw = await broker.open();
  await raw.send(connectPacket({ clientId: "a" }));
  assert.equal((await raw.expect("connack")).reasonCode, ReasonCode.Banned);
  await raw.expectClosed();
});

Deno.test("expectNothing proves that a message was not for this client", async () => {
  await using broker = await startBroker();
  const subscriber = await broker.connect();
  await subscriber.subscribe("a");
  const publisher = await broker.connect();
  await publisher.publish({ topic: "b", qos: 1 });
  await subscriber.expectNothing();
});

Deno.test("close ends a connection without a word", async () => {
  await using broker = await startBroker();
  const client = await broker.connect({ clientId: "a", will: { topic: "will", payload: "gone" } });
  const other = await broker.connect();
  await other.subscribe("will");
  await client.close();
  assert.equal(new TextDecoder().decode((await other.expect("publish")).payload), "gone");
});
