import assert from "node:assert/strict";
import { encode, type ProtocolLevel, ReasonCode } from "../../codec/mod.ts";
import { lasting } from "../broker/versions.ts";
import { binary, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import { connectPacket, publishPacket } from "../support/raw_client.ts";
import { conformance } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";
import { expectRefused } from "./expect_refused.ts";

/** Lets in alice with her password, and nobody else. */
const alice = { config: "hooks: {auth: {credentials: {alice: sesame}}}" };

/** What a CONNECT consists of behind its fixed header; a plain one of client "a" unless told otherwise. */
interface Parts {
  name?: string;
  level: number;
  flags?: number;
  payload?: number[][];
}

function connectBytes({ level, name = level === 3 ? "MQIsdp" : "MQTT", flags = 0x02, payload }: Parts): Uint8Array {
  const none = level >= 5 && level < 0x80 ? properties() : [];
  return packetBytes(0x10, text(name), level, flags, [0, 60], none, ...(payload ?? [text("a")]));
}

/** In MQTT 5, an empty set of properties. */
function none(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

// "After a Network Connection is established by a Client to a Server, the first packet sent from the Client to the
// Server MUST be a CONNECT packet."
conformance(
  "[5.0 MQTT-3.1.0-1] [3.1.1 MQTT-3.1.0-1] [3.1] a connection that does not begin with CONNECT is closed without a word",
  async (broker, level) => {
    const packets = [
      packetBytes(0x20, 0, 0),
      packetBytes(0x30, text("a"), none(level)),
      packetBytes(0x40, [0, 1]),
      packetBytes(0x62, [0, 1]),
      packetBytes(0x82, [0, 1], none(level), text("a"), 0),
      packetBytes(0xc0),
      packetBytes(0xe0),
      packetBytes(0xf0),
      new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"),
    ];
    for (const packet of packets) {
      const client = await broker.open();
      await client.sendBytes(packet);
      await client.expectClosed();
    }
  },
);

// "The Server MUST process a second CONNECT packet sent from a Client as a Protocol Error and close the Network
// Connection." "The Server MUST NOT send more than one CONNACK in a Network Connection."
conformance(
  "[5.0 MQTT-3.1.0-2 MQTT-3.2.0-2] [3.1.1 MQTT-3.1.0-2] [3.1] a second CONNECT ends the connection, with no second CONNACK",
  async (broker, level) => {
    const clientId = broker.unique("a");
    const client = await broker.connect({ clientId });
    await client.send(connectPacket({ level, clientId }));
    await expectDisconnected(client, ReasonCode.ProtocolError);
  },
);

// "The protocol name MUST be the UTF-8 String "MQTT". If the Server does not want to accept the CONNECT … it MAY send a
// CONNACK packet with Reason Code of 0x84 (Unsupported Protocol Version), and then it MUST close the Network
// Connection." Of 3.1.1: "the Server MUST NOT continue to process the CONNECT packet in line with this specification"
conformance(
  "[5.0 MQTT-3.1.2-1] [3.1.1 MQTT-3.1.2-1] [3.1] a CONNECT with another protocol name is refused",
  async (broker, level) => {
    for (const name of ["MQTX", "mqtt", "MQT", "MQTTT", "MQTT ", "", level === 3 ? "MQTT" : "MQIsdp"]) {
      const client = await broker.open();
      await client.sendBytes(connectBytes({ level, name }));
      await expectRefused(client, ReasonCode.UnsupportedProtocolVersion, 1);
    }
  },
);

// "If the Protocol Version is not 5 and the Server does not want to accept the CONNECT packet, the Server MAY send a
// CONNACK packet with Reason Code 0x84 (Unsupported Protocol Version) and then MUST close the Network Connection"
conformance(
  "[5.0 MQTT-3.1.2-2] a CONNECT of a later version is refused with Unsupported Protocol Version",
  async (broker) => {
    for (const level of [6, 7, 0x7f]) {
      const client = await broker.open();
      await client.sendBytes(connectBytes({ level }));
      await expectRefused(client, ReasonCode.UnsupportedProtocolVersion);
    }
  },
);

// "The Server MUST respond to the CONNECT Packet with a CONNACK return code 0x01 (unacceptable protocol level) and then
// disconnect the Client if the Protocol Level is not supported by the Server"
conformance(
  "[3.1.1 MQTT-3.1.2-2] a CONNECT of no level that is known is refused with return code 1",
  async (broker) => {
    for (const level of [0, 1, 2, 3, 0x80, 0x84, 0xff]) {
      const client = await broker.open();
      await client.sendBytes(connectBytes({ level, name: "MQTT" }));
      await client.expectBytes([0x20, 2, 0, 1]);
      await client.expectClosed();
    }
  },
);

// "The Server MUST validate that the reserved flag in the CONNECT packet is set to 0."
conformance(
  "[5.0 MQTT-3.1.2-3] [3.1.1 MQTT-3.1.2-3] a CONNECT with the reserved connect flag is refused",
  async (broker, level) => {
    const client = await broker.open();
    await client.sendBytes(connectBytes({ level, flags: 0x03 }));
    await expectRefused(client, ReasonCode.MalformedPacket);
  },
);

// Of 5.0: "If the User Name Flag is set to 0, a User Name MUST NOT be present in the Payload." "If the Password Flag is
// set to 0, a Password MUST NOT be present in the Payload." (3.1.1 likewise)
conformance(
  "[5.0 MQTT-3.1.2-16 MQTT-3.1.2-18] [3.1.1 MQTT-3.1.2-18 MQTT-3.1.2-20] a user name or password without its flag is malformed",
  async (broker, level) => {
    for (
      const [flags, payload] of [[0x02, [text("a"), text("u")]], [0x82, [text("a"), text("u"), text("p")]]] as const
    ) {
      const client = await broker.open();
      await client.sendBytes(connectBytes({ level, flags, payload: [...payload] }));
      await expectRefused(client, ReasonCode.MalformedPacket);
    }
  },
);

// Of 5.0: "If the User Name Flag is set to 1, a User Name MUST be present in the Payload." "If the Password Flag is set
// to 1, a Password MUST be present in the Payload." (3.1.1 likewise)
conformance(
  "[5.0 MQTT-3.1.2-17 MQTT-3.1.2-19] [3.1.1 MQTT-3.1.2-19 MQTT-3.1.2-21] a flag without its user name or password is malformed",
  async (broker, level) => {
    for (
      const [flags, payload] of [[0x82, [text("a")]], [0xc2, [text("a")]], [0xc2, [text("a"), text("u")]]] as const
    ) {
      const client = await broker.open();
      await client.sendBytes(connectBytes({ level, flags, payload: [...payload] }));
      await expectRefused(client, ReasonCode.MalformedPacket);
    }
  },
);

// "If the User Name Flag is set to 0, the Password Flag MUST be set to 0"
conformance("[3.1.1 MQTT-3.1.2-22] [3.1] a password without a user name is malformed", async (broker, level) => {
  const client = await broker.open();
  await client.sendBytes(connectBytes({ level, flags: 0x42, payload: [text("a"), text("p")] }));
  await client.expectClosed();
});

// "This version of the protocol allows the sending of a Password with no User Name, where MQTT v3.1.1 did not."
conformance("[5.0] a password without a user name is accepted", async (broker) => {
  await broker.connect({ password: "p" });
});

// "These fields, if present, MUST appear in the order Client Identifier, Will Properties, Will Topic, Will Payload,
// User Name, Password" "If the User Name Flag is set to 1, a User Name MUST be present in the Payload" "If the Will
// Flag is set to 1, the Will Properties, Will Topic, and Will Payload fields MUST be present"
conformance(
  "[5.0 MQTT-3.1.3-1 MQTT-3.1.2-9 MQTT-3.1.2-17 MQTT-3.1.2-19] [3.1.1 MQTT-3.1.3-1 MQTT-3.1.2-9 MQTT-3.1.2-19 MQTT-3.1.2-21] " +
    "[3.1] a payload is client identifier, will, user name and password, in this order",
  async (broker, level) => {
    const topic = broker.unique("will");
    const credentials = { username: "alice", password: "sesame" };
    const subscriber = await broker.connect(credentials);
    await subscriber.subscribe(topic);
    const clientId = broker.unique("a");
    const client = await broker.open();
    const payload = [text(clientId), none(level), text(topic), binary(1, 2, 3), text("alice"), text("sesame")];
    await client.sendBytes(connectBytes({ level, flags: 0xc6, payload }));
    assert.equal((await client.expect("connack")).reasonCode, 0);
    await client.close();
    await subscriber.expectBytes(packetBytes(0x30, text(topic), none(level), 1, 2, 3));
  },
  alice,
);

// "The ClientID MUST be used by Clients and by Servers to identify state that they hold relating to this MQTT Session"
conformance(
  "[5.0 MQTT-3.1.3-2] [3.1.1 MQTT-3.1.3-2] [3.1] a session is found by its client id, down to upper and lower case",
  async (broker, level) => {
    const topic = broker.unique("t");
    const clientId = broker.unique("id");
    const client = await broker.connect({ ...lasting(level), clientId });
    await client.subscribe(topic, { qos: 1 });
    await client.disconnect();
    await (await broker.connect()).publish({ topic, qos: 1, payload: "kept" });
    for (const other of [clientId.toUpperCase(), `${clientId}x`, `x${clientId}`]) {
      const stranger = await broker.connect({ ...lasting(level), clientId: other });
      assert.equal(stranger.connack.sessionPresent, false);
      await stranger.expectNothing();
    }
    const back = await broker.connect({ ...lasting(level), clientId });
    assert.equal(new TextDecoder().decode((await back.expect("publish")).payload), "kept");
  },
);

// "The ClientID MUST be present and is the first field in the CONNECT packet Payload."
conformance(
  "[5.0 MQTT-3.1.3-3] [3.1.1 MQTT-3.1.3-3] [3.1] a CONNECT without a payload is malformed",
  async (broker, level) => {
    const client = await broker.open();
    await client.sendBytes(connectBytes({ level, payload: [] }));
    await expectRefused(client, ReasonCode.MalformedPacket);
  },
);

// "The Server MUST allow ClientID’s which are between 1 and 23 UTF-8 encoded bytes in length, and that contain only the
// characters "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"."
conformance(
  "[5.0 MQTT-3.1.3-5] [3.1.1 MQTT-3.1.3-5] [3.1] client ids of 1 to 23 letters and digits are accepted, with each of them",
  async (broker) => {
    const characters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (const character of characters) await (await broker.connect({ clientId: character })).disconnect();
    for (let length = 1; length <= 23; length++) {
      await (await broker.connect({ clientId: characters.slice(-length) })).disconnect();
    }
  },
);

// "A Server MAY allow a Client to supply a ClientID that has a length of zero bytes, however if it does so the Server
// MUST … assign a unique ClientID to that Client." "It MUST then process the CONNECT packet as if the Client had
// provided that unique ClientID, and MUST return the Assigned Client Identifier in the CONNACK packet." "The Assigned
// Client Identifier MUST be a new Client Identifier not used by any other Session currently in the Server."
conformance(
  "[5.0 MQTT-3.1.3-6 MQTT-3.1.3-7 MQTT-3.2.2-16] a client without an id is assigned a new one, which its session goes by",
  async (broker, level) => {
    const topic = broker.unique("t");
    const clients = [];
    for (let count = 0; count < 5; count++) clients.push(await broker.connect({ ...lasting(level), clientId: "" }));
    const assigned = clients.map((client) => client.connack.properties?.assignedClientIdentifier);
    assert(assigned.every((clientId) => clientId !== undefined && clientId !== ""));
    assert.equal(new Set(assigned).size, 5);
    for (const client of clients) await client.expectNothing();

    const [client] = clients;
    await client.subscribe(topic);
    await client.disconnect();
    const back = await broker.connect({ ...lasting(level), clientId: assigned[0] });
    assert.equal(back.connack.sessionPresent, true);
    assert.equal(back.connack.properties?.assignedClientIdentifier, undefined);
    await (await broker.connect()).publish({ topic });
    assert.equal((await back.expect("publish")).topic, topic);
  },
);

// "A Server MAY allow a Client to supply a ClientId that has a length of zero bytes, however if it does so the Server
// MUST treat this as a special case and assign a unique ClientId to that Client. It MUST then process the CONNECT
// packet as if the Client had provided that unique ClientId"
conformance("[3.1.1 MQTT-3.1.3-6] clients without an id are each one of their own", async (broker) => {
  const topic = broker.unique("t");
  const clients = [];
  for (let count = 0; count < 3; count++) clients.push(await broker.connect({ clientId: "" }));
  for (const client of clients) await client.subscribe(topic);
  await (await broker.connect()).publish({ topic });
  for (const client of clients) assert.equal((await client.expect("publish")).topic, topic);
});

// "If the Client supplies a zero-byte ClientId, the Client MUST also set CleanSession to 1" "If the Client supplies a
// zero-byte ClientId with CleanSession set to 0, the Server MUST respond to the CONNECT Packet with a CONNACK return
// code 0x02 … and then close the Network Connection"
conformance(
  "[3.1.1 MQTT-3.1.3-7 MQTT-3.1.3-8] an empty client id without clean session is refused with 2",
  async (broker) => {
    const client = await broker.open();
    await client.send(connectPacket({ level: 4, clientId: "", cleanStart: false }));
    await client.expectBytes([0x20, 2, 0, 2]);
    await client.expectClosed();
  },
);

// "If the Server rejects the ClientID it MAY respond to the CONNECT packet with a CONNACK using Reason Code 0x85 … and
// then it MUST close the Network Connection." Of 3.1.1: "it MUST respond to the CONNECT Packet with a CONNACK return
// code 0x02"
conformance(
  "[5.0 MQTT-3.1.3-8] [3.1.1 MQTT-3.1.3-9] a client id that is longer than allowed is refused",
  async (broker, level) => {
    const client = await broker.open();
    await client.send(connectPacket({ level, clientId: "a".repeat(31) }));
    await expectRefused(client, ReasonCode.ClientIdentifierNotValid, 2);
  },
  { config: "limits: {clientIdLength: 30}" },
);

// Of MQTT 3.1, section 3.1: "The Client Identifier … must be between 1 and 23 characters long" and otherwise "the
// server must respond to the CONNECT message with a CONNACK return code 2: Identifier Rejected"
conformance("[3.1] a client id of no character or of more than 23 is refused with return code 2", async (broker) => {
  for (const clientId of ["", "a".repeat(24), "a".repeat(100)]) {
    for (const cleanStart of [true, false]) {
      const client = await broker.open();
      await client.send(connectPacket({ level: 3, clientId, cleanStart }));
      await client.expectBytes([0x20, 2, 0, 2]);
      await client.expectClosed();
    }
  }
});

// "The Server MUST validate that the CONNECT packet matches the format described in section 3.1 and close the Network
// Connection if it does not match." Of 3.1.1: "without sending a CONNACK"
conformance(
  "[5.0 MQTT-3.1.4-1] [3.1.1 MQTT-3.1.4-1] [3.1] a CONNECT that is cut off anywhere is malformed",
  async (broker, level) => {
    const whole = encode(
      connectPacket({ level, clientId: "a", username: "u", password: "p", will: { topic: "t", payload: "w" } }),
      level,
    );
    const body = whole.subarray(2);
    const levelEnds = level === 3 ? 9 : 7;
    // In MQTT 3.1 the password may be missing, or both it and the user name.
    const complete = level === 3 ? [body.length - 3, body.length - 6] : [];
    for (let length = 0; length < body.length; length++) {
      if (complete.includes(length)) continue;
      const client = await broker.open();
      await client.sendBytes(packetBytes(0x10, body.subarray(0, length)));
      if (length < levelEnds) await client.expectClosed();
      else await expectRefused(client, ReasonCode.MalformedPacket);
    }
  },
);

// "Server implementations must allow for the possibility that the User Name flag is set, but the User Name string is
// missing. This is valid, and connections should be allowed to continue." The same is said of the password.
conformance("[3.1] user name and password may be missing although their flags are set", async (broker) => {
  for (const payload of [[text("a")], [text("a"), text("u")]]) {
    const client = await broker.open();
    await client.sendBytes(connectBytes({ level: 3, flags: 0xc2, payload }));
    assert.equal((await client.expect("connack")).reasonCode, 0);
  }
});

// "The Server MUST validate that the CONNECT packet matches the format described in section 3.1 and close the Network
// Connection if it does not match." Of 3.1.1: "without sending a CONNACK"
conformance(
  "[5.0 MQTT-3.1.4-1] [3.1.1 MQTT-3.1.4-1] [3.1] a CONNECT with more than belongs to it is malformed",
  async (broker, level) => {
    const client = await broker.open();
    await client.sendBytes(connectBytes({ level, payload: [text("a"), [0]] }));
    await expectRefused(client, ReasonCode.MalformedPacket);
  },
);

// "The Server MAY check that the contents of the CONNECT packet meet any further restrictions and SHOULD perform
// authentication and authorization checks. If any of these checks fail, it MUST close the Network Connection."
conformance(
  "[5.0 MQTT-3.1.4-2] [3.1.1] [3.1] a client that is not who it says is refused",
  async (broker, level) => {
    const client = await broker.open();
    await client.send(connectPacket({ level, clientId: "a", username: broker.unique("mallory"), password: "sesame" }));
    await expectRefused(client, ReasonCode.BadUserNameOrPassword, 4);
  },
  alice,
);

// "If the ClientID represents a Client already connected to the Server, the Server sends a DISCONNECT packet to the
// existing Client with Reason Code of 0x8E (Session taken over) … and MUST close the Network Connection of the existing
// Client."
conformance(
  "[5.0 MQTT-3.1.4-3] [3.1.1 MQTT-3.1.4-2] [3.1] a second CONNECT with the same client id closes the first connection",
  async (broker) => {
    const clientId = broker.unique("a");
    const first = await broker.connect({ clientId });
    await broker.connect({ clientId });
    await expectDisconnected(first, ReasonCode.SessionTakenOver);
  },
);

// "The Server MUST acknowledge the CONNECT packet with a CONNACK packet containing a 0x00 (Success) Reason Code."
conformance(
  "[5.0 MQTT-3.1.4-5] [3.1.1 MQTT-3.1.4-4] [3.1] a CONNECT that is accepted is answered with CONNACK and 0",
  async (broker, level) => {
    const client = await broker.open();
    await client.send(connectPacket({ level, clientId: broker.unique("a") }));
    if (level === 5) assert.equal((await client.expect("connack")).reasonCode, 0);
    else await client.expectBytes([0x20, 2, 0, 0]);
    await client.expectNothing();
  },
);

// "Clients are allowed to send further MQTT Control Packets immediately after sending a CONNECT packet"
conformance(
  "[5.0] [3.1.1] [3.1] what a client sends before it has its CONNACK is done after it",
  async (broker, level) => {
    const topic = broker.unique("t");
    const client = await broker.open();
    const packets = [
      encode(connectPacket({ level, clientId: broker.unique("a") }), level),
      packetBytes(0x82, [0, 1], none(level), text(topic), 0),
      packetBytes(0x30, text(topic), none(level), 1),
    ];
    await client.sendBytes(new Uint8Array(packets.flatMap((packet) => [...packet])));
    assert.equal((await client.expect("connack")).reasonCode, 0);
    await client.expect("suback");
    assert.equal((await client.expect("publish")).topic, topic);
  },
);

// "If the Server rejects the CONNECT, it MUST NOT process any data sent by the Client after the CONNECT packet except
// AUTH packets."
conformance(
  "[5.0 MQTT-3.1.4-6] [3.1.1 MQTT-3.1.4-5] [3.1] what a client sends behind a CONNECT that is refused is not done",
  async (broker, level) => {
    const topic = broker.unique("t");
    const subscriber = await broker.connect({ username: "alice", password: "sesame" });
    await subscriber.subscribe(topic);
    const client = await broker.open();
    const packets = [
      encode(connectPacket({ level, clientId: "a", username: broker.unique("mallory"), password: "guess" }), level),
      encode(publishPacket({ topic, payload: "refused" }), level),
    ];
    await client.sendBytes(new Uint8Array(packets.flatMap((packet) => [...packet])));
    await expectRefused(client, ReasonCode.BadUserNameOrPassword, 4);
    await subscriber.expectNothing();
  },
  alice,
);

// "If the Server does not receive a CONNECT packet within a reasonable amount of time after the Network Connection is
// established, the Server SHOULD close the Network Connection."
conformance("[5.0] [3.1.1] a connection on which no CONNECT comes is closed after a time", async (broker) => {
  const client = await broker.open();
  await client.expectClosed();
}, { config: "limits: {connectTimeout: 1}" });
