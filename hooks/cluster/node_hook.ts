import type { Hook } from "../../broker/hooks.ts";
import type { PublishPacket } from "../../codec/mod.ts";
import type { ClusterHealth, ClusterNode } from "./cluster_node.ts";
import { type NodeOptions, type RedisClient, resolveNodeOptions } from "./options.ts";

/** A hook that makes its broker a node. */
export interface NodeHook extends Hook {
  readonly client: RedisClient;
  readonly nodeId: string;
  getActiveNodes(): Promise<string[]>;
  queueMessage(clientId: string, packet: PublishPacket): Promise<void>;
  trackInflight(clientId: string, packetId: number, packet: PublishPacket): Promise<void>;
  ackInflight(clientId: string, packetId: number): Promise<void>;
  storeRetained(topic: string, packet: PublishPacket): Promise<void>;
  getRetained(topicFilter: string): Promise<PublishPacket[]>;
  health(): ClusterHealth;
}

/** @param forwards Whether messages go from node to node. */
export function nodeHook(id: string, options: NodeOptions, forwards: boolean): NodeHook {
  const { nodeId } = options;
  let started: ClusterNode | undefined;
  const node = () => {
    if (started === undefined) throw new Error(`hook "${id}" is not in use: add it to a broker`);
    return started;
  };
  const sessions = () => node().sessions.hook;
  return {
    id,
    nodeId,
    restoresRetained: true,
    async init(context) {
      // The client library takes its time, and who uses another hook has none to spare for it.
      const { ClusterNode } = await import("./cluster_node.ts");
      started = new ClusterNode(await resolveNodeOptions(options, forwards), context);
      await started.start();
    },
    async stop() {
      await started?.stop();
      started = undefined;
    },
    health: () => node().health(),

    get client() {
      return node().client;
    },
    // deno-lint-ignore require-await
    getActiveNodes: async () => node().alive(),
    storeRetained: async (topic, packet) => await node().retained.store(topic, packet),
    // deno-lint-ignore require-await
    getRetained: async (topicFilter) => node().retained.matching(topicFilter),

    queueMessage: (clientId, packet) => node().sessions.queueMessage(clientId, packet),
    trackInflight: (clientId, packetId, packet) => node().sessions.trackInflight(clientId, packetId, packet),
    ackInflight: (clientId, packetId) => node().sessions.ackInflight(clientId, packetId),

    claimSession: (client, claim) => sessions().claimSession(client, claim),
    onSessionEnded: (clientId) => sessions().onSessionEnded(clientId),
    storeSession: (session) => sessions().storeSession(session),
    removeSession: (clientId) => sessions().removeSession(clientId),
    storeSubscriptions: (clientId, subscriptions) => sessions().storeSubscriptions(clientId, subscriptions),
    removeSubscriptions: (clientId, topicFilters) => sessions().removeSubscriptions(clientId, topicFilters),
    queueOutgoing: (clientId, queued) => sessions().queueOutgoing(clientId, queued),
    storeOutgoing: (clientId, outgoing) => sessions().storeOutgoing(clientId, outgoing),
    removeOutgoing: (clientId, outgoing) => sessions().removeOutgoing(clientId, outgoing),
    storeReceived: (clientId, packetId) => sessions().storeReceived(clientId, packetId),
    removeReceived: (clientId, packetId) => sessions().removeReceived(clientId, packetId),

    ...(forwards && {
      onRouteChanged: (topicFilter, maximumQos, members) => node().routeChanged(topicFilter, maximumQos, members),
      routesKnown: () => node().routesKnown(),
    } satisfies Partial<Hook>),
  };
}
