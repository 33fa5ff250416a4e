import assert from "node:assert/strict";
import { reasonName } from "../../codec/mod.ts";
import type { RawClient } from "../support/raw_client.ts";

/**
 * A CONNECT is answered with a no, and the connection closed: with this reason code in MQTT 5, with this return code in an
 * older version, or without a word there if that has none for it.
 */
export async function expectRefused(client: RawClient, reasonCode: number, returnCode?: number): Promise<void> {
  const expected = client.level === 5 ? reasonCode : returnCode;
  if (expected !== undefined) {
    const connack = await client.expect("connack");
    assert.equal(reasonName(connack.reasonCode), reasonName(expected));
    assert.equal(connack.sessionPresent, false);
  }
  await client.expectClosed();
}
