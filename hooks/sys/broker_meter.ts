import type { Broker } from "../../broker/broker.ts";

/**
 * What a broker holds and has done: what both the `$SYS` topics and the Prometheus page are made of.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type BrokerMetrics, sysHook } from "@hookmq/broker/hooks";
 *
 * const sys = sysHook();
 * await using broker = new Broker();
 * await broker.use(sys);
 * const { uptime, clientsMaximum, heapMaximum }: BrokerMetrics = sys.metrics();
 * console.log(`${uptime} s, at most ${clientsMaximum} clients and ${Math.round(heapMaximum / 2 ** 20)} MiB`);
 * ```
 */
export interface BrokerMetrics {
  /** Whole seconds since the broker was made. */
  uptime: number;
  /** Clients that are connected. */
  clientsConnected: number;
  /** Sessions whose client is not connected. */
  clientsDisconnected: number;
  /** Sessions, of connected clients and of others. */
  clientsTotal: number;
  /** The most clients that were connected at the same time. */
  clientsMaximum: number;
  /** Connections that are open, also those that have not become a client yet. */
  connections: number;
  /** Connections that were accepted, whether or not they became a client. */
  connectionsAccepted: number;
  /** Connections that were closed at once, since a limit was reached. */
  connectionsRefused: number;
  /** CONNECT packets from clients, whatever became of them. */
  connectsReceived: number;
  /** Sessions that ended since their expiry interval had passed. */
  sessionsExpired: number;
  /** Packets of any kind from clients. */
  packetsReceived: number;
  /** Packets of any kind to clients. */
  packetsSent: number;
  /** PUBLISH packets from clients. */
  publishReceived: number;
  /** PUBLISH packets to clients. */
  publishSent: number;
  /** Messages that did not reach a client. */
  publishDropped: number;
  /** Bytes of payload in PUBLISH packets from clients. */
  publishBytesReceived: number;
  /** Bytes of payload in PUBLISH packets to clients. */
  publishBytesSent: number;
  /** Bytes from clients. */
  bytesReceived: number;
  /** Bytes to clients. */
  bytesSent: number;
  /** Subscriptions of all sessions and of the embedding program. */
  subscriptions: number;
  /** How many of those are shared; each member of a group counts. */
  sharedSubscriptions: number;
  /** Topics with a retained message. */
  retainedMessages: number;
  /** Messages that wait in the sessions' queues; one that waits in several counts in each of them. */
  queuedMessages: number;
  /** How much memory those take, in bytes. */
  queuedBytes: number;
  /** Memory that JavaScript objects use, in bytes. */
  heapSize: number;
  /** The most of it that was found in use since the hook was added, in bytes. */
  heapMaximum: number;
}

/** Reads a broker's figures, and those of the memory. */
export class BrokerMeter {
  readonly #broker: Broker;
  #heapMaximum = 0;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /** The figures as of now. It looks at every session: for once in a while. */
  read(): BrokerMetrics {
    const stats = this.#broker.stats();
    const { heapUsed } = Deno.memoryUsage();
    this.#heapMaximum = Math.max(this.#heapMaximum, heapUsed);
    return {
      // Never negative, also if the clock has been put back.
      uptime: Math.max(0, Math.floor((Date.now() - stats.startedAt) / 1000)),
      clientsConnected: stats.clients,
      clientsDisconnected: stats.sessions - stats.clients,
      clientsTotal: stats.sessions,
      clientsMaximum: stats.clientsMaximum,
      connections: stats.connections,
      connectionsAccepted: stats.connectionsAccepted,
      connectionsRefused: stats.connectionsRefused,
      connectsReceived: stats.connectsReceived,
      sessionsExpired: stats.sessionsExpired,
      packetsReceived: stats.packetsReceived,
      packetsSent: stats.packetsSent,
      publishReceived: stats.messagesReceived,
      publishSent: stats.messagesSent,
      publishDropped: stats.messagesDropped,
      publishBytesReceived: stats.payloadBytesReceived,
      publishBytesSent: stats.payloadBytesSent,
      bytesReceived: stats.bytesReceived,
      bytesSent: stats.bytesSent,
      subscriptions: stats.subscriptions,
      sharedSubscriptions: stats.sharedSubscriptions,
      retainedMessages: stats.retainedMessages,
      queuedMessages: stats.queuedMessages,
      queuedBytes: stats.queuedBytes,
      heapSize: heapUsed,
      heapMaximum: this.#heapMaximum,
    };
  }
}
