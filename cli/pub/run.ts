import { Buffer } from "node:buffer";
import { setTimeout as delay } from "node:timers/promises";
import type { IClientPublishOptions, MqttClient } from "mqtt";
import { connect, createClient, disconnect } from "../client/connection.ts";
import { Failure } from "../failure.ts";
import { readLines } from "../lines.ts";
import type { PubOptions } from "../pub.ts";
import { refusal } from "../refusal.ts";
import { onTerminationSignal } from "../signals.ts";
import { type PublishProperties, readProperties } from "./properties.ts";

/** How many messages wait for their acknowledgement at the same time, unless the broker wants fewer. */
const inFlightLimit = 100;

/**
 * Publishes what the options say.
 *
 * @throws {Failure} If that cannot be done, or a signal ends it.
 */
export async function pub(options: PubOptions): Promise<void> {
  const properties = readProperties(options);
  const payloads = await openPayloads(options);
  const client = await createClient(options);
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
