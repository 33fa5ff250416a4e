import { PacketError } from "../../codec/errors.ts";
import { ReasonCode } from "../../codec/reason_code.ts";
import type { UnsubscribePacket } from "../../codec/unsubscribe.ts";
import type { Client } from "../client.ts";
import { forEachInTurn, type MaybePromise, then } from "../maybe_promise.ts";

/** UNSUBSCRIBE: what is on its way already still arrives [MQTT-3.10.4-3]. Source: MQTT 5.0 section 3.10.4. */
export function handleUnsubscribe(client: Client, packet: UnsubscribePacket): MaybePromise<void> {
  const { session, context } = client;
  const { limits, hooks } = context;
  if ((packet.properties?.userProperties?.length ?? 0) > limits.userProperties) {
    throw new PacketError(ReasonCode.QuotaExceeded, `more than ${limits.userProperties} user properties`);
  }
  const observed = forEachInTurn(
    hooks.on.onUnsubscribe,
    (hook) => context.observe(hook.id, "onUnsubscribe", () => hook.onUnsubscribe(client.info, packet.topicFilters)),
  );
  return then(observed, () => {
    if (client.state !== "connected") return;
    const reasonCodes = packet.topicFilters.map((topicFilter) =>
      session.unsubscribe(topicFilter) ? ReasonCode.Success : ReasonCode.NoSubscriptionExisted
    );
    return then(session.removeSubscriptions(packet.topicFilters), () => {
      if (client.state === "connected") client.send({ type: "unsuback", packetId: packet.packetId, reasonCodes });
    });
  });
}
