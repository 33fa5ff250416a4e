import assert from "node:assert/strict";
import { reasonName } from "../../codec/mod.ts";
import type { RawClient } from "../support/raw_client.ts";

/**
 * The next thing that a connected client sees is the end: of MQTT 5 a DISCONNECT with this reason code and the close of
 * the connection, of an older version, which has no such word, the close alone.
 */
export async function expectDisconnected(client: RawClient, reasonCode: number): Promise<void> {
  if (client.level === 5) {
    assert.equal(reasonName((await client.expect("disconnect")).reasonCode), reasonName(reasonCode));
  }
  await client.expectClosed();
}
