import assert from "node:assert/strict";
import { allowsReason, encode, ReasonCode } from "../../codec/mod.ts";
import { lasting } from "../broker/versions.ts";
import { connectPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectRefused } from "./expect_refused.ts";

// Of 5.0: "The Server MUST send a CONNACK with a 0x00 (Success) Reason Code before sending any Packet other than AUTH."
// Of 3.1.1: "The first packet sent from the Server to the Client MUST be a CONNACK Packet"
conformance(
  "[5.0 MQTT-3.2.0-1] [3.1.1 MQTT-3.2.0-1] [3.1] what waits for a client comes after its CONNACK",
  async (broker, level) => {
    const topic = broker.unique("t");
    const clientId = broker.unique("id");
    const before = await broker.connect({ ...lasting(level), clientId });
    await before.subscribe(topic, { qos: 1 });
    await before.disconnect();
    await (await broker.connect()).publish({ topic, qos: 1 });
    const after = await broker.open();
    await after.send(connectPacket({ ...lasting(level), clientId }));
    assert.equal((await after.expect("connack")).reasonCode, 0);
    await after.expect("publish");
  },
);

// "Byte 1 is the "Connect Acknowledge Flags". Bits 7-1 are reserved and MUST be set to 0."
conformance(
  "[5.0 MQTT-3.2.2-1] [3.1.1] the acknowledge flags of a CONNACK are 0, and 1 if the session is present",
  async (broker, level) => {
    const clientId = broker.unique("id");
    const { connack } = await broker.connect();
    for (const flags of [0, 1]) {
      const client = await broker.open();
      await client.send(connectPacket({ ...lasting(level), clientId }));
      const expected = encode(connack, level);
      expected[2] = flags;
      await client.expectBytes(expected);
      await client.disconnect();
    }
  },
);

// Of MQTT 3.1, section 3.2: the first byte of CONNACK's variable header is reserved, and not used
conformance("[3.1] a CONNACK does not say whether the session is present", async (broker) => {
  const clientId = broker.unique("id");
  for (let count = 0; count < 2; count++) {
    const client = await broker.open();
    await client.send(connectPacket({ level: 3, clientId, cleanStart: false }));
    await client.expectBytes([0x20, 2, 0, 0]);
    await client.disconnect();
  }
});

// "If a Server sends a CONNACK packet containing a non-zero Reason Code it MUST set Session Present to 0." "If a Server
// sends a CONNACK packet containing a Reason code of 0x80 or greater it MUST then close the Network Connection."
conformance(
  "[5.0 MQTT-3.2.2-6 MQTT-3.2.2-7] [3.1.1 MQTT-3.2.2-4 MQTT-3.2.2-5] [3.1] " +
    "a refusal says that no session is present also if one is, and closes the connection",
  async (broker, level) => {
    const clientId = broker.unique("id");
    const username = broker.unique("user");
    await (await broker.connect({ ...lasting(level), clientId, username })).disconnect();
    const refused = await broker.open();
    await refused.send(connectPacket({ ...lasting(level), clientId, username: "refuse 0x87" }));
    await expectRefused(refused, ReasonCode.NotAuthorized, 5);
    const back = await broker.connect({ ...lasting(level), clientId, username });
    assert.equal(back.connack.sessionPresent, level > 3);
  },
  { script: "obliging_broker.ts" },
);

// "The Server sending the CONNACK packet MUST use one of the Connect Reason Code values."
conformance(
  "[5.0 MQTT-3.2.2-8] a refusal has a reason code of CONNACK, whatever a hook refuses with",
  async (broker) => {
    const codes = Object.values(ReasonCode).filter((code) => typeof code === "number" && code >= 0x80) as ReasonCode[];
    for (const code of codes) {
      const client = await broker.open();
      await client.send(connectPacket({ clientId: "a", username: `refuse ${code}` }));
      await expectRefused(client, allowsReason("connack", code) ? code : ReasonCode.UnspecifiedError);
    }
  },
  { script: "obliging_broker.ts" },
);

// "If a server sends a CONNACK packet containing a non-zero return code it MUST then close the Network Connection"
conformance(
  "[3.1.1 MQTT-3.2.2-5] [3.1] a connection is closed after each of the return codes",
  async (broker, level) => {
    const refusals = [
      [ReasonCode.UnsupportedProtocolVersion, 1],
      [ReasonCode.ClientIdentifierNotValid, 2],
      [ReasonCode.ServerUnavailable, 3],
      [ReasonCode.BadUserNameOrPassword, 4],
      [ReasonCode.NotAuthorized, 5],
    ];
    for (const [reasonCode, returnCode] of refusals) {
      const client = await broker.open();
      await client.send(connectPacket({ level, clientId: "a", username: `refuse ${reasonCode}` }));
      await client.expectBytes([0x20, 2, 0, returnCode]);
      await client.expectClosed();
    }
  },
  { script: "obliging_broker.ts" },
);

// "If none of the return codes listed in Table 3.1 – Connect Return code values are deemed applicable, then the Server
// MUST close the Network Connection without sending a CONNACK"
conformance("[3.1.1 MQTT-3.2.2-6] a refusal that no return code stands for closes the connection", async (broker) => {
  const client = await broker.open();
  await client.send(connectPacket({ level: 4, clientId: "a", will: { topic: "a", qos: 1 } }));
  await client.expectClosed();
}, { config: "maximumQos: 0" });

for (const maximumQos of [0, 1] as const) {
  const options = { config: `maximumQos: ${maximumQos}` };

  // "If a Server does not support QoS 1 or QoS 2 PUBLISH packets it MUST send a Maximum QoS in the CONNACK packet
  // specifying the highest QoS it supports."
  conformance(`[5.0 MQTT-3.2.2-9] a server that takes no more than QoS ${maximumQos} says so`, async (broker) => {
    const { connack } = await broker.connect();
    assert.equal(connack.properties?.maximumQos, maximumQos);
  }, options);

  // "A Server that does not support QoS 1 or QoS 2 PUBLISH packets MUST still accept SUBSCRIBE packets containing a
  // Requested QoS of 0, 1 or 2."
  conformance(
    `[5.0 MQTT-3.2.2-10] [3.1.1] a server that takes no more than QoS ${maximumQos} accepts subscriptions of any QoS`,
    async (broker) => {
      const client = await broker.connect();
      const topic = broker.unique("t");
      for (const qos of [0, 1, 2] as const) {
        const { reasonCodes } = await client.subscribe(topic, { qos });
        assert(reasonCodes[0] <= qos, `granted ${reasonCodes[0]} for ${qos}`);
      }
      const publisher = await broker.connect();
      await publisher.publish({ topic, qos: maximumQos });
      assert.equal((await client.expect("publish")).qos, maximumQos);
    },
    options,
  );

  // "If a Server receives a CONNECT packet containing a Will QoS that exceeds its capabilities, it MUST reject the
  // connection. It SHOULD use a CONNACK packet with Reason Code 0x9B (QoS not supported) …, and MUST close the Network
  // Connection."
  conformance(
    `[5.0 MQTT-3.2.2-12] [3.1.1] a server that takes no more than QoS ${maximumQos} refuses a will above it`,
    async (broker, level) => {
      const client = await broker.open();
      await client.send(connectPacket({ level, clientId: "a", will: { topic: "a", qos: 2 } }));
      await expectRefused(client, ReasonCode.QosNotSupported);
      await broker.connect({ will: { topic: broker.unique("will"), qos: maximumQos } });
    },
    options,
  );
}

// "If a Server does not support QoS 1 or QoS 2 PUBLISH packets it MUST send a Maximum QoS"
conformance("[5.0 MQTT-3.2.2-9] a server that takes every QoS does not limit it", async (broker) => {
  const { connack } = await broker.connect();
  assert.equal(connack.properties?.maximumQos, undefined);
});

// "If a Server receives a CONNECT packet containing a Will Message with the Will Retain 1, and it does not support
// retained messages, the Server MUST reject the connection request. It SHOULD send CONNACK with Reason Code 0x9A
// (Retain not supported) and then it MUST close the Network Connection."
conformance(
  "[5.0 MQTT-3.2.2-13] [3.1.1] a server without retained messages refuses a will that is to be retained",
  async (broker, level) => {
    const client = await broker.open();
    await client.send(connectPacket({ level, clientId: "a", will: { topic: "a", retain: true } }));
    await expectRefused(client, ReasonCode.RetainNotSupported);
    const { connack } = await broker.connect({ will: { topic: broker.unique("will"), retain: false } });
    assert.equal(connack.properties?.retainAvailable, level === 5 ? false : undefined);
  },
  { config: "retainAvailable: false" },
);

// "The Server MUST NOT send this property if it would increase the size of the CONNACK packet beyond the Maximum Packet
// Size specified by the Client.", of the Reason String and of the User Property
conformance(
  "[5.0 MQTT-3.2.2-19 MQTT-3.2.2-20] a refusal leaves out its reason string where it would be too large with it",
  async (broker) => {
    const refusal = async (maximumPacketSize?: number) => {
      const client = await broker.open();
      const properties = maximumPacketSize === undefined ? undefined : { maximumPacketSize };
      await client.send(connectPacket({ clientId: "a".repeat(31), properties }));
      const connack = await client.expect("connack");
      assert.equal(connack.reasonCode, ReasonCode.ClientIdentifierNotValid);
      await client.expectClosed();
      return connack.properties;
    };
    const reasonString = (await refusal())?.reasonString;
    assert(reasonString !== undefined, "the test is about a CONNACK with a reason string");
    // Fixed header, flags and reason code, property length, the property with its identifier and length
    const size = 2 + 2 + 1 + 3 + new TextEncoder().encode(reasonString).length;
    assert.deepEqual(await refusal(size), { reasonString });
    for (const tooSmall of [size - 1, 5]) assert.equal(await refusal(tooSmall), undefined);
  },
  { config: "limits: {clientIdLength: 30}" },
);
