import type { ConnectPacket, Will } from "../codec/connect.ts";
import type { ProtocolLevel, Qos } from "../codec/packet.ts";
import type { PublishPacket } from "../codec/publish.ts";
import type { SubscriptionRequest } from "../codec/subscribe.ts";
import type { Broker } from "./broker.ts";
import type { Limits } from "./limits.ts";
import type { Logger } from "./logger.ts";
import type { MaybePromise } from "./maybe_promise.ts";
import type { QueuePolicy } from "./options.ts";

/**
 * Who a client is. One object per connection, so that a hook can keep what it knows in a `WeakMap`.
 *
 * @example
 * ```ts
 * import { Broker, type ClientInfo } from "@hookmq/broker";
 *
 * const messages = new WeakMap<ClientInfo, number>();
 * await using broker = new Broker();
 * await broker.use({
 *   id: "message-count",
 *   onPublish: (client) => void messages.set(client, (messages.get(client) ?? 0) + 1),
 *   onDisconnect: (client) => console.log(`${client.clientId} has sent ${messages.get(client) ?? 0} messages`),
 * });
 * ```
 */
export interface ClientInfo {
  /** The client identifier, also if the broker has chosen it. */
  readonly clientId: string;
  /** Which version of MQTT the client speaks: 3 is 3.1, 4 is 3.1.1, 5 is 5.0. */
  readonly protocolLevel: ProtocolLevel;
  /** The user name of its CONNECT, or the one that enhanced authentication has found. */
  readonly username: string | undefined;
  /** Where it connects from, e.g. `"192.0.2.7"`; `undefined` where the transport does not say. */
  readonly remoteAddress: string | undefined;
  /** The common name of its TLS certificate, where the listener asks for one. */
  readonly certificateName: string | undefined;
  /** Whether it asked for a new session. */
  readonly cleanStart: boolean;
  /** The keep alive that holds, in seconds; 0 for none. */
  readonly keepAlive: number;
  /** When its CONNECT arrived, in milliseconds since 1970. */
  readonly connectedAt: number;
}

/**
 * What a hook gets when it is added.
 *
 * @example
 * ```ts
 * import { Broker, type Hook, type HookContext } from "@hookmq/broker";
 *
 * let context: HookContext;
 * const announcer: Hook = {
 *   id: "announcer",
 *   init: (given) => void (context = given),
 *   onConnected: ({ clientId }) => context.broker.publish("announcements", `${clientId} is here`),
 *   onDisconnect: ({ clientId }) => context.logger.info("{clientId} has gone", { clientId }),
 * };
 * await using broker = new Broker();
 * await broker.use(announcer);
 * ```
 */
export interface HookContext {
  /** The broker that it has been added to. */
  readonly broker: Broker;
  /**
   * Where it writes what an operator should know. Texts among the properties are escaped, so that what a client has chosen
   * can neither begin a line of its own nor colour or turn around what stands beside it.
   */
  readonly logger: Logger;
  /** How much of everything the broker accepts. */
  readonly limits: Limits;
  /** What happens to a message whose receiver's queue is full. */
  readonly queuePolicy: QueuePolicy;
  /** Gives the broker a session back that was stored before it was started. One that exists already is left as it is. */
  restoreSession(session: RestoredSession): void;
  /** Gives the broker a retained message back that was received at `receivedAt`, in milliseconds since 1970. */
  restoreRetained(packet: PublishPacket, receivedAt: number): void;
  /** What a hook needs that makes several brokers one. */
  readonly cluster: ClusterContext;
}

/**
 * What the broker offers a hook that connects it with other brokers.
 *
 * @example
 * ```ts
 * import { Broker, type ClusterContext } from "@hookmq/broker";
 *
 * // Has messages for the kitchen go to another broker as well.
 * function link(cluster: ClusterContext, send: (publish: Uint8Array) => Promise<void>): void {
 *   cluster.addSubscription(
 *     { clientId: undefined, isConnected: true, deliver: ({ publish }) => send(publish.slice()) },
 *     { topicFilter: "kitchen/#", qos: 1, noLocal: false, retainAsPublished: true, identifiers: undefined },
 *   );
 * }
 * await using broker = new Broker();
 * const send = (publish: Uint8Array) => Promise.resolve(console.log(`${publish.length} bytes`));
 * await broker.use({ id: "link", init: ({ cluster }) => link(cluster, send) });
 * await broker.publish("kitchen/light", "on", { qos: 1 });
 * ```
 */
export interface ClusterContext {
  /** Subscribes somebody at another broker, in place of its subscription with the same filter. */
  addSubscription(subscriber: RemoteSubscriber, subscription: StoredSubscription): void;
  /** Ends a subscription of somebody at another broker. */
  removeSubscription(subscriber: RemoteSubscriber, topicFilter: string): void;
  /**
   * Delivers messages that another broker has forwarded to subscribers here, in their order. Settles when they are stored
   * where they have to be. One that cannot be delivered keeps no other back; what went wrong with the first such is thrown
   * in the end.
   *
   * @param packets One MQTT 5 PUBLISH, or several, one behind the other; the bytes are the broker's to keep.
   * @throws {PacketError} If there is something else in it.
   */
  deliverForwarded(packets: Uint8Array, forwarded: Forwarded): MaybePromise<void>;
  /**
   * A message has come for a session here, from its queue; without a connection nothing happens: it waits where it is.
   * Messages for one session go out in the order of the calls.
   *
   * @param isAdmitted Whether the hooks here have let the session have it already (`QueuedMessage.isAdmitted`).
   */
  deliverQueued(clientId: string, outgoing: StoredOutgoing, isAdmitted: boolean): void;
  /** A number for a message that has come for a session: larger than all before. */
  nextOutgoingId(): number;
  /**
   * Takes over a session that nobody has a connection for any more: it expires, and its will is published, when their time
   * has come; that counts from now if `disconnectedAt` is missing. It has to have been stored by this hook.
   */
  adoptSession(session: RestoredSession): void;
  /**
   * A session is another broker's now. Its connection here is closed with 0x8E, and it is forgotten; nothing is published or
   * stored.
   */
  releaseSession(clientId: string): void;
  /** Makes a message its topic's retained one, or an empty one remove that, without asking or telling hooks. */
  setRetained(packet: PublishPacket, receivedAt: number): void;
  /** All retained messages, looked up as they are asked for. */
  retained(): IteratorObject<StoredMessage>;
  /** Whether a hook wants to be told of messages that do not reach a client. */
  readonly observesDrops: boolean;
  /** Counts messages that will not reach a client, since its queue, or the way to its broker, was full. */
  countDropped(count: number): void;
  /** Tells the hooks of one of those. */
  tellDropped(clientId: string, message: StoredMessage): void;
  /** Has all durable sessions stored once more with all that is in memory of them, since the store has lost them. */
  storeSessionsAgain(): void;
}

/**
 * Somebody who gets messages at another broker: a session there, or all of its other subscribers together.
 *
 * @example
 * ```ts
 * import type { RemoteSubscriber } from "@hookmq/broker";
 *
 * // All who have subscribed at another broker, to which there is a connection.
 * function subscribersAt(node: WritableStreamDefaultWriter<Uint8Array>): RemoteSubscriber {
 *   // The bytes are used again after the call.
 *   return { clientId: undefined, isConnected: true, deliver: ({ publish }) => node.write(publish.slice()) };
 * }
 * const { writable } = new TransformStream<Uint8Array, Uint8Array>();
 * console.log(subscribersAt(writable.getWriter()).isConnected); // true
 * ```
 */
export interface RemoteSubscriber {
  /** Its client identifier; `undefined` if it stands for more than one. */
  readonly clientId: string | undefined;
  /** Whether its client is connected: shared subscriptions prefer such members. */
  readonly isConnected: boolean;
  /** Takes a message. The acknowledgement to its publisher waits for the promise. */
  deliver(message: RemoteMessage): MaybePromise<void>;
}

/**
 * A message for somebody at another broker.
 *
 * @example
 * ```ts
 * import { Broker, type RemoteMessage } from "@hookmq/broker";
 *
 * const deliver = ({ publish, qos, publisherId }: RemoteMessage) =>
 *   console.log(`${publish.length} bytes at QoS ${qos} from ${publisherId ?? "this program"}`);
 * const all = { topicFilter: "#", qos: 1, noLocal: false, retainAsPublished: true, identifiers: undefined } as const;
 * await using broker = new Broker();
 * await broker.use({
 *   id: "link",
 *   init: ({ cluster }) => cluster.addSubscription({ clientId: undefined, isConnected: true, deliver }, all),
 * });
 * await broker.publish("kitchen/light", "on"); // 20 bytes at QoS 0 from this program
 * ```
 */
export interface RemoteMessage {
  /**
   * The message as an MQTT 5 PUBLISH at `qos`, with the retain flag that it was published with and what is left of its
   * lifetime. Its packet identifier is any but 0. It lies in memory that is used again after the call.
   */
  readonly publish: Uint8Array;
  /** The same object for all to whom the message goes, and another one for each message. */
  readonly identity: object;
  /** The lower one of its own and the subscription's. */
  readonly qos: Qos;
  /** Whether the receiver gets it with the retain flag. */
  readonly retain: boolean;
  /** The identifiers of the subscriptions that matched. */
  readonly identifiers: readonly number[] | undefined;
  /** The filter of the shared subscription that chose the subscriber, if one did. */
  readonly shareFilter: string | undefined;
  /** The client that published it; `undefined` if that was the program that embeds the broker. */
  readonly publisherId: string | undefined;
  /** Whether its publisher will not send it again if it is refused: it was acknowledged before, or is a will. */
  readonly isPublished: boolean;
  /**
   * The client in whose session it waited before, from which it is being removed; `undefined` if it did in none. If that session
   * is another broker's by now, so that it stays there, it must not be here as well.
   */
  readonly passedOnBy: string | undefined;
  /** The message as it can be stored: one and the same object for all who get it. */
  stored(): StoredMessage;
}

/**
 * Where a forwarded message comes from, and for whom it is.
 *
 * @example
 * ```ts
 * import { Broker, encode, type Forwarded } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * using _subscription = await broker.subscribe("kitchen/#", ({ topic }) => console.log(topic));
 * const payload = new TextEncoder().encode("on");
 * const packet = { type: "publish", topic: "kitchen/light", payload, qos: 0, retain: false, dup: false } as const;
 * const toAll: Forwarded = { publisherId: "sensor-3", sentAt: Date.now(), toAll: true, groups: [], sessions: [] };
 * await broker.use({ id: "link", init: ({ cluster }) => cluster.deliverForwarded(encode(packet, 5), toAll) });
 * // kitchen/light
 * ```
 */
export interface Forwarded {
  /** The client that published it; `undefined` if that was the program that embeds the other broker. */
  readonly publisherId: string | undefined;
  /** When the other broker sent it, in milliseconds since 1970. */
  readonly sentAt: number;
  /** Whether it is for all subscribers that have no durable session and are not in a group. */
  readonly toAll: boolean;
  /** The filters of the shared subscriptions of which one member here gets it. */
  readonly groups: readonly string[];
  /** Durable sessions that get it at QoS 0. */
  readonly sessions: readonly ForwardedToSession[];
}

/**
 * On what terms a durable session gets a forwarded message.
 *
 * @example
 * ```ts
 * import type { Forwarded, ForwardedToSession } from "@hookmq/broker";
 *
 * const phone: ForwardedToSession = { clientId: "phone", retain: false, identifiers: [7] };
 * const sentAt = Date.now();
 * const forwarded: Forwarded = { publisherId: undefined, sentAt, toAll: false, groups: [], sessions: [phone] };
 * console.log(forwarded.sessions.length); // 1
 * ```
 */
export interface ForwardedToSession {
  /** Whose session it is. */
  readonly clientId: string;
  /** Whether it gets it with the retain flag. */
  readonly retain: boolean;
  /** The identifiers of the subscriptions that matched. */
  readonly identifiers: readonly number[] | undefined;
}

/**
 * A QoS 1 or 2 message as it is put into a session's queue.
 *
 * @example
 * ```ts
 * import { Broker, type QueuedMessage } from "@hookmq/broker";
 *
 * const queues = new Map<string, QueuedMessage[]>();
 * await using broker = new Broker();
 * await broker.use({
 *   id: "queues",
 *   queueOutgoing: (clientId, queued) => void queues.set(clientId, [...(queues.get(clientId) ?? []), queued]),
 * });
 * ```
 */
export interface QueuedMessage {
  /** The message itself: one and the same object for all sessions that it is for. */
  readonly message: StoredMessage;
  /** At which QoS it goes out. */
  readonly qos: Qos;
  /** Whether it goes out with the retain flag. */
  readonly retain: boolean;
  /** The identifiers of the subscriptions that it goes out for. */
  readonly identifiers: readonly number[] | undefined;
  /** The filter of the shared subscription that chose this session, if one did. */
  readonly shareFilter: string | undefined;
  /** The client that published it; `undefined` if that was the program that embeds the broker. */
  readonly publisherId: string | undefined;
  /** Whether the hooks (`canRead`, `onPublishDeliver`) have let the session have it, in this form. */
  readonly isAdmitted: boolean;
  /** Whether its publisher will not send it again if it is refused: it was acknowledged before, or is a will. */
  readonly isPublished: boolean;
  /**
   * The client in whose session it waited before, from which it is being removed; `undefined` if it did in none. If that session
   * is another broker's by now, so that it stays there, it must not be here as well.
   */
  readonly passedOnBy: string | undefined;
}

/**
 * What a connecting client wants of its session.
 *
 * @example
 * ```ts
 * import { Broker, type SessionClaim } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * await broker.use({
 *   id: "claims",
 *   claimSession({ clientId }, { isDurable, will }: SessionClaim) {
 *     console.log(`${clientId}: ${isDurable ? "to be stored" : "for now"}, ${will?.topic ?? "without a will"}`);
 *     return undefined;
 *   },
 * });
 * ```
 */
export interface SessionClaim {
  /** Whether it is to outlive its connection, so that it is stored. */
  readonly isDurable: boolean;
  /** Published if the connection ends without a goodbye. */
  readonly will: Will | undefined;
}

/**
 * A session that outlives its connection, as a hook stores it.
 *
 * @example
 * ```ts
 * import type { StoredSession } from "@hookmq/broker";
 *
 * // When a session ends, in milliseconds since 1970, if its client does not come back.
 * function expiry({ disconnectedAt = Date.now(), expiryInterval }: StoredSession): number {
 *   return expiryInterval === 0xffff_ffff ? Infinity : disconnectedAt + expiryInterval * 1000;
 * }
 * const session = { clientId: "phone", protocolLevel: 5, username: undefined, will: undefined } as const;
 * console.log(expiry({ ...session, expiryInterval: 60, disconnectedAt: 0 })); // 60000
 * ```
 */
export interface StoredSession {
  /** Whose session it is. */
  readonly clientId: string;
  /** Which version of MQTT the client spoke last. */
  readonly protocolLevel: ProtocolLevel;
  /** The user name of its last connection. */
  readonly username: string | undefined;
  /** How long it outlives its connection, in seconds; 4,294,967,295 is for ever. */
  readonly expiryInterval: number;
  /** When its connection ended, in milliseconds since 1970; `undefined` while there is one. */
  readonly disconnectedAt: number | undefined;
  /** Published when the connection has ended and the will's delay has passed; absent when it has been. */
  readonly will: Will | undefined;
}

/**
 * A subscription of a stored session.
 *
 * @example
 * ```ts
 * import type { StoredSubscription } from "@hookmq/broker";
 *
 * const worker: StoredSubscription = {
 *   topicFilter: "$share/workers/jobs/#",
 *   qos: 1,
 *   noLocal: false,
 *   retainAsPublished: false,
 *   identifiers: [7],
 * };
 * console.log(JSON.stringify(worker));
 * ```
 */
export interface StoredSubscription extends Omit<SubscriptionRequest, "retainHandling"> {
  /** Its subscription identifiers. */
  readonly identifiers: readonly number[] | undefined;
}

/**
 * A message that is stored; one and the same object for all sessions that it is on its way to.
 *
 * @example
 * ```ts
 * import type { PublishPacket, StoredMessage } from "@hookmq/broker";
 *
 * // How many seconds a message has still to live.
 * function timeLeft({ packet, receivedAt }: StoredMessage, now = Date.now()): number {
 *   return (packet.properties?.messageExpiryInterval ?? Infinity) - (now - receivedAt) / 1000;
 * }
 * const packet: PublishPacket = {
 *   type: "publish",
 *   topic: "kitchen/light",
 *   payload: new TextEncoder().encode("on"),
 *   qos: 1,
 *   retain: false,
 *   dup: false,
 *   properties: { messageExpiryInterval: 60 },
 * };
 * console.log(timeLeft({ packet, receivedAt: 0 }, 15_000)); // 45
 * ```
 */
export interface StoredMessage {
  /** The message as it was published. */
  readonly packet: PublishPacket;
  /** When it was received, in milliseconds since 1970. */
  readonly receivedAt: number;
}

/**
 * A QoS 1 or 2 message on its way to a stored session.
 *
 * @example
 * ```ts
 * import type { StoredOutgoing } from "@hookmq/broker";
 *
 * // How far a message has come.
 * function progress({ packetId, released }: StoredOutgoing): string {
 *   if (packetId === 0) return "it waits";
 *   return released ? "it has arrived, but the handshake is not over" : "it has been sent";
 * }
 * const payload = new TextEncoder().encode("on");
 * const packet = { type: "publish", topic: "kitchen/light", payload, qos: 1, retain: false, dup: false } as const;
 * const message = { packet, receivedAt: Date.now() };
 * const options = { qos: 1, retain: false, identifiers: undefined, shareFilter: undefined } as const;
 * console.log(progress({ id: 1, message, ...options, packetId: 7, released: false })); // it has been sent
 * ```
 */
export interface StoredOutgoing {
  /** Tells it from all others; larger ones came later. */
  readonly id: number;
  /** The message itself. */
  readonly message: StoredMessage;
  /** At which QoS it goes out. */
  readonly qos: Qos;
  /** Whether it goes out with the retain flag. */
  readonly retain: boolean;
  /** The identifiers of the subscriptions that it goes out for. */
  readonly identifiers: readonly number[] | undefined;
  /** The filter of the shared subscription that chose this session, if one did. */
  readonly shareFilter: string | undefined;
  /** 0 while it waits in the queue. */
  readonly packetId: number;
  /** Whether the client has answered with PUBREC: only the end of the QoS 2 handshake is missing. */
  readonly released: boolean;
  /**
   * The number under which it is stored for another member of the shared subscription, who has passed it on. `removeOutgoing` is
   * called for that in the same go. A hook that makes one change of the two can refuse neither or both.
   */
  readonly replaces?: number;
}

/**
 * All of a session that was stored.
 *
 * @example
 * ```ts
 * import { Broker, type RestoredSession } from "@hookmq/broker";
 *
 * const session: RestoredSession = {
 *   clientId: "phone",
 *   protocolLevel: 5,
 *   username: "alice",
 *   expiryInterval: 3600,
 *   disconnectedAt: Date.now(),
 *   will: undefined,
 *   subscriptions: [],
 *   outgoing: [],
 *   received: [],
 * };
 * await using broker = new Broker();
 * await broker.use({ id: "store", init: (context) => context.restoreSession(session) });
 * console.log(broker.stats().sessions); // 1
 * ```
 */
export interface RestoredSession extends StoredSession {
  /** Its subscriptions. */
  readonly subscriptions: readonly StoredSubscription[];
  /** What is on its way to it, in the order of the ids. */
  readonly outgoing: readonly StoredOutgoing[];
  /** The packet identifiers of the QoS 2 messages that its client has sent and not released yet. */
  readonly received: readonly number[];
}

/**
 * One step of an enhanced authentication, as the client sent it. Source: MQTT 5.0 section 4.12.
 *
 * @example
 * ```ts
 * import { type AuthExchange, type AuthStep, Broker } from "@hookmq/broker";
 *
 * // One step is enough here: the client shows a token.
 * function checkToken({ method, data }: AuthExchange): AuthStep | undefined {
 *   if (method !== "token") return undefined;
 *   const [username, token] = new TextDecoder().decode(data).split(":");
 *   return { done: token === `token of ${username}`, username };
 * }
 * await using broker = new Broker();
 * await broker.use({ id: "token", onAuthenticate: (_client, exchange) => checkToken(exchange) });
 * ```
 */
export interface AuthExchange {
  /** The authentication method, e.g. `"SCRAM-SHA-256"`. */
  readonly method: string;
  /** What the client says at this step. */
  readonly data: Uint8Array | undefined;
  /** How many steps came before this one in the same exchange: 0 for the CONNECT or the re-authentication that begins it. */
  readonly step: number;
  /** Whether the client is connected already and authenticates again. */
  readonly reauthentication: boolean;
}

/**
 * What the broker answers to a step of an enhanced authentication.
 *
 * @example
 * ```ts
 * import type { AuthStep } from "@hookmq/broker";
 *
 * const challenge: AuthStep = { done: false, data: crypto.getRandomValues(new Uint8Array(16)) };
 * const welcome: AuthStep = { done: true, username: "alice" };
 * console.log(challenge.done, welcome.done); // false true
 * ```
 */
export interface AuthStep {
  /** Whether the client is authenticated now; otherwise it is asked to go on. */
  done: boolean;
  /** What the broker says at this step. */
  data?: Uint8Array;
  /** Who the client has turned out to be. Default: the user name of its CONNECT. */
  username?: string;
}

/**
 * Why a message did not reach a client: its queue was full, it was not reading (QoS 0), the message's lifetime passed,
 * the client does not accept packets of that size, its session ended while messages were waiting, it could not be stored
 * and its publisher was told so, or the client that came back to the session may not read it.
 *
 * @example
 * ```ts
 * import { Broker, type DropReason } from "@hookmq/broker";
 *
 * const dropped = new Map<DropReason, number>();
 * await using broker = new Broker();
 * await broker.use({
 *   id: "drop-count",
 *   onMessageDropped: (_clientId, _packet, reason) => void dropped.set(reason, (dropped.get(reason) ?? 0) + 1),
 * });
 * ```
 */
export type DropReason =
  | "queue-full"
  | "slow-consumer"
  | "expired"
  | "packet-too-large"
  | "session-ended"
  | "not-stored"
  | "not-authorized";

/**
 * How a hook is.
 *
 * @example
 * ```ts
 * import { Broker, type HookHealth } from "@hookmq/broker";
 *
 * let failure: Error | undefined;
 * function health(): HookHealth {
 *   return failure === undefined ? { ok: true } : { ok: false, reason: failure.message, ready: false };
 * }
 * await using broker = new Broker();
 * await broker.use({ id: "archive", health });
 * failure = new Error("the archive's disk is full");
 * console.log(broker.health().ok); // false
 * ```
 */
export interface HookHealth {
  /** Whether it works as it should. */
  readonly ok: boolean;
  /** What is wrong, for an operator, e.g. `"./hookmq.db: the disk is full"`. */
  readonly reason?: string;
  /**
   * Whether the broker should get new clients although something is wrong. With `false` it is not ready, and a load balancer
   * sends them elsewhere. Default true.
   */
  readonly ready?: boolean;
}

/**
 * Something that the broker asks or tells on its way: a plain object with any of these methods.
 *
 * Hooks run in the order in which they were added. A method that returns a promise is waited for; meanwhile nothing more
 * is read from that client, so its packets keep their order. An error in a deciding method (`onConnect`,
 * `onAuthenticate`, `onSubscribe`, `canWrite`, `onPublish`, `onPublishReceived`) or in `storeRetained` refuses what the client asked
 * for, with the reason code of a `ReasonCodeError` or 0x80; an error anywhere else is logged and does not reach the
 * client.
 *
 * A packet that a hook is given is to be left as it is: changes are returned. Its payload, but for that of
 * `storeRetained`, lies in memory that is used again: a hook that keeps it copies it.
 *
 * @example
 * ```ts
 * import { Broker, type Hook } from "@hookmq/broker";
 *
 * const greeter: Hook = {
 *   id: "greeter",
 *   onConnected: (client) => console.log(`${client.clientId} is here`),
 * };
 * const broker = new Broker();
 * await broker.use(greeter);
 * await broker.close();
 * ```
 */
export interface Hook {
  /** A name for logs and for `broker.remove`; one broker holds only one hook with it. */
  readonly id: string;
  /** Called when the hook is added; the hook is in use once it has settled. An error keeps it out. */
  init?(context: HookContext): MaybePromise<void>;
  /** Called when the hook is removed or the broker closes. */
  stop?(): MaybePromise<void>;
  /**
   * Whether the hook can do its work at the moment, from what it knows already; `broker.health()` asks. A hook that cannot
   * fail in use does not have it.
   */
  health?(): HookHealth;

  /** Decides whether a client may connect: throw a `ReasonCodeError` to refuse. */
  onConnect?(client: ClientInfo, packet: ConnectPacket): MaybePromise<void>;
  /**
   * Takes a step of an MQTT 5 enhanced authentication. Return `undefined` if the method is not one of yours; if that is
   * so for all hooks, the client is refused with 0x8C. It comes after `onConnect`.
   */
  onAuthenticate?(client: ClientInfo, exchange: AuthExchange): MaybePromise<AuthStep | undefined>;
  /** A client is connected: its CONNACK has been sent. */
  onConnected?(client: ClientInfo): MaybePromise<void>;
  /** A connection is over. `error` says why, unless the client said goodbye. */
  onDisconnect?(client: ClientInfo, error?: Error): MaybePromise<void>;

  /**
   * Decides about subscriptions: what is left in the returned list is granted, in the form that it has there; the rest is
   * refused with 0x87. Throw to refuse all.
   */
  onSubscribe?(client: ClientInfo, subscriptions: SubscriptionRequest[]): MaybePromise<SubscriptionRequest[]>;
  /** A client gives subscriptions up. */
  onUnsubscribe?(client: ClientInfo, topicFilters: string[]): MaybePromise<void>;
  /**
   * Decides whether a client may publish on a topic; asked for every message, before the same hook's `onPublish`, and for a
   * will when its client connects and when it is published.
   */
  canWrite?(client: ClientInfo, topic: string): MaybePromise<boolean>;
  /** Decides whether a client may publish a message: throw to refuse. */
  onPublish?(client: ClientInfo, packet: PublishPacket): MaybePromise<void>;
  /**
   * Decides whether a client may be sent messages on a topic; asked for every message and every receiver. Of a shared
   * subscription's members one that may is looked for.
   */
  canRead?(client: ClientInfo, topic: string): MaybePromise<boolean>;

  /** Changes a message that has been authorised, by returning another packet, or refuses it by throwing. */
  onPublishReceived?(client: ClientInfo, packet: PublishPacket): MaybePromise<PublishPacket | void>;
  /** Changes a message for one receiver, by returning another packet. */
  onPublishDeliver?(subscriber: ClientInfo, packet: PublishPacket): MaybePromise<PublishPacket | void>;
  /**
   * Changes a will before it is published, by returning another packet, or keeps it back by throwing. `onPublish` and
   * `onPublishReceived` are not asked about wills.
   */
  onWillPublish?(clientId: string, will: PublishPacket, client: ClientInfo): MaybePromise<PublishPacket | void>;
  /** A message will not reach a client. Not called for QoS 0 messages to a client that is not connected. */
  onMessageDropped?(clientId: string, packet: PublishPacket, reason: DropReason): void;

  /** A client has got a new session. */
  onSessionCreated?(client: ClientInfo): MaybePromise<void>;
  /** A client has come back to its session. */
  onSessionResumed?(client: ClientInfo): MaybePromise<void>;
  /** A session has expired, or was thrown away by its client. */
  onSessionEnded?(clientId: string): MaybePromise<void>;

  /**
   * Stores a topic's retained message; an empty payload deletes it. The publisher's acknowledgement waits for the promise.
   * The packet is the hook's to keep.
   */
  storeRetained?(topic: string, packet: PublishPacket): MaybePromise<void>;
  /**
   * The retained messages whose topics match a filter. If a hook has this method, its answer is sent to new subscribers
   * instead of what the broker itself remembers.
   */
  getRetained?(topicFilter: string): MaybePromise<PublishPacket[]>;

  // A hook that stores sessions has all of the following. What settles later holds back what depends on it: a CONNACK, a
  // SUBACK, the acknowledgement of a message. Calls take effect in the order in which they are made.

  /** Stores a session that is new or has changed. */
  storeSession?(session: StoredSession): MaybePromise<void>;
  /** Forgets a session with its subscriptions and packet identifiers; its messages have been removed one by one. */
  removeSession?(clientId: string): MaybePromise<void>;
  /** Stores subscriptions, in place of those with the same filters. */
  storeSubscriptions?(clientId: string, subscriptions: StoredSubscription[]): MaybePromise<void>;
  /** Forgets subscriptions. */
  removeSubscriptions?(clientId: string, topicFilters: string[]): MaybePromise<void>;
  /** Stores a message on its way to a session, or that it has got a packet identifier or was released. */
  storeOutgoing?(clientId: string, outgoing: StoredOutgoing): MaybePromise<void>;
  /** Forgets a message: it has arrived, or never will. */
  removeOutgoing?(clientId: string, outgoing: StoredOutgoing): MaybePromise<void>;
  /** Stores that a session's client has sent a QoS 2 message with this packet identifier. */
  storeReceived?(clientId: string, packetId: number): MaybePromise<void>;
  /** Forgets that packet identifier: the client has released its message. */
  removeReceived?(clientId: string, packetId: number): MaybePromise<void>;

  // A hook that connects several brokers has the following as well.

  /**
   * Makes a connecting client's session this broker's, wherever it is. Called for every client that is about to be let in,
   * one at a time for each client id, when a connection that it had here is closed. Returns the stored session with all
   * that belongs to it, which then takes the place of what is known here of it; without what is on its way to it if the
   * client asks for a new session (`client.cleanStart`): then the session is ended next. `undefined` if none is stored.
   * Throw to refuse the client.
   */
  claimSession?(client: ClientInfo, claim: SessionClaim): MaybePromise<RestoredSession | undefined>;
  /**
   * Puts a QoS 1 or 2 message into a durable session's queue, from where it comes back by `deliverQueued`. With this
   * method, `storeOutgoing` is told of what has come from there, and of messages that go out without having been there:
   * retained ones for a new subscription.
   */
  queueOutgoing?(clientId: string, queued: QueuedMessage): MaybePromise<void>;
  /**
   * The first subscriber here that has no durable session has subscribed to a filter, or their number or highest QoS has
   * changed. With `members` 0 it was the last one that has gone.
   */
  onRouteChanged?(topicFilter: string, maximumQos: Qos, members: number): void;
  /** Settles when other brokers know the routes that have changed before. SUBACK waits for it. */
  routesKnown?(): MaybePromise<void>;
  /** Whether it gives the broker all retained messages (`setRetained`, `restoreRetained`), so that `getRetained` need not be asked. */
  readonly restoresRetained?: boolean;
}

/** The methods of a hook that the broker calls on events. */
export type HookEvent = Exclude<keyof Hook, "id" | "init" | "stop" | "health" | "restoresRetained">;

/** A hook that has the method `E`. */
export type HookWith<E extends HookEvent> = Hook & Required<Pick<Hook, E>>;

const events = [
  "onConnect",
  "onAuthenticate",
  "onConnected",
  "onDisconnect",
  "onSubscribe",
  "onUnsubscribe",
  "canWrite",
  "onPublish",
  "canRead",
  "onPublishReceived",
  "onPublishDeliver",
  "onWillPublish",
  "onMessageDropped",
  "onSessionCreated",
  "onSessionResumed",
  "onSessionEnded",
  "storeRetained",
  "getRetained",
  "storeSession",
  "removeSession",
  "storeSubscriptions",
  "removeSubscriptions",
  "storeOutgoing",
  "removeOutgoing",
  "storeReceived",
  "removeReceived",
  "claimSession",
  "queueOutgoing",
  "onRouteChanged",
  "routesKnown",
] as const satisfies readonly HookEvent[];

type HookLists = { [E in HookEvent]: readonly HookWith<E>[] };

/** The hooks of a broker: one list per event, so that an event that nobody handles costs one look at a length. */
export class HookChain {
  readonly #hooks: Hook[] = [];
  /** Those that decide about messages, by `canWrite` or `onPublish`, in the order in which they were added. */
  authorising: readonly Hook[] = [];
  /** For each event the hooks that handle it, in the order in which they were added. */
  readonly on: HookLists = Object.fromEntries(events.map((event) => [event, []])) as unknown as HookLists;

  /** All hooks, in the order in which they were added. */
  get all(): readonly Hook[] {
    return this.#hooks;
  }

  /** Adds a hook behind the others. @throws {TypeError} If there is one with this id already. */
  add(hook: Hook): void {
    if (this.find(hook.id) !== undefined) throw new TypeError(`there is a hook with the id "${hook.id}" already`);
    this.#hooks.push(hook);
    this.#sort();
  }

  remove(hook: Hook): void {
    const index = this.#hooks.indexOf(hook);
    if (index !== -1) this.#hooks.splice(index, 1);
    this.#sort();
  }

  find(id: string): Hook | undefined {
    return this.#hooks.find((hook) => hook.id === id);
  }

  /** Makes new lists: whoever waits for a promise in the middle of an old one goes on with that. */
  #sort(): void {
    const lists: Record<HookEvent, readonly Hook[]> = this.on;
    for (const event of events) lists[event] = this.#hooks.filter((hook) => typeof hook[event] === "function");
    this.authorising = this.#hooks.filter(({ canWrite, onPublish }) =>
      canWrite !== undefined || onPublish !== undefined
    );
    lists.getRetained = lists.getRetained.filter(({ restoresRetained }) => !restoresRetained);
  }
}
