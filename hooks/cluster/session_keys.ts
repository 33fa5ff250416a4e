/** The names of the keys that sessions are kept under. */
export class SessionKeys {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  /** The ids of the clients whose sessions a node looks after. SET */
  ofNode(nodeId: string): string {
    return `${this.#prefix}sessions:${nodeId}`;
  }

  /** Where a session is, and what it is. HASH */
  session(clientId: string): string {
    return this.#ofClient("session", clientId);
  }

  /** A session's subscriptions, by topic filter. HASH */
  subscriptions(clientId: string): string {
    return this.#ofClient("subs", clientId);
  }

  /** The messages on their way to a client, under their numbers. STREAM */
  queue(clientId: string): string {
    return this.#ofClient("queue", clientId);
  }

  /** The packet identifiers of those messages that have one, by number. HASH */
  inflight(clientId: string): string {
    return this.#ofClient("inflight", clientId);
  }

  /** The packet identifiers of the QoS 2 messages that a client has sent and not released. SET */
  received(clientId: string): string {
    return this.#ofClient("received", clientId);
  }

  /** All of a session's keys, in the order in which scripts take them. */
  all(clientId: string): string[] {
    return [
      this.session(clientId),
      this.subscriptions(clientId),
      this.queue(clientId),
      this.inflight(clientId),
      this.received(clientId),
    ];
  }

  /** The braces put all keys of a client into one hash slot of a Redis Cluster: no brace of its own may end them before. */
  #ofClient(kind: string, clientId: string): string {
    const escaped = clientId.replace(/[%}]/g, (character) => character === "%" ? "%25" : "%7D");
    return `${this.#prefix}${kind}:{${escaped}}`;
  }
}
