import type { Will } from "../codec/connect.ts";
import type { Qos } from "../codec/packet.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import { Backlog } from "./backlog.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { Client } from "./client.ts";
import { Fifo } from "./fifo.ts";
import type { FormerPlace } from "./former_place.ts";
import type { ClientInfo, DropReason, RestoredSession, StoredMessage, StoredOutgoing } from "./hooks.ts";
import type { Loan } from "./loan.ts";
import { isPromise, type MaybePromise, then } from "./maybe_promise.ts";
import type { Message } from "./message.ts";
import type { RetainedMatch } from "./retained.ts";
import type { Slab } from "./slab.ts";
import type { Timer } from "./timer_wheel.ts";
import type { Target } from "./router.ts";
import { Readiness, type SharedGroup } from "./topics/shared_group.ts";
import type { Delivery, Subscriber, Subscription } from "./topics/subscription_tree.ts";

/** A session expiry interval that means "never". */
export const NEVER_EXPIRES = 0xffff_ffff;

/** A message on its way to one client. */
export interface OutgoingMessage {
  readonly message: Message;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly identifiers: readonly number[] | undefined;
  /** The filter of the shared subscription that chose this client, if one did. */
  readonly shareFilter: string | undefined;
  /** 0 until it is sent at QoS 1 or 2. */
  packetId: number;
  /** Whether the client has answered a QoS 2 message with PUBREC: it is ours no more, only the handshake goes on. */
  released: boolean;
  /** Under which number it is stored; 0 if it is not. */
  id: number;
  /** Whether it must not be sent yet, since it is not stored, or one before it. */
  storing: boolean;
  /** Under which number it is stored for the session that has passed it on, until it is stored for this one. */
  replaces: number | undefined;
  /** Set while the message in flight lies in its publisher's read buffer. */
  loan: Loan | undefined;
}

// What most clients never have is not worth a map of its own.
const nothingSubscribed: ReadonlyMap<string, Subscription> = new Map();
const nothingInflight: ReadonlyMap<number, OutgoingMessage> = new Map();
const nothingReceived: ReadonlyMap<number, MaybePromise<ReasonCode>> = new Map();

/** What the broker remembers of a client beyond one connection (MQTT 5.0 section 4.1). */
export class Session implements Subscriber {
  readonly clientId: string;
  /** Who the client is, as of its last connection. */
  info: ClientInfo;
  /** How long the session outlives its connection, in seconds. */
  expiryInterval = 0;
  /** The connection that the session belongs to, from the moment that it has been admitted. */
  owner: Client | undefined = undefined;
  /** The client while it is connected and has been sent its CONNACK. */
  client: Client | undefined = undefined;
  /** Whether any client has been told of the session, or may have been. */
  established = false;
  /** Published when the connection ends without a DISCONNECT. */
  will: Will | undefined = undefined;
  willTimer: Timer | undefined = undefined;
  expiryTimer: Timer | undefined = undefined;
  /** When the last connection ended, in milliseconds since 1970; `undefined` while there is one. */
  disconnectedAt: number | undefined = undefined;

  readonly #context: BrokerContext;
  #subscriptions = nothingSubscribed;
  #inflight = nothingInflight;
  #received = nothingReceived;
  /** Missing while nothing waits. */
  #backlog: Backlog | undefined = undefined;
  #lastPacketId = 0;
  #isStored = false;
  #hasEnded = false;
  /** Settles when the messages have been delivered that have come from the queue and that hooks are asked about. */
  #arriving: Promise<void> | undefined;
  /** QoS 2 messages that are sent when they are stored. */
  #storing: Fifo<{ readonly outgoing: OutgoingMessage; isSettled: boolean }> | undefined;

  constructor(info: ClientInfo, context: BrokerContext) {
    this.clientId = info.clientId;
    this.info = info;
    this.#context = context;
  }

  /** Whether the session is to survive the process. */
  get durable(): boolean {
    return this.expiryInterval > 0 && this.#context.storage.enabled && !this.#hasEnded;
  }

  /** Whether it is over: nothing is to be delivered to it any more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether its QoS 1 and 2 messages come from a queue elsewhere. */
  get isQueueing(): boolean {
    return this.durable && this.#context.storage.queues;
  }

  get needsRoute(): boolean {
    return !this.isQueueing;
  }

  /** Sets how long it outlives its connection, in seconds. */
  expireAfter(seconds: number): void {
    const { routes } = this.#context;
    for (const subscription of this.#subscriptions.values()) routes.remove(subscription);
    this.expiryInterval = seconds;
    for (const subscription of this.#subscriptions.values()) routes.add(subscription);
  }

  /** Whether it has been stored, or is being. */
  get isStored(): boolean {
    return this.#isStored;
  }

  /** Has the session stored as it is now, or forgotten if it is to end with its connection. */
  store(): MaybePromise<void> {
    const { storage } = this.#context;
    if (!storage.enabled) return;
    if (this.expiryInterval === 0) return this.#isStored ? this.#unstore() : undefined;
    const stored = storage.storeSession({
      clientId: this.clientId,
      protocolLevel: this.info.protocolLevel,
      username: this.info.username,
      expiryInterval: this.expiryInterval,
      disconnectedAt: this.disconnectedAt,
      will: this.will,
    });
    if (this.#isStored) return stored;
    this.#isStored = true;
    return this.#storeContents(stored);
  }

  /** Has the session stored with all that it holds, whatever has been stored of it. */
  storeAgain(): MaybePromise<void> {
    this.#isStored = false;
    for (const outgoing of this.#queuedAndInflight()) outgoing.id = 0;
    return this.store();
  }

  /** Has all stored that the session held before there was a hook to store it. */
  #storeContents(sessionStored: MaybePromise<void>): MaybePromise<void> {
    const outgoing = this.#queuedAndInflight();
    for (const each of outgoing) if (each.id === 0) each.id = this.#context.storage.nextOutgoingId();
    const pending = [
      sessionStored,
      this.storeSubscriptions([...this.#subscriptions.values()]),
      ...this.#received.keys().map((packetId) => this.storeReceived(packetId)),
      ...outgoing.map((each) => this.#storeOutgoing(each)),
    ].filter(isPromise);
    return pending.length > 0 ? Promise.all(pending).then(() => {}) : undefined;
  }

  #queuedAndInflight(): OutgoingMessage[] {
    return [...this.#inflight.values(), ...this.#backlog?.queue ?? []];
  }

  /** Takes over what was stored of the session before the process started. */
  restore(stored: RestoredSession, messageOf: (stored: StoredMessage) => Message): void {
    this.expiryInterval = stored.expiryInterval;
    this.will = stored.will;
    this.disconnectedAt = stored.disconnectedAt;
    this.established = true;
    this.#isStored = true;
    for (const subscription of stored.subscriptions) this.subscribe({ ...subscription, subscriber: this });
    for (const packetId of stored.received) this.received.set(packetId, ReasonCode.Success);
    for (const each of stored.outgoing) {
      this.#context.storage.skipOutgoingIds(each.id);
      const outgoing = this.#restoredOutgoing(each, messageOf(each.message));
      if (outgoing.packetId === 0) {
        (this.#backlog ??= new Backlog()).enqueue(outgoing);
      } else {
        this.#addInflight(outgoing);
        // An identifier that has just come free may still mean something to the client.
        this.#lastPacketId = outgoing.packetId;
      }
    }
  }

  #restoredOutgoing(stored: StoredOutgoing, message: Message): OutgoingMessage {
    return { ...stored, message, storing: false, replaces: undefined, loan: undefined };
  }

  /** By their topic filters. */
  get subscriptions(): ReadonlyMap<string, Subscription> {
    return this.#subscriptions;
  }

  /** Has subscriptions stored that were made. */
  storeSubscriptions(subscriptions: readonly Subscription[]): MaybePromise<void> {
    if (!this.durable || subscriptions.length === 0) return;
    return this.#context.storage.storeSubscriptions(
      this.clientId,
      subscriptions.map(({ topicFilter, qos, noLocal, retainAsPublished, identifiers }) => (
        { topicFilter, qos, noLocal, retainAsPublished, identifiers }
      )),
    );
  }

  /** Has subscriptions forgotten that were given up. */
  removeSubscriptions(topicFilters: string[]): MaybePromise<void> {
    if (this.durable && topicFilters.length > 0) {
      return this.#context.storage.removeSubscriptions(this.clientId, topicFilters);
    }
  }

  /** Has a packet identifier stored that the client has sent a QoS 2 message with. */
  storeReceived(packetId: number): MaybePromise<void> {
    if (this.durable) return this.#context.storage.storeReceived(this.clientId, packetId);
  }

  /** Has a packet identifier forgotten that the client has released. */
  removeReceived(packetId: number): MaybePromise<void> {
    if (this.durable) return this.#context.storage.removeReceived(this.clientId, packetId);
  }

  /** Adds a subscription in place of one with the same filter [MQTT-3.8.4-3]. Returns whether there was none. */
  subscribe(subscription: Subscription): boolean {
    const { routes, subscriptions } = this.#context;
    if (this.#subscriptions === nothingSubscribed) this.#subscriptions = new Map();
    const replaced = this.#subscriptions.get(subscription.topicFilter);
    (this.#subscriptions as Map<string, Subscription>).set(subscription.topicFilter, subscription);
    routes.add(subscription);
    if (replaced !== undefined) routes.remove(replaced);
    return subscriptions.add(subscription);
  }

  /** Returns whether there was a subscription with this filter. */
  unsubscribe(topicFilter: string): boolean {
    const subscription = this.#subscriptions.get(topicFilter);
    if (subscription === undefined) return false;
    (this.#subscriptions as Map<string, Subscription>).delete(topicFilter);
    this.#context.routes.remove(subscription);
    this.#backlog?.retained.retain((replay) => replay.subscription.topicFilter !== topicFilter);
    return this.#context.subscriptions.remove(this, topicFilter);
  }

  /** Sent at QoS 1 or 2 and not acknowledged completely, by packet identifier, in the order in which they were sent. */
  get inflight(): ReadonlyMap<number, OutgoingMessage> {
    return this.#inflight;
  }

  /**
   * The QoS 2 messages that the client has sent and not released yet, by packet identifier: what was, or will be,
   * answered to them.
   */
  get received(): Map<number, MaybePromise<ReasonCode>> {
    if (this.#received === nothingReceived) this.#received = new Map();
    return this.#received as Map<number, MaybePromise<ReasonCode>>;
  }

  /** How many QoS 2 messages the client has sent and not released yet. */
  get receivedCount(): number {
    return this.#received.size;
  }

  /** Messages that wait in the queue. */
  get queued(): number {
    return this.#backlog?.queue.length ?? 0;
  }

  /** How much memory they take, in bytes. */
  get queuedBytes(): number {
    return this.#backlog?.queueBytes ?? 0;
  }

  get readiness(): Readiness {
    const { client } = this;
    if (client === undefined) return Readiness.Offline;
    return this.#mayPublish(client) && this.#backlog === undefined ? Readiness.Ready : Readiness.Busy;
  }

  deliver(message: Message, delivery: Delivery, group?: SharedGroup, formerPlace?: FormerPlace): void {
    const qos = message.qos < delivery.qos ? message.qos : delivery.qos;
    const retain = message.retain && delivery.retainAsPublished;
    const { client } = this;
    if (this.#hasEnded) return qos === 0 ? undefined : this.#drop(message, "session-ended");
    if (qos === 0) {
      if (client === undefined) return;
      if (client.congested) return this.#drop(message, "slow-consumer");
      client.publish(message, 0, retain, false, 0, delivery.identifiers);
      return;
    }
    if (this.isQueueing) {
      return message.waitFor(this.#context.storage.queueOutgoing(this.clientId, {
        message: message.toStored(this.#context.slab),
        qos,
        retain,
        identifiers: delivery.identifiers,
        shareFilter: group?.topicFilter,
        publisherId: message.publisherId,
        isAdmitted: true,
        isPublished: message.isUnrepeatable,
        passedOnBy: formerPlace?.clientId,
      }));
    }
    const outgoing = this.#outgoing(message, qos, retain, delivery, group);
    if (formerPlace !== undefined && formerPlace.outgoingId !== 0) outgoing.replaces = formerPlace.outgoingId;
    message.waitFor(this.#mayPublishAtOnce(client) ? this.#publish(client, outgoing) : this.#enqueue(outgoing));
  }

  /** A message has come from the queue, behind all that came before it. */
  arrive(stored: StoredOutgoing, message: Message, isAdmitted: boolean): void {
    const outgoing = this.#restoredOutgoing(stored, message);
    const admitted = isAdmitted ? message : this.#context.router.admit(message, this);
    const arrived = then(this.#arriving, () => then(admitted, (admitted) => this.#take(outgoing, admitted)));
    if (!isPromise(arrived)) return;
    this.#arriving = arrived;
    arrived.finally(() => {
      if (this.#arriving === arrived) this.#arriving = undefined;
    });
  }

  #take(outgoing: OutgoingMessage, admitted: Message | undefined): void {
    const { client, owner } = this;
    // It is in the queue still, and comes again.
    if (owner === undefined) return;
    if (admitted === undefined) return this.#passOnOrDrop(outgoing, "not-authorized");
    const admittedOutgoing = { ...outgoing, message: admitted };
    const { storage } = this.#context;
    if (this.#mayPublishAtOnce(client)) storage.inBackground(this.#publish(client, admittedOutgoing));
    else if (this.#makeRoom(admittedOutgoing)) this.#backlog!.enqueue(admittedOutgoing);
    else this.#removeOutgoing(admittedOutgoing);
  }

  /** Has retained messages sent by the next `drain`, or whenever the client can take them. */
  deliverRetained(subscription: Subscription, matches: Iterable<RetainedMatch>): void {
    const { topicFilter } = subscription;
    const { retained } = this.#backlog ??= new Backlog();
    // What an earlier SUBSCRIBE with the same filter still had to bring, this one brings as well.
    retained.retain((replay) => replay.subscription.topicFilter !== topicFilter);
    retained.push({ subscription, outgoing: this.#outgoingRetained(topicFilter, matches) });
  }

  /** Sends as much of what waits as the client can take. */
  drain(): void {
    const { client } = this;
    const backlog = this.#backlog;
    if (client === undefined || backlog === undefined) return;
    while (this.#mayPublish(client)) {
      const next = backlog.next();
      if (next === undefined) {
        this.#backlog = undefined;
        return;
      }
      if (next.packetId !== 0) this.#resend(client, next);
      else if (next.message.expired) this.#expire(next);
      else if (next.qos > 0) this.#context.storage.inBackground(this.#publish(client, next));
      else client.publish(next.message, 0, next.retain, false, 0, next.identifiers);
    }
  }

  /** The client has connected: what is unacknowledged goes out again, in the original order [MQTT-4.4.0-1]. */
  resume(client: Client): void {
    this.client = client;
    this.established = true;
    this.#context.sessions.clientConnected();
    if (this.#inflight.size > 0) {
      const { unsent } = this.#backlog ??= new Backlog();
      for (const outgoing of this.#inflight.values()) unsent.push(outgoing);
    }
    this.drain();
    // Only PUBLISHes wait until the client can take more [MQTT-3.3.4-10].
    const released = this.#backlog?.unsent.retain((outgoing) => !outgoing.released) ?? [];
    for (const outgoing of released) this.#resend(client, outgoing);
  }

  /** The topics of everything that is still to be sent, for the first time or again. */
  waitingTopics(): Set<string> {
    const waiting = [...this.#inflight.values(), ...this.#backlog?.waiting() ?? []];
    return new Set(waiting.filter(({ released }) => !released).map(({ message }) => message.topic.name));
  }

  /** Gives up everything on these topics that is still to be sent. */
  withdraw(topicNames: ReadonlySet<string>): void {
    const isKept = ({ message, released }: OutgoingMessage) => released || !topicNames.has(message.topic.name);
    const inflight = [...this.#inflight.values()].filter((outgoing) => !isKept(outgoing));
    for (const { packetId, message } of inflight) {
      this.#forget(packetId);
      this.#drop(message, "not-authorized");
    }
    for (const outgoing of this.#backlog?.retainQueued(isKept) ?? []) this.#passOnOrDrop(outgoing, "not-authorized");
    this.#backlog?.filterRetained(isKept);
    if (this.#backlog?.empty) this.#backlog = undefined;
  }

  /** The connection has ended. What waits stays with a session that is another broker's now. */
  suspend(isOurs: boolean): void {
    if (this.client !== undefined) this.#context.sessions.clientDisconnected();
    this.client = this.owner = undefined;
    this.disconnectedAt = Date.now();
    this.#backlog?.unsent.clear();
    this.#backlog?.retained.retain(({ subscription }) => subscription.qos > 0);
    this.#ownInflight();
    // When the broker closes, each member finds again what it had.
    if (isOurs && !this.#context.closing) this.#passOnShared();
    if (this.isQueueing) {
      // All of it is in the queue, from where it comes back with the client.
      this.#inflight = nothingInflight;
      this.#backlog = undefined;
    }
    if (this.#backlog?.empty) this.#backlog = undefined;
  }

  /** PUBACK, PUBCOMP or a PUBREC that refuses: the message is done. */
  acknowledge(packetId: number): void {
    if (!this.#forget(packetId)) return;
    // What has not been sent again on this connection yet has used up nothing of its quota.
    const isUnsent = this.#backlog?.unsent[Symbol.iterator]().some((outgoing) => outgoing.packetId === packetId);
    if (!isUnsent && this.client !== undefined && this.client.outstanding > 0) this.client.outstanding -= 1;
    this.drain();
  }

  /** PUBREC: the client has a QoS 2 message. The answer to it waits until that is stored: it ends all resending. */
  release(packetId: number): MaybePromise<ReasonCode> {
    const outgoing = this.#inflight.get(packetId);
    if (outgoing === undefined) return ReasonCode.PacketIdentifierNotFound;
    outgoing.released = true;
    return then(this.#storeOutgoing(outgoing), () => ReasonCode.Success);
  }

  /**
   * The session is over: whatever waited is lost, but for what another member of its group can still get. Settles when
   * nothing is stored of it any more.
   */
  end(): MaybePromise<void> {
    this.unsubscribeAll();
    this.#hasEnded = true;
    for (const outgoing of this.#inflight.values()) {
      // A QoS 2 message that may have arrived is never given to another client [MQTT-4.8.2-5].
      if (outgoing.qos === 1) this.#passOnOrDrop(outgoing, "session-ended");
      else if (outgoing.released) this.#removeOutgoing(outgoing);
      else this.#removeAndDrop(outgoing, "session-ended");
    }
    for (const outgoing of this.#backlog?.queue ?? []) this.#passOnOrDrop(outgoing, "session-ended");
    this.#inflight = nothingInflight;
    this.#backlog = undefined;
    if (this.#isStored) return this.#unstore();
  }

  /** Takes all of its subscriptions out of the tree. */
  unsubscribeAll(): void {
    const { routes, subscriptions } = this.#context;
    for (const subscription of this.#subscriptions.values()) {
      routes.remove(subscription);
      subscriptions.remove(this, subscription.topicFilter);
    }
    this.#subscriptions = nothingSubscribed;
  }

  #mayPublishAtOnce(client: Client | undefined): client is Client {
    return client !== undefined && this.#backlog === undefined && this.#mayPublish(client);
  }

  #mayPublish(client: Client): boolean {
    return client.outstanding < client.sendQuota && !client.congested;
  }

  /** Puts a message in flight. Settles when it is stored, if it is to be. */
  #publish(client: Client, outgoing: OutgoingMessage): MaybePromise<void> {
    outgoing.packetId = this.#nextPacketId();
    this.#addInflight(outgoing);
    client.outstanding += 1;
    const stored = this.#storeOutgoing(outgoing);
    if (outgoing.qos === 1 || !isPromise(stored)) {
      this.#send(client, outgoing, false);
      return stored;
    }
    // A client that may have got it at QoS 2 must get it with the same packet identifier after a crash, or it has two.
    outgoing.storing = true;
    const entry = { outgoing, isSettled: false };
    (this.#storing ??= new Fifo()).push(entry);
    const settle = () => {
      entry.isSettled = true;
      this.#sendStored();
    };
    const refuse = () => {
      this.#discard(outgoing);
      settle();
    };
    stored.then(settle, () => void then(outgoing.message.acknowledged, (kept) => kept ? settle() : refuse()));
    return stored;
  }

  /** Sends what is stored, in its order, whichever was stored first [MQTT-4.6.0-5]. */
  #sendStored(): void {
    const storing = this.#storing!;
    for (let first = storing.peek(); first?.isSettled; first = storing.peek()) {
      storing.shift();
      const { outgoing } = first;
      outgoing.storing = false;
      const stillWaits = this.#inflight.get(outgoing.packetId) === outgoing;
      if (stillWaits && this.client !== undefined) this.#send(this.client, outgoing, false);
    }
  }

  /** Sends a message that is in flight, unless it is too large for this client: then it counts as delivered [MQTT-3.1.2-25]. */
  #send(client: Client, outgoing: OutgoingMessage, dup: boolean): void {
    const { message, qos, retain, identifiers, packetId } = outgoing;
    if (client.publish(message, qos, retain, dup, packetId, identifiers)) {
      outgoing.loan ??= message.keep(this.#context.slab);
      return;
    }
    this.#forget(packetId);
    client.outstanding -= 1;
  }

  /** A message that could not be stored, and has not been sent: its publisher is told, and publishes it again. */
  #discard(outgoing: OutgoingMessage): void {
    const { packetId, qos, message } = outgoing;
    const isInflight = packetId !== 0 && this.#inflight.get(packetId) === outgoing;
    // One at QoS 1 that left the queue meanwhile has been sent.
    if (isInflight && qos === 1) return;
    if (isInflight) this.acknowledge(packetId);
    else if (!this.#backlog?.retainQueued((queued) => queued !== outgoing).length) return;
    this.#drop(message, "not-stored");
  }

  /** Gives publishers back what they have lent: it can take long until a client that has gone acknowledges a message. */
  #ownInflight(): void {
    for (const outgoing of this.#inflight.values()) {
      outgoing.message.own(this.#context.slab);
      outgoing.loan?.release();
      outgoing.loan = undefined;
    }
  }

  #addInflight(outgoing: OutgoingMessage): void {
    if (this.#inflight === nothingInflight) this.#inflight = new Map();
    (this.#inflight as Map<number, OutgoingMessage>).set(outgoing.packetId, outgoing);
  }

  #outgoing(message: Message, qos: Qos, retain: boolean, delivery: Delivery, group?: SharedGroup): OutgoingMessage {
    const id = qos > 0 && this.durable ? this.#context.storage.nextOutgoingId() : 0;
    return {
      message,
      qos,
      retain,
      identifiers: delivery.identifiers,
      shareFilter: group?.topicFilter,
      packetId: 0,
      released: false,
      id,
      storing: false,
      replaces: undefined,
      loan: undefined,
    };
  }

  /** Ends when the subscription does. */
  *#outgoingRetained(topicFilter: string, matches: Iterable<RetainedMatch>): Generator<OutgoingMessage> {
    for (const { message, current } of matches) {
      // Another subscription may have taken its place meanwhile: nothing is lost by that [MQTT-3.8.4-4].
      const subscription = this.#subscriptions.get(topicFilter);
      if (subscription === undefined) return;
      const qos = message.qos < subscription.qos ? message.qos : subscription.qos;
      if (current()) yield this.#outgoing(message, qos, true, subscription);
    }
  }

  /** Has a message stored, as it is on its way now, if the session is durable. */
  #storeOutgoing(outgoing: OutgoingMessage): MaybePromise<void> {
    if (outgoing.id === 0) return;
    const { storage, slab } = this.#context;
    const stored = storage.storeOutgoing(this.clientId, toStored(outgoing, slab));
    outgoing.replaces = undefined;
    return stored;
  }

  #removeOutgoing(outgoing: OutgoingMessage): void {
    if (outgoing.id === 0) return;
    const { storage, slab } = this.#context;
    storage.inBackground(storage.removeOutgoing(this.clientId, toStored(outgoing, slab)));
  }

  #unstore(): MaybePromise<void> {
    this.#isStored = false;
    return this.#context.storage.removeSession(this.clientId);
  }

  #resend(client: Client, outgoing: OutgoingMessage): void {
    const { packetId, released, storing } = outgoing;
    // It may have been acknowledged meanwhile, late.
    if (this.#inflight.get(packetId) !== outgoing) return;
    client.outstanding += 1;
    if (released) client.acknowledge("pubrel", packetId, ReasonCode.Success);
    else if (!storing) this.#send(client, outgoing, true);
  }

  #forget(packetId: number): boolean {
    const outgoing = this.#inflight.get(packetId);
    if (outgoing === undefined) return false;
    this.#removeOutgoing(outgoing);
    outgoing.loan?.release();
    return (this.#inflight as Map<number, OutgoingMessage>).delete(packetId);
  }

  #nextPacketId(): number {
    do {
      this.#lastPacketId = this.#lastPacketId === 0xffff ? 1 : this.#lastPacketId + 1;
    } while (this.#inflight.has(this.#lastPacketId));
    return this.#lastPacketId;
  }

  /** Has a message wait, or drops one by the queue's policy. Settles when it is stored, if it is to be. */
  #enqueue(outgoing: OutgoingMessage): MaybePromise<void> {
    if (!this.#makeRoom(outgoing)) return;
    const { message } = outgoing;
    message.own(this.#context.slab);
    this.#backlog!.enqueue(outgoing);
    const stored = this.#storeOutgoing(outgoing);
    if (isPromise(stored)) {
      stored.catch(() => void then(message.acknowledged, (kept) => kept || this.#discard(outgoing)));
    }
    return stored;
  }

  /** Whether a message fits into the queue, from which others are dropped for it if that is the policy; it is dropped if not. */
  #makeRoom({ message }: OutgoingMessage): boolean {
    const { limits, options: { queuePolicy } } = this.#context;
    const backlog = this.#backlog ??= new Backlog();
    const isFull = () =>
      backlog.queue.length >= limits.queueMessages || backlog.queueBytes + message.size > limits.queueBytes;
    if (isFull()) { for (const expired of backlog.sweep(Date.now())) this.#expire(expired); }
    if (queuePolicy === "drop-oldest") {
      // One that would not fit into an empty queue drives nothing out of it.
      while (isFull() && backlog.queue.length > 0 && message.size <= limits.queueBytes) {
        const oldest = backlog.dequeue()!;
        this.#removeAndDrop(oldest, "queue-full");
      }
    }
    if (!isFull()) return true;
    this.#drop(message, "queue-full");
    if (queuePolicy === "disconnect") this.client?.disconnect(ReasonCode.QuotaExceeded, "too many messages wait");
    return false;
  }

  /** Gives what a shared subscription sent here to members who are still connected (MQTT 5.0 section 4.8.2). */
  #passOnShared(): void {
    const shared = this.#queuedAndInflight().filter(({ shareFilter, packetId, qos }) =>
      shareFilter !== undefined && (packetId === 0 || qos === 1)
    );
    const passedOn = new Set<OutgoingMessage>();
    const asked: Promise<[OutgoingMessage, Target | undefined]>[] = [];
    for (const outgoing of shared) {
      const target = this.#otherMember(outgoing, Readiness.Busy);
      if (isPromise(target)) asked.push(target.then((target) => [outgoing, target]));
      else if (target !== undefined) this.#passOn(outgoing, target, passedOn);
    }
    this.#letGo(passedOn);
    if (asked.length > 0) this.#context.storage.inBackground(this.#passOnAsked(asked));
  }

  /** Until the hooks have said who may have a message, it stays: its client may be back by then. */
  async #passOnAsked(asked: Promise<[OutgoingMessage, Target | undefined]>[]): Promise<void> {
    const { isQueueing } = this;
    const answers = await Promise.all(asked);
    const { sessions, closing } = this.#context;
    if (this.owner !== undefined || sessions.get(this.clientId) !== this || closing) return;
    const held = new Set(this.#queuedAndInflight());
    const passedOn = new Set<OutgoingMessage>();
    for (const [outgoing, target] of answers) {
      const isHere = isQueueing || held.has(outgoing);
      // It may have ended while others were asked about.
      if (isHere && target !== undefined && !hasEnded(target)) this.#passOn(outgoing, target, passedOn);
    }
    this.#letGo(passedOn);
  }

  /** Forgets messages that another member has now. */
  #letGo(passedOn: ReadonlySet<OutgoingMessage>): void {
    if (passedOn.size === 0) return;
    for (const { packetId } of passedOn) {
      if (packetId !== 0) (this.#inflight as Map<number, OutgoingMessage>).delete(packetId);
    }
    this.#backlog?.retainQueued((outgoing) => !passedOn.has(outgoing));
  }

  #passOnOrDrop(outgoing: OutgoingMessage, reason: DropReason): void {
    const target = this.#otherMember(outgoing, Readiness.Offline);
    // The client's next session must not come to have it.
    if (isPromise(target) && this.#hasEnded) {
      this.#removeOutgoing(outgoing);
      outgoing.id = 0;
    }
    const passedOn = then(target, (target) => {
      if (target === undefined) this.#removeAndDrop(outgoing, reason);
      else this.#passOn(outgoing, target);
    });
    this.#context.storage.inBackground(passedOn);
  }

  /**
   * The other member of its group to whom a message can be given, if there is one that is at least as ready as `least`. As long
   * as the session goes on, what is stored of it is only given to those where it is stored as well, and as it is: a crash must
   * not lose it.
   */
  #otherMember(outgoing: OutgoingMessage, least: Readiness): MaybePromise<Target | undefined> {
    const { shareFilter, message, id, packetId } = outgoing;
    const group = shareFilter === undefined ? undefined : this.#context.subscriptions.group(shareFilter);
    // What has not been sent in time is sent to nobody [MQTT-3.3.2-5].
    if (group === undefined || (packetId === 0 && message.expired)) return undefined;
    const mustBeStored = () => id !== 0 && !this.isQueueing && !this.#hasEnded;
    const mayBeChosen = ({ qos, subscriber }: Delivery) =>
      this.#hasEnded || (qos > 0 && (!mustBeStored() || (subscriber instanceof Session && subscriber.durable)));
    const choice = { least, mayBeChosen, passedOver: new Set([this]) };
    return then(
      this.#context.router.admitMember(message, group, choice),
      // One that hooks have changed is another message, which can be refused.
      (target) => target?.message !== message && mustBeStored() ? undefined : target,
    );
  }

  #passOn(outgoing: OutgoingMessage, target: Target, passedOn?: Set<OutgoingMessage>): void {
    const { subscriber } = target.delivery;
    subscriber.deliver(target.message, target.delivery, target.group, {
      clientId: this.clientId,
      outgoingId: outgoing.id,
    });
    this.#removeOutgoing(outgoing);
    passedOn?.add(outgoing);
  }

  #expire(outgoing: OutgoingMessage): void {
    this.#removeAndDrop(outgoing, "expired");
  }

  #removeAndDrop(outgoing: OutgoingMessage, reason: DropReason): void {
    this.#removeOutgoing(outgoing);
    this.#drop(outgoing.message, reason);
  }

  #drop(message: Message, reason: DropReason): void {
    this.#context.dropped(this.clientId, message, reason);
  }
}

function toStored({ message, loan: _loan, ...outgoing }: OutgoingMessage, slab: Slab): StoredOutgoing {
  return { ...outgoing, message: message.toStored(slab) };
}

/** Whether it is over with the session that was to get a message. */
export function hasEnded({ delivery: { subscriber } }: Target): boolean {
  return subscriber instanceof Session && subscriber.hasEnded;
}
