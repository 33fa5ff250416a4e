import mqtt, {
  type IClientOptions,
  type IConnackPacket,
  type IPublishPacket,
  type MqttClient,
  type MqttClientEventCallbacks,
} from "mqtt";
import { type BrokerProcess, withDeadline } from "./programs.ts";

/** A message as a client got it. */
export interface Received extends Pick<IPublishPacket, "topic" | "qos" | "retain" | "properties"> {
  payload: string;
}

/** A connected client of MQTT.js. Disposing it drops its connection without a DISCONNECT, if it is still there. */
export interface TestClient extends AsyncDisposable {
  readonly client: MqttClient;
  readonly connack: IConnackPacket;
  /** Resolves with the next message that has not been taken yet. */
  next(): Promise<Received>;
  /** Resolves with as many messages. */
  take(count: number): Promise<Received[]>;
}

/** Connects MQTT.js at a protocol version, without reconnecting; the client id is a new one unless it is given. */
export async function connect(
  { port }: BrokerProcess,
  options: IClientOptions & { protocolVersion: 3 | 4 | 5 },
): Promise<TestClient> {
  const protocolId = options.protocolVersion === 3 ? "MQIsdp" : "MQTT";
  const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, {
    protocolId,
    reconnectPeriod: 0,
    manualConnect: true,
    ...options,
  });
  const received: Received[] = [];
  let arrived = Promise.withResolvers<void>();
  client.on("message", (topic, payload, { qos, retain, properties }) => {
    received.push({ topic, payload: payload.toString(), qos, retain, properties });
    arrived.resolve();
    arrived = Promise.withResolvers();
  });
  const connected = Promise.withResolvers<IConnackPacket>();
  client.once("connect", connected.resolve);
  client.once("error", connected.reject);
  client.connect();
  const next = async () => {
    while (received.length === 0) await withDeadline(arrived.promise, () => "a message");
    return received.shift()!;
  };
  return {
    client,
    connack: await withDeadline(connected.promise, () => 'the event "connect"'),
    next,
    take: async (count) => {
      const messages: Received[] = [];
      while (messages.length < count) messages.push(await next());
      return messages;
    },
    [Symbol.asyncDispose]: () => client.endAsync(true),
  };
}

/** Resolves with the value of the next event of this name. */
export function event<Name extends keyof MqttClientEventCallbacks>(
  client: MqttClient,
  name: Name,
): Promise<Parameters<MqttClientEventCallbacks[Name]>[0]> {
  const { promise, resolve } = Promise.withResolvers<Parameters<MqttClientEventCallbacks[Name]>[0]>();
  client.once(name, resolve as MqttClientEventCallbacks[Name]);
  return withDeadline(promise, () => `the event "${name}"`);
}
