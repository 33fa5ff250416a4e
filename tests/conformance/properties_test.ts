/** Every property of MQTT 5 in every packet that a client sends, and what becomes of it. Source: MQTT 5.0 section 2.2.2. */

import assert from "node:assert/strict";
import { type ConnackProperties, type PublishProperties, ReasonCode } from "../../codec/mod.ts";
import { receive } from "../broker/receive.ts";
import { binary, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { type PropertyRow, propertyTable } from "../codec/property_table.ts";
import { type ConnectOptions, connectPacket, publishPacket, type RawClient } from "../support/raw_client.ts";
import { authenticate } from "./authenticating_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

const { MalformedPacket, ProtocolError } = ReasonCode;

/** Lets in whoever names the authentication method TRUST, and has response information. */
const obliging = { script: "obliging_broker.ts" };

/** Values that are taken, for those properties of the table whose example is not. */
const values: Partial<Record<PropertyRow["key"], number[]>> = {
  authenticationMethod: text("TRUST"),
  topicAlias: [0, 1],
  receiveMaximum: [1, 1],
  maximumPacketSize: [0, 0, 4, 0],
};

function bytesOf({ identifier, key, bytes }: PropertyRow): number[] {
  return [identifier, ...values[key] ?? bytes];
}

const authenticationMethod = propertyTable.find(({ key }) => key === "authenticationMethod")!;

/** A packet that a client sends, in a conversation in which it belongs. */
interface Carrier {
  /** As the table of properties calls it. */
  name: string;
  /** Sends it with these properties. */
  send(broker: ConformanceBroker, properties: number[]): Promise<RawClient>;
  /** It has been understood. */
  expectAccepted(client: RawClient): Promise<unknown>;
  expectRefused(client: RawClient, reasonCode: ReasonCode): Promise<void>;
  /** What it has to have besides a property. */
  alsoNeeded?(row: PropertyRow): PropertyRow | undefined;
}

const carriers: Carrier[] = [
  {
    name: "CONNECT",
    async send(broker, properties) {
      const client = await broker.open();
      const clientId = text(broker.unique("c"));
      await client.sendBytes(packetBytes(0x10, text("MQTT"), 5, 0x02, [0, 60], properties, clientId));
      return client;
    },
    async expectAccepted(client) {
      assert.equal((await client.expect("connack")).reasonCode, 0);
      await client.expectNothing();
    },
    expectRefused,
    alsoNeeded: ({ key }) => key === "authenticationData" ? authenticationMethod : undefined,
  },
  {
    name: "Will Properties",
    async send(broker, properties) {
      const client = await broker.open();
      const clientId = text(broker.unique("c"));
      const will = [properties, text(broker.unique("will")), binary()];
      await client.sendBytes(packetBytes(0x10, text("MQTT"), 5, 0x06, [0, 60], 0, clientId, ...will));
      return client;
    },
    async expectAccepted(client) {
      assert.equal((await client.expect("connack")).reasonCode, 0);
      await client.expectNothing();
    },
    expectRefused,
  },
  {
    name: "PUBLISH",
    async send(broker, properties) {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(0x32, text(broker.unique("t")), [0, 9], properties));
      return client;
    },
    expectAccepted: (client) => client.expect("puback"),
    expectRefused: expectDisconnected,
  },
  {
    name: "PUBACK",
    async send(broker, properties) {
      const [client, packetId] = await receiveOne(broker, 1);
      await client.sendBytes(packetBytes(0x40, packetId, 0, properties));
      return client;
    },
    expectAccepted: (client) => client.expectNothing(),
    expectRefused: expectDisconnected,
  },
  {
    name: "PUBREC",
    async send(broker, properties) {
      const [client, packetId] = await receiveOne(broker, 2);
      await client.sendBytes(packetBytes(0x50, packetId, 0, properties));
      return client;
    },
    expectAccepted: (client) => client.expect("pubrel"),
    expectRefused: expectDisconnected,
  },
  {
    name: "PUBREL",
    async send(broker, properties) {
      const client = await broker.connect();
      await client.send(publishPacket({ topic: broker.unique("t"), qos: 2, packetId: 9 }));
      await client.expect("pubrec");
      await client.sendBytes(packetBytes(0x62, [0, 9], 0, properties));
      return client;
    },
    expectAccepted: (client) => client.expect("pubcomp"),
    expectRefused: expectDisconnected,
  },
  {
    name: "PUBCOMP",
    async send(broker, properties) {
      const [client, packetId] = await receiveOne(broker, 2);
      await client.sendBytes(packetBytes(0x50, packetId));
      await client.expect("pubrel");
      await client.sendBytes(packetBytes(0x70, packetId, 0, properties));
      return client;
    },
    expectAccepted: (client) => client.expectNothing(),
    expectRefused: expectDisconnected,
  },
  {
    name: "SUBSCRIBE",
    async send(broker, properties) {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(0x82, [0, 9], properties, text(broker.unique("t")), 0));
      return client;
    },
    expectAccepted: (client) => client.expect("suback"),
    expectRefused: expectDisconnected,
  },
  {
    name: "UNSUBSCRIBE",
    async send(broker, properties) {
      const client = await broker.connect();
      await client.sendBytes(packetBytes(0xa2, [0, 9], properties, text(broker.unique("t"))));
      return client;
    },
    expectAccepted: (client) => client.expect("unsuback"),
    expectRefused: expectDisconnected,
  },
  {
    name: "DISCONNECT",
    async send(broker, properties) {
      const client = await broker.connect({ properties: { sessionExpiryInterval: 1000 } });
      await client.sendBytes(packetBytes(0xe0, 0, properties));
      return client;
    },
    expectAccepted: (client) => client.expectClosed(),
    expectRefused: expectDisconnected,
  },
  {
    name: "AUTH",
    async send(broker, properties) {
      const client = await broker.connect({ properties: { authenticationMethod: "TRUST" } });
      await client.sendBytes(packetBytes(0xf0, ReasonCode.Reauthenticate, properties));
      return client;
    },
    async expectAccepted(client) {
      assert.equal((await client.expect("auth")).reasonCode, 0);
    },
    expectRefused: expectDisconnected,
    alsoNeeded: ({ key }) => key === "authenticationMethod" ? undefined : authenticationMethod,
  },
];

/** A client that has been sent a message, and the message's packet identifier. */
async function receiveOne(broker: ConformanceBroker, qos: 1 | 2): Promise<[RawClient, [number, number]]> {
  const topic = broker.unique("t");
  const [client, publisher] = [await broker.connect(), await broker.connect()];
  await client.subscribe(topic, { qos });
  await publisher.publish({ topic, qos });
  const { packetId } = await client.expect("publish");
  return [client, [packetId! >> 8, packetId! & 0xff]];
}

for (const carrier of carriers) {
  const { name } = carrier;
  const send = (broker: ConformanceBroker, row: PropertyRow, times: number) => {
    const needed = carrier.alsoNeeded?.(row);
    const parts = [...needed === undefined ? [] : [bytesOf(needed)], ...Array(times).fill(bytesOf(row))];
    return carrier.send(broker, properties(...parts));
  };
  // "A PUBLISH packet sent from a Client to a Server MUST NOT contain a Subscription Identifier" [MQTT-3.3.4-6]
  const isOnlyTheServers = ({ key }: PropertyRow) => name === "PUBLISH" && key === "subscriptionIdentifiers";
  const own = propertyTable.filter((row) => row.packets.includes(name) && !isOnlyTheServers(row));
  const others = propertyTable.filter((row) => !row.packets.includes(name));

  conformance(
    `[5.0] ${name} may have each of its properties: ${own.map(({ name }) => name).join(", ")}`,
    async (broker) => {
      assert(own.length > 0);
      for (const row of own) {
        const client = await send(broker, row, 1);
        await carrier.expectAccepted(client).catch((error) => assert.fail(`${row.name}: ${error.message}`));
      }
    },
    obliging,
  );

  // "A Control Packet which contains an Identifier which is not valid for its packet type … is a Malformed Packet. If
  // received, use a CONNACK or DISCONNECT packet with Reason Code 0x81 (Malformed Packet)"
  conformance(`[5.0] ${name} with any property that is not one of its own is malformed`, async (broker) => {
    assert(others.length > 0);
    for (const row of others) {
      const client = await send(broker, row, 1);
      await carrier.expectRefused(client, MalformedPacket).catch((error) =>
        assert.fail(`${row.name}: ${error.message}`)
      );
    }
    for (const identifier of [0x00, 0x04, 0x10, 0x2b, 0x7f]) {
      await carrier.expectRefused(await carrier.send(broker, properties([identifier, 0])), MalformedPacket);
    }
  }, obliging);

  // "It is a Protocol Error to include the … more than once." "The User Property is allowed to appear multiple times"
  conformance(
    `[5.0] ${name} may have two user properties, and two of anything else are a protocol error`,
    async (broker) => {
      for (const row of own) {
        const client = await send(broker, row, 2);
        await (row.key === "userProperties"
          ? carrier.expectAccepted(client)
          : carrier.expectRefused(client, ProtocolError))
          .catch((error) => assert.fail(`${row.name}: ${error.message}`));
      }
    },
    obliging,
  );

  // "A Control Packet which … contains a value not of the specified data type, is a Malformed Packet."
  conformance(
    `[5.0] ${name} with a property that goes on behind its property length is malformed`,
    async (broker) => {
      for (const row of own) {
        const client = await carrier.send(broker, properties(bytesOf(row).slice(0, -1)));
        await carrier.expectRefused(client, MalformedPacket).catch((error) =>
          assert.fail(`${row.name}: ${error.message}`)
        );
      }
    },
    obliging,
  );
}

// "It is a Protocol Error … to have a value other than 0 or 1", "… for it to have the value 0", "A Topic Alias of 0 is
// not permitted."
const forbidden: [carrier: string, key: PropertyRow["key"], bytes: number[], reasonCode: ReasonCode][] = [
  ["CONNECT", "receiveMaximum", [0, 0], ProtocolError],
  ["CONNECT", "maximumPacketSize", [0, 0, 0, 0], ProtocolError],
  ["CONNECT", "requestResponseInformation", [2], ProtocolError],
  ["CONNECT", "requestProblemInformation", [2], ProtocolError],
  ["Will Properties", "payloadFormatIndicator", [2], ProtocolError],
  ["PUBLISH", "payloadFormatIndicator", [2], ProtocolError],
  ["PUBLISH", "topicAlias", [0, 0], ReasonCode.TopicAliasInvalid],
  ["PUBLISH", "topicAlias", [0xff, 0xff], ReasonCode.TopicAliasInvalid],
  ["SUBSCRIBE", "subscriptionIdentifiers", [0], ProtocolError],
];
for (const [name, key, bytes, reasonCode] of forbidden) {
  const carrier = carriers.find((carrier) => carrier.name === name)!;
  const row = propertyTable.find((row) => row.key === key)!;
  conformance(`[5.0] ${name} may not have a ${row.name} of ${bytes}`, async (broker) => {
    await carrier.expectRefused(await carrier.send(broker, properties([row.identifier, ...bytes])), reasonCode);
  }, obliging);
}

const forwarded: PublishProperties = {
  payloadFormatIndicator: 1,
  contentType: "text/plain; charset=utf-8",
  responseTopic: "the/answer",
  correlationData: new Uint8Array([0, 1, 0xff]),
  userProperties: [["b", "1"], ["a", "2"], ["b", "1"], ["", ""]],
};

// "The Server MUST send the Payload Format Indicator unaltered …", "… the Content Type …", "… the Response Topic …", "…
// the Correlation Data …", "The Server MUST send all User Properties unaltered …" "… MUST maintain the order of User
// Properties"
conformance("[5.0] a message goes out with the properties that it came with", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic, { qos: 1 });
  const publisher = await broker.connect();
  for (const retain of [false, true]) {
    await publisher.publish({ topic, qos: 1, retain, payload: "m", properties: forwarded });
    assert.deepEqual((await receive(client)).properties, forwarded);
  }
  const later = await broker.connect();
  await later.subscribe(topic);
  assert.deepEqual((await receive(later)).properties, forwarded);
  await publisher.publish({ topic, qos: 1, retain: true });
});

conformance("[5.0] a will goes out with its properties, and without its delay", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  const mortal = await broker.connect({ will: { topic, properties: { ...forwarded, willDelayInterval: 1000 } } });
  await mortal.close();
  assert.deepEqual((await receive(client)).properties, forwarded);
});

conformance("[5.0] a message expiry interval goes out as what is left of it, also that of a will", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  await client.subscribe(topic);
  const properties = { messageExpiryInterval: 100 };
  await client.send(publishPacket({ topic, properties }));
  const mortal = await broker.connect({ will: { topic, properties } });
  for (let count = 0; count < 2; count++) {
    const { messageExpiryInterval } = (await receive(client)).properties ?? {};
    assert(messageExpiryInterval! >= 90 && messageExpiryInterval! <= 100, `${messageExpiryInterval}`);
    if (count === 0) await mortal.close();
  }
});

conformance("[5.0] a topic alias stands for its topic, and is not sent on", async (broker) => {
  const topic = broker.unique("t");
  const [client, publisher] = [await broker.connect(), await broker.connect()];
  await client.subscribe(topic);
  await publisher.send(publishPacket({ topic, properties: { topicAlias: 1 }, payload: "by name" }));
  await publisher.send(publishPacket({ topic: "", properties: { topicAlias: 1 }, payload: "by alias" }));
  for (const text of ["by name", "by alias"]) {
    const message = await receive(client);
    assert.deepEqual([message.topic, message.text, message.properties], [topic, text, undefined]);
  }
});

conformance("[5.0] a subscription identifier comes back with the messages of its subscription", async (broker) => {
  const topic = broker.unique("t");
  const client = await broker.connect();
  for (const [filter, identifier] of [[topic, 1], [`${topic}/#`, 268_435_455]] as const) {
    await client.subscribe(filter, { properties: { subscriptionIdentifiers: [identifier] } });
  }
  await client.send(publishPacket({ topic }));
  const identifiers: number[] = [];
  while (identifiers.length < 2) identifiers.push(...(await receive(client)).properties!.subscriptionIdentifiers!);
  assert.deepEqual(identifiers.sort(), [1, 268_435_455]);
});

// What CONNECT asks for

conformance("[5.0] a session lasts as its session expiry interval says", async (broker) => {
  for (const [sessionExpiryInterval, present] of [[undefined, false], [0, false], [1000, true]] as const) {
    const clientId = broker.unique("c");
    const client = await broker.connect({
      clientId,
      properties: sessionExpiryInterval === undefined ? undefined : { sessionExpiryInterval },
    });
    await client.disconnect();
    assert.equal((await broker.connect({ clientId, cleanStart: false })).connack.sessionPresent, present);
  }
});

conformance("[5.0] a client gets no more messages at a time than its receive maximum", async (broker) => {
  const topic = broker.unique("t");
  const [client, publisher] = [await broker.connect({ properties: { receiveMaximum: 2 } }), await broker.connect()];
  await client.subscribe(topic, { qos: 1 });
  for (const payload of ["1", "2", "3"]) await publisher.publish({ topic, qos: 1, payload });
  const { packetId } = await client.expect("publish");
  await client.expect("publish");
  await client.expectNothing();
  await client.send({ type: "puback", packetId: packetId!, reasonCode: 0 });
  assert.equal((await receive(client)).text, "3");
});

conformance("[5.0] a client gets no message that is larger than its maximum packet size", async (broker) => {
  const topic = broker.unique("t");
  const [client, publisher] = [
    await broker.connect({ properties: { maximumPacketSize: 100 } }),
    await broker.connect(),
  ];
  await client.subscribe(topic, { qos: 1 });
  await publisher.publish({ topic, qos: 1, payload: new Uint8Array(100) });
  await publisher.publish({ topic, qos: 1, payload: "small" });
  assert.equal((await receive(client)).text, "small");
});

conformance("[5.0] a client that asks for topic aliases gets as many as it asks for", async (broker) => {
  const topics = ["a", "b"].map((name) => `${broker.unique("t")}/${name}`);
  const [client, publisher] = [await broker.connect({ properties: { topicAliasMaximum: 1 } }), await broker.connect()];
  await client.subscribe(topics);
  for (let time = 0; time < 2; time++) {
    for (const topic of topics) {
      await publisher.publish({ topic, qos: 1 });
      const { topic: name, properties } = await receive(client);
      const alias = topic === topics[0] ? 1 : undefined;
      assert.deepEqual([name, properties?.topicAlias], [alias !== undefined && time > 0 ? "" : topic, alias]);
    }
  }
});

conformance(
  "[5.0] a client that wants no problem information gets no reason strings but on CONNACK and DISCONNECT",
  async (broker) => {
    for (const requestProblemInformation of [undefined, true, false]) {
      const properties = requestProblemInformation === undefined ? undefined : { requestProblemInformation };
      const client = await broker.connect({ properties });
      const explanation = requestProblemInformation === false ? undefined : "as asked for";
      assert.equal((await client.subscribe("refuse/0x87")).properties?.reasonString, explanation);
      for (const [qos, type] of [[1, "puback"], [2, "pubrec"]] as const) {
        await client.send(publishPacket({ topic: "refuse/0x87", qos, packetId: 9 }));
        assert.equal((await client.expect(type)).properties?.reasonString, explanation);
      }
      await client.send(publishPacket({ topic: "disconnect/0x98" }));
      assert.equal((await client.expect("disconnect")).properties?.reasonString, "as asked for");
    }
  },
  obliging,
);

// What CONNACK tells

/** The properties of the CONNACK that such a client gets. */
async function connackOf(broker: ConformanceBroker, options: ConnectOptions = {}): Promise<ConnackProperties> {
  return (await broker.connect(options)).connack.properties ?? {};
}

conformance("[5.0] CONNACK tells the broker's limits", async (broker) => {
  assert.deepEqual(await connackOf(broker, { keepAlive: 100, properties: { sessionExpiryInterval: 100 } }), {
    receiveMaximum: 7,
    maximumPacketSize: 1000,
    topicAliasMaximum: 3,
    sessionExpiryInterval: 20,
    serverKeepAlive: 30,
    maximumQos: 1,
    retainAvailable: false,
    wildcardSubscriptionAvailable: false,
    subscriptionIdentifiersAvailable: false,
    sharedSubscriptionAvailable: false,
  });
}, {
  config: `limits: {receiveMaximum: 7, packetSize: 1000, topicAliasMaximum: 3}
maximumSessionExpiry: 20
maximumKeepAlive: 30
maximumQos: 1
retainAvailable: false
wildcardSubscriptionAvailable: false
subscriptionIdentifiersAvailable: false
sharedSubscriptionAvailable: false
`,
});

conformance("[5.0] CONNACK tells the client id that the broker has chosen", async (broker) => {
  const { assignedClientIdentifier } = await connackOf(broker, { clientId: "" });
  assert(assignedClientIdentifier !== undefined && assignedClientIdentifier !== "");
  assert.notEqual((await connackOf(broker, { clientId: "" })).assignedClientIdentifier, assignedClientIdentifier);
  assert.equal((await connackOf(broker)).assignedClientIdentifier, undefined);
});

conformance("[5.0] CONNACK has response information for a client that asks for it", async (broker) => {
  const clientId = broker.unique("c");
  for (
    const [requestResponseInformation, responseInformation] of [[true, `responses/${clientId}`], [
      false,
      undefined,
    ]] as const
  ) {
    const properties = { requestResponseInformation };
    assert.equal((await connackOf(broker, { clientId, properties })).responseInformation, responseInformation);
  }
  assert.equal((await connackOf(broker, { clientId })).responseInformation, undefined);
}, obliging);

conformance("[5.0] CONNACK has the method and the data of the authentication", async (broker) => {
  const [, { properties }] = await authenticate(broker);
  const { authenticationMethod, authenticationData } = properties ?? {};
  assert.deepEqual([authenticationMethod, new TextDecoder().decode(authenticationData)], ["CHALLENGE", "welcome"]);
}, obliging);

conformance("[5.0] a refusal, or a DISCONNECT, has a reason string, and says where else to go", async (broker) => {
  for (const reasonCode of [ReasonCode.UseAnotherServer, ReasonCode.ServerMoved]) {
    const told = { reasonString: "as asked for", serverReference: "other.example:1883" };
    const refused = await broker.open();
    await refused.send(connectPacket({ clientId: broker.unique("c"), username: `refuse ${reasonCode}` }));
    const connack = await refused.expect("connack");
    assert.deepEqual([connack.reasonCode, connack.properties], [reasonCode, told]);
    const client = await broker.connect();
    await client.send(publishPacket({ topic: `disconnect/${reasonCode}` }));
    const disconnect = await client.expect("disconnect");
    assert.deepEqual([disconnect.reasonCode, disconnect.properties], [reasonCode, told]);
  }
}, obliging);
