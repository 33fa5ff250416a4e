/** Every reason code that the broker can send, in each packet that can carry it, once. Source: MQTT 5.0 section 2.4. */

import assert from "node:assert/strict";
import {
  type AcknowledgementType,
  type Packet,
  ReasonCode,
  type ReasonCodePacketType,
  reasonName,
  type SubackPacket,
} from "../../codec/mod.ts";
import { connectBytes, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { reasonCodes } from "../codec/reason_code_tables.ts";
import { type ConnectOptions, connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { authenticate, authPacket, begin } from "./authenticating_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import type { ServeOptions } from "./served_broker.ts";

/** A broker that refuses and disconnects whom it is asked to, with any code. */
const obliging: ServeOptions = { script: "obliging_broker.ts" };

/** What has the broker send a packet: returns that packet. */
type Provocation = (broker: ConformanceBroker) => Promise<Packet>;

const provoked = new Set<string>();

/** Declares a test of one reason code in one type of packet. A code that is a failure of the connection is its end. */
function provoke(
  type: ReasonCodePacketType,
  reasonCode: number,
  what: string,
  provocation: Provocation,
  options?: ServeOptions,
): void {
  provoked.add(`${type} ${reasonCode}`);
  conformance(
    `[5.0] ${type.toUpperCase()} ${hex(reasonCode)} (${nameOf(type, reasonCode)}): ${what}`,
    async (broker) => {
      const packet = await provocation(broker);
      assert.equal(packet.type, type);
      const [sent] = "reasonCodes" in packet ? packet.reasonCodes : [(packet as { reasonCode: number }).reasonCode];
      assert.equal(reasonName(sent), reasonName(reasonCode));
    },
    options,
  );
}

function hex(reasonCode: number): string {
  return `0x${reasonCode.toString(16).toUpperCase().padStart(2, "0")}`;
}

function nameOf(type: ReasonCodePacketType, reasonCode: number): string {
  if (reasonCode === 0 && type === "disconnect") return "normal disconnection";
  return reasonCode <= 2 && type === "suback" ? `granted QoS ${reasonCode}` : reasonName(reasonCode);
}

// CONNACK

/** Sends a CONNECT and returns the CONNACK, which is followed by the end if it says no. */
async function connackTo(broker: ConformanceBroker, connect: Uint8Array | ConnectOptions) {
  const client = await broker.open();
  if (connect instanceof Uint8Array) await client.sendBytes(connect);
  else await client.send(connectPacket({ level: client.level, clientId: broker.unique("c"), ...connect }));
  const connack = await client.expect("connack");
  if (connack.reasonCode === 0) await client.expectNothing();
  else await client.expectClosed();
  return connack;
}

function provokeConnack(
  reasonCode: ReasonCode,
  what: string,
  connect: Uint8Array | ConnectOptions,
  options?: ServeOptions,
): void {
  provoke("connack", reasonCode, what, (broker) => connackTo(broker, connect), options);
}

const alice = { config: "hooks: {auth: {credentials: {alice: secret}, maximumFailures: 2, failureWindow: 1000}}" };

provokeConnack(ReasonCode.Success, "a client that is let in", {});
provokeConnack(ReasonCode.MalformedPacket, "a CONNECT with its reserved flag", connectBytes({ flags: 0x03 }));
provokeConnack(
  ReasonCode.ProtocolError,
  "a CONNECT with receive maximum 0",
  connectBytes({ properties: properties([0x21, 0, 0]) }),
);
provokeConnack(ReasonCode.UnsupportedProtocolVersion, "a CONNECT of a version to come", connectBytes({ level: 6 }));
provokeConnack(
  ReasonCode.ClientIdentifierNotValid,
  "a client id that is longer than the limit",
  { clientId: "longer than that" },
  { config: "limits: {clientIdLength: 10}" },
);
provokeConnack(
  ReasonCode.BadUserNameOrPassword,
  "a wrong password",
  { username: "alice", password: "guess" },
  alice,
);
provokeConnack(ReasonCode.NotAuthorized, "no user name where one is needed", {}, alice);
provoke("connack", ReasonCode.ConnectionRateExceeded, "too many wrong passwords", async (broker) => {
  for (;;) {
    const connack = await connackTo(broker, { username: "mallory", password: "guess" });
    if (connack.reasonCode !== ReasonCode.BadUserNameOrPassword) return connack;
  }
}, alice);
provokeConnack(ReasonCode.BadAuthenticationMethod, "an authentication method that nobody knows", {
  properties: { authenticationMethod: "UNKNOWN" },
});
provokeConnack(ReasonCode.TopicNameInvalid, "a will on a topic of the broker", {
  will: { topic: "$SYS/broker/version" },
});
provokeConnack(
  ReasonCode.QuotaExceeded,
  "more user properties than the limit",
  { properties: { userProperties: [["a", ""], ["b", ""]] } },
  { config: "limits: {userProperties: 1}" },
);
provokeConnack(
  ReasonCode.RetainNotSupported,
  "a retained will where nothing is retained",
  { will: { topic: "w", retain: true } },
  { config: "retainAvailable: false" },
);
provokeConnack(
  ReasonCode.QosNotSupported,
  "a will at a QoS above the highest",
  { will: { topic: "w", qos: 2 } },
  { config: "maximumQos: 1" },
);
for (
  const reasonCode of [
    ReasonCode.UnspecifiedError,
    ReasonCode.ImplementationSpecificError,
    ReasonCode.ServerUnavailable,
    ReasonCode.ServerBusy,
    ReasonCode.Banned,
    ReasonCode.PacketTooLarge,
    ReasonCode.PayloadFormatInvalid,
    ReasonCode.UseAnotherServer,
    ReasonCode.ServerMoved,
  ]
) {
  provokeConnack(reasonCode, "a hook refuses the client", { username: `refuse ${reasonCode}` }, obliging);
}

// PUBACK and PUBREC

for (const [qos, type] of [[1, "puback"], [2, "pubrec"]] as const) {
  /** Publishes, and returns the answer. */
  const answerTo = async (broker: ConformanceBroker, topic: string, { retain = false, subscribed = false } = {}) => {
    if (subscribed) await (await broker.connect()).subscribe(topic);
    const publisher = await broker.connect();
    await publisher.send(publishPacket({ topic, qos, packetId: 9, retain, payload: "m" }));
    const answer = await publisher.expect(type);
    await publisher.expectNothing();
    return answer;
  };
  provoke(type, ReasonCode.Success, "a message that somebody gets", (broker) => {
    return answerTo(broker, broker.unique("t"), { subscribed: true });
  });
  provoke(type, ReasonCode.NoMatchingSubscribers, "a message that nobody gets", (broker) => {
    return answerTo(broker, broker.unique("t"));
  });
  provoke(type, ReasonCode.NotAuthorized, "a message on a topic of the broker", (broker) => {
    return answerTo(broker, "$SYS/broker/version");
  });
  provoke(type, ReasonCode.QuotaExceeded, "a retained message too many", (broker) => {
    return answerTo(broker, broker.unique("t"), { retain: true });
  }, { config: "limits: {retainedMessages: 0}" });
  for (
    const reasonCode of [
      ReasonCode.UnspecifiedError,
      ReasonCode.ImplementationSpecificError,
      ReasonCode.TopicNameInvalid,
      ReasonCode.PacketIdentifierInUse,
      ReasonCode.PayloadFormatInvalid,
    ]
  ) {
    provoke(
      type,
      reasonCode,
      "a hook refuses the message",
      (broker) => answerTo(broker, `refuse/${reasonCode}`),
      obliging,
    );
  }
}

// PUBREL and PUBCOMP

/** Sends one acknowledgement and returns the other. */
async function reply(client: RawClient, type: AcknowledgementType, packetId: number, answer: AcknowledgementType) {
  await client.send({ type, packetId, reasonCode: 0 });
  return await client.expect(answer);
}

provoke("pubrel", ReasonCode.Success, "a PUBREC for a message on its way", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic, { qos: 2 });
  await (await broker.connect()).publish({ topic, qos: 2 });
  return await reply(client, "pubrec", (await client.expect("publish")).packetId!, "pubrel");
});
provoke("pubrel", ReasonCode.PacketIdentifierNotFound, "a PUBREC for nothing", async (broker) => {
  return await reply(await broker.connect(), "pubrec", 9, "pubrel");
});
provoke("pubcomp", ReasonCode.Success, "a PUBREL for a message that has come", async (broker) => {
  const client = await broker.connect();
  await client.send(publishPacket({ topic: broker.unique("t"), qos: 2, packetId: 9 }));
  await client.expect("pubrec");
  return await reply(client, "pubrel", 9, "pubcomp");
});
provoke("pubcomp", ReasonCode.PacketIdentifierNotFound, "a PUBREL for nothing", async (broker) => {
  return await reply(await broker.connect(), "pubrel", 9, "pubcomp");
});

// SUBACK and UNSUBACK

const limited = { config: "limits: {topicLevels: 2, subscriptions: 1}" };

async function subackTo(broker: ConformanceBroker, topicFilter: string): Promise<SubackPacket> {
  const client = await broker.connect();
  const suback = await client.subscribe(topicFilter);
  await client.expectNothing();
  return suback;
}

for (const qos of [0, 1, 2] as const) {
  provoke("suback", qos, "a subscription that is granted", async (broker) => {
    return await (await broker.connect()).subscribe(broker.unique("t"), { qos });
  });
}
provoke("suback", ReasonCode.NotAuthorized, "a filter that the rules deny", (broker) => subackTo(broker, "denied"), {
  config: "hooks: {acl: {rules: [{permission: deny, topicFilter: denied}]}}",
});
provoke(
  "suback",
  ReasonCode.TopicFilterInvalid,
  "a filter with too many levels",
  (broker) => subackTo(broker, "1/2/3"),
  limited,
);
provoke("suback", ReasonCode.QuotaExceeded, "a subscription too many", async (broker) => {
  const client = await broker.connect();
  await client.subscribe(broker.unique("t"));
  return await client.subscribe(broker.unique("t"));
}, limited);
for (
  const reasonCode of [
    ReasonCode.UnspecifiedError,
    ReasonCode.ImplementationSpecificError,
    ReasonCode.PacketIdentifierInUse,
    ReasonCode.SharedSubscriptionsNotSupported,
    ReasonCode.SubscriptionIdentifiersNotSupported,
    ReasonCode.WildcardSubscriptionsNotSupported,
  ]
) {
  provoke(
    "suback",
    reasonCode,
    "a hook refuses the subscription",
    (broker) => subackTo(broker, `refuse/${reasonCode}`),
    obliging,
  );
}
provoke("unsuback", ReasonCode.Success, "a subscription that is deleted", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  return await client.unsubscribe(topic);
});
provoke("unsuback", ReasonCode.NoSubscriptionExisted, "a filter without a subscription", async (broker) => {
  return await (await broker.connect()).unsubscribe(broker.unique("t"));
});

// DISCONNECT

/** Declares a test of a DISCONNECT that a connected client gets for what it does. */
function provokeDisconnect(
  reasonCode: ReasonCode,
  what: string,
  act: (client: RawClient, broker: ConformanceBroker) => Promise<unknown>,
  { connect, ...options }: ServeOptions & { connect?: ConnectOptions } = {},
): void {
  provoke("disconnect", reasonCode, what, async (broker) => {
    const client = await broker.connect({ clientId: broker.unique("victim"), ...connect });
    await act(client, broker);
    const packet = await client.expect("disconnect");
    await client.expectClosed();
    return packet;
  }, options);
}

/** A SUBSCRIBE to one filter, sent without waiting for an answer. */
function subscribe(client: RawClient, topicFilter: string, ...propertyBytes: number[]): Promise<void> {
  return client.sendBytes(packetBytes(0x82, [0, 9], properties(propertyBytes), text(topicFilter), 0));
}

provokeDisconnect(
  ReasonCode.MalformedPacket,
  "flags that are reserved",
  (client) => client.sendBytes(packetBytes(0xc1)),
);
provokeDisconnect(ReasonCode.ProtocolError, "a second CONNECT", (client) => client.sendBytes(connectBytes()));
provokeDisconnect(
  ReasonCode.KeepAliveTimeout,
  "one and a half times the keep alive without a word",
  () => Promise.resolve(),
  {
    connect: { keepAlive: 1 },
  },
);
provokeDisconnect(ReasonCode.SessionTakenOver, "another connection with its client id", async (_client, broker) => {
  await broker.connect({ clientId: "taken over" });
}, { connect: { clientId: "taken over" } });
provokeDisconnect(
  ReasonCode.ReceiveMaximumExceeded,
  "more messages at a time than the receive maximum",
  async (client) => {
    for (const packetId of [1, 2]) await client.send(publishPacket({ topic: "t", qos: 2, packetId }));
    await client.expect("pubrec");
  },
  { config: "limits: {receiveMaximum: 1}" },
);
provokeDisconnect(
  ReasonCode.TopicAliasInvalid,
  "topic alias 0",
  (client) => client.sendBytes(packetBytes(0x30, text("t"), properties([0x23, 0, 0]))),
);
provokeDisconnect(
  ReasonCode.PacketTooLarge,
  "a packet that is larger than the limit",
  (client) => client.send(publishPacket({ topic: "t", payload: new Uint8Array(1000) })),
  { config: "limits: {packetSize: 1000}" },
);
provokeDisconnect(ReasonCode.MessageRateTooHigh, "more messages a second than allowed", async (client) => {
  for (let count = 0; count < 2; count++) await client.send(publishPacket({ topic: "t" }));
}, { config: "hooks: {rateLimit: {publishRate: 1, interval: 1000, burstSize: 1, onExceed: disconnect}}" });
provokeDisconnect(
  ReasonCode.QuotaExceeded,
  "more user properties than the limit",
  (client) => client.sendBytes(packetBytes(0xa2, [0, 9], properties([0x26, ...text("a"), ...text("b")]), text("t"))),
  {
    config: "limits: {userProperties: 0}",
  },
);
provokeDisconnect(
  ReasonCode.RetainNotSupported,
  "a retained message where nothing is retained",
  (client) => client.send(publishPacket({ topic: "t", retain: true })),
  { config: "retainAvailable: false" },
);
provokeDisconnect(
  ReasonCode.QosNotSupported,
  "a message at a QoS above the highest",
  (client) => client.send(publishPacket({ topic: "t", qos: 2, packetId: 1 })),
  { config: "maximumQos: 1" },
);
provokeDisconnect(
  ReasonCode.SharedSubscriptionsNotSupported,
  "a shared subscription where there are none",
  (client) => subscribe(client, "$share/g/t"),
  { config: "sharedSubscriptionAvailable: false" },
);
provokeDisconnect(
  ReasonCode.SubscriptionIdentifiersNotSupported,
  "a subscription identifier where there are none",
  (client) => subscribe(client, "t", 0x0b, 1),
  { config: "subscriptionIdentifiersAvailable: false" },
);
provokeDisconnect(
  ReasonCode.WildcardSubscriptionsNotSupported,
  "a wildcard where there are none",
  (client) => subscribe(client, "#"),
  { config: "wildcardSubscriptionAvailable: false" },
);
provokeDisconnect(
  ReasonCode.ServerShuttingDown,
  "the broker ends",
  (client) => client.send(publishPacket({ topic: "terminate" })),
  {
    ...obliging,
    environment: { HOOKMQ_MAXIMUM_KEEP_ALIVE: "100" }, // so that this process is no other test's
  },
);
for (
  const reasonCode of [
    ReasonCode.NormalDisconnection,
    ReasonCode.UnspecifiedError,
    ReasonCode.ImplementationSpecificError,
    ReasonCode.NotAuthorized,
    ReasonCode.ServerBusy,
    ReasonCode.TopicFilterInvalid,
    ReasonCode.TopicNameInvalid,
    ReasonCode.AdministrativeAction,
    ReasonCode.PayloadFormatInvalid,
    ReasonCode.UseAnotherServer,
    ReasonCode.ServerMoved,
    ReasonCode.ConnectionRateExceeded,
    ReasonCode.MaximumConnectTime,
  ]
) {
  provokeDisconnect(
    reasonCode,
    "the operator disconnects the client",
    (client) => client.send(publishPacket({ topic: `disconnect/${reasonCode}` })),
    obliging,
  );
}

// AUTH

provoke("auth", ReasonCode.ContinueAuthentication, "a method that asks for more", async (broker) => {
  return await (await begin(broker, "CHALLENGE")).expect("auth");
}, obliging);
provoke("auth", ReasonCode.Success, "a client that has authenticated again", async (broker) => {
  const [client] = await authenticate(broker);
  await client.send(authPacket(ReasonCode.Reauthenticate));
  await client.expect("auth");
  await client.send(authPacket(ReasonCode.ContinueAuthentication, "me"));
  return await client.expect("auth");
}, obliging);

// All of them

/** What is in the tables, and not for this broker to send. */
const notSent: Readonly<Record<string, string>> = {
  "disconnect 4": "only a client has a will",
  "auth 25": "only a client asks to authenticate again",
  ...Object.fromEntries(
    [0x80, 0x83, 0x87, 0x8f, 0x91].map((
      code,
    ) => [`unsuback ${code}`, "a client may always unsubscribe: hooks only watch"]),
  ),
};

Deno.test("every reason code of the tables is provoked, or is not for the broker to send", () => {
  const inTables = Object.entries(reasonCodes).flatMap(([type, codes]) => codes.map((code) => `${type} ${code}`));
  assert.deepEqual([...provoked, ...Object.keys(notSent)].sort(), inTables.sort());
});

// Before MQTT 5

for (
  const [returnCode, meaning, connect, options] of [
    [0, "accepted", {}, undefined],
    [1, "unacceptable protocol version", connectBytes({ level: 3 }), undefined],
    [2, "identifier rejected", { clientId: "", cleanStart: false }, undefined],
    [3, "server unavailable", { username: `refuse ${ReasonCode.ServerUnavailable}` }, obliging],
    [4, "bad user name or password", { username: `refuse ${ReasonCode.BadUserNameOrPassword}` }, obliging],
    [5, "not authorized", { username: `refuse ${ReasonCode.NotAuthorized}` }, obliging],
  ] as [number, string, Uint8Array | ConnectOptions, ServeOptions | undefined][]
) {
  conformance(`[3.1.1] [3.1] CONNACK ${returnCode}: ${meaning}`, async (broker) => {
    assert.equal((await connackTo(broker, connect)).reasonCode, returnCode);
  }, options);
}

for (const [qos, code] of [[0, 0], [1, 1], [2, 2], [1, 0x80]] as const) {
  conformance(`[3.1.1] SUBACK ${hex(code)}: ${code === 0x80 ? "failure" : `maximum QoS ${code}`}`, async (broker) => {
    const topicFilter = code === 0x80 ? "1/2/3" : broker.unique("t");
    const client = await broker.connect();
    assert.deepEqual((await client.subscribe(topicFilter, { qos })).reasonCodes, [code]);
  }, limited);
}
