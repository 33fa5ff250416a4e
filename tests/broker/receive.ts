import assert from "node:assert/strict";
import type { PublishPacket } from "../../mod.ts";
import type { RawClient } from "../support/raw_client.ts";

/** A message with its payload as text, too. */
export interface ReceivedMessage extends PublishPacket {
  text: string;
}

/** The next packet, which must be a message; acknowledges it, at QoS 2 with the whole handshake. */
export async function receive(client: RawClient): Promise<ReceivedMessage> {
  const packet = await client.expect("publish");
  const { qos, packetId } = packet;
  if (qos === 1) await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
  if (qos === 2) {
    await client.send({ type: "pubrec", packetId: packetId!, reasonCode: 0 });
    await client.expect("pubrel");
    await client.send({ type: "pubcomp", packetId: packetId!, reasonCode: 0 });
  }
  return { ...packet, text: textOf(packet) };
}

/** The payloads of the next so many messages, in the order in which they come. */
export async function receiveTexts(client: RawClient, count: number): Promise<string[]> {
  const texts: string[] = [];
  while (texts.length < count) texts.push((await receive(client)).text);
  return texts;
}

/** The payloads of what has been sent to a client up to now; acknowledges nothing. */
export async function receivedSoFar(client: RawClient): Promise<string[]> {
  await client.send({ type: "pingreq" });
  const texts: string[] = [];
  for (;;) {
    // The first packet that is no message must be the answer to the PINGREQ, which marks the end.
    const packet = await client.expect("publish").catch((error: Error) => {
      assert.match(error.message, /^awaited publish: got { type: "pingresp" }/);
    });
    if (packet === undefined) return texts;
    texts.push(textOf(packet));
  }
}

/** A message's payload as text. */
export function textOf({ payload }: PublishPacket): string {
  return new TextDecoder().decode(payload);
}
