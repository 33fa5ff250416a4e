import type { DisconnectPacket } from "../../codec/disconnect.ts";
import { protocolError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import type { Client } from "../client.ts";

/** DISCONNECT: the client goes, and says whether its will is to be published. Source: MQTT 5.0 section 3.14.4. */
export function handleDisconnect(client: Client, packet: DisconnectPacket): void {
  if (client.state !== "connected") return client.farewell();
  const { session, context } = client;
  const expiry = packet.properties?.sessionExpiryInterval;
  if (expiry !== undefined) {
    if (expiry > 0 && session.expiryInterval === 0) {
      throw protocolError("DISCONNECT makes a session last that was to end with its connection");
    }
    session.expireAfter(Math.min(expiry, context.options.maximumSessionExpiry));
  }
  // [MQTT-3.14.4-3]
  if (packet.reasonCode === ReasonCode.NormalDisconnection) session.will = undefined;
  client.farewell();
}
