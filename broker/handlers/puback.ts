import type { AcknowledgementPacket } from "../../codec/acknowledgement.ts";
import { protocolError } from "../../codec/errors.ts";
import type { Client } from "../client.ts";

/**
 * PUBACK: the client has a QoS 1 message, or refuses it; either way we are done with it [MQTT-4.4.0-2]. One that we do not
 * know was acknowledged before, or passed on to another member of its shared subscription.
 */
export function handlePuback({ session }: Client, { packetId }: AcknowledgementPacket): void {
  if (session.inflight.get(packetId)?.qos === 2) throw protocolError(`PUBACK for QoS 2 message ${packetId}`);
  session.acknowledge(packetId);
}
