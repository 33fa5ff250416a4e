import type { RestoredSession } from "../../broker/hooks.ts";
import type { Claims } from "./claims.ts";
import type { LocalSession } from "./local_session.ts";
import type { LocalSessions } from "./local_sessions.ts";
import { publishNow } from "./publish.ts";
import { placeEvent, type RemoteSessions } from "./remote_sessions.ts";
import { scanSet } from "./scan.ts";
import { adoptScript, reclaimScript, type SessionFields } from "./scripts.ts";
import type { SessionOptions } from "./session_options.ts";
import { type FormerSession, formerSession, toText } from "./stored_values.ts";
import type { TakenWills } from "./taken_wills.ts";

/** So many sessions are looked after at the same time. */
const PAGE = 100;

/** So many are looked at in one round of the check; the next round goes on behind them. */
const CHECKED_AT_ONCE = 1000;

/** Looks after sessions when something has happened to a node, to Redis, or to the way between them. */
export class SessionCare {
  readonly #options: SessionOptions;
  readonly #local: LocalSessions;
  readonly #remote: RemoteSessions;
  readonly #claims: Claims;
  readonly #wills: TakenWills;
  #unchecked: IteratorObject<LocalSession> | undefined;

  constructor(
    options: SessionOptions,
    local: LocalSessions,
    remote: RemoteSessions,
    claims: Claims,
    wills: TakenWills,
  ) {
    this.#options = options;
    this.#local = local;
    this.#remote = remote;
    this.#claims = claims;
    this.#wills = wills;
    // Messages may have come while nothing was heard.
    options.link.onReady(() => {
      for (const { arrivals } of local) arrivals.catchUp();
    });
  }

  /** Gives the broker back what this node looked after in an earlier life. */
  async restore(restoreSession: (session: RestoredSession) => void): Promise<void> {
    const { nodeId } = this.#options;
    await this.#forEachOf(nodeId, (clientId) => this.#adopt(nodeId, clientId, restoreSession));
  }

  /** Takes over the sessions of a dead node: they expire here, and their wills are published here. */
  async adopt(nodeId: string): Promise<void> {
    const { link, keys, cluster, nodeId: ownId } = this.#options;
    await this.#forEachOf(nodeId, async (clientId) => {
      // What is changed of it comes first. It is not waited for, for that may be until all this is done: the next round
      // finds the session.
      if (this.#local.isChanging(clientId)) return;
      await link.call("SADD", keys.ofNode(ownId), clientId);
      const outcome = await this.#adopt(nodeId, clientId, (session) => {
        cluster.adoptSession(session);
        this.#remote.remove(clientId);
      });
      if (outcome !== "adopted" && this.#local.get(clientId) === undefined) this.#local.forget(clientId);
      if (outcome !== "alive") await link.call("SREM", keys.ofNode(nodeId), clientId);
    });
  }

  /**
   * Redis is there again, and has lost nothing. Sessions that others have looked after meanwhile are taken back; those that
   * their clients have gone away with are given up. What the broker does not know, of claims whose answers were lost, it is
   * given.
   */
  async reconcile(): Promise<void> {
    const { cluster, nodeId } = this.#options;
    await inPages([...this.#local], (local) => this.#reclaim(local));
    await this.#forEachOf(nodeId, async (clientId) => {
      if (this.#local.get(clientId) !== undefined) return;
      const outcome = await this.#adopt(nodeId, clientId, (session) => {
        cluster.adoptSession(session);
        this.#remote.remove(clientId);
      });
      if (outcome !== "adopted") this.#local.forget(clientId);
    });
  }

  /** Redis is there again, and empty: what is in memory is stored once more. */
  async upload(): Promise<void> {
    const renewed = [...this.#local].map((former) => this.#renew(former));
    await inPages(renewed, (local) => this.#claims.claimLate(local));
    this.#options.cluster.storeSessionsAgain();
  }

  /** Looks at sessions here, at all of them in the course of some rounds, as {@linkcode check} does at one. */
  async checkRound(): Promise<void> {
    this.#unchecked ??= this.#local[Symbol.iterator]();
    const round = [...this.#unchecked.take(CHECKED_AT_ONCE)];
    if (round.length < CHECKED_AT_ONCE) this.#unchecked = undefined;
    await inPages(round, (local) => this.check(local.clientId));
  }

  /** Looks whether a session here still is ours, and whether messages for it were lost on their way. */
  async check(clientId: string): Promise<void> {
    const { link, keys } = this.#options;
    const local = this.#local.entered(clientId);
    const claim = local?.claim;
    if (local === undefined || claim === undefined || !link.isConnected) return;
    const fields = await link.call("HMGET", keys.session(clientId), "epoch", "last") as (Uint8Array | null)[];
    // Its end may be on its way.
    if (this.#local.entered(clientId) !== local || local.claim !== claim) return;
    const [epoch, last] = fields.map(toText);
    if (epoch !== claim) await this.#reclaim(local);
    else if (local.arrivals.isOpen && Number(last) > local.arrivals.delivered) local.arrivals.catchUp();
  }

  async #reclaim(local: LocalSession): Promise<void> {
    const { link, keys, nodeKeys, nodeId } = this.#options;
    const { clientId, claim, isConnected } = local;
    if (local.isClaiming || local.isLost) return;
    if (claim === undefined) return await this.#claims.claimLate(local);
    const node = isConnected ? nodeId : "";
    await link.call("SADD", keys.ofNode(nodeId), clientId);
    const outcome = await link.run(reclaimScript, [keys.session(clientId)], [
      clientId,
      claim,
      nodeId,
      node,
      nodeKeys.fanout(""),
    ]);
    // Its end may be on its way.
    if (this.#local.entered(clientId) !== local || local.claim !== claim) return;
    if (outcome === 2) {
      local.arrivals.catchUp();
      if (local.isDurable) publishNow(link, nodeKeys.events, placeEvent(clientId, nodeId, node));
    }
    if (outcome === 0) return this.#local.lose(local, "");
    if (outcome !== -1) return;
    // Who has only looked after it has ended it: of one that is not durable nothing is lost by that.
    if (!local.isDurable) return await this.#claims.claimLate(local);
    // Otherwise Redis has lost everything, and is told again; if not, the next change finds out.
    if (!isConnected) this.#local.lose(local, "");
  }

  /** The same session as one that Redis does not know: what was being changed of it before has no meaning any more. */
  #renew(former: LocalSession): LocalSession {
    const local = this.#local.add(former.clientId);
    former.isLost = true;
    former.claim = undefined;
    former.arrivals.close();
    local.isDurable = former.isDurable;
    local.isConnected = former.isConnected;
    local.connectedAt = former.connectedAt;
    local.will = former.will;
    for (const [topicFilter, subscription] of former.subscriptions) local.subscriptions.set(topicFilter, subscription);
    if (former.isDurable && former.isConnected) local.arrivals.open();
    return local;
  }

  /** Returns what came of it: the session may be another node's, or the node not dead at all. */
  async #adopt(
    deadNodeId: string,
    clientId: string,
    give: (session: RestoredSession) => void,
  ): Promise<"adopted" | "elsewhere" | "alive"> {
    const { link, keys, nodeKeys, nodeId } = this.#options;
    const claim = this.#local.nextClaim();
    const scriptKeys = [keys.session(clientId)];
    if (deadNodeId !== nodeId) {
      const heartbeat = nodeKeys.node(deadNodeId);
      if (!link.isCluster) scriptKeys.push(heartbeat);
      else if (await link.call("EXISTS", heartbeat) === 1) return "alive";
    }
    const adopted = await link.run(adoptScript, scriptKeys, [deadNodeId, nodeId, claim]);
    if (adopted === null) return "elsewhere";
    if (adopted === 0) return "alive";
    const [fields, taken] = adopted as [SessionFields, Uint8Array[]];
    this.#wills.addStored(clientId, taken);
    const former = formerSession(clientId, fields);
    if (former.isDurable) publishNow(link, nodeKeys.events, placeEvent(clientId, nodeId, ""));
    const subscriptions = former.isDurable ? await this.#remote.readSubscriptions(clientId) : [];
    // The client itself may have come meanwhile, too late to be told of the will that its connection there had.
    if (this.#local.get(clientId) !== undefined) {
      if (isWillDue(former)) this.#options.publishWill(former.will!);
      return "adopted";
    }
    const local = this.#local.add(clientId);
    local.claimedAs(claim);
    local.isDurable = former.isDurable;
    local.will = former.will;
    for (const subscription of subscriptions) local.subscriptions.set(subscription.topicFilter, subscription);
    give({ ...former, subscriptions, outgoing: [], received: [] });
    this.#local.giveUpIfTaken(local, claim);
    return "adopted";
  }

  async #forEachOf(nodeId: string, act: (clientId: string) => Promise<unknown>): Promise<void> {
    const { link, keys } = this.#options;
    for await (const clientIds of scanSet(link, keys.ofNode(nodeId))) await inPages(clientIds, act);
  }
}

/** Whether the will of a connection is due as soon as its node has died. */
function isWillDue({ will, node, isDurable }: FormerSession): boolean {
  return will !== undefined && node !== "" && (!isDurable || !will.properties?.willDelayInterval);
}

async function inPages<T>(items: readonly T[], act: (item: T) => Promise<unknown>): Promise<void> {
  for (let from = 0; from < items.length; from += PAGE) await Promise.all(items.slice(from, from + PAGE).map(act));
}
