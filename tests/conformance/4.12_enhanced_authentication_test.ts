import assert from "node:assert/strict";
import { type Packet, ReasonCode } from "../../codec/mod.ts";
import { receive } from "../broker/receive.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { authenticate, authPacket, begin, challenging, METHOD } from "./authenticating_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

const { ContinueAuthentication, NotAuthorized, ProtocolError, Reauthenticate, Success } = ReasonCode;

// "If the Server does not support the Authentication Method supplied by the Client, it MAY send a CONNACK with a Reason
// Code of 0x8C (Bad authentication method) or 0x87 (Not Authorized) … and MUST close the Network Connection."
const unknownMethod =
  "[5.0 MQTT-4.12.0-1] a client with a method that the broker does not know is refused, and its connection closed";
conformance(`${unknownMethod}, where there is no method at all`, async (broker) => {
  await expectRefused(await begin(broker, METHOD), ReasonCode.BadAuthenticationMethod);
});
conformance(`${unknownMethod}, where there are others`, async (broker) => {
  for (const method of ["", "challenge", "CHALLENGE "]) {
    await expectRefused(await begin(broker, method), ReasonCode.BadAuthenticationMethod);
  }
}, challenging);

// "If the Server requires additional information to complete the authorization, it can send an AUTH packet to the
// Client. This packet MUST contain a Reason Code of 0x18 (Continue authentication)." "If the initial CONNECT packet
// included an Authentication Method property then all AUTH packets, and any successful CONNACK packet MUST include an
// Authentication Method Property with the same value as in the CONNECT packet." "The sender of the AUTH Packet MUST use
// one of the Authenticate Reason Codes."
conformance(
  "[5.0 MQTT-4.12.0-2 MQTT-4.12.0-5 MQTT-3.15.2-1] the broker asks with AUTH 0x18, and lets in with CONNACK, both with the method",
  async (broker) => {
    const client = await begin(broker, METHOD);
    assert.deepEqual(await client.expect("auth"), authPacket(ContinueAuthentication, "who?"));
    await client.send(authPacket(ContinueAuthentication, "me"));
    const { reasonCode, properties } = await client.expect("connack");
    assert.deepEqual([reasonCode, properties?.authenticationMethod], [Success, METHOD]);
    assert.equal(new TextDecoder().decode(properties?.authenticationData), "welcome");
    await client.expectNothing();
  },
  challenging,
);

conformance("[5.0 MQTT-4.12.0-5] a method that asks nothing is in the CONNACK as well", async (broker) => {
  const client = await begin(broker, "TRUST");
  const { reasonCode, properties } = await client.expect("connack");
  assert.deepEqual([reasonCode, properties?.authenticationMethod], [Success, "TRUST"]);
}, challenging);

// "The Client responds to an AUTH packet from the Server by sending a further AUTH packet. This packet MUST contain a
// Reason Code of 0x18 (Continue authentication)."
conformance(
  "[5.0 MQTT-4.12.0-3] a client that answers with anything else than AUTH 0x18 and the method is not let in",
  async (broker) => {
    const subscription = {
      topicFilter: "t",
      qos: 0,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
    } as const;
    const answers: Packet[] = [
      authPacket(Success, "me"),
      authPacket(Reauthenticate, "me"),
      authPacket(ContinueAuthentication, "me", "TRUST"),
      { type: "auth", reasonCode: Success },
      { type: "pingreq" },
      publishPacket({ topic: "t" }),
      { type: "subscribe", packetId: 1, subscriptions: [subscription] },
      connectPacket({ clientId: broker.unique("c") }),
    ];
    for (const answer of answers) {
      const client = await begin(broker, METHOD);
      await client.expect("auth");
      await client.send(answer);
      await expectRefused(client, ProtocolError);
    }
  },
  challenging,
);

// "The Server can reject the authentication at any point in this process. It MAY send a CONNACK with a Reason Code of
// 0x80 or above …, and MUST close the Network Connection."
conformance(
  "[5.0 MQTT-4.12.0-4] a client that answers wrongly is refused, and its connection closed",
  async (broker) => {
    const client = await begin(broker, METHOD);
    await client.expect("auth");
    await client.send(authPacket(ContinueAuthentication, "not me"));
    await expectRefused(client, NotAuthorized);
  },
  challenging,
);

conformance(
  "[5.0 MQTT-4.12.0-4] a client that does not answer is refused, and its connection closed",
  async (broker) => {
    const client = await begin(broker, METHOD);
    await client.expect("auth");
    await expectRefused(client, ReasonCode.UnspecifiedError);
  },
  { ...challenging, environment: { HOOKMQ_LIMITS_CONNECT_TIMEOUT: "1" } },
);

// "If the Client does not include an Authentication Method in the CONNECT, the Server MUST NOT send an AUTH packet, and
// it MUST NOT send an Authentication Method in the CONNACK packet."
conformance(
  "[5.0 MQTT-4.12.0-6] a client without a method is not asked, and reads of none",
  async (broker) => {
    const client = await broker.connect({ username: "ann", password: "me" });
    const { authenticationMethod, authenticationData } = client.connack.properties ?? {};
    assert.deepEqual([authenticationMethod, authenticationData], [undefined, undefined]);
    await client.expectNothing();
  },
  challenging,
);

// "If the Client does not include an Authentication Method in the CONNECT, the Client MUST NOT send an AUTH packet to
// the Server." "It is a Protocol Error for the Client or Server to send an AUTH packet if the CONNECT packet did not
// contain the same Authentication Method."
conformance(
  "[5.0 MQTT-4.12.0-7] an AUTH from a client that connected without a method is a protocol error",
  async (broker) => {
    for (const reasonCode of [ContinueAuthentication, Reauthenticate]) {
      const client = await broker.connect();
      await client.send(authPacket(reasonCode, "me"));
      await expectDisconnected(client, ProtocolError);
    }
  },
  challenging,
);

// "It is a Protocol Error to include Authentication Data if there is no Authentication Method."
conformance("[5.0] authentication data without a method is a protocol error", async (broker) => {
  const client = await broker.open();
  const properties = { authenticationData: new Uint8Array([1]) };
  await client.send(connectPacket({ clientId: broker.unique("c"), properties }));
  await expectRefused(client, ProtocolError);
});

// "The Client MUST set the Authentication Method to the same value as the Authentication Method originally used to
// authenticate the Network Connection."
conformance(
  "[5.0 MQTT-4.12.1-1] a client that authenticates again with another method is disconnected",
  async (broker) => {
    const [client] = await authenticate(broker);
    await client.send(authPacket(Reauthenticate, undefined, "TRUST"));
    await expectDisconnected(client, ProtocolError);
  },
  challenging,
);

// "The Server responds to this re-authentication request by sending an AUTH packet to the Client with a Reason Code of
// 0x00 (Success) … or a Reason Code of 0x18 (Continue authentication) …. During this re-authentication sequence, the
// flow of other packets between the Client and Server can continue using the previous authentication."
conformance(
  "[5.0 MQTT-4.12.0-2 MQTT-4.12.0-5 MQTT-3.15.2-1] a client authenticates again, while its other packets go on",
  async (broker) => {
    const topic = broker.unique("t");
    const [client] = await authenticate(broker);
    await client.send(authPacket(Reauthenticate));
    assert.deepEqual(await client.expect("auth"), authPacket(ContinueAuthentication, "who?"));
    await client.subscribe(topic);
    await client.publish({ topic, payload: "meanwhile" });
    assert.equal((await receive(client)).text, "meanwhile");
    await client.send(authPacket(ContinueAuthentication, "me"));
    assert.deepEqual(await client.expect("auth"), authPacket(Success, "welcome"));
    await client.expectNothing();
  },
  challenging,
);

// "If the re-authentication fails, the Client or Server SHOULD send DISCONNECT with an appropriate Reason Code and MUST
// close the Network Connection."
conformance(
  "[5.0 MQTT-4.12.1-2] a client that fails to authenticate again is disconnected",
  async (broker) => {
    const [client] = await authenticate(broker);
    await client.send(authPacket(Reauthenticate));
    await client.expect("auth");
    await client.send(authPacket(ContinueAuthentication, "not me"));
    await expectDisconnected(client, NotAuthorized);
  },
  challenging,
);
