import assert from "node:assert/strict";
import { encode } from "../../mod.ts";
import { publishPacket, type RawClient } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { connectPatiently } from "./patient_client.ts";
import { versions } from "./versions.ts";

/** How often a client that keeps itself alive sends something, in milliseconds. */
const INTERVAL = 500;

/** Waits until a client that sends nothing is disconnected; returns how many milliseconds after `begin` that was. */
async function silence(client: RawClient, begin = performance.now()): Promise<number> {
  if (client.level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x8d);
  await client.expectClosed();
  return performance.now() - begin;
}

Deno.test("a silent client is disconnected after one and a half times its keep alive, in every version", async () => {
  await using broker = await startBroker();
  await Promise.all(versions.map(async ([level, version]) => {
    const begin = performance.now();
    await using client = await connectPatiently(broker, { level, clientId: version, keepAlive: 1 });
    const waited = await silence(client, begin);
    // A millisecond for the difference between the two ends' clocks.
    assert(waited >= 1499, `MQTT ${version}: disconnected after ${waited} ms already`);
    assert(waited < 4000, `MQTT ${version}: disconnected after ${waited} ms only`);
  }));
  assert.equal(broker.stats().clients, 0);
});

Deno.test("[5.0 MQTT-3.1.2-22] packets of any type keep a client connected, a part of a packet does not", async () => {
  await using broker = await startBroker();
  const pings = await broker.connect({ keepAlive: 1 });
  const publishes = await broker.connect({ keepAlive: 1 });
  const acknowledges = await broker.connect({ keepAlive: 1 });
  const never = await broker.connect({ keepAlive: 0 });
  await using trickles = await connectPatiently(broker, { clientId: "trickles", keepAlive: 1 });
  const bytes = encode(publishPacket({ topic: "t", payload: "too slow" }), 5);
  let sent = 0;
  const timer = setInterval(() => {
    pings.send({ type: "pingreq" });
    publishes.send(publishPacket({ topic: "t" }));
    acknowledges.send({ type: "puback", packetId: 1, reasonCode: 0 });
    trickles.sendBytes(bytes.subarray(sent, ++sent)).catch(() => {});
  }, INTERVAL);
  await silence(trickles);
  clearInterval(timer);
  for (let answer = 0; answer < sent; answer++) await pings.expect("pingresp");
  for (const client of [pings, publishes, acknowledges, never]) await client.expectNothing();
});

Deno.test("[5.0 MQTT-3.1.2-22] the time counts from the last packet, and is never cut short", async () => {
  await using broker = await startBroker();
  // The broker's clock is coarse: these are spread over one of its ticks.
  const clients = await Promise.all(
    Array.from({ length: 10 }, (_, index) => connectPatiently(broker, { clientId: `${index}`, keepAlive: 1 })),
  );
  await Promise.all(clients.map(async (client, index) => {
    await using _client = client;
    await new Promise((resolve) => setTimeout(resolve, INTERVAL + 10 * index));
    const begin = performance.now();
    await client.expectNothing();
    const waited = await silence(client, begin);
    assert(waited >= 1499, `disconnected after ${waited} ms already`);
  }));
});

Deno.test("[5.0 MQTT-3.1.2-21] the server's keep alive holds instead of the client's", async () => {
  await using broker = await startBroker({ maximumKeepAlive: 1 });
  await using asksForMore = await connectPatiently(broker, { clientId: "a", keepAlive: 60 });
  await using asksForNone = await connectPatiently(broker, { clientId: "b", keepAlive: 0 });
  await Promise.all([silence(asksForMore), silence(asksForNone)]);
});

Deno.test("a client whose packet a hook still looks at is not taken for silent", async () => {
  await using broker = await startBroker();
  let decide = () => {};
  await broker.use({ id: "slow", onPublish: () => new Promise<void>((resolve) => decide = resolve) });
  const waits = await broker.connect({ keepAlive: 1 });
  await waits.send(publishPacket({ topic: "t", qos: 1, packetId: 1 }));
  await using silent = await connectPatiently(broker, { clientId: "silent", keepAlive: 1 });
  await silence(silent);
  decide();
  await waits.expect("puback");
});
