/** Arbitrary packets of every type, for property-based tests: everything that a level allows, and nothing else. */

import fc from "fast-check";
import type {
  AcknowledgementPacket,
  AuthPacket,
  ConnackPacket,
  ConnectPacket,
  DisconnectPacket,
  Packet,
  Properties,
  ProtocolLevel,
  PublishPacket,
  Qos,
  SubackPacket,
  SubscribePacket,
  UnsubackPacket,
  UnsubscribePacket,
} from "../../codec/mod.ts";
import { reasonCodes } from "./reason_code_tables.ts";

/** Long enough to need two bytes for the length of the packet around it, and to leave every fast path for short text. */
const LONG = 200;

const string = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: "binary-ascii", maxLength: 40 }) },
  { weight: 3, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
  { weight: 1, arbitrary: fc.string({ unit: "binary", minLength: LONG / 2, maxLength: LONG }) },
  { weight: 1, arbitrary: fc.constantFrom("", "\ufeff", "a\ufeffb", "\uffff", "\u{10ffff}", "A\u{2a6d4}") },
).map((text) => text.replaceAll("\0", ""));

const bytes = fc.oneof(
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 20 }) },
  { weight: 1, arbitrary: fc.uint8Array({ minLength: LONG / 2, maxLength: LONG }) },
);

const topicName = string.map((text) => text.replaceAll(/[+#]/g, "/") || "/");

const filterLevel = fc.oneof(fc.constant("+"), string.map((text) => text.replaceAll(/[+#/$]/g, "")));

const plainFilter = fc.tuple(fc.array(filterLevel, { minLength: 1, maxLength: 4 }), fc.boolean()).map(
  ([levels, multiLevel]) => [...levels, ...(multiLevel ? ["#"] : [])].join("/") || "/",
);

const sharedFilter = fc.tuple(topicName, plainFilter).map(
  ([name, filter]) => `$share/${name.replaceAll("/", "") || "group"}/${filter}`,
);

const topicFilter = fc.oneof({ weight: 3, arbitrary: plainFilter }, { weight: 1, arbitrary: sharedFilter });

const qos = fc.constantFrom<Qos>(0, 1, 2);
const packetId = fc.integer({ min: 1, max: 0xffff });
const twoByteInteger = fc.integer({ min: 0, max: 0xffff });
const fourByteInteger = fc.integer({ min: 0, max: 0xffff_ffff });
const subscriptionIdentifier = fc.oneof(
  fc.integer({ min: 1, max: 0x0fff_ffff }),
  fc.constantFrom(1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455),
);

const propertyValues: { [Name in keyof Properties]-?: fc.Arbitrary<NonNullable<Properties[Name]>> } = {
  payloadFormatIndicator: fc.constantFrom(0, 1),
  messageExpiryInterval: fourByteInteger,
  contentType: string,
  responseTopic: topicName,
  correlationData: bytes,
  subscriptionIdentifiers: fc.array(subscriptionIdentifier, { minLength: 1, maxLength: 3 }),
  sessionExpiryInterval: fourByteInteger,
  assignedClientIdentifier: string,
  serverKeepAlive: twoByteInteger,
  authenticationMethod: string,
  authenticationData: bytes,
  requestProblemInformation: fc.boolean(),
  willDelayInterval: fourByteInteger,
  requestResponseInformation: fc.boolean(),
  responseInformation: string,
  serverReference: string,
  reasonString: string,
  receiveMaximum: fc.integer({ min: 1, max: 0xffff }),
  topicAliasMaximum: twoByteInteger,
  topicAlias: fc.integer({ min: 1, max: 0xffff }),
  maximumQos: fc.constantFrom(0, 1),
  retainAvailable: fc.boolean(),
  userProperties: fc.array(fc.tuple(string, string), { minLength: 1, maxLength: 3 }),
  maximumPacketSize: fc.integer({ min: 1, max: 0xffff_ffff }),
  wildcardSubscriptionAvailable: fc.boolean(),
  subscriptionIdentifiersAvailable: fc.boolean(),
  sharedSubscriptionAvailable: fc.boolean(),
};

/** `{ properties }` with some of these at level 5, or nothing at all. */
function properties<Name extends keyof Properties>(
  level: ProtocolLevel,
  ...names: Name[]
): fc.Arbitrary<{ properties?: Pick<Properties, Name> }> {
  if (level !== 5) return fc.constant({});
  const model = Object.fromEntries(names.map((name) => [name, propertyValues[name]]));
  return fc.record(model, { requiredKeys: [], noNullPrototype: true }).map((properties) =>
    Object.keys(properties).length === 0 ? {} : { properties: properties as Pick<Properties, Name> }
  );
}

/** Every key at level 5, only those of `before` at the levels before it. */
function atLevel5<T>(level: ProtocolLevel, since5: fc.Arbitrary<T>, before: T): fc.Arbitrary<T> {
  return level === 5 ? since5 : fc.constant(before);
}

function connect(level: ProtocolLevel): fc.Arbitrary<ConnectPacket> {
  const fields = fc.record({
    type: fc.constant("connect" as const),
    protocolLevel: fc.constant(level),
    clientId: string,
    cleanStart: fc.boolean(),
    keepAlive: twoByteInteger,
  }, { noNullPrototype: true });
  const credentials = fc.record({ username: string, password: bytes }, { requiredKeys: [], noNullPrototype: true }).map(
    ({ username, ...rest }) => username === undefined ? (level === 5 ? rest : {}) : { username, ...rest },
  );
  const willFields = fc.record(
    { topic: topicName, payload: bytes, qos, retain: fc.boolean() },
    { noNullPrototype: true },
  );
  const willProperties = properties(
    level,
    "willDelayInterval",
    "payloadFormatIndicator",
    "messageExpiryInterval",
    "contentType",
    "responseTopic",
    "correlationData",
    "userProperties",
  );
  const will = fc.option(fc.tuple(willFields, willProperties), { nil: undefined }).map((parts) =>
    parts === undefined ? {} : { will: { ...parts[0], ...parts[1] } }
  );
  const connectProperties = properties(
    level,
    "sessionExpiryInterval",
    "receiveMaximum",
    "maximumPacketSize",
    "topicAliasMaximum",
    "requestResponseInformation",
    "requestProblemInformation",
    "userProperties",
    "authenticationMethod",
    "authenticationData",
  ).map(({ properties }) => {
    if (properties?.authenticationData === undefined) return properties === undefined ? {} : { properties };
    return { properties: { authenticationMethod: "method", ...properties } };
  });
  return fc.tuple(fields, credentials, will, connectProperties).map(merge);
}

function connack(level: ProtocolLevel): fc.Arbitrary<ConnackPacket> {
  const accepted = fc.record(
    { type: fc.constant("connack" as const), sessionPresent: fc.boolean(), reasonCode: fc.constant(0) },
    { noNullPrototype: true },
  );
  const refused = fc.record({
    type: fc.constant("connack" as const),
    sessionPresent: fc.constant(false),
    reasonCode: level === 5 ? fc.constantFrom(...reasonCodes.connack) : fc.integer({ min: 1, max: 5 }),
  }, { noNullPrototype: true });
  const connackProperties = properties(
    level,
    "sessionExpiryInterval",
    "receiveMaximum",
    "maximumQos",
    "retainAvailable",
    "maximumPacketSize",
    "assignedClientIdentifier",
    "topicAliasMaximum",
    "reasonString",
    "userProperties",
    "wildcardSubscriptionAvailable",
    "subscriptionIdentifiersAvailable",
    "sharedSubscriptionAvailable",
    "serverKeepAlive",
    "responseInformation",
    "serverReference",
    "authenticationMethod",
    "authenticationData",
  );
  return fc.tuple(fc.oneof(accepted, refused), connackProperties).map(merge);
}

function publish(level: ProtocolLevel): fc.Arbitrary<PublishPacket> {
  const fields = fc.record(
    { type: fc.constant("publish" as const), topic: topicName, payload: bytes, retain: fc.boolean() },
    { noNullPrototype: true },
  );
  const delivery = fc.oneof(
    fc.constant({ qos: 0 as Qos, dup: false }),
    fc.record({ qos: fc.constantFrom<Qos>(1, 2), dup: fc.boolean(), packetId }, { noNullPrototype: true }),
  );
  const publishProperties = properties(
    level,
    "payloadFormatIndicator",
    "messageExpiryInterval",
    "topicAlias",
    "responseTopic",
    "correlationData",
    "userProperties",
    "subscriptionIdentifiers",
    "contentType",
  );
  return fc.tuple(fields, delivery, publishProperties, fc.boolean()).map(([fields, delivery, properties, aliased]) => {
    const packet: PublishPacket = { ...fields, ...delivery, ...properties };
    if (aliased && packet.properties?.topicAlias !== undefined) packet.topic = "";
    return packet;
  });
}

function acknowledgement(level: ProtocolLevel): fc.Arbitrary<AcknowledgementPacket> {
  return fc.constantFrom("puback" as const, "pubrec" as const, "pubrel" as const, "pubcomp" as const).chain((type) =>
    fc.tuple(
      fc.record({
        type: fc.constant(type),
        packetId,
        reasonCode: atLevel5(level, fc.constantFrom(...reasonCodes[type]), 0),
      }, { noNullPrototype: true }),
      properties(level, "reasonString", "userProperties"),
    ).map(merge)
  );
}

function subscribe(level: ProtocolLevel): fc.Arbitrary<SubscribePacket> {
  const subscription = fc.record({
    topicFilter,
    qos,
    noLocal: atLevel5(level, fc.boolean(), false),
    retainAsPublished: atLevel5(level, fc.boolean(), false),
    retainHandling: atLevel5(level, fc.constantFrom<0 | 1 | 2>(0, 1, 2), 0),
  }, { noNullPrototype: true }).map((subscription) =>
    subscription.topicFilter.startsWith("$share/") ? { ...subscription, noLocal: false } : subscription
  );
  return fc.tuple(
    fc.record({
      type: fc.constant("subscribe" as const),
      packetId,
      subscriptions: fc.array(subscription, { minLength: 1, maxLength: 4 }),
    }, { noNullPrototype: true }),
    properties(level, "subscriptionIdentifiers", "userProperties"),
  ).map(merge).map((packet: SubscribePacket) => {
    packet.properties?.subscriptionIdentifiers?.splice(1);
    return packet;
  });
}

function suback(level: ProtocolLevel): fc.Arbitrary<SubackPacket> {
  const reasonCode = level === 5 ? fc.constantFrom(...reasonCodes.suback) : fc.constantFrom(0, 1, 2, 0x80);
  return fc.tuple(
    fc.record({
      type: fc.constant("suback" as const),
      packetId,
      reasonCodes: fc.array(reasonCode, { minLength: 1, maxLength: 4 }),
    }, { noNullPrototype: true }),
    properties(level, "reasonString", "userProperties"),
  ).map(merge);
}

function unsubscribe(level: ProtocolLevel): fc.Arbitrary<UnsubscribePacket> {
  return fc.tuple(
    fc.record({
      type: fc.constant("unsubscribe" as const),
      packetId,
      topicFilters: fc.array(topicFilter, { minLength: 1, maxLength: 4 }),
    }, { noNullPrototype: true }),
    properties(level, "userProperties"),
  ).map(merge);
}

function unsuback(level: ProtocolLevel): fc.Arbitrary<UnsubackPacket> {
  const someReasonCodes = fc.array(fc.constantFrom(...reasonCodes.unsuback), { minLength: 1, maxLength: 4 });
  return fc.tuple(
    fc.record({
      type: fc.constant("unsuback" as const),
      packetId,
      reasonCodes: atLevel5(level, someReasonCodes, []),
    }, { noNullPrototype: true }),
    properties(level, "reasonString", "userProperties"),
  ).map(merge);
}

function disconnect(level: ProtocolLevel): fc.Arbitrary<DisconnectPacket> {
  return fc.tuple(
    fc.record({
      type: fc.constant("disconnect" as const),
      reasonCode: atLevel5(level, fc.constantFrom(...reasonCodes.disconnect), 0),
    }, { noNullPrototype: true }),
    properties(level, "sessionExpiryInterval", "reasonString", "userProperties", "serverReference"),
  ).map(merge);
}

const emptyAuth: AuthPacket = { type: "auth", reasonCode: 0 };

const auth: fc.Arbitrary<AuthPacket> = fc.tuple(
  fc.record(
    { type: fc.constant("auth" as const), reasonCode: fc.constantFrom(...reasonCodes.auth) },
    { noNullPrototype: true },
  ),
  properties(5, "authenticationMethod", "authenticationData", "reasonString", "userProperties"),
).map(([fields, { properties }]) =>
  fields.reasonCode === 0 && properties === undefined
    ? emptyAuth
    : { ...fields, properties: { authenticationMethod: "method", ...properties } }
);

function merge<A extends object, B extends object, C extends object, D extends object>(
  parts: [A, B, C?, D?],
): A & B & C & D {
  return Object.assign({}, ...parts);
}

/** An arbitrary packet of any type that the level has. */
export function arbitraryPacket(level: ProtocolLevel): fc.Arbitrary<Packet> {
  return fc.oneof<fc.Arbitrary<Packet>[]>(
    connect(level),
    connack(level),
    publish(level),
    acknowledgement(level),
    subscribe(level),
    suback(level),
    unsubscribe(level),
    unsuback(level),
    fc.constant({ type: "pingreq" as const }),
    fc.constant({ type: "pingresp" as const }),
    disconnect(level),
    ...(level === 5 ? [auth] : []),
  );
}
