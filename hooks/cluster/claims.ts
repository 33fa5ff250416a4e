import type { ClientInfo, RestoredSession, SessionClaim, StoredOutgoing, StoredSession } from "../../broker/hooks.ts";
import { ReasonCode, ReasonCodeError, type Will } from "../../codec/mod.ts";
import { type Arrivals, readQueue } from "./arrivals.ts";
import type { LocalSession } from "./local_session.ts";
import type { LocalSessions } from "./local_sessions.ts";
import { publishNow } from "./publish.ts";
import { decodeEntry } from "./queue_entry.ts";
import { endedEvent, placeEvent, type RemoteSessions } from "./remote_sessions.ts";
import { scanHash, scanSet } from "./scan.ts";
import { claimScript, type SessionFields } from "./scripts.ts";
import type { SessionOptions } from "./session_options.ts";
import type { TakenWills } from "./taken_wills.ts";
import { encodeWill, type FormerSession, formerSession, NEVER_EXPIRES, toText } from "./stored_values.ts";

/** How much of a queue is read at a time, in messages. */
const PAGE = 500;

/** Makes the sessions of connecting clients this node's. */
export class Claims {
  readonly #options: SessionOptions;
  readonly #local: LocalSessions;
  readonly #remote: RemoteSessions;
  readonly #wills: TakenWills;

  constructor(options: SessionOptions, local: LocalSessions, remote: RemoteSessions, wills: TakenWills) {
    this.#options = options;
    this.#local = local;
    this.#remote = remote;
    this.#wills = wills;
  }

  /**
   * Claims a connecting client's session, wherever it is, and loads it: `Hook.claimSession`.
   *
   * The broker has to wait for this very promise: directly behind its doing so the session ceases to be a subscriber at
   * another node. If something came in between, messages would be missed, or come twice.
   */
  claim(client: ClientInfo, claim: SessionClaim): Promise<RestoredSession | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<RestoredSession | undefined>();
    this.#claim(client, claim).then((restored) => {
      resolve(restored);
      queueMicrotask(() => this.#remote.remove(client.clientId));
    }, reject);
    return promise;
  }

  /**
   * Has a session claimed that the broker has already, but this node has not: it was let in without Redis, or Redis has
   * lost it, or it is older than the hook.
   */
  async claimLate(local: LocalSession): Promise<void> {
    const { link, keys } = this.#options;
    const { clientId, connectedAt } = local;
    const [node, claimedAt] = await link.call(
      "HMGET",
      keys.session(clientId),
      "node",
      "claimedAt",
    ) as (Uint8Array | null)[];
    if (toText(node) !== "" && Number(toText(claimedAt)) > connectedAt) return this.#local.lose(local, toText(node));
    const claim = this.#local.nextClaim();
    await this.#write(local, claim, local.isConnected, local.isDurable);
    local.claimedAs(claim);
    this.#local.giveUpIfTaken(local, claim);
  }

  /**
   * Waits for what a client is not let in before.
   *
   * @throws {ReasonCodeError} As a rejection: 0x88 if it cannot be written, or Redis is lost meanwhile. It may find another
   * node.
   */
  async whenWritten(written: Promise<void>): Promise<void> {
    try {
      await this.#options.link.whileConnected(written);
    } catch {
      throw unavailable();
    }
  }

  /** The number of the message that is in flight to a client with a packet identifier. */
  async findInflight(clientId: string, packetId: number): Promise<number | undefined> {
    const { link, keys } = this.#options;
    for await (const page of scanHash(link, keys.inflight(clientId))) {
      for (const [number, state] of page) if (parseInt(toText(state)) === packetId) return Number(number);
    }
    return undefined;
  }

  async #claim(client: ClientInfo, { isDurable, will }: SessionClaim): Promise<RestoredSession | undefined> {
    const { clientId } = client;
    const former = this.#local.get(clientId);
    if (!this.#options.link.isConnected) {
      if (isDurable || former?.isDurable) throw unavailable();
      return this.#admitUnclaimed(client, will);
    }
    // What is done, for example, must not come again.
    await this.whenWritten(this.#local.written(clientId));
    const local = this.#local.add(clientId);
    local.isClaiming = true;
    local.isHere = former !== undefined;
    local.connectedAt = client.connectedAt;
    local.will = will;
    try {
      return await this.#take(local, client.cleanStart);
    } catch (error) {
      if (this.#local.delete(local) && former !== undefined && !former.isLost) this.#local.putBack(former);
      if (error instanceof ReasonCodeError) throw error;
      this.#options.logger.warn("the session of {clientId} cannot be claimed: {error}", { clientId, error });
      throw unavailable();
    } finally {
      local.isClaiming = false;
      local.isHere = true;
    }
  }

  /** Lets a client in whose session nobody needs to store; what other nodes have of it is found out later. */
  #admitUnclaimed({ clientId, connectedAt }: ClientInfo, will: SessionClaim["will"]): undefined {
    const local = this.#local.add(clientId);
    local.connectedAt = connectedAt;
    local.isConnected = true;
    local.will = will;
  }

  async #take(local: LocalSession, cleanStart: boolean): Promise<RestoredSession | undefined> {
    const claim = this.#local.nextClaim();
    local.claim = claim;
    local.isConnected = true;
    const former = await this.#write(local, claim, true, false);
    const restored = await this.#restore(local, former, cleanStart);
    const will = await this.#mourn(former);
    if (local.isLost) throw new ReasonCodeError(ReasonCode.ServerBusy, "the client has connected to another broker");
    local.claimedAs(claim);
    local.isEntering = true;
    if (restored === undefined) return;
    for (const subscription of restored.subscriptions) local.subscriptions.set(subscription.topicFilter, subscription);
    local.isDurable = true;
    local.isReplacing = cleanStart;
    return { ...restored, will };
  }

  /** Says in Redis that a session is ours. Returns what it was before. */
  async #write(local: LocalSession, claim: string, isConnected: boolean, isDurable: boolean): Promise<FormerSession> {
    const { link, keys, nodeKeys, nodeId } = this.#options;
    const { clientId, will, connectedAt } = local;
    // Whatever happens between this and the next, the session is found again.
    await link.call("SADD", keys.ofNode(nodeId), clientId);
    const node = isConnected ? nodeId : "";
    const reply = await link.run(claimScript, [keys.session(clientId)], [
      clientId,
      claim,
      nodeId,
      node,
      encodeWill(will),
      connectedAt,
      isDurable ? 1 : 0,
      nodeKeys.fanout(""),
    ]);
    const [fields, taken] = reply as [SessionFields, Uint8Array[]];
    this.#wills.addStored(clientId, taken);
    const former = formerSession(clientId, fields);
    const { home } = former;
    if (former.isDurable || isDurable) publishNow(link, nodeKeys.events, placeEvent(clientId, nodeId, node));
    if (home !== "" && home !== nodeId) await link.call("SREM", keys.ofNode(home), clientId);
    return former;
  }

  /** Loads a session that was durable. */
  async #restore(
    local: LocalSession,
    former: FormerSession,
    cleanStart: boolean,
  ): Promise<RestoredSession | undefined> {
    const { arrivals, clientId } = local;
    arrivals.delivered = former.last;
    if (!former.isDurable) return;
    if (hasExpired(former)) {
      await this.#local.change(local, (change) => {
        const { nodeId, nodeKeys } = this.#options;
        change.removeContents();
        change.add("HDEL", "session", "durable", "expiry", "bytes");
        change.publish(nodeKeys.events, endedEvent(clientId, nodeId));
      });
      return;
    }
    const subscriptions = await this.#remote.readSubscriptions(clientId);
    if (cleanStart) return { ...former, subscriptions, received: [], outgoing: [] };
    // Who sees the CONNACK may rely on it that messages at QoS 0 come here now, from wherever they are published.
    const placeKnown = subscriptions.length > 0 ? this.#options.placesKnown() : undefined;
    const received = await this.#received(clientId);
    const outgoing = await this.#outgoing(clientId, arrivals);
    await placeKnown;
    return { ...former, subscriptions, received, outgoing };
  }

  async #received(clientId: string): Promise<number[]> {
    const { link, keys } = this.#options;
    const received = new Set<number>();
    for await (const page of scanSet(link, keys.received(clientId))) {
      for (const packetId of page) received.add(Number(packetId));
    }
    return [...received];
  }

  async #outgoing(clientId: string, arrivals: Arrivals): Promise<StoredOutgoing[]> {
    const { link, keys, cluster } = this.#options;
    const states = new Map<number, [packetId: number, released: number]>();
    for await (const page of scanHash(link, keys.inflight(clientId))) {
      for (const [number, state] of page) {
        states.set(Number(number), toText(state).split(" ").map(Number) as [number, number]);
      }
    }
    const all: StoredOutgoing[] = [];
    for (let from = 0;;) {
      const page = await readQueue(link, keys.queue(clientId), from, PAGE);
      for (const [number, bytes] of page) {
        const { isAdmitted: _isAdmitted, ...message } = decodeEntry(bytes);
        const [packetId, isReleased] = states.get(number) ?? [0, 0];
        const released = isReleased === 1;
        const id = cluster.nextOutgoingId();
        arrivals.messages.set(id, { number, size: bytes.length, numbered: undefined, packetId, released });
        all.push({ ...message, id, packetId, released });
        from = number + 1;
      }
      arrivals.delivered = Math.max(arrivals.delivered, from - 1);
      if (page.length < PAGE) return all;
    }
  }

  /**
   * Sees to the will of a connection that the session had at another node. If that is dead, the will is published if it is
   * due, or the session over; otherwise that node sees to it. Returns the will that goes on waiting.
   */
  async #mourn(former: FormerSession): Promise<Will | undefined> {
    const { will, home, node, claim, isDurable, disconnectedAt } = former;
    if (will === undefined || home === this.#options.nodeId) return will;
    const delay = (will.properties?.willDelayInterval ?? 0) * 1000;
    const endedAt = node === "" ? disconnectedAt ?? 0 : Date.now();
    const isOver = !isDurable || hasExpired(former);
    if (!isOver && endedAt + delay > Date.now()) {
      if (node !== "") await this.#wills.forget(claim);
      return will;
    }
    if (node !== "") await this.#wills.wait(claim);
    else if (!await this.#wills.isAlive(home, claim)) this.#options.publishWill(will);
    return undefined;
  }
}

function hasExpired({ expiryInterval, disconnectedAt }: StoredSession): boolean {
  if (disconnectedAt === undefined || expiryInterval === NEVER_EXPIRES) return false;
  return disconnectedAt + expiryInterval * 1000 <= Date.now();
}

function unavailable(): ReasonCodeError {
  return new ReasonCodeError(ReasonCode.ServerUnavailable, "sessions cannot be reached at the moment");
}
