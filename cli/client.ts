import { Buffer } from "node:buffer";
import { type Command, InvalidArgumentError, Option } from "commander";
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient, type Packet } from "mqtt";
import { reasonName } from "../codec/reason_code.ts";
import { isTopicName } from "../codec/topic.ts";
import { Failure } from "./failure.ts";
import { integer } from "./option_values.ts";

/** What `pub` and `sub` have in common; the options are named as mosquitto_pub and mosquitto_sub name theirs. */
export interface ClientOptions {
  host: string;
  port: number;
  qos: IPublishPacket["qos"];
  id?: string;
  username?: string;
  pw?: string;
  protocolVersion: 3 | 4 | 5;
  keepalive: number;
  disableCleanSession?: true;
  sessionExpiryInterval?: number;
  willTopic?: string;
  willPayload?: string;
  willQos: IPublishPacket["qos"];
  willRetain?: true;
  debug?: true;
  quiet?: true;
}

const neverExpires = 0xffffffff;

/** Adds the options of {@linkcode ClientOptions} to a command. */
export function addClientOptions(command: Command): Command {
  return command.optionsGroup("Options of the connection:")
    .option("-h, --host <host>", "the broker's host", "127.0.0.1")
    .addOption(new Option("-p, --port <number>", "the broker's port").default(1883).argParser(integer(1, 65535)))
    .addOption(new Option("-q, --qos <level>", "quality of service: 0, 1 or 2").default(0).argParser(integer(0, 2)))
    .option("-i, --id <id>", "client id (default: a new one each time)")
    .option("-u, --username <name>", "user name")
    .option("-P, --pw <password>", "password")
    .addOption(
      new Option("-V, --protocol-version <version>", "mqttv31, mqttv311 or mqttv5; 31, 311 or 5 for short")
        .default(4, "mqttv311")
        .argParser(protocolVersion),
    )
    .addOption(
      new Option("-k, --keepalive <seconds>", "keep alive interval").default(60).argParser(integer(0, 65535)),
    )
    .option("-c, --disable-clean-session", "keep the session when this client leaves, and take up an earlier one")
    .addOption(
      new Option(
        "-x, --session-expiry-interval <seconds>",
        "MQTT 5: how long the session outlives the connection; -1 is for ever (default: -1 with -c, else 0)",
      ).argParser(sessionExpiryInterval),
    )
    .addOption(new Option("--will-topic <topic>", "topic of the will").argParser(topicName))
    .option("--will-payload <text>", "payload of the will")
    .addOption(new Option("--will-qos <level>", "QoS of the will").default(0).argParser(integer(0, 2)))
    .option("--will-retain", "make the will a retained message")
    .option("-d, --debug", "print the packets that are sent and received, on stderr")
    .option("--quiet", "print no error messages")
    .helpOption("--help", "show this help");
}

/** Reads an option's value as a topic name: what a message can be published to. */
export function topicName(value: string): string {
  if (!isTopicName(value)) throw new InvalidArgumentError("A topic to publish to is not empty and has no + and #.");
  return value;
}

function protocolVersion(value: string): 3 | 4 | 5 {
  switch (value) {
    case "mqttv31":
    case "31":
      return 3;
    case "mqttv311":
    case "311":
      return 4;
    case "mqttv5":
    case "5":
      return 5;
    default:
      throw new InvalidArgumentError("It must be mqttv31, mqttv311 or mqttv5.");
  }
}

function sessionExpiryInterval(value: string): number {
  return value === "-1" || value === "∞" ? neverExpires : integer(0, neverExpires)(value);
}

/**
 * Makes an MQTT client that is not connected yet; {@linkcode connect} connects it.
 *
 * @throws {Failure} With exit code 2 if the options do not go together.
 */
export function createClient(options: ClientOptions): MqttClient {
  assertConsistent(options);
  const clientId = options.id ?? `hookmq-${crypto.randomUUID().slice(0, 8)}`;
  const client = mqtt.connect({
    manualConnect: true,
    reconnectPeriod: 0,
    host: options.host,
    port: options.port,
    protocol: "mqtt",
    protocolVersion: options.protocolVersion,
    protocolId: options.protocolVersion === 3 ? "MQIsdp" : "MQTT",
    clientId,
    clean: !options.disableCleanSession,
    keepalive: options.keepalive,
    username: options.username,
    password: options.pw,
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
  if (options.pw !== undefined && options.username === undefined && options.protocolVersion !== 5) {
    throw new Failure("-P needs a user name before MQTT 5: add -u", 2);
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

/** The return codes of an MQTT 3 CONNACK. */
const returnCodes = [
  "accepted",
  "unacceptable protocol version",
  "identifier rejected",
  "server unavailable",
  "bad user name or password",
  "not authorized",
];

/** Why the broker refused something: what its code means, and what it says besides. */
export function refusal(code: number, packet?: Packet): string {
  const reason = returnCodes[code] ?? reasonName(code);
  const properties = packet !== undefined && "properties" in packet ? packet.properties : undefined;
  const explained = properties !== undefined && "reasonString" in properties;
  return explained ? `${reason} (${properties.reasonString})` : reason;
}

function connectProblem(client: MqttClient, error: Error & { code?: string | number }, answer?: Packet): string {
  const { code } = error;
  if (typeof code === "number") return `${broker(client)} refused the connection: ${refusal(code, answer)}`;
  switch (code) {
    case "ECONNREFUSED":
      return `cannot connect to ${broker(client)}: connection refused (is a broker running there?)`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `cannot connect to ${broker(client)}: unknown host`;
    default:
      return `cannot connect to ${broker(client)}: ${error.message}`;
  }
}

function broker({ options }: MqttClient): string {
  const host = options.host!.includes(":") ? `[${options.host}]` : options.host;
  return `${host}:${options.port}`;
}

/** Sends DISCONNECT and resolves when the connection is closed. What is not acknowledged by then is given up. */
export async function disconnect(client: MqttClient): Promise<void> {
  for (const packetId of Object.keys(client.outgoing)) client.removeOutgoingMessage(Number(packetId));
  await client.endAsync(!client.connected);
}
