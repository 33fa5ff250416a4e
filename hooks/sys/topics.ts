import type { SysLoad, SysMetrics } from "../sys.ts";
import type { LoadAverages } from "./load_average.ts";

/** What is published on which topic below the prefix: mosquitto's names, and its notation of the values. */
const topics: Record<string, (metrics: SysMetrics) => string | number> = {
  "version": ({ version }) => version,
  "uptime": ({ uptime }) => `${uptime} seconds`,
  "clients/total": ({ clientsTotal }) => clientsTotal,
  "clients/maximum": ({ clientsMaximum }) => clientsMaximum,
  "clients/connected": ({ clientsConnected }) => clientsConnected,
  "clients/active": ({ clientsConnected }) => clientsConnected,
  "clients/disconnected": ({ clientsDisconnected }) => clientsDisconnected,
  "clients/inactive": ({ clientsDisconnected }) => clientsDisconnected,
  "clients/expired": ({ sessionsExpired }) => sessionsExpired,
  "bytes/received": ({ bytesReceived }) => bytesReceived,
  "bytes/sent": ({ bytesSent }) => bytesSent,
  "messages/received": ({ packetsReceived }) => packetsReceived,
  "messages/sent": ({ packetsSent }) => packetsSent,
  "publish/messages/received": ({ publishReceived }) => publishReceived,
  "publish/messages/sent": ({ publishSent }) => publishSent,
  "publish/messages/dropped": ({ publishDropped }) => publishDropped,
  "publish/bytes/received": ({ publishBytesReceived }) => publishBytesReceived,
  "publish/bytes/sent": ({ publishBytesSent }) => publishBytesSent,
  "messages/stored": storedMessages,
  "store/messages/count": storedMessages,
  "store/messages/bytes": ({ queuedBytes }) => queuedBytes,
  "retained messages/count": ({ retainedMessages }) => retainedMessages,
  "subscriptions/count": ({ subscriptions }) => subscriptions,
  "shared_subscriptions/count": ({ sharedSubscriptions }) => sharedSubscriptions,
  "heap/current": ({ heapSize }) => heapSize,
  "heap/maximum": ({ heapMaximum }) => heapMaximum,
};

const loadTopics: Record<keyof SysLoad, string> = {
  bytesReceived: "load/bytes/received",
  bytesSent: "load/bytes/sent",
  packetsReceived: "load/messages/received",
  packetsSent: "load/messages/sent",
  publishReceived: "load/publish/received",
  publishSent: "load/publish/sent",
  publishDropped: "load/publish/dropped",
  connectsReceived: "load/connections",
  connectionsAccepted: "load/sockets",
};

const windowTopics: Record<keyof LoadAverages, string> = {
  oneMinute: "1min",
  fiveMinutes: "5min",
  fifteenMinutes: "15min",
};

/** Topics below the prefix, and what is to be published on them. */
export function* sysTopics(metrics: SysMetrics): Generator<[topic: string, payload: string]> {
  for (const [topic, value] of Object.entries(topics)) yield [topic, String(value(metrics))];
  for (const [figure, topic] of entries(loadTopics)) {
    for (const [window, level] of entries(windowTopics)) {
      yield [`${topic}/${level}`, metrics.load[figure][window].toFixed(2)];
    }
  }
}

/** What the broker keeps for later: retained messages, and those that wait for a client. */
function storedMessages({ retainedMessages, queuedMessages }: SysMetrics): number {
  return retainedMessages + queuedMessages;
}

function entries<K extends string, V>(record: Record<K, V>): [K, V][] {
  return Object.entries(record) as [K, V][];
}
