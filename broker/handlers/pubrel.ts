import type { AcknowledgementPacket } from "../../codec/acknowledgement.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import type { Client } from "../client.ts";
import { type MaybePromise, then } from "../maybe_promise.ts";

/**
 * PUBREL: the sender gives up its copy of a QoS 2 message [MQTT-4.3.3-11], which was delivered when it came. From here on
 * the same packet identifier means a new message [MQTT-4.3.3-12].
 */
export function handlePubrel(client: Client, { packetId }: AcknowledgementPacket): MaybePromise<void> {
  // An unknown one is a resend of a PUBREL that was completed before a reconnect: completing it again is harmless.
  const known = client.session.received.delete(packetId);
  const reasonCode = known ? ReasonCode.Success : ReasonCode.PacketIdentifierNotFound;
  const removed = known ? client.session.removeReceived(packetId) : undefined;
  return client.acknowledgements.add("pubcomp", packetId, then(removed, () => reasonCode));
}
