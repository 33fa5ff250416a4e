import type { AcknowledgementPacket } from "../../codec/acknowledgement.ts";
import { protocolError } from "../../codec/errors.ts";
import type { Client } from "../client.ts";

/** PUBCOMP: the client has finished its side of a QoS 2 message; the packet identifier is free again. */
export function handlePubcomp({ session }: Client, { packetId }: AcknowledgementPacket): void {
  const outgoing = session.inflight.get(packetId);
  if (outgoing !== undefined && !outgoing.released) {
    throw protocolError(`PUBCOMP without PUBREC for message ${packetId}`);
  }
  session.acknowledge(packetId);
}
