import assert from "node:assert/strict";
import { type ConnectOptions, connectPacket, type RawClient } from "../support/raw_client.ts";
import { Cluster, eventually } from "./cluster.ts";

const ROUNDS = 15;

const durable = { clientId: "same", cleanStart: false, properties: { sessionExpiryInterval: 600 } };

/** Connects a client to every node at the same moment. Resolves with the one whose connection is left. */
async function race(cluster: Cluster, options: ConnectOptions): Promise<{ winner: RawClient; index: number }> {
  const clients = await Promise.all(cluster.nodes.map((node) => node.open()));
  await Promise.all(clients.map((client) => client.send(connectPacket(options))));
  const closed = new Set<number>();
  const fates = clients.map(async (client, index) => {
    try {
      // Some nodes let it in before another one does.
      await client.expect("connack");
      await client.expect("disconnect");
    } catch (error) {
      // The answer to the PINGREQ below.
      if ((error as Error).message.includes("pingresp")) return;
    }
    closed.add(index);
  });
  await eventually(() => closed.size >= clients.length - 1, "all connections but one to be closed", 5000);
  const left = clients.keys().filter((index) => !closed.has(index)).toArray();
  assert.equal(left.length, 1, `${left.length} connections are left`);
  const [index] = left;
  await clients[index].send({ type: "pingreq" });
  await fates[index];
  assert.equal(closed.has(index), false, "the last connection has been closed, too");
  return { winner: clients[index], index };
}

for (const [what, options] of [["durable", durable], ["clean", { clientId: "same" }]] as const) {
  Deno.test(`of several nodes that claim the same ${what} session at the same moment exactly one gets it`, async () => {
    await using cluster = await Cluster.start();
    const publisher = await cluster.nodes[0].connect();
    if (what === "durable") await (await cluster.nodes[1].connect(options)).subscribe("t", { qos: 1 });
    for (let round = 0; round < ROUNDS; round++) {
      const { winner, index } = await race(cluster, options);
      assert.equal(await cluster.redis.command("HGET", "mqtt:session:{same}", "node"), cluster.nodes[index].id);
      if (what === "clean") await winner.subscribe("t", { qos: 1 });
      await publisher.publish({ topic: "t", payload: String(round), qos: 1 });
      const { payload, packetId } = await winner.expect("publish");
      assert.equal(new TextDecoder().decode(payload), String(round));
      await winner.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
      await winner.expectNothing();
      // Until then it may come again, to the next one.
      const isEmpty = async () => await cluster.redis.command("XLEN", "mqtt:queue:{same}") === "0";
      await eventually(isEmpty, "the acknowledgement to be stored");
    }
  });
}
