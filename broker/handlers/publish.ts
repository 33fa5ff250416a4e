import { PacketError, protocolError, ReasonCodeError } from "../../codec/errors.ts";
import type { Framer } from "../../codec/framer.ts";
import type { Qos } from "../../codec/packet.ts";
import { type PublishHeader, type PublishPacket, readPublishHeader } from "../../codec/publish.ts";
import { allowsReason, ReasonCode } from "../../codec/reason_code.ts";
import type { Client } from "../client.ts";
import type { ClientInfo, Hook } from "../hooks.ts";
import { forEachInTurn, isPromise, type MaybePromise, recover, then } from "../maybe_promise.ts";
import { mayWrite } from "../may_write.ts";
import { Message } from "../message.ts";
import type { Topic } from "../topics/topic_cache.ts";

/**
 * PUBLISH: authorise, transform, retain, route, acknowledge. Source: MQTT 5.0 sections 3.3.4 and 4.3.
 *
 * A QoS 2 message is delivered when it comes, not when it is released: until its PUBREL its packet identifier is
 * remembered, and another PUBLISH with it is only answered [MQTT-4.3.3-10].
 */
export function handlePublish(client: Client, framer: Framer): MaybePromise<void> {
  const { context, level, session } = client;
  const header = context.publishHeader;
  readPublishHeader(header, framer.bytes, framer.start, framer.bodyStart, framer.end, level);
  context.counters.messagesReceived += 1;
  context.counters.payloadBytesReceived += framer.end - header.payloadStart;
  checkAgainstOptions(client, header);
  const topic = resolveTopic(client, header, framer.bytes);
  const { qos, packetId } = header;
  if (qos === 2) {
    const answer = session.received.get(packetId);
    if (answer !== undefined) return client.acknowledgements.add("pubrec", packetId, answer);
  }
  if (qos > 0) takeQuota(client);
  const bytes = framer.packet();
  const { info: { clientId }, connection } = client;
  const message = Message.received(
    topic,
    header,
    bytes,
    framer.start,
    level === 5,
    clientId,
    framer.isOwn,
    undefined,
    connection,
  );
  return recover(
    () => then(authorise(client, message), (authorised) => accept(client, authorised, qos, packetId)),
    (error) => refuse(client, qos, packetId, error),
  );
}

/** What the CONNACK has told the client. */
function checkAgainstOptions(
  { context: { options, limits } }: Client,
  { qos, retain, properties }: PublishHeader,
): void {
  if (qos > options.maximumQos) {
    throw new PacketError(ReasonCode.QosNotSupported, `QoS is ${qos}; at most ${options.maximumQos} is supported`);
  }
  if (retain && !options.retainAvailable) {
    throw new PacketError(ReasonCode.RetainNotSupported, "retained messages are not supported");
  }
  if (properties === undefined) return;
  // [MQTT-3.3.4-6]
  if (properties.subscriptionIdentifiers !== undefined) throw protocolError("PUBLISH with a subscription identifier");
  if (properties.userProperties !== undefined && properties.userProperties.length > limits.userProperties) {
    throw new PacketError(
      ReasonCode.QuotaExceeded,
      `${properties.userProperties.length} user properties; at most ${limits.userProperties} are accepted`,
    );
  }
}

/** The topic by its name, which may give it an alias, or by an alias that it was given before. */
function resolveTopic(client: Client, header: PublishHeader, bytes: Uint8Array): Topic {
  const { topics, limits } = client.context;
  const { topicStart, topicEnd, properties } = header;
  const alias = properties?.topicAlias;
  if (alias === undefined) return topics.find(bytes, topicStart, topicEnd);
  // [MQTT-3.3.2-9]
  if (alias > limits.topicAliasMaximum) {
    throw new PacketError(
      ReasonCode.TopicAliasInvalid,
      `topic alias is ${alias}; at most ${limits.topicAliasMaximum} is accepted`,
    );
  }
  const aliases = client.receivedAliases ??= [];
  if (topicStart < topicEnd) return aliases[alias] = topics.find(bytes, topicStart, topicEnd);
  const topic = aliases[alias];
  if (topic === undefined) throw protocolError(`topic alias ${alias} has not been given to a topic`);
  return topic;
}

/** Counts the message among those that the client may send before it has the answer to one [MQTT-3.3.4-7]. */
function takeQuota({ level, acknowledgements, context: { limits } }: Client): void {
  if (level === 5 && acknowledgements.unfinished >= limits.receiveMaximum) {
    throw new PacketError(
      ReasonCode.ReceiveMaximumExceeded,
      `more than ${limits.receiveMaximum} messages are unacknowledged`,
    );
  }
  acknowledgements.unfinished += 1;
}

/** Asks the hooks whether the message may be published, and in which form. Throws, or rejects, if not. */
function authorise(client: Client, message: Message): MaybePromise<Message> {
  const { context, info } = client;
  const { onPublish, onPublishReceived } = context.hooks.on;
  if (isReserved(message.topic.name)) {
    throw new ReasonCodeError(ReasonCode.NotAuthorized, "topics below $SYS are the broker's");
  }
  // A packet is made only for those who want to see it.
  if (onPublish.length === 0 && onPublishReceived.length === 0) {
    const allowed = mayWrite(context, info, message.topic.name);
    return allowed === true ? message : then(allowed, (allowed) => {
      assertAllowed(allowed);
      return message;
    });
  }
  const packet = message.toPacket();
  const authorised = forEachInTurn(context.hooks.authorising, (hook) => ask(hook, info, packet));
  if (onPublishReceived.length === 0) return isPromise(authorised) ? authorised.then(() => message) : message;
  return then(authorised, () => transform(client, message, packet));
}

/** Asks one hook all that it wants to be asked. */
function ask(hook: Hook, info: ClientInfo, packet: PublishPacket): MaybePromise<void> {
  const allowed = hook.canWrite === undefined || hook.canWrite(info, packet.topic);
  return then(allowed, (allowed) => {
    assertAllowed(allowed);
    return hook.onPublish?.(info, packet);
  });
}

function assertAllowed(allowed: boolean): void {
  if (!allowed) throw new ReasonCodeError(ReasonCode.NotAuthorized, "not authorized to publish on this topic");
}

/** The message as the hooks want it. */
function transform(client: Client, message: Message, original: PublishPacket): MaybePromise<Message> {
  const { topics, hooks } = client.context;
  let packet = original;
  return then(
    forEachInTurn(hooks.on.onPublishReceived, (hook) =>
      then(hook.onPublishReceived(client.info, packet), (changed) => {
        packet = changed ?? packet;
      })),
    () => packet === original ? message : Message.from(topics.named(packet.topic), packet, message.publisherId),
  );
}

/** Whether a topic is the broker's own, on which clients publish nothing. */
export function isReserved(topicName: string): boolean {
  return topicName.startsWith("$SYS") && (topicName.length === 4 || topicName[4] === "/");
}

/** Takes responsibility for a message: the acknowledgement waits for whoever stores it, reading for whoever is asked. */
function accept(client: Client, message: Message, qos: Qos, packetId: number): MaybePromise<void> {
  // While a hook was asked, the client has been disconnected; what it sends again when it is back must not come twice.
  if (client.state !== "connected") return;
  const { session, context: { router, retained } } = client;
  let stored: MaybePromise<void>;
  try {
    stored = message.retain ? retained.store(message) : undefined;
  } catch (error) {
    // Its client may have been let in by rules that acknowledge what they refuse; this is lost if it is not sent again.
    if (qos === 0) return logNotStored(client, error);
    return client.acknowledgements.add(qos === 1 ? "puback" : "pubrec", packetId, Promise.reject(error));
  }
  // A crash leaves what has come of the message and its packet identifier, or neither.
  const isRemembered = qos === 2 && session.durable;
  const routed = router.route(
    message,
    isRemembered ? () => message.waitFor(session.storeReceived(packetId)) : undefined,
  );
  if (qos === 0) {
    if (isPromise(stored)) stored.catch((error) => logNotStored(client, error));
    return isPromise(routed) ? routed.then(() => {}) : undefined;
  }
  message.waitFor(stored);
  const outcome = then(routed, (matched) => outcomeOf(message, matched));
  if (qos === 2) remember(client, packetId, outcome);
  const added = client.acknowledgements.add(qos === 1 ? "puback" : "pubrec", packetId, outcome);
  return then(routed, () => added);
}

function logNotStored({ context, info: { clientId } }: Client, error: unknown): void {
  context.logger[error instanceof ReasonCodeError ? "debug" : "error"](
    "a message from {clientId} was not stored: {error}",
    { clientId, error },
  );
}

/** By itself, so that what is called when all is stored does not keep the message in memory until then. */
function outcomeOf(message: Message, matched: boolean): MaybePromise<ReasonCode> {
  return then(message.finishPublishing(), () => reasonFor(matched));
}

function reasonFor(matched: boolean): ReasonCode {
  return matched ? ReasonCode.Success : ReasonCode.NoMatchingSubscribers;
}

/** Keeps a QoS 2 packet identifier until it is released, or until it turns out that the message was not stored. */
function remember({ session }: Client, packetId: number, outcome: MaybePromise<ReasonCode>): void {
  session.received.set(packetId, outcome);
  if (!isPromise(outcome)) return;
  outcome.then(
    (reasonCode) => {
      if (session.received.get(packetId) === outcome) session.received.set(packetId, reasonCode);
    },
    () => {
      if (session.received.get(packetId) === outcome) session.received.delete(packetId);
    },
  );
}

/** Says no in the words that the client's version and the message's QoS have for it. */
function refuse(client: Client, qos: Qos, packetId: number, error: unknown): MaybePromise<void> {
  const { logger, options } = client.context;
  const { clientId } = client.info;
  const known = error instanceof ReasonCodeError ? error : undefined;
  if (known === undefined) logger.error("a hook failed on a message from {clientId}: {error}", { clientId, error });
  const refusal = known ?? new ReasonCodeError(ReasonCode.UnspecifiedError, "the message could not be handled");
  const { reasonCode, message, serverReference } = refusal;
  logger.debug("a message from {clientId} is refused: {reason}", { clientId, reason: message });
  const disconnects = !allowsReason("puback", reasonCode) ||
    (client.level < 5 && options.refusedPublish === "disconnect");
  if (disconnects) return client.disconnect(reasonCode, message, serverReference);
  if (qos === 0) return;
  const type = qos === 1 ? "puback" : "pubrec";
  if (client.level === 5) return client.acknowledgements.add(type, packetId, Promise.reject(refusal));
  // A QoS 2 handshake goes on to its end also for a message that is dropped.
  if (qos === 2) client.session.received.set(packetId, ReasonCode.Success);
  return client.acknowledgements.add(type, packetId, ReasonCode.Success);
}
