import type { PublishPacket } from "../codec/publish.ts";
import type { Logger } from "./logger.ts";
import { type MaybePromise, recover } from "./maybe_promise.ts";
import type { Message } from "./message.ts";
import { Readiness } from "./topics/shared_group.ts";
import type { Delivery, Subscriber } from "./topics/subscription_tree.ts";

/**
 * Gets the messages of a subscription of the embedding program. The payload is the handler's to keep. An error, or a
 * promise that rejects, is logged.
 *
 * @example
 * ```ts
 * import { Broker, type MessageHandler } from "@hookmq/broker";
 *
 * const lastValues = new Map<string, number>();
 * const remember: MessageHandler = ({ topic, payload }) => {
 *   lastValues.set(topic, Number(new TextDecoder().decode(payload)));
 * };
 * await using broker = new Broker();
 * using _subscription = await broker.subscribe("+/temperature", remember);
 * await broker.publish("kitchen/temperature", "21.5");
 * console.log(lastValues.get("kitchen/temperature")); // 21.5
 * ```
 */
export type MessageHandler = (packet: PublishPacket) => MaybePromise<void>;

/** The embedding program as a subscriber. */
export class LocalSubscriber implements Subscriber {
  readonly clientId = undefined;
  readonly readiness: Readiness = Readiness.Ready;
  readonly needsRoute = true;
  readonly #handler: MessageHandler;
  readonly #logger: Logger;

  constructor(handler: MessageHandler, logger: Logger) {
    this.#handler = handler;
    this.#logger = logger;
  }

  deliver(message: Message, delivery: Delivery): void {
    const packet = message.toPacket(message.qos, message.retain && delivery.retainAsPublished);
    packet.payload = packet.payload.slice();
    recover(() => this.#handler(packet), (error) => {
      this.#logger.error("a subscription's handler failed on {topic}: {error}", { topic: packet.topic, error });
    });
  }
}
