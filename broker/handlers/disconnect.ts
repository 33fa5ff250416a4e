import type { DisconnectPacket } from "../../codec/disconnect.ts";
import { protocolError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import type { Client } from "../client.ts";
import { type MaybePromise, recover, then } from "../maybe_promise.ts";

/** DISCONNECT: the client goes, and says whether its will is to be published. Source: MQTT 5.0 section 3.14.4. */
export function handleDisconnect(client: Client, packet: DisconnectPacket): MaybePromise<void> {
  if (client.state !== "connected") return client.farewell();
  const { session, context } = client;
  const expiry = packet.properties?.sessionExpiryInterval;
  if (expiry !== undefined) {
    if (expiry > 0 && session.expiryInterval === 0) {
      throw protocolError("DISCONNECT makes a session last that was to end with its connection");
    }
    session.expireAfter(Math.min(expiry, context.options.maximumSessionExpiry));
  }
  if (packet.reasonCode !== ReasonCode.NormalDisconnection || session.will === undefined) return client.farewell();
  // [MQTT-3.14.4-3]
  session.will = undefined;
  // Who sees the connection closed may rely on that, also when the process dies.
  const stored = recover(() => session.store(), (error) => {
    context.logger.error("that {clientId} has taken its will back was not stored: {error}", {
      clientId: session.clientId,
      error,
    });
  });
  return then(stored, () => client.farewell());
}
