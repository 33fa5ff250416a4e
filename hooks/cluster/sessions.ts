import { encode } from "@msgpack/msgpack";
import type {
  Hook,
  QueuedMessage,
  RemoteMessage,
  RestoredSession,
  StoredMessage,
  StoredOutgoing,
  StoredSession,
  StoredSubscription,
} from "../../broker/hooks.ts";
import type { PublishPacket } from "../../codec/mod.ts";
import type { RedisCommand } from "./command.ts";
import { type Arrived, stateOf } from "./arrivals.ts";
import { Claims } from "./claims.ts";
import type { LocalSession } from "./local_session.ts";
import { LocalSessions } from "./local_sessions.ts";
import { type Appended, type AppendedItem, ARRIVAL, DROPPED, QueueAppend } from "./queue_append.ts";
import { publishCommand } from "./publish.ts";
import { decodeEntry, EncodedMessages } from "./queue_entry.ts";
import { endedEvent, placeEvent, RemoteSessions, subscribedEvent, unsubscribedEvent } from "./remote_sessions.ts";
import { SessionCare } from "./session_care.ts";
import type { SessionOptions } from "./session_options.ts";
import { takenField, TakenWills } from "./taken_wills.ts";
import { encodeTerms, missingFields, sessionValues } from "./stored_values.ts";

/** What a message takes besides its payload while it waits for Redis, in bytes, roughly. */
const MESSAGE_SIZE = 256;

/** A session here has been claimed by another node: `claim` is the one that counts no more. */
type TakenEvent = [type: "taken", clientId: string, claim: string, node: string];

/** The node that a session was taken from has closed its connection, and seen to its will. */
type ReleasedEvent = [type: "released", claim: string];

/** Messages have been appended to the queue of a client that is connected here. */
type ArrivalEvent = [type: typeof ARRIVAL, clientId: string, first: number, entries: Uint8Array[]];

/** Messages that this node has published, or those that waited longest, did not fit into the queue of a client that is away. */
type DroppedEvent = [type: typeof DROPPED, clientId: string, entries: Uint8Array[]];

/** The methods of a hook that have to do with sessions. */
export type SessionHook = Required<
  Pick<
    Hook,
    | "claimSession"
    | "onSessionEnded"
    | "storeSession"
    | "removeSession"
    | "storeSubscriptions"
    | "removeSubscriptions"
    | "queueOutgoing"
    | "storeOutgoing"
    | "removeOutgoing"
    | "storeReceived"
    | "removeReceived"
  >
>;

/**
 * The sessions of the whole cluster, as this node sees them: those that it looks after, whose messages it brings from their
 * queues in Redis to the broker, and those of other nodes, as subscribers here.
 */
export class ClusterSessions {
  /** What the broker calls. It has to call `claimSession` directly: see {@linkcode Claims.claim}. */
  readonly hook: SessionHook;
  readonly #options: SessionOptions;
  readonly #local: LocalSessions;
  readonly #remote: RemoteSessions;
  readonly #claims: Claims;
  readonly #care: SessionCare;
  readonly #wills: TakenWills;
  readonly #messages = new EncodedMessages();
  /** The message that was let in last: it is stored for all sessions that get it, or for none. */
  #admitted: StoredMessage | undefined;
  /** By client id, what is collected for the queues. */
  readonly #appends = new Map<string, QueueAppend>();
  /** All that has not been appended yet. */
  readonly #unsettled = new Set<QueueAppend>();

  constructor(options: SessionOptions) {
    const { channel, events } = options;
    this.#options = options;
    this.#remote = new RemoteSessions(
      options,
      (clientId, message) => this.#queueRemote(clientId, message),
      (clientId) => this.#local.get(clientId)?.isHere === true,
      (clientId) => this.#checkSoon(clientId),
    );
    this.#local = new LocalSessions(
      options,
      this.#remote,
      (...lost) => this.#lost(...lost),
      (clientId) => this.#checkSoon(clientId),
    );
    this.#wills = new TakenWills(options);
    this.#claims = new Claims(options, this.#local, this.#remote, this.#wills);
    this.#care = new SessionCare(options, this.#local, this.#remote, this.#claims, this.#wills);
    channel.on("taken", (fields) => {
      const [, ...taken] = fields as TakenEvent;
      this.#local.taken(...taken);
    });
    events.on("released", (fields) => this.#wills.done((fields as ReleasedEvent)[1]));
    channel.on(ARRIVAL, (fields) => this.#arrived(fields as ArrivalEvent));
    channel.on(DROPPED, (fields) => this.#tellDropped(fields as DroppedEvent));
    this.hook = {
      claimSession: (client, claim) => this.#claims.claim(client, claim),
      onSessionEnded: (clientId) => this.#ended(clientId),
      storeSession: (session) => this.#storeSession(session),
      removeSession: (clientId) => this.#removeSession(clientId),
      storeSubscriptions: (clientId, subscriptions) => this.#storeSubscriptions(clientId, subscriptions),
      removeSubscriptions: (clientId, topicFilters) => this.#removeSubscriptions(clientId, topicFilters),
      queueOutgoing: (clientId, queued) => this.#append(clientId, queued),
      storeOutgoing: (clientId, outgoing) => this.#storeOutgoing(clientId, outgoing),
      removeOutgoing: (clientId, outgoing) => this.#removeOutgoing(clientId, outgoing),
      storeReceived: (clientId, packetId) => this.#storeReceived(clientId, packetId, true),
      removeReceived: (clientId, packetId) => this.#storeReceived(clientId, packetId, false),
    };
  }

  /** How many sessions this node looks after. */
  get size(): number {
    return this.#local.size;
  }

  /** Gives the broker back what this node looked after in an earlier life: for its start. */
  restore(restoreSession: (session: RestoredSession) => void): Promise<void> {
    return this.#care.restore(restoreSession);
  }

  /** Learns of the sessions of other nodes: for the start, and when events may have been missed. */
  reload(): Promise<void> {
    return this.#remote.reload();
  }

  /** Redis is there again, with all that it held: for before anything that waits is sent there. */
  reconcile(): Promise<void> {
    return this.#care.reconcile();
  }

  /** Redis is there again, and empty: for before anything that waits is sent there. */
  upload(): Promise<void> {
    return this.#care.upload();
  }

  /** Takes over the sessions of a dead node. */
  adopt(nodeId: string): Promise<void> {
    return this.#care.adopt(nodeId);
  }

  /** Looks whether events and messages were lost on their way: for every few seconds. */
  async check(): Promise<void> {
    await this.#care.checkRound();
    await this.#wills.check();
    await this.#remote.reloadRound();
  }

  /**
   * Puts a message into a client's queue as if it were published to it alone; one at QoS 0 at QoS 1, since nothing else
   * waits. If the client has no durable session nothing happens.
   */
  queueMessage(clientId: string, packet: PublishPacket): Promise<void> {
    return this.#append(clientId, queuedMessage(packet, false));
  }

  /**
   * Stores a message as one that a client has been sent with this packet identifier, and not acknowledged.
   *
   * @throws {RangeError} As a rejection, if another node looks after the client's session.
   */
  async trackInflight(clientId: string, packetId: number, packet: PublishPacket): Promise<void> {
    const local = this.#here(clientId);
    await this.#appendOwn(local, this.#options.cluster.nextOutgoingId(), {
      ...queuedMessage(packet, true),
      packetId,
      released: false,
    });
  }

  /**
   * Forgets the message that a client was sent with this packet identifier, if there is one.
   *
   * @throws {RangeError} As a rejection, if another node looks after the client's session.
   */
  async ackInflight(clientId: string, packetId: number): Promise<void> {
    const local = this.#here(clientId);
    await this.#local.written(clientId);
    const number = await this.#claims.findInflight(clientId, packetId);
    if (number !== undefined) await this.#local.change(local, (change) => change.remove(number));
  }

  #storeSession(session: StoredSession): Promise<void> | undefined {
    const { clientId, disconnectedAt, will } = session;
    if (this.#local.get(clientId)?.isClaiming) return;
    const local = this.#local.get(clientId) ?? this.#addLate(session);
    const isConnected = disconnectedAt === undefined;
    const isNews = !local.isDurable || local.isConnected !== isConnected;
    const waiting = local.arrivals.messages.values().reduce((sum, { size }) => sum + size, 0);
    local.isDurable = true;
    local.isConnected = isConnected;
    local.isReplacing = false;
    local.will = will;
    if (isConnected) local.arrivals.open();
    else local.arrivals.close();
    const isEntering = local.isEntering && isConnected;
    local.isEntering = false;
    const stored = local.whenClaimed(() =>
      this.#local.change(local, (change) => {
        const { nodeId, nodeKeys } = this.#options;
        const node = isConnected ? nodeId : "";
        change.add("HSET", "session", "node", node, ...sessionValues(session));
        change.add("HDEL", "session", ...missingFields(session));
        if (!isNews) return;
        // From now on it is counted where messages are appended.
        if (!isConnected) change.add("HSET", "session", "bytes", waiting);
        change.publish(nodeKeys.events, placeEvent(clientId, nodeId, node));
      })
    );
    return isEntering ? this.#claims.whenWritten(stored) : stored;
  }

  /** The broker has had the session before it had this hook. */
  #addLate({ clientId, disconnectedAt, will }: StoredSession): LocalSession {
    const local = this.#local.add(clientId);
    local.connectedAt = Date.now();
    local.isConnected = disconnectedAt === undefined;
    local.will = will;
    if (this.#options.link.isConnected) {
      this.#claims.claimLate(local).catch((error) => {
        this.#options.logger.warn("the session of {clientId} cannot be claimed yet: {error}", { clientId, error });
      });
    }
    return local;
  }

  /** It is not durable any more; its connection may go on. */
  #removeSession(clientId: string): Promise<void> | undefined {
    const local = this.#local.entered(clientId);
    if (local === undefined) return;
    local.isDurable = false;
    local.subscriptions.clear();
    local.arrivals.close();
    return local.whenClaimed(() =>
      this.#local.change(local, (change) => {
        const { nodeId, nodeKeys } = this.#options;
        change.removeContents();
        change.add("HDEL", "session", "durable", "expiry", "bytes", "disconnectedAt");
        change.publish(nodeKeys.events, endedEvent(clientId, nodeId));
      })
    );
  }

  #ended(clientId: string): void {
    const local = this.#local.entered(clientId);
    if (local === undefined) return;
    // Its client is here, and begins a new one.
    if (local.isReplacing) {
      local.isReplacing = false;
      return;
    }
    this.#local.delete(local);
    this.#wills.ended(clientId);
    local.arrivals.close();
    local.whenClaimed(() => {
      this.#local.forget(clientId);
      return this.#local.change(local, (change) => change.removeAll());
    }).catch(() => {});
  }

  #storeSubscriptions(clientId: string, subscriptions: StoredSubscription[]): Promise<void> | undefined {
    const { writer, nodeId, nodeKeys } = this.#options;
    const local = this.#local.entered(clientId);
    if (local === undefined) return;
    if (writer.refuses) return Promise.reject(writer.refusal());
    for (const subscription of subscriptions) local.subscriptions.set(subscription.topicFilter, subscription);
    return local.whenClaimed(() =>
      this.#local.change(local, (change) => {
        for (const subscription of subscriptions) {
          change.add("HSET", "subscriptions", subscription.topicFilter, encodeTerms(subscription));
        }
        change.publish(nodeKeys.events, subscribedEvent(clientId, nodeId, subscriptions));
      })
    );
  }

  #removeSubscriptions(clientId: string, topicFilters: string[]): Promise<void> | undefined {
    const { nodeId, nodeKeys } = this.#options;
    const local = this.#local.entered(clientId);
    if (local === undefined) return;
    for (const topicFilter of topicFilters) local.subscriptions.delete(topicFilter);
    return local.whenClaimed(() =>
      this.#local.change(local, (change) => {
        for (const topicFilter of topicFilters) change.add("HDEL", "subscriptions", topicFilter);
        change.publish(nodeKeys.events, unsubscribedEvent(clientId, nodeId, topicFilters));
      })
    );
  }

  #storeOutgoing(clientId: string, outgoing: StoredOutgoing): Promise<void> | undefined {
    const local = this.#local.entered(clientId);
    if (local === undefined || !local.isConnected) return;
    const arrived = local.arrivals.messages.get(outgoing.id);
    if (arrived === undefined) {
      const { id, ...message } = outgoing;
      const origin = { publisherId: undefined, isPublished: false, passedOnBy: undefined };
      return this.#appendOwn(local, id, { ...message, ...origin, isAdmitted: true });
    }
    arrived.packetId = outgoing.packetId;
    arrived.released = outgoing.released;
    return this.#whenNumbered(
      arrived,
      () => this.#local.change(local, (change) => change.setInflight(arrived.number, () => stateOf(arrived))),
    );
  }

  #removeOutgoing(clientId: string, { id }: StoredOutgoing): Promise<void> | undefined {
    const local = this.#local.entered(clientId);
    const arrived = local?.arrivals.messages.get(id);
    if (local === undefined || arrived === undefined) return;
    local.arrivals.messages.delete(id);
    return this.#whenNumbered(arrived, () => this.#local.change(local, (change) => change.remove(arrived.number)));
  }

  /** Calls `run` when it is known where in the queue a message is; not if it turns out not to be there. */
  #whenNumbered(arrived: Arrived, run: () => Promise<void>): Promise<void> {
    if (arrived.numbered === undefined) return run();
    return arrived.numbered.then(() => arrived.number > 0 ? run() : undefined);
  }

  #storeReceived(clientId: string, packetId: number, isReceived: boolean): Promise<void> | undefined {
    const local = this.#local.entered(clientId);
    if (local === undefined) return;
    // Never refused: the message has been let in before, or is refused itself.
    return local.whenClaimed(() => {
      const change = local.lastChange();
      change.setReceived(packetId, isReceived);
      return this.#local.write(clientId, change);
    });
  }

  #queueRemote(clientId: string, message: RemoteMessage): Promise<void> {
    const { qos, retain, identifiers, shareFilter, publisherId, isPublished, passedOnBy } = message;
    const common = { qos, retain, identifiers, shareFilter, publisherId, isPublished, passedOnBy };
    return this.#append(clientId, { ...common, message: message.stored(), isAdmitted: false });
  }

  /** Appends a message that the broker has sent by itself, or is about to. */
  #appendOwn(
    local: LocalSession,
    id: number,
    { packetId, released, ...queued }: QueuedMessage & { packetId: number; released: boolean },
  ): Promise<void> {
    const { writer } = this.#options;
    if (queued.message !== this.#admitted && writer.refuses) return Promise.reject(writer.refusal());
    const arrived: Arrived = { number: 0, size: 0, numbered: undefined, packetId, released };
    local.arrivals.appending(id, arrived);
    const appended = local.whenClaimed(() =>
      this.#append(local.clientId, { ...queued, isPublished: true }, { local, arrived })
    );
    const settle = () => local.arrivals.appended(arrived, arrived.number);
    arrived.numbered = appended.then(settle, settle);
    return appended;
  }

  #append(clientId: string, queued: QueuedMessage, own?: AppendedItem["own"]): Promise<void> {
    const { writer } = this.#options;
    const { publisherId, isPublished, passedOnBy, ...entry } = queued;
    const isFirst = entry.message !== this.#admitted;
    if (isFirst && writer.refuses && !isPublished) return Promise.reject(writer.refusal());
    this.#admitted = entry.message;
    const { payload, qos } = entry.message.packet;
    const append = this.#openAppend(clientId);
    // A will, for example, nobody sends again.
    const guardianId = passedOnBy ?? (isPublished ? undefined : publisherId);
    append.push({ entry, size: 0, own, guardianId, publishedQos: qos });
    // While it waits there is one copy of it, for however many sessions.
    const appended = writer.addLasting(append, MESSAGE_SIZE + (isFirst ? payload.length : 0));
    appended.catch(() => this.#settled(clientId, append));
    return appended;
  }

  /** What is appended to a session's queue with the next batch. */
  #openAppend(clientId: string): QueueAppend {
    const { writer, keys, nodeKeys, nodeId, incarnation, limits, link, cluster } = this.#options;
    const open = this.#appends.get(clientId);
    if (open !== undefined && writer.holds(open)) return open;
    const append = new QueueAppend({
      clientId,
      keys,
      channelPrefix: nodeKeys.fanout(""),
      nodeId,
      incarnation,
      limits,
      messages: this.#messages,
      claimOf: (clientId) => this.#local.get(clientId)?.claim,
      isGuarded: !link.isCluster,
      observesDrops: () => cluster.observesDrops,
      onAppended: (appended) => {
        this.#settled(clientId, append);
        if (appended !== undefined) this.#appended(clientId, appended);
      },
    });
    this.#appends.set(clientId, append);
    this.#unsettled.add(append);
    return append;
  }

  #settled(clientId: string, append: QueueAppend): void {
    this.#unsettled.delete(append);
    if (this.#appends.get(clientId) === append) this.#appends.delete(clientId);
  }

  /** Messages are in a session's queue. If its client is connected here they need not come from there. */
  #appended(clientId: string, { node, dropped, items }: Appended): void {
    const local = this.#local.get(clientId);
    this.#options.cluster.countDropped(dropped);
    for (const [number, { own }] of items ?? []) {
      if (own === undefined) continue;
      own.arrived.number = number;
      own.local.arrivals.appended(own.arrived, number);
    }
    if (local === undefined || node !== this.#options.nodeId) return;
    if (items === undefined) return local.arrivals.catchUp();
    for (const [number, { own, entry, size }] of items) {
      if (own === undefined && number > 0) local.arrivals.take(number, size, () => entry);
    }
  }

  #arrived([, clientId, first, entries]: ArrivalEvent): void {
    const { arrivals } = this.#local.get(clientId) ?? {};
    for (const [index, entry] of entries.entries()) {
      arrivals?.take(first + index, entry.length, () => decodeEntry(entry));
    }
  }

  #tellDropped([, clientId, entries]: DroppedEvent): void {
    for (const entry of entries) this.#options.cluster.tellDropped(clientId, decodeEntry(entry).message);
  }

  /** A client has gone to another node. What it has sent here at QoS 2, and nobody has got yet, it sends there again. */
  #lost(clientId: string, claim: string | undefined): void {
    for (const append of this.#unsettled) append.withdraw(clientId);
    if (claim === undefined) return;
    const { link, writer, nodeKeys } = this.#options;
    const event: ReleasedEvent = ["released", claim];
    const { nodeId, keys } = this.#options;
    // By then our broker has published the will of the connection, or has not, since it was not due.
    const commands = (): RedisCommand[] => [
      ["HDEL", keys.session(clientId), takenField(nodeId, claim)],
      publishCommand(link, nodeKeys.events, encode(event)),
    ];
    writer.addLasting({ commands }, claim.length).catch(() => {});
  }

  #checkSoon(clientId: string): void {
    this.#care.check(clientId).catch(() => {
      // Without a connection all are looked at when there is one; otherwise the next check comes soon.
    });
  }

  #here(clientId: string): LocalSession {
    const local = this.#local.entered(clientId);
    if (!local?.isDurable) throw new RangeError(`client ${JSON.stringify(clientId)} has no durable session here`);
    return local;
  }
}

function queuedMessage(packet: PublishPacket, isAdmitted: boolean): QueuedMessage {
  return {
    message: { packet: { ...packet, payload: packet.payload.slice() }, receivedAt: Date.now() },
    qos: packet.qos === 0 ? 1 : packet.qos,
    retain: packet.retain,
    identifiers: undefined,
    shareFilter: undefined,
    publisherId: undefined,
    isAdmitted,
    isPublished: false,
    passedOnBy: undefined,
  };
}
