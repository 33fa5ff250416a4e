/** The names of what a cluster keeps in Redis, besides its sessions. */
export class NodeKeys {
  readonly #prefix: string;
  /** STRING: tells this cluster's data from others, and from none. */
  readonly cluster: string;
  /** HASH: the incarnations of the nodes, by their ids. */
  readonly nodes: string;
  /** SET: topics with a retained message. */
  readonly retainedIndex: string;
  /** Channel: what every node has to know. */
  readonly events: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
    this.cluster = `${prefix}cluster`;
    this.nodes = `${prefix}nodes`;
    this.retainedIndex = `${prefix}retained:_idx`;
    this.events = `${prefix}events`;
  }

  /** STRING that expires: a node's heartbeat. */
  node(nodeId: string): string {
    return `${this.#prefix}node:${nodeId}`;
  }

  /** HASH: a node's subscribers that have no durable session, by topic filter. */
  routes(nodeId: string): string {
    return `${this.#prefix}routes:${nodeId}`;
  }

  /** STREAM: QoS 1 and 2 messages for those subscribers. */
  inbox(nodeId: string): string {
    return `${this.#prefix}inbox:${nodeId}`;
  }

  /** Channel: QoS 0 messages for a node, and what else only that one has to know. */
  fanout(nodeId: string): string {
    return `${this.#prefix}fanout:${nodeId}`;
  }

  /** SET: client ids whose sessions a node looks after. */
  sessions(nodeId: string): string {
    return `${this.#prefix}sessions:${nodeId}`;
  }

  /** STRING: a retained message. */
  retained(topic: string): string {
    const key = `${this.#prefix}retained:${topic}`;
    // Clients may publish on any topic; none has a wildcard in its name.
    return key === this.retainedIndex ? `${key}#` : key;
  }
}
