import assert from "node:assert/strict";
import { type ConnectOptions, connectPacket, RawClient } from "../support/raw_client.ts";
import type { TestBroker } from "../support/start_broker.ts";

const DEADLINE = 10_000;

/** A client whose CONNECT has been accepted, and which waits for what takes a second or two by its nature. */
export async function connectPatiently(broker: TestBroker, options: ConnectOptions): Promise<RawClient> {
  const client = new RawClient(await Deno.connect({ hostname: "127.0.0.1", port: broker.port }), DEADLINE);
  await client.send(connectPacket(options));
  assert.equal((await client.expect("connack")).reasonCode, 0);
  return client;
}
