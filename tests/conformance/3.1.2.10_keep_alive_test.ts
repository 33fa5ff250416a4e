import assert from "node:assert/strict";
import { ReasonCode } from "../../codec/mod.ts";
import type { RawClient } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

/** How long one and a half times a keep alive of one second is, in milliseconds. */
const ALLOWED = 1500;

/** Keeps a client that has a keep alive of one second busy until `others` is settled. */
async function keepAliveWhile(client: RawClient, others: Promise<unknown>): Promise<void> {
  let settled = false;
  const done = others.finally(() => settled = true);
  while (!settled) {
    await client.expectNothing();
    await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 400))]);
  }
  await done;
}

// "If the Keep Alive value is non-zero and the Server does not receive an MQTT Control Packet from the Client within
// one and a half times the Keep Alive time period, it MUST close the Network Connection to the Client as if the network
// had failed." "If the Server does not send the Server Keep Alive, the Server MUST use the Keep Alive value set by the
// Client on CONNECT."
conformance(
  "[5.0 MQTT-3.1.2-22 MQTT-3.2.2-22] [3.1.1 MQTT-3.1.2-24] [3.1] " +
    "who is silent for one and a half times the keep alive is taken for gone, and nobody else",
  async (broker) => {
    const topic = broker.unique("will");
    const watcher = await broker.connect({ keepAlive: 0 });
    await watcher.subscribe(topic);
    const pinging = await broker.connect({ keepAlive: 1 });
    const patient = await broker.connect({ keepAlive: 2 });
    const before = performance.now();
    const silent = await broker.connect({ keepAlive: 1, will: { topic } });
    assert.equal(silent.connack.properties?.serverKeepAlive, undefined);
    await keepAliveWhile(pinging, expectDisconnected(silent, ReasonCode.KeepAliveTimeout));
    const silence = performance.now() - before;
    assert(silence >= ALLOWED && silence < 2 * ALLOWED, `the connection was closed after ${silence} ms`);
    assert.equal((await watcher.expect("publish")).topic, topic);
    for (const client of [watcher, pinging, patient]) await client.expectNothing();
  },
);

// "If the Server returns a Server Keep Alive on the CONNACK packet, the Client MUST use that value instead of the value
// it sent as the Keep Alive."
conformance(
  "[5.0 MQTT-3.1.2-21] who is told a server keep alive is held to that one",
  async (broker) => {
    const clients = [];
    for (const keepAlive of [60, 2, 0]) clients.push(await broker.connect({ keepAlive }));
    for (const client of clients) assert.equal(client.connack.properties?.serverKeepAlive, 1);
    const own = await broker.connect({ keepAlive: 1 });
    assert.equal(own.connack.properties?.serverKeepAlive, undefined);
    await Promise.all(clients.map((client) => expectDisconnected(client, ReasonCode.KeepAliveTimeout)));
  },
  { config: "maximumKeepAlive: 1" },
);
