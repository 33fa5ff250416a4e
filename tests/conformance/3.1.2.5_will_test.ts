import assert from "node:assert/strict";
import { type ProtocolLevel, type Qos, ReasonCode } from "../../codec/mod.ts";
import { lasting } from "../broker/versions.ts";
import { binary, packetBytes, properties, text } from "../codec/packet_bytes.ts";
import type { RawClient } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectRefused } from "./expect_refused.ts";

/** A topic, and a client that is subscribed to it. */
async function watchedTopic(broker: ConformanceBroker, qos: Qos = 0): Promise<{ topic: string; watcher: RawClient }> {
  const topic = broker.unique("will");
  const watcher = await broker.connect();
  await watcher.subscribe(topic, { qos });
  return { topic, watcher };
}

/** Expects a message with this text. */
async function expectMessage(watcher: RawClient, payload: string): Promise<void> {
  assert.equal(new TextDecoder().decode((await watcher.expect("publish")).payload), payload);
}

/** In MQTT 5, an empty set of properties. */
function none(level: ProtocolLevel): number[] {
  return level === 5 ? properties() : [];
}

/** A CONNECT with these connect flags, and with what follows the keep alive. */
function connectBytes(level: ProtocolLevel, flags: number, ...rest: number[][]): Uint8Array {
  return packetBytes(0x10, text(level === 3 ? "MQIsdp" : "MQTT"), level, flags, [0, 60], none(level), ...rest);
}

// Of 5.0: "a Will Message MUST be stored on the Server and associated with the Session." "The Will Message MUST be
// published after the Network Connection is subsequently closed …" Of 3.1.1: "The Will Message MUST be published when
// the Network Connection is subsequently closed unless the Will Message has been deleted by the Server on receipt of a
// DISCONNECT Packet."
conformance(
  "[5.0 MQTT-3.1.2-7 MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8] [3.1] a will is published when its client breaks off",
  async (broker) => {
    const { topic, watcher } = await watchedTopic(broker);
    const client = await broker.connect({ will: { topic, payload: "gone" } });
    await watcher.expectNothing();
    await client.close();
    await expectMessage(watcher, "gone");
  },
);

// "Situations in which the Will Message is published include … The Server closes the Network Connection without first
// receiving a DISCONNECT packet"
conformance(
  "[5.0 MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8] [3.1] a will is published when the server closes the connection",
  async (broker) => {
    const { topic, watcher } = await watchedTopic(broker);
    const client = await broker.connect({ will: { topic, payload: "thrown out" } });
    await client.sendBytes(packetBytes(0xc1));
    await expectMessage(watcher, "thrown out");
  },
);

// "If the existing Client has a Will Message, that Will Message is published as described in section 3.1.2.5."
conformance(
  "[5.0 MQTT-3.1.2-8] [3.1.1 MQTT-3.1.2-8] [3.1] a will is published when another connection takes its client's place",
  async (broker, level) => {
    const { topic, watcher } = await watchedTopic(broker);
    const clientId = broker.unique("id");
    await broker.connect({ ...lasting(level), clientId, will: { topic, payload: "taken over" } });
    await broker.connect({ ...lasting(level), clientId });
    await expectMessage(watcher, "taken over");
    await watcher.expectNothing();
  },
);

// "… unless the Will Message has been deleted by the Server on receipt of a DISCONNECT packet with Reason Code 0x00
// (Normal disconnection)" "The Will Message MUST be removed from the stored Session State in the Server once … the
// Server has received a DISCONNECT packet"
conformance(
  "[5.0 MQTT-3.1.2-8 MQTT-3.1.2-10] [3.1.1 MQTT-3.1.2-8 MQTT-3.1.2-10] [3.1] a will is not published after DISCONNECT, nor later",
  async (broker, level) => {
    const { topic, watcher } = await watchedTopic(broker);
    const clientId = broker.unique("id");
    const client = await broker.connect({ ...lasting(level), clientId, will: { topic } });
    await client.disconnect();
    await watcher.expectNothing();
    const back = await broker.connect({ ...lasting(level), clientId });
    await back.sendBytes(packetBytes(0xc1));
    if (level === 5) await back.expect("disconnect");
    await back.expectClosed();
    await watcher.expectNothing();
  },
);

// "The Will Message MUST be removed from the stored Session State in the Server once it has been published" Of 3.1.1: "If
// the Will Flag is set to 0, a Will Message MUST NOT be published when this Network Connection ends"
conformance(
  "[5.0 MQTT-3.1.2-10] [3.1.1 MQTT-3.1.2-10 MQTT-3.1.2-12] [3.1] a will is published once, however often its session is resumed",
  async (broker, level) => {
    const { topic, watcher } = await watchedTopic(broker);
    const clientId = broker.unique("id");
    const client = await broker.connect({ ...lasting(level), clientId, will: { topic, payload: "once" } });
    await client.close();
    await expectMessage(watcher, "once");
    for (let count = 0; count < 2; count++) {
      const back = await broker.connect({ ...lasting(level), clientId });
      await back.sendBytes(packetBytes(0xc1));
      if (level === 5) await back.expect("disconnect");
      await back.expectClosed();
    }
    await watcher.expectNothing();
  },
);

// "unless the Will Message has been deleted by the Server on receipt of a DISCONNECT packet with Reason Code 0x00"
conformance("[5.0 MQTT-3.1.2-8] a will is published after any DISCONNECT but a normal one", async (broker) => {
  const { topic, watcher } = await watchedTopic(broker);
  for (const reasonCode of [ReasonCode.DisconnectWithWillMessage, ReasonCode.UnspecifiedError]) {
    const client = await broker.connect({ will: { topic, payload: "goodbye" } });
    await client.disconnect({ reasonCode });
    await expectMessage(watcher, "goodbye");
  }
});

// "either the Will Delay Interval has elapsed or the Session ends"
conformance("[5.0 MQTT-3.1.2-8] a will waits for its delay, in a session that goes on", async (broker) => {
  const { topic, watcher } = await watchedTopic(broker);
  const client = await broker.connect({
    properties: { sessionExpiryInterval: 60 },
    will: { topic, payload: "late", properties: { willDelayInterval: 1 } },
  });
  const before = performance.now();
  await client.close();
  await watcher.expectNothing();
  await expectMessage(watcher, "late");
  assert(performance.now() - before >= 1000, "the will came before its time");
});

// "either the Will Delay Interval has elapsed or the Session ends"
conformance("[5.0 MQTT-3.1.2-8] a will does not wait longer than its session lasts", async (broker) => {
  const { topic, watcher } = await watchedTopic(broker);
  const will = { topic, payload: "ended", properties: { willDelayInterval: 1000 } };
  const withoutExpiry = await broker.connect({ will });
  await withoutExpiry.close();
  await expectMessage(watcher, "ended");

  const clientId = broker.unique("id");
  const properties = { sessionExpiryInterval: 1000 };
  await broker.connect({ clientId, properties, will });
  await broker.connect({ clientId, properties, cleanStart: true });
  await expectMessage(watcher, "ended");

  const expiring = await broker.connect({ properties: { sessionExpiryInterval: 1 }, will });
  await expiring.close();
  await expectMessage(watcher, "ended");
});

// "If a new Network Connection to this Session is made before the Will Delay Interval has passed, the Server MUST NOT
// send the Will Message." "… or a new Network Connection for the ClientID is opened before the Will Delay Interval has
// elapsed"
conformance(
  "[5.0 MQTT-3.1.2-8 MQTT-3.1.3-9] a will is not published if its client is back before the delay is over",
  async (broker) => {
    const { topic, watcher } = await watchedTopic(broker);
    const clientId = broker.unique("id");
    const options = { clientId, cleanStart: false, properties: { sessionExpiryInterval: 60 } };
    const withWill = (payload: string) => ({ topic, payload, properties: { willDelayInterval: 1 } });
    await (await broker.connect({ ...options, will: withWill("back in time") })).close();
    await broker.connect(options);
    // It would have come before this one, which has the same delay and begins to wait later.
    const other = await broker.connect({ properties: { sessionExpiryInterval: 60 }, will: withWill("not back") });
    await other.close();
    await expectMessage(watcher, "not back");
    await watcher.expectNothing();
  },
);

// "… or a new Network Connection for the ClientID is opened before the Will Delay Interval has elapsed"
conformance(
  "[5.0 MQTT-3.1.2-8 MQTT-3.1.3-9] a new connection's will takes the place of one that waits",
  async (broker) => {
    const { topic, watcher } = await watchedTopic(broker);
    const options = { clientId: broker.unique("id"), cleanStart: false, properties: { sessionExpiryInterval: 60 } };
    const waiting = { topic, payload: "first", properties: { willDelayInterval: 60 } };
    await (await broker.connect({ ...options, will: waiting })).close();
    await (await broker.connect({ ...options, will: { topic, payload: "second" } })).close();
    await expectMessage(watcher, "second");
    await watcher.expectNothing();
  },
);

// "If the Will Flag is set to 1, the Will Properties, Will Topic, and Will Payload fields MUST be present in the
// Payload" (3.1.1 likewise, without the properties)
conformance(
  "[5.0 MQTT-3.1.2-9] [3.1.1 MQTT-3.1.2-9] [3.1] a CONNECT with the will flag and without all of a will is malformed",
  async (broker, level) => {
    for (const rest of [[], [none(level)], [none(level), text("t")]]) {
      const client = await broker.open();
      await client.sendBytes(connectBytes(level, 0x06, text("a"), ...rest));
      await expectRefused(client, ReasonCode.MalformedPacket);
    }
  },
);

// Of 3.1.1: "If the Will Flag is set to 0 … the Will Topic and Will Message fields MUST NOT be present in the payload"
conformance(
  "[5.0] [3.1.1 MQTT-3.1.2-11] [3.1] a CONNECT with a will and without its flag is malformed",
  async (broker, level) => {
    const client = await broker.open();
    await client.sendBytes(connectBytes(level, 0x02, text("a"), none(level), text("t"), binary(1)));
    await expectRefused(client, ReasonCode.MalformedPacket);
  },
);

// Of 5.0: "If the Will Flag is set to 0, then the Will QoS MUST be set to 0 (0x00)." Of 3.1.1: "If the Will Flag is set
// to 0 the Will QoS and Will Retain fields in the Connect Flags MUST be set to zero"
conformance(
  "[5.0 MQTT-3.1.2-11] [3.1.1 MQTT-3.1.2-11 MQTT-3.1.2-13] a will QoS without a will is malformed",
  async (broker, level) => {
    for (const qos of [1, 2, 3]) {
      const client = await broker.open();
      await client.sendBytes(connectBytes(level, 0x02 | qos << 3, text("a")));
      await expectRefused(client, ReasonCode.MalformedPacket);
    }
  },
);

// "If the Will Flag is set to 0, then Will Retain MUST be set to 0."
conformance(
  "[5.0 MQTT-3.1.2-13] [3.1.1 MQTT-3.1.2-11 MQTT-3.1.2-15] a will retain flag without a will is malformed",
  async (broker, level) => {
    const client = await broker.open();
    await client.sendBytes(connectBytes(level, 0x22, text("a")));
    await expectRefused(client, ReasonCode.MalformedPacket);
  },
);

// "If the Will Flag is set to 1, the value of Will QoS can be 0 (0x00), 1 (0x01), or 2 (0x02)."
for (const qos of [0, 1, 2] as const) {
  conformance(
    `[5.0 MQTT-3.1.2-12] [3.1.1 MQTT-3.1.2-9 MQTT-3.1.2-14] [3.1] a will with QoS ${qos} is published with it`,
    async (broker) => {
      const { topic, watcher } = await watchedTopic(broker, 2);
      const client = await broker.connect({ will: { topic, qos } });
      await client.close();
      assert.equal((await watcher.expect("publish")).qos, qos);
    },
  );
}

// "A value of 3 (0x03) is a Malformed Packet." Of 3.1.1: "It MUST NOT be 3 (0x03)"
conformance("[5.0 MQTT-3.1.2-12] [3.1.1 MQTT-3.1.2-14] [3.1] a will QoS of 3 is malformed", async (broker, level) => {
  const client = await broker.open();
  await client.sendBytes(connectBytes(level, 0x1e, text("a"), none(level), text("t"), binary(1)));
  await expectRefused(client, ReasonCode.MalformedPacket);
});

// "If the Will Flag is set to 1 and Will Retain is set to 0, the Server MUST publish the Will Message as a non-retained
// message."
conformance(
  "[5.0 MQTT-3.1.2-14] [3.1.1 MQTT-3.1.2-9 MQTT-3.1.2-16] [3.1] a will without will retain is not retained",
  async (broker) => {
    const { topic, watcher } = await watchedTopic(broker);
    const client = await broker.connect({ will: { topic, retain: false } });
    await client.close();
    assert.equal((await watcher.expect("publish")).retain, false);
    const later = await broker.connect();
    await later.subscribe(topic);
    await later.expectNothing();
  },
);

// "If the Will Flag is set to 1 and Will Retain is set to 1, the Server MUST publish the Will Message as a retained
// message."
conformance(
  "[5.0 MQTT-3.1.2-15] [3.1.1 MQTT-3.1.2-9 MQTT-3.1.2-17] [3.1] a will with will retain is retained",
  async (broker) => {
    const { topic, watcher } = await watchedTopic(broker);
    const client = await broker.connect({ will: { topic, retain: true, payload: "kept" } });
    await client.close();
    await expectMessage(watcher, "kept");
    const later = await broker.connect();
    await later.subscribe(topic);
    const { retain, payload } = await later.expect("publish");
    assert.deepEqual([retain, new TextDecoder().decode(payload)], [true, "kept"]);
  },
);

// "The Server MUST maintain the order of User Properties when forwarding the Application Message."
conformance("[5.0 MQTT-3.1.3-10] the user properties of a will keep their order", async (broker) => {
  const { topic, watcher } = await watchedTopic(broker);
  const userProperties: [string, string][] = [["b", "1"], ["a", "2"], ["b", "1"], ["", ""], ["a", "0"]];
  const client = await broker.connect({ will: { topic, properties: { userProperties } } });
  await client.close();
  assert.deepEqual((await watcher.expect("publish")).properties?.userProperties, userProperties);
});

// "The Will Properties field defines the Application Message properties to be sent with the Will Message when it is
// published"
conformance("[5.0] a will is published with its properties", async (broker) => {
  const { topic, watcher } = await watchedTopic(broker);
  const willProperties = {
    payloadFormatIndicator: 1,
    messageExpiryInterval: 100,
    contentType: "text/plain",
    responseTopic: "answers",
    correlationData: Uint8Array.of(1, 2, 3),
  } as const;
  const client = await broker.connect({ will: { topic, properties: { ...willProperties, willDelayInterval: 0 } } });
  await client.close();
  assert.deepEqual((await watcher.expect("publish")).properties, willProperties);
});

// Of 3.1.1: "If the Will Flag is set to 1 this indicates that, if the Connect request is accepted, a Will Message MUST
// be stored"
conformance("[5.0] [3.1.1] [3.1] the will of a CONNECT that is refused is not published", async (broker, level) => {
  const topic = broker.unique("will");
  const watcher = await broker.connect({ username: "alice", password: "sesame" });
  await watcher.subscribe(topic);
  const client = await broker.open();
  const credentials = [text(broker.unique("mallory")), text("guess")];
  await client.sendBytes(connectBytes(level, 0xc6, text("a"), none(level), text(topic), binary(1), ...credentials));
  await expectRefused(client, ReasonCode.BadUserNameOrPassword, 4);
  await watcher.expectNothing();
}, { config: "hooks: {auth: {credentials: {alice: sesame}}}" });
