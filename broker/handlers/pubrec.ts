import type { AcknowledgementPacket } from "../../codec/acknowledgement.ts";
import { protocolError } from "../../codec/errors.ts";
import type { Client } from "../client.ts";
import type { MaybePromise } from "../maybe_promise.ts";

/** PUBREC: the client has a QoS 2 message, or refuses it; we give up our copy [MQTT-4.3.3-4]. */
export function handlePubrec(client: Client, { packetId, reasonCode }: AcknowledgementPacket): MaybePromise<void> {
  const { session } = client;
  if (session.inflight.get(packetId)?.qos === 1) throw protocolError(`PUBREC for QoS 1 message ${packetId}`);
  if (reasonCode >= 0x80) {
    session.acknowledge(packetId);
    return;
  }
  // PUBRELs leave in the order of the PUBRECs [MQTT-4.6.0-4].
  return client.acknowledgements.add("pubrel", packetId, session.release(packetId));
}
