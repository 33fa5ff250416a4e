import assert from "node:assert/strict";
import type { ClusterContext, PublishPacket } from "../../mod.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive } from "./receive.ts";
import { lasting } from "./versions.ts";

// Payloads of this size stay in the publisher's read buffer, which must not be read over while anybody needs them.
const SIZE = 40_000;
const COUNT = 20;
const everyNumber = Array.from({ length: COUNT }, (_, index) => index + 1);

/** Sends messages that are filled with their numbers, some of them in one go, and waits until the broker has all of them. */
async function publishAll(
  publisher: RawClient,
  qos: 1 | 2,
  { topic = "t", numbers = everyNumber, retain = false } = {},
): Promise<void> {
  for (let first = 0; first < numbers.length; first += 3) {
    const packets = numbers.slice(first, first + 3).map((number) => {
      const payload = new Uint8Array(SIZE).fill(number);
      return publishPacket({ topic, qos, packetId: number, payload, retain });
    });
    await publisher.send(...packets);
    for (const _packet of packets) await publisher.expect(qos === 1 ? "puback" : "pubrec");
    if (qos === 1) continue;
    for (const { packetId } of packets) await publisher.send({ type: "pubrel", packetId: packetId!, reasonCode: 0 });
    for (const _packet of packets) await publisher.expect("pubcomp");
  }
}

/** The next so many messages, all of which have been sent before any of them is acknowledged. */
async function receiveUnacknowledged(client: RawClient, count: number): Promise<PublishPacket[]> {
  const packets: PublishPacket[] = [];
  while (packets.length < count) packets.push(await client.expect("publish"));
  return packets;
}

async function acknowledge(client: RawClient, packets: PublishPacket[]): Promise<void> {
  for (const { qos, packetId } of packets) {
    await client.send({ type: qos === 1 ? "puback" : "pubrec", packetId: packetId!, reasonCode: 0 });
    if (qos === 1) continue;
    await client.expect("pubrel");
    await client.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
  }
  await client.expectNothing();
}

/** The number that a message was filled with. */
function numberOf({ payload }: Pick<PublishPacket, "payload">): number {
  assert.equal(payload.length, SIZE);
  assert.ok(payload.every((byte) => byte === payload[0]), "the message is made of several");
  return payload[0];
}

for (const qos of [1, 2] as const) {
  Deno.test(`large QoS ${qos} messages are sent again as they were when their client comes back`, async () => {
    await using broker = await startBroker();
    const [before, other] = [await broker.connect({ ...lasting(5), clientId: "a" }), await broker.connect()];
    for (const client of [before, other]) await client.subscribe("t", { qos });
    await other.subscribe("u", { qos });
    const publisher = await broker.connect();
    await publishAll(publisher, qos);
    assert.deepEqual((await receiveUnacknowledged(before, COUNT)).map(numberOf), everyNumber);
    await acknowledge(other, await receiveUnacknowledged(other, COUNT));
    // Where they were is free for others when nobody needs them any more, but no sooner.
    const others = { topic: "u", numbers: everyNumber.map((number) => 100 + number) };
    await publishAll(publisher, qos, others);
    await before.close();
    await publishAll(publisher, qos, others);
    const again = await broker.connect({ ...lasting(5), clientId: "a" });
    assert.deepEqual((await receiveUnacknowledged(again, COUNT)).map(numberOf), everyNumber);
  });

  Deno.test(`large QoS ${qos} messages are whole, in whatever order they are acknowledged`, async () => {
    await using broker = await startBroker();
    const [subscriber, publisher] = [await broker.connect(), await broker.connect()];
    await subscriber.subscribe("t", { qos });
    for (let round = 0; round < 5; round++) {
      await publishAll(publisher, qos);
      const packets = await receiveUnacknowledged(subscriber, COUNT);
      assert.deepEqual(packets.map(numberOf), everyNumber);
      await acknowledge(subscriber, packets.reverse());
    }
  });

  Deno.test(`a large QoS ${qos} message is retained as it was`, async () => {
    await using broker = await startBroker();
    const [subscriber, publisher] = [await broker.connect(), await broker.connect()];
    await subscriber.subscribe("t", { qos });
    await publishAll(publisher, qos, { numbers: [1], retain: true });
    assert.equal(numberOf(await receive(subscriber)), 1);
    for (let count = 0; count < 5; count++) {
      await publisher.send(publishPacket({ topic: "u", qos: 0, payload: new Uint8Array(SIZE).fill(9) }));
    }
    await publisher.expectNothing();
    const late = await broker.connect();
    await late.subscribe("t", { qos });
    assert.equal(numberOf(await late.expect("publish")), 1);
  });
}

Deno.test("large messages that a group's member leaves behind reach another one as they were", async () => {
  await using broker = await startBroker();
  const [leaving, staying] = [await broker.connect(), await broker.connect()];
  await leaving.subscribe("$share/g/t", { qos: 1 });
  const publisher = await broker.connect();
  await publishAll(publisher, 1);
  await receiveUnacknowledged(leaving, COUNT);
  await staying.subscribe("$share/g/t", { qos: 1 });
  await leaving.close();
  await eventually(() => broker.stats().clients === 2, "the member to be gone");
  await publishAll(publisher, 1, { numbers: [100] });
  assert.deepEqual((await receiveUnacknowledged(staying, COUNT + 1)).map(numberOf), [...everyNumber, 100]);
});

for (const qos of [1, 2] as const) {
  Deno.test(`each receiver of a large QoS ${qos} message has packet identifiers and flags of its own`, async () => {
    await using broker = await startBroker();
    const receivers: RawClient[] = [];
    for (const retainAsPublished of [false, true, false]) {
      const receiver = await broker.connect();
      await receiver.subscribe("t", { qos, retainAsPublished });
      await receiver.subscribe("other", { qos: 1 });
      receivers.push(receiver);
      // So the first of them has had more messages, and is at another packet identifier.
      await broker.publish("other", "", { qos: 1 });
      for (const earlier of receivers) assert.equal((await receive(earlier)).topic, "other");
    }
    const publisher = await broker.connect();
    await publishAll(publisher, qos, { retain: true });
    for (const [index, receiver] of receivers.entries()) {
      const packets = await receiveUnacknowledged(receiver, COUNT);
      assert.deepEqual(packets.map(numberOf), everyNumber);
      assert.deepEqual(new Set(packets.map(({ retain }) => retain)), new Set([index === 1]));
      const first = packets[0].packetId!;
      assert.deepEqual(packets.map(({ packetId }) => packetId), everyNumber.map((number) => first + number - 1));
      await acknowledge(receiver, packets);
    }
  });
}

Deno.test("[5.0 MQTT-3.3.1-12] a large message for another broker does not get a subscriber here a retain flag", async () => {
  await using broker = await startBroker();
  const { promise, resolve } = Promise.withResolvers<ClusterContext>();
  await broker.use({ id: "cluster", init: ({ cluster }) => resolve(cluster) });
  const cluster = await promise;
  const client = await broker.connect();
  await client.subscribe("t", { qos: 0, retainAsPublished: false });
  cluster.addSubscription(
    { clientId: undefined, isConnected: true, deliver: () => {} },
    { topicFilter: "t", qos: 0, noLocal: false, retainAsPublished: true, identifiers: undefined },
  );
  await broker.publish("t", new Uint8Array(40_000), { retain: true });
  assert.equal((await client.expect("publish")).retain, false);
});
