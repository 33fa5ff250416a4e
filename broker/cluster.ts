import { malformed } from "../codec/errors.ts";
import { PacketType } from "../codec/packet.ts";
import { readPublishHeader } from "../codec/publish.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import type { BrokerContext } from "./broker_context.ts";
import type {
  ClusterContext,
  Forwarded,
  RemoteSubscriber,
  RestoredSession,
  StoredMessage,
  StoredOutgoing,
  StoredSubscription,
} from "./hooks.ts";
import type { PublishPacket } from "../codec/publish.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";
import { Message } from "./message.ts";
import { MessageRun, type PacketBounds, packetBounds } from "./message_run.ts";
import { RemoteReceiver } from "./remote_receiver.ts";

/** Our side of what makes several brokers one: the door for the hook that knows the others. */
export class Cluster implements ClusterContext {
  readonly #context: BrokerContext;
  readonly #receivers = new Map<RemoteSubscriber, { receiver: RemoteReceiver; topicFilters: Set<string> }>();
  #subscriptions = 0;
  #sharedSubscriptions = 0;

  constructor(context: BrokerContext) {
    this.#context = context;
  }

  /** How many subscriptions in our tree are those of others. */
  get subscriptions(): number {
    return this.#subscriptions;
  }

  /** How many of them are shared. */
  get sharedSubscriptions(): number {
    return this.#sharedSubscriptions;
  }

  addSubscription(subscriber: RemoteSubscriber, { topicFilter, identifiers, ...terms }: StoredSubscription): void {
    let known = this.#receivers.get(subscriber);
    if (known === undefined) {
      known = { receiver: new RemoteReceiver(subscriber, this.#context.slab), topicFilters: new Set() };
      this.#receivers.set(subscriber, known);
    }
    const { receiver, topicFilters } = known;
    topicFilters.add(topicFilter);
    if (this.#context.subscriptions.add({ ...terms, subscriber: receiver, topicFilter, identifiers })) {
      this.#count(topicFilter, 1);
    }
  }

  removeSubscription(subscriber: RemoteSubscriber, topicFilter: string): void {
    const known = this.#receivers.get(subscriber);
    if (known === undefined || !known.topicFilters.delete(topicFilter)) return;
    if (known.topicFilters.size === 0) this.#receivers.delete(subscriber);
    this.#context.subscriptions.remove(known.receiver, topicFilter);
    this.#count(topicFilter, -1);
  }

  deliverForwarded(packets: Uint8Array, forwarded: Forwarded): MaybePromise<void> {
    const { router } = this.#context;
    const pending: Promise<void>[] = [];
    let failure: Failure | undefined;
    for (let start = 0; start < packets.length;) {
      const bounds = packetBounds(packets, start);
      let { end } = bounds;
      try {
        const next = this.#readForwarded(packets, bounds, forwarded);
        end = start + next.bytes.length;
        const delivered = next instanceof MessageRun
          ? router.routeForwardedRun(next, forwarded)
          : router.routeForwarded(next, forwarded);
        if (isPromise(delivered)) pending.push(delivered);
      } catch (error) {
        failure ??= { error };
      }
      start = end;
    }
    if (pending.length > 0) return settled(pending, failure);
    if (failure !== undefined) throw failure.error;
  }

  deliverQueued(clientId: string, outgoing: StoredOutgoing, isAdmitted: boolean): void {
    const session = this.#context.sessions.get(clientId);
    if (session?.owner === undefined) return;
    const { message } = outgoing;
    session.arrive(outgoing, Message.restored(this.#context.topics.named(message.packet.topic), message), isAdmitted);
  }

  nextOutgoingId(): number {
    return this.#context.storage.nextOutgoingId();
  }

  adoptSession(session: RestoredSession): void {
    this.#context.sessions.adopt(session);
  }

  releaseSession(clientId: string): void {
    const { sessions } = this.#context;
    const session = sessions.get(clientId);
    if (session === undefined) return;
    sessions.drop(session);
    session.owner?.disconnect(ReasonCode.SessionTakenOver, "the client has connected to another broker");
  }

  setRetained(packet: PublishPacket, receivedAt: number): void {
    const { topics, retained } = this.#context;
    const topic = topics.named(packet.topic);
    retained.replace(Message.from(topic, { ...packet, retain: true }, undefined, { receivedAt }));
  }

  retained(): IteratorObject<StoredMessage> {
    // The packet has what is left of its lifetime as of now.
    return this.#context.retained.all().map((message) => ({
      packet: message.toPacket(message.qos, true),
      receivedAt: Date.now(),
    }));
  }

  get observesDrops(): boolean {
    return this.#context.hooks.on.onMessageDropped.length > 0;
  }

  countDropped(count: number): void {
    this.#context.counters.messagesDropped += count;
  }

  tellDropped(clientId: string, { packet }: StoredMessage): void {
    this.#context.tellDropped(clientId, () => packet, "queue-full");
  }

  storeSessionsAgain(): void {
    this.#context.sessions.storeAllAgain();
  }

  /** The message that begins there, together with those behind it that can be delivered with it at once. */
  #readForwarded(packets: Uint8Array, bounds: PacketBounds, forwarded: Forwarded): Message | MessageRun {
    const { publishHeader, topics } = this.#context;
    const { start, bodyStart, end } = bounds;
    if (packets[start] >> 4 !== PacketType.Publish) throw malformed("what is forwarded is no message");
    if (end > packets.length) throw malformed("a forwarded message is cut off");
    readPublishHeader(publishHeader, packets, start, bodyStart, end, 5);
    const topic = topics.find(packets, publishHeader.topicStart, publishHeader.topicEnd);
    const { publisherId, sentAt } = forwarded;
    const run = isForAllAlone(forwarded) && MessageRun.at(packets, bounds, publishHeader, topic, publisherId);
    if (run) return run;
    const packet = packets.subarray(start, end);
    return Message.received(topic, publishHeader, packet, start, true, publisherId, false, sentAt);
  }

  #count(topicFilter: string, change: 1 | -1): void {
    this.#subscriptions += change;
    if (topicFilter.startsWith("$share/")) this.#sharedSubscriptions += change;
  }
}

interface Failure {
  readonly error: unknown;
}

/** Settles when all of them have; rejects then if something has failed. */
async function settled(pending: readonly Promise<void>[], failure: Failure | undefined): Promise<void> {
  for (const outcome of await Promise.allSettled(pending)) {
    if (outcome.status === "rejected") failure ??= { error: outcome.reason };
  }
  if (failure !== undefined) throw failure.error;
}

function isForAllAlone({ toAll, groups, sessions }: Forwarded): boolean {
  return toAll && groups.length === 0 && sessions.length === 0;
}
