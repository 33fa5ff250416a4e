import { Buffer } from "node:buffer";
import { InvalidArgumentError } from "commander";
import type { IPublishPacket } from "mqtt";
import { topicName } from "../client.ts";
import { Failure } from "../failure.ts";
import { integer } from "../option_values.ts";
import type { PubOptions } from "../pub.ts";

/** The MQTT 5 properties of a message. */
export type PublishProperties = NonNullable<IPublishPacket["properties"]>;

const propertyReaders: Record<string, (value: string) => PublishProperties> = {
  "content-type": (value) => ({ contentType: value }),
  "correlation-data": (value) => ({ correlationData: Buffer.from(value) }),
  "message-expiry-interval": (value) => ({ messageExpiryInterval: integer(0, 0xffffffff)(value) }),
  "payload-format-indicator": (value) => ({ payloadFormatIndicator: integer(0, 1)(value) === 1 }),
  "response-topic": (value) => ({ responseTopic: topicName(value) }),
};

/** The names that {@linkcode readProperties} knows. */
export const propertyNames: readonly string[] = [...Object.keys(propertyReaders), "user-property"];

/** Reads the words behind `-D`: any number of `publish NAME VALUE` and `publish user-property NAME VALUE`. */
export function readProperties({ property: words, protocolVersion }: PubOptions): PublishProperties | undefined {
  if (words === undefined) return undefined;
  if (protocolVersion !== 5) throw new Failure("-D sets an MQTT 5 property: add -V mqttv5", 2);
  const properties: PublishProperties = {};
  const rest = words.values();
  const next = () => {
    const { value, done } = rest.next();
    if (done) throw new Failure(`-D ${words.join(" ")}: a word is missing at the end`, 2);
    return value;
  };
  for (const packetType of rest) {
    if (packetType !== "publish") throw new Failure(`-D ${packetType}: only "publish" properties can be set`, 2);
    const name = next();
    if (name === "user-property") addUserProperty(properties, next(), next());
    else Object.assign(properties, readProperty(name, next()));
  }
  return properties;
}

/** MQTT.js never sends a message whose user properties are an empty object. */
function addUserProperty(properties: PublishProperties, name: string, value: string): void {
  const values = ((properties.userProperties ??= {})[name] ??= []) as string[];
  values.push(value);
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
