import type { AcknowledgementPacket } from "../../codec/acknowledgement.ts";
import { protocolError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import type { Client } from "../client.ts";

/** PUBREC: the client has a QoS 2 message, or refuses it; we give up our copy [MQTT-4.3.3-4]. */
export function handlePubrec(client: Client, { packetId, reasonCode }: AcknowledgementPacket): void {
  const { session } = client;
  const outgoing = session.inflight.get(packetId);
  if (outgoing?.qos === 1) throw protocolError(`PUBREC for QoS 1 message ${packetId}`);
  if (reasonCode >= 0x80) {
    session.acknowledge(packetId);
    return;
  }
  if (outgoing !== undefined) outgoing.released = true;
  client.acknowledge("pubrel", packetId, outgoing ? ReasonCode.Success : ReasonCode.PacketIdentifierNotFound);
}
