import { malformed, PacketError, protocolError, quote } from "./errors.ts";
import type { PacketReader } from "./packet_reader.ts";
import { PacketWriter } from "./packet_writer.ts";
import { ReasonCode } from "./reason_code.ts";
import { isTopicName } from "./topic.ts";
import { MAXIMUM_VARIABLE_BYTE_INTEGER } from "./variable_byte_integer.ts";

/**
 * A name and a value that mean something to the applications only, e.g. `["trace", "7f3a"]`.
 *
 * @example
 * ```ts
 * import type { UserProperty } from "@hookmq/broker/codec";
 *
 * // They keep their order, and a name may occur more than once.
 * const properties: UserProperty[] = [["hop", "gateway"], ["hop", "site-3"], ["trace", "7f3a"]];
 * const hops = properties.filter(([name]) => name === "hop").map(([, value]) => value);
 * console.log(hops); // ["gateway", "site-3"]
 * ```
 */
export type UserProperty = [name: string, value: string];

/**
 * Every property of MQTT 5; each packet type allows some of them. A property that is absent from the packet is absent
 * from the object. Source: MQTT 5.0 section 2.2.2.
 *
 * @example
 * ```ts
 * import type { Properties } from "@hookmq/broker/codec";
 *
 * // Looks a user property up, whatever packet it came with.
 * function userProperty({ userProperties = [] }: Properties, name: string): string | undefined {
 *   return userProperties.find(([key]) => key === name)?.[1];
 * }
 * console.log(userProperty({ userProperties: [["trace", "7f3a"]] }, "trace")); // 7f3a
 * ```
 */
export interface Properties {
  /** 1 if the payload is UTF-8 text, 0 if it is unspecified bytes; default 0. */
  payloadFormatIndicator?: 0 | 1;
  /** Lifetime of the message in seconds; absent if it has no end. */
  messageExpiryInterval?: number;
  /** What the payload is, e.g. a MIME type; 65,535 bytes at most. */
  contentType?: string;
  /** The topic name that a response is to be published to. */
  responseTopic?: string;
  /** What the requester recognises the response by; 65,535 bytes at most. */
  correlationData?: Uint8Array;
  /** Which subscriptions a message belongs to, 1 to 268,435,455; one in a SUBSCRIBE, several in a PUBLISH. */
  subscriptionIdentifiers?: number[];
  /**
   * How long the session outlives its connection, in seconds; 4,294,967,295 is for ever. Default 0 in a CONNECT, and
   * what that said in a CONNACK and a DISCONNECT.
   */
  sessionExpiryInterval?: number;
  /** The client identifier that the server chose. */
  assignedClientIdentifier?: string;
  /** The keep alive that the server wants instead of the client's, in seconds. */
  serverKeepAlive?: number;
  /** Name of the enhanced authentication's method, e.g. `"SCRAM-SHA-256"`. */
  authenticationMethod?: string;
  /** What the authentication method has to say at this step. */
  authenticationData?: Uint8Array;
  /** Whether the client wants reason strings and user properties on failures; default true. */
  requestProblemInformation?: boolean;
  /** How long the server waits after a disconnection before it publishes the will, in seconds; default 0. */
  willDelayInterval?: number;
  /** Whether the client wants response information in the CONNACK; default false. */
  requestResponseInformation?: boolean;
  /** What the client may build its response topics from. */
  responseInformation?: string;
  /** Another server to use. */
  serverReference?: string;
  /** Human-readable words about the reason code. */
  reasonString?: string;
  /** How many unacknowledged QoS 1 and 2 messages the sender of this property accepts, 1 to 65,535; default 65,535. */
  receiveMaximum?: number;
  /** The highest topic alias that the sender of this property accepts; default 0. */
  topicAliasMaximum?: number;
  /** A number that stands for the topic name, 1 to 65,535. */
  topicAlias?: number;
  /** The highest QoS that the server supports, 0 or 1; absent for 2. */
  maximumQos?: 0 | 1;
  /** Whether the server supports retained messages; default true. */
  retainAvailable?: boolean;
  /** Name-value pairs in the order in which they were sent. */
  userProperties?: UserProperty[];
  /** The largest packet that the sender of this property accepts, in bytes including the fixed header; default any. */
  maximumPacketSize?: number;
  /** Whether the server supports wildcards in filters; default true. */
  wildcardSubscriptionAvailable?: boolean;
  /** Whether the server supports subscription identifiers; default true. */
  subscriptionIdentifiersAvailable?: boolean;
  /** Whether the server supports shared subscriptions; default true. */
  sharedSubscriptionAvailable?: boolean;
}

type PropertyName = keyof Properties;
type PropertyType =
  | "flag"
  | "byte"
  | "twoByteInteger"
  | "fourByteInteger"
  | "variableByteIntegers"
  | "string"
  | "topicName"
  | "binary"
  | "stringPairs";

interface PropertyDefinition {
  readonly name: PropertyName;
  readonly type: PropertyType;
  /** The reason code for a value of zero, where zero is not allowed. */
  readonly zero?: ReasonCode;
}

/** Table 2-4 of the specification, by identifier. */
const definitions: Readonly<Record<number, PropertyDefinition>> = {
  0x01: { name: "payloadFormatIndicator", type: "byte" },
  0x02: { name: "messageExpiryInterval", type: "fourByteInteger" },
  0x03: { name: "contentType", type: "string" },
  0x08: { name: "responseTopic", type: "topicName" },
  0x09: { name: "correlationData", type: "binary" },
  0x0b: { name: "subscriptionIdentifiers", type: "variableByteIntegers", zero: ReasonCode.ProtocolError },
  0x11: { name: "sessionExpiryInterval", type: "fourByteInteger" },
  0x12: { name: "assignedClientIdentifier", type: "string" },
  0x13: { name: "serverKeepAlive", type: "twoByteInteger" },
  0x15: { name: "authenticationMethod", type: "string" },
  0x16: { name: "authenticationData", type: "binary" },
  0x17: { name: "requestProblemInformation", type: "flag" },
  0x18: { name: "willDelayInterval", type: "fourByteInteger" },
  0x19: { name: "requestResponseInformation", type: "flag" },
  0x1a: { name: "responseInformation", type: "string" },
  0x1c: { name: "serverReference", type: "string" },
  0x1f: { name: "reasonString", type: "string" },
  0x21: { name: "receiveMaximum", type: "twoByteInteger", zero: ReasonCode.ProtocolError },
  0x22: { name: "topicAliasMaximum", type: "twoByteInteger" },
  0x23: { name: "topicAlias", type: "twoByteInteger", zero: ReasonCode.TopicAliasInvalid },
  0x24: { name: "maximumQos", type: "byte" },
  0x25: { name: "retainAvailable", type: "flag" },
  0x26: { name: "userProperties", type: "stringPairs" },
  0x27: { name: "maximumPacketSize", type: "fourByteInteger", zero: ReasonCode.ProtocolError },
  0x28: { name: "wildcardSubscriptionAvailable", type: "flag" },
  0x29: { name: "subscriptionIdentifiersAvailable", type: "flag" },
  0x2a: { name: "sharedSubscriptionAvailable", type: "flag" },
};

const identifiers = new Map<string, number>(
  Object.entries(definitions).map(([identifier, { name }]) => [name, Number(identifier)]),
);

/** The properties that one kind of packet may carry. */
export interface PropertySet {
  /** What error messages call the packet, e.g. `"PUBLISH"`. */
  readonly packet: string;
  readonly names: ReadonlySet<PropertyName>;
}

export function propertySet(packet: string, ...names: PropertyName[]): PropertySet {
  return { packet, names: new Set(names) };
}

/**
 * Reads a property length and the properties behind it; `undefined` if there are none.
 *
 * @throws {PacketError} 0x81 for a property that is unknown or does not belong into this packet, 0x82 for one that is
 * there twice or has a forbidden value.
 */
export function readProperties<P extends Properties>(reader: PacketReader, allowed: PropertySet): P | undefined {
  const length = reader.variableByteInteger("property length");
  if (length === 0) return undefined;
  if (length > reader.remaining) {
    throw malformed(`${allowed.packet} has a property length of ${length}, but only ${reader.remaining} bytes left`);
  }
  const end = reader.position + length;
  const properties: Properties = {};
  while (reader.position < end) {
    const identifier = reader.variableByteInteger("property identifier");
    const definition = definitions[identifier];
    if (definition === undefined || !allowed.names.has(definition.name)) {
      throw malformed(`property 0x${identifier.toString(16).padStart(2, "0")} is not allowed in ${allowed.packet}`);
    }
    readProperty(reader, definition, properties);
  }
  if (reader.position > end) throw malformed(`${allowed.packet} has a property that crosses the property length`);
  return properties as P;
}

function readProperty(reader: PacketReader, definition: PropertyDefinition, properties: Properties): void {
  const { name, type } = definition;
  switch (type) {
    case "variableByteIntegers":
      (properties.subscriptionIdentifiers ??= []).push(notZero(reader.variableByteInteger(name), definition));
      return;
    case "stringPairs":
      (properties.userProperties ??= []).push([reader.string(name), reader.string(name)]);
      return;
  }
  if (properties[name] !== undefined) throw protocolError(`${name} is there twice`);
  (properties as Record<PropertyName, unknown>)[name] = readValue(reader, definition);
}

function readValue(reader: PacketReader, definition: PropertyDefinition): boolean | number | string | Uint8Array {
  const { name, type } = definition;
  switch (type) {
    case "flag":
    case "byte": {
      const value = reader.byte(name);
      if (value > 1) throw protocolError(`${name} is ${value}; it must be 0 or 1`);
      return type === "flag" ? value === 1 : value;
    }
    case "twoByteInteger":
      return notZero(reader.twoByteInteger(name), definition);
    case "fourByteInteger":
      return notZero(reader.fourByteInteger(name), definition);
    case "topicName": {
      const topic = reader.string(name);
      if (!isTopicName(topic)) throw malformed(`${name} ${quote(topic)} is not a topic name`);
      return topic;
    }
    case "binary":
      return reader.binary(name);
    default:
      return reader.string(name);
  }
}

function notZero(value: number, { name, zero }: PropertyDefinition): number {
  if (value === 0 && zero !== undefined) throw new PacketError(zero, `${name} is 0`);
  return value;
}

/**
 * Writes the properties of a packet with their length in front.
 *
 * @throws {RangeError} If a property does not belong into this packet or has a value that MQTT cannot carry.
 */
export function writeProperties(writer: PacketWriter, properties: Properties | undefined, allowed: PropertySet): void {
  if (properties === undefined) return writer.byte(0);
  const encoded = new PacketWriter();
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (!allowed.names.has(name as PropertyName)) {
      throw new RangeError(`property "${name}" is not allowed in ${allowed.packet}`);
    }
    writeProperty(encoded, identifiers.get(name)!, value);
  }
  writer.variableByteInteger(encoded.length);
  writer.raw(encoded.body());
}

function writeProperty(writer: PacketWriter, identifier: number, value: NonNullable<unknown>): void {
  const { name, type, zero } = definitions[identifier];
  if (value === 0 && zero !== undefined) throw new RangeError(`${name} is 0; it must be at least 1`);
  if (type === "variableByteIntegers") {
    for (const number of value as number[]) {
      if (!Number.isInteger(number) || number < 1 || number > MAXIMUM_VARIABLE_BYTE_INTEGER) {
        throw new RangeError(`${name} holds ${number}; it must be a whole number from 1 to 268,435,455`);
      }
      writer.byte(identifier);
      writer.variableByteInteger(number);
    }
    return;
  }
  if (type === "stringPairs") {
    for (const [key, text] of value as UserProperty[]) {
      writer.byte(identifier);
      writer.string(key);
      writer.string(text);
    }
    return;
  }
  writer.byte(identifier);
  switch (type) {
    case "flag":
      return writer.byte(value ? 1 : 0);
    case "byte":
      if (value !== 0 && value !== 1) throw new RangeError(`${name} is ${value}; it must be 0 or 1`);
      return writer.byte(value);
    case "twoByteInteger":
      return writer.twoByteInteger(value as number, name);
    case "fourByteInteger":
      return writer.fourByteInteger(value as number, name);
    case "binary":
      return writer.binary(value as Uint8Array, name);
    case "topicName":
      if (!isTopicName(value as string)) throw new RangeError(`${name} ${quote(value as string)} is not a topic name`);
      return writer.string(value as string);
    case "string":
      return writer.string(value as string);
  }
}
