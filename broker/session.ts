import type { Qos } from "../codec/packet.ts";
import type { Will } from "../codec/connect.ts";
import { ReasonCode } from "../codec/reason_code.ts";
import type { Client } from "./client.ts";
import { Fifo } from "./fifo.ts";
import type { ClientInfo, DropReason } from "./hooks.ts";
import type { MaybePromise } from "./maybe_promise.ts";
import type { Message } from "./message.ts";
import type { BrokerContext } from "./broker_context.ts";
import type { Timer } from "./timer_wheel.ts";
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
  /** The shared subscription that chose this client, if one did. */
  readonly group: SharedGroup | undefined;
  /** 0 until it is sent at QoS 1 or 2. */
  packetId: number;
  /** Whether the client has answered a QoS 2 message with PUBREC: it is ours no more, only the handshake goes on. */
  released: boolean;
}

interface RetainedDelivery {
  readonly outgoing: OutgoingMessage;
  /** Whether it still is its topic's retained message; if not, the client has been sent what took its place. */
  readonly current: () => boolean;
}

/** What the broker remembers of a client beyond one connection (MQTT 5.0 section 4.1). */
export class Session implements Subscriber {
  readonly clientId: string;
  /** Who the client is, as of its last connection. */
  info: ClientInfo;
  /** How long the session outlives its connection, in seconds. */
  expiryInterval = 0;
  /** The client while it is connected and has been sent its CONNACK. */
  client: Client | undefined = undefined;
  /** Published when the connection ends without a DISCONNECT. */
  will: Will | undefined = undefined;
  willTimer: Timer | undefined = undefined;
  expiryTimer: Timer | undefined = undefined;

  readonly subscriptions = new Map<string, Subscription>();
  /** Sent at QoS 1 or 2 and not acknowledged completely, by packet identifier, in the order in which they were sent. */
  readonly inflight = new Map<number, OutgoingMessage>();
  /**
   * The QoS 2 messages that the client has sent and not released yet, by packet identifier: what was, or will be,
   * answered to them.
   */
  readonly received = new Map<number, MaybePromise<ReasonCode>>();

  readonly #context: BrokerContext;
  /** What was in flight when the last connection ended and has to be sent again before anything else. */
  #unsent: Fifo<OutgoingMessage> = new Fifo();
  /** For new subscriptions, sent as fast as the client takes them. Not counted as queued: they are kept anyway. */
  #retained: Fifo<RetainedDelivery> = new Fifo();
  #queue: Fifo<OutgoingMessage> = new Fifo();
  #queueBytes = 0;
  #lastPacketId = 0;

  constructor(info: ClientInfo, context: BrokerContext) {
    this.clientId = info.clientId;
    this.info = info;
    this.#context = context;
  }

  /** Messages that wait. */
  get queued(): number {
    return this.#queue.length;
  }

  get readiness(): Readiness {
    const { client } = this;
    if (client === undefined) return Readiness.Offline;
    return this.#mayPublish(client) && this.#queue.length === 0 ? Readiness.Ready : Readiness.Busy;
  }

  deliver(message: Message, delivery: Delivery, group?: SharedGroup): void {
    const qos = message.qos < delivery.qos ? message.qos : delivery.qos;
    const retain = message.retain && delivery.retainAsPublished;
    const { client } = this;
    if (qos === 0) {
      if (client === undefined) return;
      if (client.congested) return this.#drop(message, "slow-consumer");
      client.publish(message, 0, retain, false, 0, delivery.identifiers);
      return;
    }
    const outgoing = { message, qos, retain, identifiers: delivery.identifiers, group, packetId: 0, released: false };
    const nothingWaits = this.#queue.length === 0 && this.#unsent.length === 0 && this.#retained.length === 0;
    if (client !== undefined && nothingWaits && this.#mayPublish(client)) {
      this.#publish(client, outgoing);
    } else {
      this.#enqueue(outgoing);
    }
  }

  /** Has a retained message sent by the next `drain`, or whenever the client can take it, if it is still `current` then. */
  deliverRetained(message: Message, delivery: Delivery, current: () => boolean): void {
    const qos = message.qos < delivery.qos ? message.qos : delivery.qos;
    message.own(this.#context.slab);
    const { identifiers } = delivery;
    const outgoing = { message, qos, retain: true, identifiers, group: undefined, packetId: 0, released: false };
    this.#retained.push({ outgoing, current });
  }

  /** Sends as much of what waits as the client can take. */
  drain(): void {
    const { client } = this;
    if (client === undefined) return;
    while (this.#mayPublish(client)) {
      const next = this.#unsent.shift() ?? this.#nextRetained() ?? this.#dequeue();
      if (next === undefined) return;
      if (next.packetId !== 0) this.#resend(client, next);
      else if (next.message.expired) this.#drop(next.message, "expired");
      else if (next.qos > 0) this.#publish(client, next);
      else client.publish(next.message, 0, next.retain, false, 0, next.identifiers);
    }
  }

  /** The client has connected: what is unacknowledged goes out again, in the original order [MQTT-4.4.0-1]. */
  resume(client: Client): void {
    this.client = client;
    this.#unsent = new Fifo();
    for (const outgoing of this.inflight.values()) this.#unsent.push(outgoing);
    this.drain();
  }

  /** The connection has ended. */
  suspend(): void {
    this.client = undefined;
    this.#retained.retain(({ outgoing }) => outgoing.qos > 0);
    this.#passOnShared();
  }

  /** PUBACK, PUBCOMP or a PUBREC that refuses: the message is done. Returns whether it was in flight. */
  acknowledge(packetId: number): boolean {
    if (!this.inflight.delete(packetId)) return false;
    if (this.client !== undefined && this.client.outstanding > 0) this.client.outstanding -= 1;
    this.drain();
    return true;
  }

  /** The session is over: whatever waited is lost, but for what another member of its group can still get. */
  end(): void {
    for (const outgoing of this.inflight.values()) {
      // A QoS 2 message that may have arrived is never given to another client [MQTT-4.8.2-5].
      const passedOn = outgoing.qos === 1 && this.#passOn(outgoing, Readiness.Offline);
      if (!passedOn && !outgoing.released) this.#drop(outgoing.message, "session-ended");
    }
    this.inflight.clear();
    for (const outgoing of this.#queue) {
      if (!this.#passOn(outgoing, Readiness.Offline)) this.#drop(outgoing.message, "session-ended");
    }
    this.#queue = new Fifo();
    this.#queueBytes = 0;
    this.#retained = new Fifo();
    this.#unsent = new Fifo();
  }

  #mayPublish(client: Client): boolean {
    return client.outstanding < client.sendQuota && !client.congested;
  }

  #publish(client: Client, outgoing: OutgoingMessage): void {
    const { message, qos, retain, identifiers } = outgoing;
    outgoing.packetId = this.#nextPacketId();
    const sent = client.publish(message, qos, retain, false, outgoing.packetId, identifiers);
    // Too large for this client: it counts as delivered [MQTT-3.1.2-25].
    if (!sent) return;
    message.own(this.#context.slab);
    this.inflight.set(outgoing.packetId, outgoing);
    client.outstanding += 1;
  }

  #resend(client: Client, outgoing: OutgoingMessage): void {
    const { message, qos, retain, identifiers, packetId, released } = outgoing;
    if (this.inflight.get(packetId) !== outgoing) return;
    if (released) {
      client.send({ type: "pubrel", packetId, reasonCode: ReasonCode.Success });
    } else if (!client.publish(message, qos, retain, true, packetId, identifiers)) {
      this.inflight.delete(packetId);
      return;
    }
    client.outstanding += 1;
  }

  #nextPacketId(): number {
    do {
      this.#lastPacketId = this.#lastPacketId === 0xffff ? 1 : this.#lastPacketId + 1;
    } while (this.inflight.has(this.#lastPacketId));
    return this.#lastPacketId;
  }

  #enqueue(outgoing: OutgoingMessage): void {
    const { limits, options: { queuePolicy } } = this.#context;
    const { message } = outgoing;
    message.own(this.#context.slab);
    const full = () =>
      this.#queue.length >= limits.queueMessages || this.#queueBytes + message.size > limits.queueBytes;
    if (full()) this.#dropExpired();
    if (full() && queuePolicy === "drop-oldest") {
      while (full() && this.#queue.length > 0) this.#drop(this.#dequeue()!.message, "queue-full");
    }
    if (full()) {
      this.#drop(message, "queue-full");
      if (queuePolicy === "disconnect") this.client?.disconnect(ReasonCode.QuotaExceeded, "too many messages wait");
      return;
    }
    this.#queue.push(outgoing);
    this.#queueBytes += message.size;
  }

  #dequeue(): OutgoingMessage | undefined {
    const outgoing = this.#queue.shift();
    if (outgoing !== undefined) this.#queueBytes -= outgoing.message.size;
    return outgoing;
  }

  #nextRetained(): OutgoingMessage | undefined {
    for (;;) {
      const next = this.#retained.shift();
      if (next === undefined || next.current()) return next?.outgoing;
    }
  }

  #dropExpired(): void {
    for (const { message } of this.#queue.retain((outgoing) => !outgoing.message.expired)) {
      this.#queueBytes -= message.size;
      this.#drop(message, "expired");
    }
  }

  /** Gives what a shared subscription sent here to members who are still connected (MQTT 5.0 section 4.8.2). */
  #passOnShared(): void {
    for (const [packetId, outgoing] of this.inflight) {
      if (outgoing.qos === 1 && this.#passOn(outgoing, Readiness.Busy)) this.inflight.delete(packetId);
    }
    for (const { message } of this.#queue.retain((outgoing) => !this.#passOn(outgoing, Readiness.Busy))) {
      this.#queueBytes -= message.size;
    }
  }

  /** Gives a message to another member of its group that is at least as ready as `least`. */
  #passOn(outgoing: OutgoingMessage, least: Readiness): boolean {
    const { group, message } = outgoing;
    const member = group?.choose(least, this);
    if (group === undefined || member === undefined) return false;
    this.#context.router.deliver(message, member, group);
    return true;
  }

  #drop(message: Message, reason: DropReason): void {
    this.#context.dropped(this.clientId, message, reason);
  }
}
