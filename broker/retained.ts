import { ReasonCodeError } from "../codec/errors.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import { forEachInTurn, type MaybePromise, then } from "./maybe_promise.ts";
import { Message } from "./message.ts";
import { RetainedTree } from "./topics/retained_tree.ts";

/** The retained messages: what the broker remembers itself, and what hooks store. */
export class Retained {
  readonly #context: BrokerContext;
  readonly #tree = new RetainedTree();

  constructor(context: BrokerContext) {
    this.#context = context;
  }

  /** How many topics have a retained message. */
  get size(): number {
    return this.#tree.size;
  }

  /**
   * Keeps a message in place of its topic's retained one; an empty payload only removes that [MQTT-3.3.1-6]
   * [MQTT-3.3.1-7]. Settles when every hook that stores it has done so.
   *
   * @throws {ReasonCodeError} 0x97 if the topic would be one too many.
   */
  store(message: Message): MaybePromise<void> {
    const { hooks, slab } = this.#context;
    message.own(slab);
    if (message.payloadStart === message.bytes.length) this.#tree.delete(message.topic.name);
    else this.#keep(message);
    if (hooks.on.storeRetained.length === 0) return;
    const packet = message.toPacket(message.qos, true);
    return forEachInTurn(hooks.on.storeRetained, (hook) => hook.storeRetained(message.topic.name, packet));
  }

  /** Takes over a message that was stored before the process started, unless its topic has a newer one. */
  restore(message: Message): void {
    if (!message.expired && this.#tree.get(message.topic.name) === undefined) this.#keep(message);
  }

  /**
   * The retained messages that match a filter, each with a test for whether it still is one: it may have to wait before
   * it is sent.
   */
  match(topicFilter: string): MaybePromise<{ message: Message; current: () => boolean }[]> {
    const { getRetained } = this.#context.hooks.on;
    if (getRetained.length === 0) return this.#matchLocal(topicFilter);
    return then(this.#ask(topicFilter), (messages) => messages.map((message) => ({ message, current: () => true })));
  }

  #matchLocal(topicFilter: string): { message: Message; current: () => boolean }[] {
    return this.#tree.match(topicFilter).filter((message) => !message.expired).map((message) => ({
      message,
      current: () => this.#tree.get(message.topic.name) === message,
    }));
  }

  async #ask(topicFilter: string): Promise<Message[]> {
    const found = new Map<string, Message>();
    for (const hook of this.#context.hooks.on.getRetained) {
      for (const packet of await hook.getRetained(topicFilter)) {
        if (found.has(packet.topic)) continue;
        found.set(packet.topic, Message.from(this.#context.topics.named(packet.topic), { ...packet, retain: true }));
      }
    }
    return [...found.values()];
  }

  #keep(message: Message): void {
    const { limits, timers } = this.#context;
    const { name } = message.topic;
    if (this.#tree.size >= limits.retainedMessages && this.#tree.get(name) === undefined) {
      throw new ReasonCodeError(ReasonCode.QuotaExceeded, `${limits.retainedMessages} topics have a retained message`);
    }
    this.#tree.set(message);
    if (message.receivedAt === 0) return;
    timers.schedule(message.remainingSeconds * 1000, () => {
      if (this.#tree.get(name) === message) this.#tree.delete(name);
    });
  }
}
