import type { PublishPacket, PublishProperties } from "../codec/publish.ts";
import type { Will } from "../codec/connect.ts";
import { ReasonCodeError } from "../codec/errors.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import { forEachInTurn, type MaybePromise, recover, then } from "./maybe_promise.ts";
import { mayWrite } from "./may_write.ts";
import { Message } from "./message.ts";
import type { Session } from "./session.ts";

/**
 * Publishes a session's will, if it has one, and forgets it [MQTT-3.1.2-8] [MQTT-3.1.2-10]. Failures are logged. Settles
 * when it has been delivered, and is still to be stored.
 *
 * `inOneGo` is called when it is delivered, or turns out not to be: what it stores is stored with the will, or not at all.
 */
export function publishWill(session: Session, context: BrokerContext, inOneGo?: () => void): MaybePromise<void> {
  const { will, clientId } = session;
  if (will === undefined) return inOneGo?.();
  session.will = undefined;
  const onError = (error: unknown): undefined => {
    // A refusal is what the hook is there for; anything else is a fault.
    const level = error instanceof ReasonCodeError ? "debug" : "error";
    context.logger[level]("the will of {clientId} is not published: {error}", { clientId, error });
  };
  const message = recover<Message | undefined>(
    () => then(askHooks(will, session, context), (packet) => toMessage(packet, clientId, context)),
    onError,
  );
  return then(message, (message) => {
    if (message === undefined) return inOneGo?.();
    // Not one after the other: what the client's next connection publishes comes after it, however long storing takes.
    const routed = recover<boolean | undefined>(() => context.router.route(message, inOneGo), onError);
    if (message.retain) message.waitFor(recover(() => context.retained.store(message), onError));
    return then(routed, () => void recover(() => message.finishPublishing(), onError));
  });
}

/** Asks the hooks once more: rules may have changed since the client connected. */
function askHooks(will: Will, { clientId, info }: Session, context: BrokerContext): MaybePromise<PublishPacket> {
  let packet = toPublish(will);
  return then(mayWrite(context, info, will.topic), (allowed) => {
    if (!allowed) throw new ReasonCodeError(ReasonCode.NotAuthorized, "its client may not publish on this topic");
    return then(
      forEachInTurn(
        context.hooks.on.onWillPublish,
        (hook) =>
          then(hook.onWillPublish(clientId, packet, info), (changed) => {
            packet = changed ?? packet;
          }),
      ),
      () => packet,
    );
  });
}

function toPublish({ topic, payload, qos, retain, properties }: Will): PublishPacket {
  const packet: PublishPacket = { type: "publish", topic, payload, qos, retain, dup: false };
  if (properties !== undefined) {
    const { willDelayInterval: _delay, ...rest } = properties;
    packet.properties = rest satisfies PublishProperties;
  }
  return packet;
}

function toMessage(packet: PublishPacket, clientId: string, { topics }: BrokerContext): Message {
  const message = Message.from(topics.named(packet.topic), packet, clientId);
  message.isWill = true;
  return message;
}
