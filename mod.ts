/**
 * HookMQ: an MQTT 3.1, 3.1.1 and 5.0 broker for Deno that is extended with plain objects.
 *
 * @example A broker with a hook of its own
 * ```ts
 * import { Broker } from "@hookmq/broker";
 *
 * await using broker = new Broker();
 * await broker.use({
 *   id: "shout",
 *   onPublishReceived: (_client, packet) => ({ ...packet, topic: packet.topic.toUpperCase() }),
 * });
 * await broker.listen({ port: 0 });
 * ```
 *
 * @module
 */
export { Broker } from "./broker/broker.ts";
export type {
  BrokerHealth,
  BrokerStats,
  LocalSubscription,
  NetworkListenOptions,
  PublishOptions,
  SubscribeOptions,
} from "./broker/broker.ts";
export type { Counters } from "./broker/broker_context.ts";
export type {
  AuthExchange,
  AuthStep,
  ClientInfo,
  ClusterContext,
  DropReason,
  Forwarded,
  ForwardedToSession,
  Hook,
  HookContext,
  HookHealth,
  QueuedMessage,
  RemoteMessage,
  RemoteSubscriber,
  RestoredSession,
  SessionClaim,
  StoredMessage,
  StoredOutgoing,
  StoredSession,
  StoredSubscription,
} from "./broker/hooks.ts";
export { defaultLimits } from "./broker/limits.ts";
export type { Limits } from "./broker/limits.ts";
export type { Listener, NetworkAddress, Peer, UnixAddress } from "./broker/listener.ts";
export type { ProxyProtocolOptions } from "./broker/listeners/proxy_protocol.ts";
export type { TcpListenOptions } from "./broker/listeners/tcp.ts";
export type { TlsListenOptions } from "./broker/listeners/tls.ts";
export type { TlsOptions } from "./broker/listeners/tls_context.ts";
export type { UnixListenOptions } from "./broker/listeners/unix.ts";
export type { SecureWebSocketListenOptions, WebSocketListenOptions } from "./broker/listeners/web_socket.ts";
export type { MessageHandler } from "./broker/local_subscriber.ts";
export type { Logger } from "./broker/logger.ts";
export type { MaybePromise } from "./broker/maybe_promise.ts";
export type { BrokerOptions, QueuePolicy } from "./broker/options.ts";
export type { Duplex } from "./broker/transport.ts";
export * from "./codec/mod.ts";
