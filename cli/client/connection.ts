import { Buffer } from "node:buffer";
import mqtt, { type IClientOptions, type MqttClient, type Packet } from "mqtt";
import { hostAndPort } from "../../broker/listeners/host_and_port.ts";
import { type ClientOptions, neverExpires } from "../client.ts";
import { Failure } from "../failure.ts";
import { refusal } from "../refusal.ts";
import { brokerAddress } from "./broker_address.ts";

/**
 * Makes an MQTT client that is not connected yet; {@linkcode connect} connects it.
 *
 * @throws {Failure} If the options do not go together, with exit code 2, or a certificate cannot be read.
 */
export async function createClient(options: ClientOptions): Promise<MqttClient> {
  assertConsistent(options);
  const { host, username = options.username, password = options.pw, ...address } = await brokerAddress(options);
  if (password !== undefined && username === undefined && options.protocolVersion !== 5) {
    throw new Failure("-P needs a user name before MQTT 5: add -u", 2);
  }
  const clientId = options.id ?? `hookmq-${crypto.randomUUID().slice(0, 8)}`;
  const client = mqtt.connect({
    manualConnect: true,
    reconnectPeriod: 0,
    ...address,
    host,
    // Over WebSocket the name is put into a URL.
    hostname: address.protocol.startsWith("ws") && host.includes(":") ? `[${host}]` : host,
    protocolVersion: options.protocolVersion,
    protocolId: options.protocolVersion === 3 ? "MQIsdp" : "MQTT",
    clientId,
    clean: !options.disableCleanSession,
    keepalive: options.keepalive,
    username,
    password,
    properties: connectProperties(options),
    will: will(options),
  });
  if (options.debug) {
    client.on("packetsend", (packet) => console.error(`Client ${clientId} sending ${describe(packet)}`));
    client.on("packetreceive", (packet) => console.error(`Client ${clientId} received ${describe(packet)}`));
  }
  return client;
}

function assertConsistent(options: ClientOptions): void {
  if (options.disableCleanSession && options.id === undefined) {
    throw new Failure("-c needs a client id, under which the session is found again: add -i", 2);
  }
  if (options.sessionExpiryInterval !== undefined && options.protocolVersion !== 5) {
    throw new Failure("-x is an MQTT 5 property: add -V mqttv5", 2);
  }
  if (options.willTopic === undefined && (options.willPayload !== undefined || options.willRetain)) {
    throw new Failure("a will needs a topic: add --will-topic", 2);
  }
}

function connectProperties(options: ClientOptions): IClientOptions["properties"] {
  if (options.protocolVersion !== 5) return undefined;
  return { sessionExpiryInterval: options.sessionExpiryInterval ?? (options.disableCleanSession ? neverExpires : 0) };
}

function will(options: ClientOptions): IClientOptions["will"] {
  if (options.willTopic === undefined) return undefined;
  return {
    topic: options.willTopic,
    payload: Buffer.from(options.willPayload ?? ""),
    qos: options.willQos,
    retain: options.willRetain === true,
  };
}

/** A packet in a few words, as mosquitto's clients print it with `-d`. */
function describe(packet: Packet): string {
  const name = packet.cmd.toUpperCase();
  switch (packet.cmd) {
    case "connack":
      return `${name} (${packet.reasonCode ?? packet.returnCode})`;
    case "publish": {
      const flags = `d${Number(packet.dup)}, q${packet.qos}, r${Number(packet.retain)}, m${packet.messageId ?? 0}`;
      return `${name} (${flags}, '${packet.topic}', ... (${packet.payload.length} bytes))`;
    }
    case "subscribe":
      return `${name} (Mid: ${packet.messageId}, ${
        packet.subscriptions.map(({ topic, qos }) => `'${topic}' q${qos}`).join(", ")
      })`;
    case "unsubscribe":
      return `${name} (Mid: ${packet.messageId}, ${packet.unsubscriptions.map((topic) => `'${topic}'`).join(", ")})`;
    case "suback":
      return `${name} (Mid: ${packet.messageId}): ${packet.granted.join(", ")}`;
    default:
      return packet.messageId === undefined ? name : `${name} (Mid: ${packet.messageId})`;
  }
}

/**
 * Connects a client of {@linkcode createClient}, and resolves when the broker has accepted it.
 *
 * @throws {Failure} If the broker cannot be reached, or refuses.
 */
export function connect(client: MqttClient): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let answer: Packet | undefined;
  client.once("packetreceive", (packet) => answer = packet);
  client.once("connect", () => resolve());
  client.once("error", (error) => reject(new Failure(connectProblem(client, error, answer))));
  client.once("close", () => reject(new Failure(`${broker(client)} closed the connection without accepting it`)));
  client.connect();
  return promise;
}

function connectProblem(client: MqttClient, error: Error & { code?: string | number }, answer?: Packet): string {
  const { code } = error;
  if (typeof code === "number") return `${broker(client)} refused the connection: ${refusal(code, answer)}`;
  return `cannot connect to ${broker(client)}: ${hints[code ?? ""] ?? hintAt(error)}`;
}

const noTls = "it does not answer with TLS (is this its port for that?)";

/** What to say of errors whose own words help little, by their codes. */
const hints: Record<string, string> = {
  ECONNREFUSED: "connection refused (is a broker running there?)",
  ENOTFOUND: "unknown host",
  EAI_AGAIN: "unknown host",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "nobody who is trusted has signed its certificate (name who did with --cafile)",
  DEPTH_ZERO_SELF_SIGNED_CERT: "it has signed its certificate itself (if you trust that, name it with --cafile)",
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: "it wants a certificate of the client (give one with --cert and --key)",
};

function hintAt({ message }: Error): string {
  // This is what the alert comes to by which TLS answers to a CONNECT.
  if (message.startsWith("Invalid header flag bits")) {
    return "it does not answer with MQTT (does it want TLS? try --tls)";
  }
  // It has closed the connection over what it does not understand.
  if (message.startsWith("Client network socket disconnected before secure TLS")) return noTls;
  if (message === "socket hang up") return "it does not answer with WebSocket (is this its port for that?)";
  return message;
}

function broker({ options }: MqttClient): string {
  return hostAndPort(options.host!, options.port!);
}

/** Sends DISCONNECT and resolves when the connection is closed. What is not acknowledged by then is given up. */
export async function disconnect(client: MqttClient): Promise<void> {
  for (const packetId of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(packetId));
  await client.endAsync(!client.connected);
}
