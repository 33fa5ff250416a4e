import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { IClientPublishOptions, IPublishPacket, MqttClient } from "mqtt";
import {
  addClientOptions,
  type ClientOptions,
  connect,
  createClient,
  disconnect,
  refusal,
  topicName,
} from "./client.ts";
import { Failure } from "./failure.ts";
import { readLines } from "./lines.ts";
import { integer, seconds } from "./option_values.ts";
import { onTerminationSignal } from "./signals.ts";

interface PubOptions extends ClientOptions {
  topic: string;
  message?: string;
  nullMessage?: true;
  file?: string;
  stdinLine?: true;
  stdinFile?: true;
  retain?: true;
  repeat: number;
  repeatDelay: number;
  property?: string[];
}

type PublishProperties = NonNullable<IPublishPacket["properties"]>;

/** How many messages wait for their acknowledgement at the same time, unless the broker wants fewer. */
const inFlightLimit = 100;

/** Adds the command `pub`, which publishes messages. */
export function addPubCommand(program: Command): void {
  const sources = ["message", "nullMessage", "file", "stdinLine", "stdinFile"];
  const source = (flags: string, description: string) => {
    const option = new Option(flags, description);
    return option.conflicts(sources.filter((name) => name !== option.attributeName()));
  };
  const command = program.command("pub").description("Publish messages.");
  command
    .addOption(new Option("-t, --topic <topic>", "topic to publish to").argParser(topicName).makeOptionMandatory())
    .addOption(source("-m, --message <text>", "publish this text"))
    .addOption(source("-n, --null-message", "publish an empty message; with -r it removes the retained one"))
    .addOption(source("-f, --file <path>", "publish the content of a file"))
    .addOption(source("-l, --stdin-line", "publish each line of standard input as a message"))
    .addOption(source("-s, --stdin-file", "publish all of standard input as one message"))
    .option("-r, --retain", "make it a retained message")
    .addOption(
      new Option("--repeat <count>", "publish the message so many times").default(1).argParser(integer(1, 2 ** 31)),
    )
    .addOption(new Option("--repeat-delay <seconds>", "wait between repeats").default(0).argParser(seconds))
    .option(
      "-D, --property <words...>",
      "MQTT 5 property: publish NAME VALUE, or publish user-property NAME VALUE; may be repeated. " +
        `NAME is one of ${[...Object.keys(propertyReaders), "user-property"].join(", ")}`,
    );
  addClientOptions(command)
    .addHelpText(
      "after",
      `
Exits with 0 once the broker has acknowledged every message (at QoS 0: once the bytes are sent).

Examples:
  hookmq pub -t kitchen/temperature -m 21.5
  hookmq pub -t kitchen/temperature -m 21.5 -q 1 -r -u anna -P secret
  tail -f sensor.log | hookmq pub -t sensor/log -l
  hookmq pub -V 5 -t jobs -m '{}' -D publish content-type application/json -D publish user-property origin shell`,
    )
    .action(pub);
}

async function pub(options: PubOptions): Promise<void> {
  const properties = readProperties(options);
  const payloads = await openPayloads(options);
  const client = createClient(options);
  const stopped = Promise.withResolvers<never>();
  using _signals = onTerminationSignal((exitCode) => stopped.reject(new Failure("", exitCode)));
  try {
    await Promise.race([publishAll(client, payloads, options, properties), stopped.promise]);
  } finally {
    await disconnect(client);
  }
}

/** Where the payloads come from. The source is opened before anything is sent. */
async function openPayloads(options: PubOptions): Promise<AsyncIterable<string | Buffer>> {
  if (options.message !== undefined) return repeat(options.message, options);
  if (options.nullMessage) return repeat("", options);
  if (options.file !== undefined) return repeat(await readFile(options.file), options);
  if (options.stdinFile) return repeat(Buffer.concat(await Array.fromAsync(Deno.stdin.readable)), options);
  if (options.stdinLine) return readLines(Deno.stdin.readable);
  throw new Failure("what shall be published? add one of -m, -n, -f, -l and -s", 2);
}

async function* repeat<T>(payload: T, { repeat, repeatDelay }: PubOptions): AsyncGenerator<T> {
  for (let count = 1; count <= repeat; count++) {
    yield payload;
    if (count < repeat && repeatDelay > 0) await delay(repeatDelay * 1000);
  }
}

async function readFile(path: string): Promise<Buffer> {
  try {
    return Buffer.from(await Deno.readFile(path));
  } catch (error) {
    throw new Failure(`cannot read the file to publish: ${(error as Error).message}`);
  }
}

async function publishAll(
  client: MqttClient,
  payloads: AsyncIterable<string | Buffer>,
  { topic, qos, retain }: PubOptions,
  properties: PublishProperties | undefined,
): Promise<void> {
  await connect(client);
  const limit = Math.min(inFlightLimit, client.serverProperties?.receiveMaximum ?? inFlightLimit);
  const inFlight = new Set<Promise<void>>();
  const refused = Promise.withResolvers<never>();
  const send = async () => {
    for await (const payload of payloads) {
      const acknowledged = publish(client, topic, payload, { qos, retain: retain === true, properties });
      inFlight.add(acknowledged);
      acknowledged.then(() => inFlight.delete(acknowledged), refused.reject);
      if (inFlight.size >= limit) await Promise.race(inFlight);
    }
    await Promise.all(inFlight);
    // A broker that refuses a message at QoS 0 says so, if at all, with a DISCONNECT: it can come until the very end.
    await disconnect(client);
  };
  await Promise.race([send(), refused.promise, connectionLost(client)]);
}

/** Publishes one message, and resolves when the broker has acknowledged it, or at QoS 0 when it is sent. */
function publish(
  client: MqttClient,
  topic: string,
  payload: string | Buffer,
  options: IClientPublishOptions,
): Promise<void> {
  return new Promise((resolve, reject) => {
    client.publish(topic, payload, options, (error, packet) => {
      if (error === undefined || error === null) return resolve();
      const reason = "code" in error ? refusal(error.code, packet) : error.message;
      reject(new Failure(`the broker refused the message: ${reason}`));
    });
  });
}

/** Rejects when the broker ends the connection, or when it breaks. */
function connectionLost(client: MqttClient): Promise<never> {
  return new Promise((_resolve, reject) => {
    client.once("disconnect", (packet) => {
      reject(new Failure(`the broker closed the connection: ${refusal(packet.reasonCode ?? 0, packet)}`));
    });
    client.once("close", () => {
      if (!client.disconnecting) reject(new Failure("the broker closed the connection"));
    });
  });
}

const propertyReaders: Record<string, (value: string) => PublishProperties> = {
  "content-type": (value) => ({ contentType: value }),
  "correlation-data": (value) => ({ correlationData: Buffer.from(value) }),
  "message-expiry-interval": (value) => ({ messageExpiryInterval: integer(0, 0xffffffff)(value) }),
  "payload-format-indicator": (value) => ({ payloadFormatIndicator: integer(0, 1)(value) === 1 }),
  "response-topic": (value) => ({ responseTopic: topicName(value) }),
};

/** Reads the words behind `-D`: any number of `publish NAME VALUE` and `publish user-property NAME VALUE`. */
function readProperties({ property: words, protocolVersion }: PubOptions): PublishProperties | undefined {
  if (words === undefined) return undefined;
  if (protocolVersion !== 5) throw new Failure("-D sets an MQTT 5 property: add -V mqttv5", 2);
  const properties: PublishProperties = {};
  const userProperties: Record<string, string[]> = {};
  const rest = words.values();
  const next = () => {
    const { value, done } = rest.next();
    if (done) throw new Failure(`-D ${words.join(" ")}: a word is missing at the end`, 2);
    return value;
  };
  for (const packetType of rest) {
    if (packetType !== "publish") throw new Failure(`-D ${packetType}: only "publish" properties can be set`, 2);
    const name = next();
    if (name === "user-property") (userProperties[next()] ??= []).push(next());
    else Object.assign(properties, readProperty(name, next()));
  }
  return { ...properties, userProperties };
}

function readProperty(name: string, value: string): PublishProperties {
  const read = propertyReaders[name];
  if (read === undefined) throw new Failure(`-D publish ${name}: unknown property`, 2);
  try {
    return read(value);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new Failure(`-D publish ${name} ${value}: ${error.message}`, 2);
  }
}
