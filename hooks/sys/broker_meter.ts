import type { Broker } from "../../broker/broker.ts";

/** What a broker holds and has done: what both the `$SYS` topics and the Prometheus page are made of. */
export interface BrokerMetrics {
  /** Whole seconds since the hook was added. */
  uptime: number;
  /** Clients that are connected. */
  clientsConnected: number;
  /** Sessions whose client is not connected. */
  clientsDisconnected: number;
  /** Sessions, of connected clients and of others. */
  clientsTotal: number;
  /** The most clients that were connected at the same time since the hook was added. */
  clientsMaximum: number;
  /** Times that a client was let in since the hook was added. */
  clientsAdmitted: number;
  /** Connections that are open, also those that have not become a client yet. */
  connections: number;
  /** Connections that were accepted, whether or not they became a client. */
  connectionsAccepted: number;
  /** Connections that were closed at once, since a limit was reached. */
  connectionsRefused: number;
  /** PUBLISH packets from clients. */
  publishReceived: number;
  /** PUBLISH packets to clients. */
  publishSent: number;
  /** Messages that did not reach a client. */
  publishDropped: number;
  /** Bytes from clients. */
  bytesReceived: number;
  /** Bytes to clients. */
  bytesSent: number;
  /** Subscriptions of all sessions and of the embedding program. */
  subscriptions: number;
  /** Topics with a retained message. */
  retainedMessages: number;
  /** Messages that wait in the sessions' queues; one that waits in several counts in each of them. */
  queuedMessages: number;
  /** Memory that JavaScript objects use, in bytes. */
  heapSize: number;
  /** The most of it that was found in use since the hook was added, in bytes. */
  heapMaximum: number;
}

/** Reads a broker's figures, and keeps the ones that the broker does not. */
export class BrokerMeter {
  readonly #broker: Broker;
  readonly #startedAt = performance.now();
  #connected: number;
  #clientsMaximum: number;
  #clientsAdmitted = 0;
  #heapMaximum = 0;

  constructor(broker: Broker) {
    this.#broker = broker;
    this.#connected = this.#clientsMaximum = broker.stats().clients;
  }

  /** A client has connected. */
  clientConnected(): void {
    this.#clientsAdmitted += 1;
    this.#connected += 1;
    if (this.#connected > this.#clientsMaximum) this.#clientsMaximum = this.#connected;
  }

  /** A client is gone. */
  clientDisconnected(): void {
    this.#connected -= 1;
  }

  /** The figures as of now. It looks at every session: for once in a while. */
  read(): BrokerMetrics {
    const stats = this.#broker.stats();
    const { heapUsed } = Deno.memoryUsage();
    this.#heapMaximum = Math.max(this.#heapMaximum, heapUsed);
    // Clients that came while the hook was being added have not been told to us.
    this.#connected = stats.clients;
    this.#clientsMaximum = Math.max(this.#clientsMaximum, stats.clients);
    return {
      uptime: Math.floor((performance.now() - this.#startedAt) / 1000),
      clientsConnected: stats.clients,
      clientsDisconnected: stats.sessions - stats.clients,
      clientsTotal: stats.sessions,
      clientsMaximum: this.#clientsMaximum,
      clientsAdmitted: this.#clientsAdmitted,
      connections: stats.connections,
      connectionsAccepted: stats.connectionsAccepted,
      connectionsRefused: stats.connectionsRefused,
      publishReceived: stats.messagesReceived,
      publishSent: stats.messagesSent,
      publishDropped: stats.messagesDropped,
      bytesReceived: stats.bytesReceived,
      bytesSent: stats.bytesSent,
      subscriptions: stats.subscriptions,
      retainedMessages: stats.retainedMessages,
      queuedMessages: stats.queuedMessages,
      heapSize: heapUsed,
      heapMaximum: this.#heapMaximum,
    };
  }
}
