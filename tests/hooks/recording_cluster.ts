import type {
  ClusterContext,
  RemoteSubscriber,
  RestoredSession,
  StoredMessage,
  StoredOutgoing,
  StoredSubscription,
} from "../../broker/hooks.ts";

/** A message that came for a session. */
export interface Delivered {
  readonly clientId: string;
  readonly outgoing: StoredOutgoing;
  readonly isAdmitted: boolean;
}

/** What a broker offers the hook of a cluster, without the broker: it keeps what it is told. */
export class RecordingCluster implements ClusterContext {
  readonly delivered: Delivered[] = [];
  readonly adopted: RestoredSession[] = [];
  readonly released: string[] = [];
  /** By client id, what sessions at other nodes are subscribed to. */
  readonly remote = new Map<string, { subscriber: RemoteSubscriber; topicFilters: Set<string> }>();
  /** How often a session at another node was subscribed. */
  added = 0;
  storedAgain = 0;
  observesDrops = true;
  /** How many messages were dropped from full queues. */
  dropped = 0;
  /** Those of them that hooks would have been told of. */
  readonly told: { clientId: string; message: StoredMessage }[] = [];
  #lastId = 0;

  /** The payloads of the messages that came for a session, in their order. */
  payloads(clientId: string): string[] {
    return this.delivered.filter((each) => each.clientId === clientId)
      .map(({ outgoing }) => new TextDecoder().decode(outgoing.message.packet.payload));
  }

  addSubscription(subscriber: RemoteSubscriber, { topicFilter }: StoredSubscription): void {
    this.added += 1;
    const known = this.remote.get(subscriber.clientId!) ?? { subscriber, topicFilters: new Set() };
    known.topicFilters.add(topicFilter);
    this.remote.set(subscriber.clientId!, known);
  }

  removeSubscription(subscriber: RemoteSubscriber, topicFilter: string): void {
    const known = this.remote.get(subscriber.clientId!);
    known?.topicFilters.delete(topicFilter);
    if (known?.topicFilters.size === 0) this.remote.delete(subscriber.clientId!);
  }

  deliverForwarded(): void {}

  deliverQueued(clientId: string, outgoing: StoredOutgoing, isAdmitted: boolean): void {
    this.delivered.push({ clientId, outgoing, isAdmitted });
  }

  nextOutgoingId(): number {
    return ++this.#lastId;
  }

  adoptSession(session: RestoredSession): void {
    this.adopted.push(session);
  }

  releaseSession(clientId: string): void {
    this.released.push(clientId);
  }

  setRetained(): void {}

  *retained(): Generator<StoredMessage> {}

  countDropped(count: number): void {
    this.dropped += count;
  }

  tellDropped(clientId: string, message: StoredMessage): void {
    this.told.push({ clientId, message });
  }

  storeSessionsAgain(): void {
    this.storedAgain += 1;
  }
}
