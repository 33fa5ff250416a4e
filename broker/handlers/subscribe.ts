import { PacketError, ReasonCodeError } from "../../codec/errors.ts";
import { allowsReason, ReasonCode, reasonName } from "../../codec/reason_code.ts";
import type { SubscribePacket, SubscriptionRequest } from "../../codec/subscribe.ts";
import { parseSharedFilter } from "../../codec/topic.ts";
import { encodeUtf8 } from "../../codec/utf8.ts";
import type { Client } from "../client.ts";
import { forEachInTurn, type MaybePromise, recover, then } from "../maybe_promise.ts";
import type { ResolvedOptions } from "../options.ts";
import type { Subscription } from "../topics/subscription_tree.ts";

/** What the hooks have made of a SUBSCRIBE: what is left of it, and why the rest is not. */
interface Decision {
  readonly granted: readonly SubscriptionRequest[];
  readonly refusal: ReasonCodeError;
}

const notGranted = new ReasonCodeError(ReasonCode.NotAuthorized, "not authorized");

/** SUBSCRIBE: checks, asks the hooks, subscribes, answers, sends what is retained. Source: MQTT 5.0 section 3.8.4. */
export function handleSubscribe(client: Client, packet: SubscribePacket): MaybePromise<void> {
  checkAgainstOptions(client, packet);
  const decision = recover(
    () => askHooks(client, packet.subscriptions),
    (error) => ({ granted: [], refusal: refusalOf(client, error) }),
  );
  return then(decision, (decision) => {
    if (client.state !== "connected") return;
    // A reason that a SUBACK cannot give ends the connection.
    if (!allowsReason("suback", decision.refusal.reasonCode)) throw decision.refusal;
    return subscribe(client, packet, decision);
  });
}

/** What the CONNACK has told the client; before MQTT 5 it tells nothing, and only the subscription fails. */
function checkAgainstOptions({ context, level }: Client, { subscriptions, properties }: SubscribePacket): void {
  const { options, limits } = context;
  if (level < 5) return;
  if ((properties?.userProperties?.length ?? 0) > limits.userProperties) {
    throw new PacketError(ReasonCode.QuotaExceeded, `more than ${limits.userProperties} user properties`);
  }
  if (properties?.subscriptionIdentifiers !== undefined && !options.subscriptionIdentifiersAvailable) {
    throw new PacketError(ReasonCode.SubscriptionIdentifiersNotSupported, "subscription identifiers are not supported");
  }
  for (const { topicFilter } of subscriptions) {
    const unsupported = unsupportedKind(topicFilter, options);
    if (unsupported !== undefined) throw new PacketError(unsupported, reasonName(unsupported));
  }
}

/** The reason code for a filter of a kind that is switched off. */
function unsupportedKind(topicFilter: string, options: ResolvedOptions): ReasonCode | undefined {
  if (!options.sharedSubscriptionAvailable && parseSharedFilter(topicFilter) !== undefined) {
    return ReasonCode.SharedSubscriptionsNotSupported;
  }
  if (!options.wildcardSubscriptionAvailable && /[+#]/.test(topicFilter)) {
    return ReasonCode.WildcardSubscriptionsNotSupported;
  }
  return undefined;
}

function askHooks(client: Client, requested: SubscriptionRequest[]): MaybePromise<Decision> {
  let granted = requested;
  return then(
    forEachInTurn(
      client.context.hooks.on.onSubscribe,
      (hook) =>
        then(hook.onSubscribe(client.info, granted), (left) => {
          granted = left;
        }),
    ),
    () => ({ granted, refusal: notGranted }),
  );
}

function refusalOf(client: Client, error: unknown): ReasonCodeError {
  if (error instanceof ReasonCodeError) return error;
  client.context.logger.error("a hook failed on a subscription of {clientId}: {error}", {
    clientId: client.info.clientId,
    error,
  });
  return new ReasonCodeError(ReasonCode.UnspecifiedError, "the subscription could not be handled");
}

function subscribe(client: Client, packet: SubscribePacket, { granted, refusal }: Decision): MaybePromise<void> {
  const { session, level, context } = client;
  const identifiers = packet.properties?.subscriptionIdentifiers;
  const subscribed: { subscription: Subscription; wantsRetained: boolean }[] = [];
  // A filter that is there several times is subscribed to as often, the first one first [MQTT-3.8.4-5].
  const grantedByFilter = Map.groupBy(granted.toReversed(), ({ topicFilter }) => topicFilter);
  const reasonCodes = packet.subscriptions.map(({ topicFilter }): ReasonCode => {
    const request = grantedByFilter.get(topicFilter)?.pop();
    if (request === undefined) return refusal.reasonCode;
    const refused = unsupportedKind(topicFilter, context.options) ?? exceededLimit(client, topicFilter);
    if (refused !== undefined) return refused;
    const subscription = toSubscription(client, request, identifiers);
    const isNew = session.subscribe(subscription);
    const { retainHandling } = request;
    subscribed.push({ subscription, wantsRetained: retainHandling === 0 || (retainHandling === 1 && isNew) });
    return subscription.qos;
  });
  const stored = session.storeSubscriptions(subscribed.map(({ subscription }) => subscription));
  return then(then(stored, () => context.routesKnown()), () => {
    if (client.state !== "connected") return;
    client.send({
      type: "suback",
      packetId: packet.packetId,
      // Before MQTT 5 there is one word for all failures.
      reasonCodes: level === 5 ? reasonCodes : reasonCodes.map((code) => Math.min(code, ReasonCode.UnspecifiedError)),
      properties: granted.length === 0 ? { reasonString: refusal.message } : undefined,
    });
    return forEachInTurn(subscribed, ({ subscription, wantsRetained }) => {
      // A shared subscription is sent no retained messages (MQTT 5.0 section 4.8.2).
      if (!wantsRetained || parseSharedFilter(subscription.topicFilter) !== undefined) return;
      return context.router.deliverRetained(session, subscription);
    });
  });
}

/** Why a filter cannot be subscribed to, although it is one. */
function exceededLimit({ session, context: { limits } }: Client, topicFilter: string): ReasonCode | undefined {
  const isDeep = topicFilter.split("/").length > limits.topicLevels;
  if (isDeep || encodeUtf8(topicFilter).length > limits.topicLength) return ReasonCode.TopicFilterInvalid;
  const isNew = !session.subscriptions.has(topicFilter);
  return isNew && session.subscriptions.size >= limits.subscriptions ? ReasonCode.QuotaExceeded : undefined;
}

function toSubscription(
  { session, context: { options } }: Client,
  request: SubscriptionRequest,
  identifiers: readonly number[] | undefined,
): Subscription {
  const { topicFilter, qos, noLocal, retainAsPublished } = request;
  return {
    subscriber: session,
    topicFilter,
    qos: qos < options.maximumQos ? qos : options.maximumQos,
    noLocal,
    retainAsPublished,
    identifiers,
  };
}
