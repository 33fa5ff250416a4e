import type { FormerPlace } from "./former_place.ts";
import type { RemoteMessage, RemoteSubscriber, StoredMessage } from "./hooks.ts";
import { type Message, SHARED_PAYLOAD } from "./message.ts";
import type { Slab } from "./slab.ts";
import { Readiness, type SharedGroup } from "./topics/shared_group.ts";
import type { Delivery, Subscriber } from "./topics/subscription_tree.ts";

const PUBLISH = 0x30;

/** Somebody at another broker as one of our subscribers. */
export class RemoteReceiver implements Subscriber {
  readonly clientId: string | undefined;
  readonly needsRoute = false;
  readonly #remote: RemoteSubscriber;
  readonly #slab: Slab;

  constructor(remote: RemoteSubscriber, slab: Slab) {
    this.clientId = remote.clientId;
    this.#remote = remote;
    this.#slab = slab;
  }

  get readiness(): Readiness {
    return this.#remote.isConnected ? Readiness.Ready : Readiness.Offline;
  }

  deliver(message: Message, delivery: Delivery, group?: SharedGroup, formerPlace?: FormerPlace): void {
    // They describe this broker, and every other one has its own.
    if (message.topic.name.startsWith("$SYS/")) return;
    try {
      message.waitFor(
        this.#remote.deliver(new OutboundMessage(message, delivery, group, formerPlace?.clientId, this.#slab)),
      );
    } catch (error) {
      message.waitFor(Promise.reject(error));
    }
  }
}

/** A message as somebody at another broker gets it. */
class OutboundMessage implements RemoteMessage {
  readonly publish: Uint8Array;
  readonly identity: object;
  readonly qos;
  readonly retain: boolean;
  readonly identifiers: readonly number[] | undefined;
  readonly shareFilter: string | undefined;
  readonly publisherId: string | undefined;
  readonly isPublished: boolean;
  readonly passedOnBy: string | undefined;
  readonly #message: Message;
  readonly #slab: Slab;

  constructor(
    message: Message,
    delivery: Delivery,
    group: SharedGroup | undefined,
    passedOnBy: string | undefined,
    slab: Slab,
  ) {
    this.identity = message;
    this.qos = message.qos < delivery.qos ? message.qos : delivery.qos;
    this.retain = message.retain && delivery.retainAsPublished;
    this.identifiers = delivery.identifiers;
    this.shareFilter = group?.topicFilter;
    this.publisherId = message.publisherId;
    this.isPublished = message.isUnrepeatable;
    this.passedOnBy = passedOnBy;
    this.#message = message;
    this.#slab = slab;
    const frame = message.encoded(true, this.qos > 0, undefined, "name");
    const { packetIdOffset } = frame;
    const isShared = frame === message && frame.bytes.length - frame.payloadStart >= SHARED_PAYLOAD;
    const flags = PUBLISH | (this.qos << 1) | (message.retain ? 1 : 0);
    const isOurs = !isShared || (this.qos === 0 ? frame.bytes[0] === flags : message.takeHeader());
    const bytes = isOurs ? frame.bytes : frame.bytes.slice();
    this.publish = bytes;
    // Every receiver has the first byte and the packet identifier written anew: in these bytes they are nobody's.
    bytes[0] = flags;
    if (packetIdOffset !== -1) bytes[packetIdOffset + 1] = 1;
  }

  stored(): StoredMessage {
    return this.#message.toStored(this.#slab);
  }
}
