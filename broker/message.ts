import type { Qos } from "../codec/packet.ts";
import {
  encodePublishFrame,
  type PublishFrame,
  type PublishHeader,
  type PublishPacket,
  type PublishProperties,
} from "../codec/publish.ts";
import type { StoredMessage } from "./hooks.ts";
import type { Lender, Loan } from "./loan.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";
import type { Slab } from "./slab.ts";
import type { Topic } from "./topics/topic_cache.ts";

/** How a receiver is told the topic: by its name, by its name and an alias for the next time, or by that alias alone. */
export type TopicForm = "name" | "nameAndAlias" | "alias";

/** Where a message comes from that is not on its way for the first time. */
export interface Provenance {
  /** When it was received, in milliseconds since 1970; by default now. */
  receivedAt?: number;
  /** The message that this one is another form of. */
  original?: Message;
}

/** Payloads from this size on, in bytes, stay where they are as long as they can, and are not copied for every receiver. */
export const SHARED_PAYLOAD = 32 * 1024;

/** So many encodings of a message are kept; a retained one may meet ever new kinds of receivers. */
const MOST_VARIANTS = 16;

const noBytes = new Uint8Array(0);

/**
 * A message on its way through the broker, shared by everyone who gets it.
 *
 * It lives on the bytes in which it came: those that a subscriber of the same protocol level and QoS gets are these,
 * with the header and the packet identifier rewritten. Until `own` is called they lie in a read buffer, which is used
 * again as soon as the publisher's next packet is looked at.
 */
export class Message implements PublishFrame {
  readonly topic: Topic;
  readonly qos: Qos;
  /** Whether it was published to be retained. */
  readonly retain: boolean;
  /** MQTT 5 properties; none that belong to one connection only, such as a topic alias. */
  readonly properties: PublishProperties | undefined;
  /** The client that published it, for "no local"; `undefined` if that was the embedding program. */
  readonly publisherId: string | undefined;
  /** When it was received, in milliseconds since 1970; 0 if it never expires, since nobody asks then. */
  readonly receivedAt: number;
  /** The message that this one is another form of, for one receiver. */
  readonly #original: Message | undefined;
  /** What stores it and has not been asked for. */
  #stores: Promise<void>[] | undefined = undefined;
  #published = false;
  #isAcknowledged = false;
  /** Settles when it is known whether all that has to be stored of it is. */
  #outcome: Promise<boolean> | undefined = undefined;
  #stored: StoredMessage | undefined = undefined;

  /** Whether it is a will, which nobody publishes again. */
  isWill = false;

  bytes: Uint8Array;
  readonly packetIdOffset: number;
  readonly topicAliasOffset = -1;
  readonly payloadStart: number;

  /** Whether `bytes` is at MQTT 5's form. */
  readonly #mqtt5: boolean;
  /** Whether `bytes` can be sent on: not if they name the topic by the publisher's alias. */
  readonly #forwardable: boolean;
  #owned: boolean;
  /** Who has `bytes` while they are not owned. */
  #lender: Lender | undefined = undefined;
  #variants: Map<string, PublishFrame> | undefined = undefined;
  #isHeaderTaken = false;

  private constructor(
    topic: Topic,
    fields: { qos: Qos; retain: boolean; properties: PublishProperties | undefined },
    publisherId: string | undefined,
    frame: { bytes: Uint8Array; packetIdOffset: number; payloadStart: number },
    mqtt5: boolean,
    forwardable: boolean,
    owned: boolean,
    { receivedAt, original }: Provenance = {},
  ) {
    this.topic = topic;
    this.qos = fields.qos;
    this.retain = fields.retain;
    this.properties = fields.properties;
    this.publisherId = publisherId;
    this.receivedAt = fields.properties?.messageExpiryInterval === undefined ? 0 : receivedAt ?? Date.now();
    this.#original = original;
    this.bytes = frame.bytes;
    this.packetIdOffset = frame.packetIdOffset;
    this.payloadStart = frame.payloadStart;
    this.#mqtt5 = mqtt5;
    this.#forwardable = forwardable;
    this.#owned = owned;
  }

  /**
   * A message on the bytes in which a client sent it: `bytes` is its PUBLISH, and `header` has been read from `frameStart`
   * on. `owned` says that they stay as they are; if not, the lender, if there is one, can have them do so for a while.
   */
  static received(
    topic: Topic,
    header: PublishHeader,
    bytes: Uint8Array,
    frameStart: number,
    mqtt5: boolean,
    publisherId: string | undefined,
    owned: boolean,
    receivedAt?: number,
    lender?: Lender,
  ): Message {
    const aliased = header.properties?.topicAlias !== undefined;
    const message = new Message(
      topic,
      {
        qos: header.qos,
        retain: header.retain,
        properties: aliased ? ownProperties(header.properties!) : header.properties,
      },
      publisherId,
      {
        bytes,
        packetIdOffset: header.qos > 0 ? header.topicEnd - frameStart : -1,
        payloadStart: header.payloadStart - frameStart,
      },
      mqtt5,
      !aliased,
      owned,
      receivedAt === undefined ? undefined : { receivedAt },
    );
    if (!owned) message.#lender = lender;
    return message;
  }

  /**
   * A message from a packet: a will, one from the embedding program, or one that a hook has changed.
   *
   * @throws {RangeError} If a property has a value that MQTT cannot carry.
   */
  static from(
    topic: Topic,
    packet: Omit<PublishPacket, "type" | "topic" | "dup">,
    publisherId?: string,
    provenance?: Provenance,
  ): Message {
    const properties = packet.properties === undefined ? undefined : ownProperties(packet.properties);
    const frame = encodePublishFrame({
      topic: topic.bytes,
      payload: packet.payload,
      qos: packet.qos,
      retain: false,
      dup: false,
      packetId: 0,
      properties,
    }, 5);
    return new Message(
      topic,
      { qos: packet.qos, retain: packet.retain, properties },
      publisherId,
      frame,
      true,
      true,
      true,
      provenance,
    );
  }

  /** A message that was stored before the process started. */
  static restored(topic: Topic, stored: StoredMessage): Message {
    const message = Message.from(topic, stored.packet, undefined, { receivedAt: stored.receivedAt });
    // One copy of the payload is enough.
    stored.packet.payload = message.payload;
    message.#stored = stored;
    message.#published = message.#isAcknowledged = true;
    return message;
  }

  /** A view of the payload. */
  get payload(): Uint8Array {
    return this.bytes.subarray(this.payloadStart);
  }

  /** How much memory it takes while it waits, roughly, in bytes. */
  get size(): number {
    return this.bytes.length + 256;
  }

  /** The message as hooks see it, in a new object. */
  toPacket(qos: Qos = this.qos, retain: boolean = this.retain): PublishPacket {
    const packet: PublishPacket = {
      type: "publish",
      topic: this.topic.name,
      payload: this.payload,
      qos,
      retain,
      dup: false,
    };
    if (this.properties === undefined) return packet;
    // Other messages may have the very same ones.
    packet.properties = { ...this.properties };
    const { userProperties } = this.properties;
    if (userProperties !== undefined) {
      packet.properties.userProperties = userProperties.map(([name, value]) => [name, value]);
    }
    if (this.receivedAt !== 0) packet.properties.messageExpiryInterval = this.remainingSeconds;
    return packet;
  }

  /** The message as hooks store it: the same object for every session. */
  toStored(slab: Slab): StoredMessage {
    if (this.#stored === undefined) {
      this.own(slab);
      this.#stored = { packet: this.toPacket(), receivedAt: Date.now() };
    }
    return this.#stored;
  }

  /** The message's acknowledgement waits for this as well. */
  waitFor(stored: MaybePromise<void>): void {
    if (this.#original !== undefined) return this.#original.waitFor(stored);
    // Stores for many sessions often settle with one promise.
    if (!isPromise(stored) || this.#stores?.at(-1) === stored) return;
    // It may fail before anybody asks, or when nobody does.
    stored.catch(() => {});
    if (!this.#published) (this.#stores ??= []).push(stored);
  }

  /** It has been handed to everybody who gets it. Settles when all that its acknowledgement waits for has. */
  finishPublishing(): MaybePromise<void> {
    const stores = this.#stores;
    this.#published = true;
    this.#stores = undefined;
    // What it has is about to be read over.
    this.#lender = undefined;
    if (stores === undefined) {
      this.#isAcknowledged = true;
      return undefined;
    }
    const stored = stores.length === 1 ? stores[0] : Promise.all(stores).then(() => {});
    this.#outcome = stored.then(() => this.#isAcknowledged = true, () => false);
    return stored;
  }

  /** Whether it has been handed to everybody who gets it before. */
  get published(): boolean {
    return this.#original?.published ?? this.#published;
  }

  /** Whether all has been stored that had to be: what cannot be stored of it later is kept, as nobody will publish it again. */
  get isAcknowledged(): boolean {
    return this.#original?.isAcknowledged ?? this.#isAcknowledged;
  }

  /** The same, when it is known. */
  get acknowledged(): MaybePromise<boolean> {
    return this.#original?.acknowledged ?? (this.#isAcknowledged || (this.#outcome ?? false));
  }

  /** Whether its publisher will not send it again if it is refused. */
  get isUnrepeatable(): boolean {
    return this.published || (this.#original ?? this).isWill;
  }

  /** Makes the message independent of the read buffer. Whoever keeps it calls this first. */
  own(slab: Slab): void {
    if (this.#owned) return;
    this.bytes = slab.copy(this.bytes);
    this.#owned = true;
    this.#lender = undefined;
  }

  /** Has the bytes stay as they are until the loan is released, or for good if there is none. */
  hold(slab: Slab): Loan | undefined {
    const loan = this.#owned ? undefined : this.#lender?.lend();
    if (loan === undefined) this.own(slab);
    return loan;
  }

  /** Has the message stay as it is until the loan is released, or for good if there is none. */
  keep(slab: Slab): Loan | undefined {
    if (this.bytes.length - this.payloadStart >= SHARED_PAYLOAD) return this.hold(slab);
    this.own(slab);
    return undefined;
  }

  /** Whether the caller may write flags and packet identifier of one receiver into `bytes`: nobody has done so before. */
  takeHeader(): boolean {
    if (this.#isHeaderTaken) return false;
    this.#isHeaderTaken = true;
    return true;
  }

  /** Whether it has a message expiry interval. */
  get expires(): boolean {
    return this.receivedAt !== 0;
  }

  /** Whether its lifetime has passed [MQTT-3.3.2-5]. */
  get expired(): boolean {
    return this.receivedAt !== 0 && this.remainingSeconds === 0;
  }

  /** What is left of its lifetime, in whole seconds [MQTT-3.3.2-6]; infinite if it has no message expiry interval. */
  get remainingSeconds(): number {
    if (this.receivedAt === 0) return Infinity;
    const waited = Math.floor((Date.now() - this.receivedAt) / 1000);
    return Math.max(0, this.properties!.messageExpiryInterval! - waited);
  }

  /**
   * The bytes for one kind of receiver, encoded once however many of that kind there are. Flags, packet identifier and
   * topic alias are still to be written into the copy that goes out.
   *
   * @param mqtt5 Whether the receiver speaks MQTT 5.
   * @param identified Whether it gets a packet identifier, that is, the QoS is 1 or 2.
   * @param identifiers The subscriptions that it is sent for.
   */
  encoded(
    mqtt5: boolean,
    identified: boolean,
    identifiers: readonly number[] | undefined,
    topicForm: TopicForm,
  ): PublishFrame {
    const remaining = this.receivedAt === 0 ? undefined : this.remainingSeconds;
    const asReceived = mqtt5 === this.#mqtt5 && identified === (this.packetIdOffset !== -1) && this.#forwardable &&
      (!mqtt5 || (identifiers === undefined && topicForm === "name" &&
        remaining === this.properties?.messageExpiryInterval));
    if (asReceived) return this;
    const key = mqtt5 ? `5 ${identified} ${topicForm} ${identifiers} ${remaining}` : `4 ${identified}`;
    const known = this.#variants?.get(key);
    if (known !== undefined) return known;
    const frame = encodePublishFrame({
      topic: topicForm === "alias" ? noBytes : this.topic.bytes,
      payload: this.payload,
      qos: identified ? 1 : 0,
      retain: false,
      dup: false,
      packetId: 0,
      properties: mqtt5 ? this.#propertiesFor(identifiers, topicForm, remaining) : undefined,
    }, mqtt5 ? 5 : 4);
    this.#variants ??= new Map();
    if (this.#variants.size === MOST_VARIANTS) this.#variants.clear();
    this.#variants.set(key, frame);
    return frame;
  }

  #propertiesFor(
    identifiers: readonly number[] | undefined,
    topicForm: TopicForm,
    remaining: number | undefined,
  ): PublishProperties {
    const properties: PublishProperties = { ...this.properties };
    if (remaining !== undefined) properties.messageExpiryInterval = remaining;
    if (identifiers !== undefined) properties.subscriptionIdentifiers = [...identifiers];
    if (topicForm !== "name") properties.topicAlias = 1;
    return properties;
  }
}

/** Without those that say something about one connection or subscription only. */
function ownProperties(
  { topicAlias: _alias, subscriptionIdentifiers: _identifiers, ...properties }: PublishProperties,
): PublishProperties {
  return properties;
}
