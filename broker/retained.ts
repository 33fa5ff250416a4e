import { ReasonCodeError } from "../codec/errors.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import { forEachInTurn, type MaybePromise, recover, then } from "./maybe_promise.ts";
import { Message } from "./message.ts";
import type { Timer } from "./timer_wheel.ts";
import { RetainedTree } from "./topics/retained_tree.ts";

/** A retained message for a new subscription. */
export interface RetainedMatch {
  readonly message: Message;
  /** Whether it is still the last one: it may have to wait before it is sent. */
  readonly current: () => boolean;
}

/** A retained message while it is not known whether all who store it do so. */
interface Pending {
  /** `undefined` if the topic has none by that. */
  readonly message: Message | undefined;
  /** What holds if it is refused; nothing is before what is stored. */
  before: Pending | undefined;
  isRefused: boolean;
}

/** The retained messages: what the broker remembers itself, and what hooks store. */
export class Retained {
  readonly #context: BrokerContext;
  readonly #tree = new RetainedTree();
  /** By topic name, for the messages that expire. */
  readonly #expiryTimers = new Map<string, Timer>();
  /** By topic name, the last of those messages that are being stored. */
  readonly #pending = new Map<string, Pending>();

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
    const { name } = message.topic;
    message.own(slab);
    const kept = keptOf(message);
    if (kept !== undefined) this.#checkLimit(kept);
    if (hooks.on.storeRetained.length === 0) return this.replace(message);
    const pending = this.#putPending(name, kept);
    const packet = message.toPacket(message.qos, true);
    return recover(
      () =>
        then(
          forEachInTurn(hooks.on.storeRetained, (hook) => hook.storeRetained(name, packet)),
          () => this.#stored(name, pending),
        ),
      (error) => {
        this.#refused(name, pending);
        throw error;
      },
    );
  }

  /** Keeps what another broker has made its topic's retained message, or removes that if it is empty. */
  replace(message: Message): void {
    const { name } = message.topic;
    this.#pending.delete(name);
    this.#put(name, keptOf(message));
  }

  /** All of them, those below `$SYS` included; each is looked up when it is asked for. */
  all(): IteratorObject<Message> {
    return this.#tree.all().filter((message) => !message.expired);
  }

  /** Takes over a message that was stored before the process started, unless its topic has a newer one. */
  restore(message: Message): void {
    if (!message.expired && this.#tree.get(message.topic.name) === undefined) this.#keep(message);
  }

  /**
   * The retained messages that match a filter, from the hooks if any of them remembers, otherwise our own: those are
   * looked up one by one, as they are asked for.
   */
  match(topicFilter: string): MaybePromise<IteratorObject<RetainedMatch>> {
    const own = this.#tree.match(topicFilter);
    if (this.#context.hooks.on.getRetained.length === 0) {
      return own.filter((message) => !message.expired).map((message) => this.#matchOf(message, message));
    }
    // A topic whose own message changes while a hook looks for it has a newer one than the hook will find.
    const ownByTopic = new Map(own.map((message) => [message.topic.name, message]));
    return this.#ask(topicFilter).then((found) =>
      found.map((message) => this.#matchOf(message, ownByTopic.get(message.topic.name)))
    );
  }

  #matchOf(message: Message, own: Message | undefined): RetainedMatch {
    return { message, current: () => this.#tree.get(message.topic.name) === own };
  }

  async #ask(topicFilter: string): Promise<IteratorObject<Message>> {
    const { hooks, topics } = this.#context;
    const found = new Map<string, Message>();
    for (const hook of hooks.on.getRetained) {
      await this.#context.observe(hook.id, "getRetained", async () => {
        for (const packet of await hook.getRetained(topicFilter)) {
          if (found.has(packet.topic)) continue;
          found.set(packet.topic, Message.from(topics.named(packet.topic), { ...packet, retain: true }));
        }
      });
    }
    return found.values();
  }

  #putPending(topicName: string, message: Message | undefined): Pending {
    const before = this.#pending.get(topicName) ??
      { message: this.#tree.get(topicName), before: undefined, isRefused: false };
    const pending: Pending = { message, before, isRefused: false };
    this.#pending.set(topicName, pending);
    this.#put(topicName, message);
    return pending;
  }

  #stored(topicName: string, pending: Pending): void {
    pending.before = undefined;
    if (this.#pending.get(topicName) === pending) this.#pending.delete(topicName);
  }

  /** Its publisher is told that it is not kept: unless there is a newer one, the last before it holds that is not refused. */
  #refused(topicName: string, pending: Pending): void {
    pending.isRefused = true;
    while (pending.before?.isRefused) pending.before = pending.before.before;
    if (this.#pending.get(topicName) !== pending) return;
    let last = pending;
    while (last.isRefused) last = last.before!;
    if (last.before === undefined) this.#pending.delete(topicName);
    else this.#pending.set(topicName, last);
    this.#put(topicName, last.message);
  }

  #put(topicName: string, message: Message | undefined): void {
    if (message === undefined || message.expired) this.#forget(topicName);
    else this.#keep(message);
  }

  #checkLimit({ topic }: Message): void {
    const { retainedMessages } = this.#context.limits;
    if (this.#tree.size < retainedMessages || this.#tree.get(topic.name) !== undefined) return;
    throw new ReasonCodeError(ReasonCode.QuotaExceeded, `${retainedMessages} topics have a retained message`);
  }

  #keep(message: Message): void {
    const { timers } = this.#context;
    const { name } = message.topic;
    this.#cancelExpiry(name);
    this.#tree.set(message);
    if (message.receivedAt === 0) return;
    this.#expiryTimers.set(name, timers.schedule(message.remainingSeconds * 1000, () => this.#forget(name)));
  }

  #forget(topicName: string): void {
    this.#cancelExpiry(topicName);
    this.#tree.delete(topicName);
  }

  #cancelExpiry(topicName: string): void {
    this.#context.timers.cancel(this.#expiryTimers.get(topicName));
    this.#expiryTimers.delete(topicName);
  }
}

/** What a topic has by a message: an empty one only removes. */
function keptOf(message: Message): Message | undefined {
  return message.payloadStart === message.bytes.length ? undefined : message;
}
