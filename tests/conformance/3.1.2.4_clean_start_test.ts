import assert from "node:assert/strict";
import { lasting } from "../broker/versions.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import type { ProtocolLevel } from "../../mod.ts";

/** Leaves a session with a subscription at QoS 1, and with a message that waits. Returns its client id and topic. */
async function leaveSession(
  broker: ConformanceBroker,
  level: ProtocolLevel,
): Promise<{ clientId: string; topic: string }> {
  const clientId = broker.unique("id");
  const topic = broker.unique("t");
  const client = await broker.connect({ ...lasting(level), clientId });
  await client.subscribe(topic, { qos: 1 });
  await client.disconnect();
  await (await broker.connect()).publish({ topic, qos: 1, payload: "waiting" });
  return { clientId, topic };
}

// Of 5.0: "If a CONNECT packet is received with Clean Start is set to 1, the Client and Server MUST discard any
// existing Session and start a new Session." "The Server MUST perform the processing of Clean Start." Of 3.1.1: "If
// CleanSession is set to 1, the Client and Server MUST discard any previous Session and start a new one. … State data
// associated with this Session MUST NOT be reused in any subsequent Session" "the Server MUST set Session Present to 0"
conformance(
  "[5.0 MQTT-3.1.2-4 MQTT-3.1.4-4 MQTT-3.2.2-2] [3.1.1 MQTT-3.1.2-6 MQTT-3.1.4-3 MQTT-3.2.2-1] [3.1] " +
    "a clean start throws away the session, its subscriptions and what waits in it",
  async (broker, level) => {
    const { clientId, topic } = await leaveSession(broker, level);
    const clean = await broker.connect({ ...lasting(level), clientId, cleanStart: true });
    assert.equal(clean.connack.sessionPresent, false);
    await clean.expectNothing();
    await (await broker.connect()).publish({ topic, qos: 1 });
    await clean.expectNothing();
    await clean.disconnect();
    const later = await broker.connect({ ...lasting(level), clientId });
    await later.expectNothing();
  },
);

// "This Session lasts as long as the Network Connection. State data associated with this Session MUST NOT be reused in
// any subsequent Session"
conformance("[3.1.1 MQTT-3.1.2-6] [3.1] a clean session ends with its connection", async (broker, level) => {
  const clientId = broker.unique("id");
  const topic = broker.unique("t");
  const clean = await broker.connect({ clientId, cleanStart: true });
  await clean.subscribe(topic, { qos: 1 });
  await clean.disconnect();
  await (await broker.connect()).publish({ topic, qos: 1 });
  const later = await broker.connect({ ...lasting(level), clientId });
  assert.equal(later.connack.sessionPresent, false);
  await later.expectNothing();
});

// Of 5.0: "If a CONNECT packet is received with Clean Start set to 0 and there is a Session associated with the Client
// Identifier, the Server MUST resume communications with the Client based on state from the existing Session." "The
// Client and Server MUST store the Session State after the Network Connection is closed if the Session Expiry Interval
// is greater than 0." Of 3.1.1: "The Client and Server MUST store the Session after the Client and Server are
// disconnected" "the Server MUST store further QoS 1 and QoS 2 messages that match any subscriptions that the client
// had at the time of disconnection as part of the Session state"
for (const qos of [1, 2] as const) {
  conformance(
    "[5.0 MQTT-3.1.2-5 MQTT-3.1.2-23 MQTT-3.1.4-4 MQTT-3.2.2-3] " +
      "[3.1.1 MQTT-3.1.2-4 MQTT-3.1.2-5 MQTT-3.1.4-3 MQTT-3.2.2-2 MQTT-4.1.0-1] [3.1] " +
      `a session is resumed with its subscriptions, and with the QoS ${qos} messages that came meanwhile`,
    async (broker, level) => {
      const clientId = broker.unique("id");
      const topic = broker.unique("t");
      const before = await broker.connect({ ...lasting(level), clientId });
      await before.subscribe(topic, { qos });
      await before.disconnect();
      const publisher = await broker.connect();
      await publisher.publish({ topic, qos, payload: "meanwhile" });
      const after = await broker.connect({ ...lasting(level), clientId });
      assert.equal(after.connack.sessionPresent, level > 3);
      const waited = await after.expect("publish");
      assert.deepEqual([waited.qos, new TextDecoder().decode(waited.payload)], [qos, "meanwhile"]);
      await publisher.publish({ topic, payload: "now" });
      assert.equal(new TextDecoder().decode((await after.expect("publish")).payload), "now");
    },
  );
}

// "If a CONNECT packet is received with Clean Start set to 0 and there is no Session associated with the Client
// Identifier, the Server MUST create a new Session." "If the Server does not have stored Session state, it MUST set
// Session Present to 0"
conformance(
  "[5.0 MQTT-3.1.2-6 MQTT-3.2.2-3] [3.1.1 MQTT-3.1.2-4 MQTT-3.2.2-3] [3.1] without a session, one is made that is resumed next",
  async (broker, level) => {
    const clientId = broker.unique("id");
    const first = await broker.connect({ ...lasting(level), clientId });
    assert.equal(first.connack.sessionPresent, false);
    await first.disconnect();
    const second = await broker.connect({ ...lasting(level), clientId });
    assert.equal(second.connack.sessionPresent, level > 3);
  },
);

// "If a CONNECT packet is received with Clean Start set to 0 and there is a Session …, the Server MUST resume
// communications"
conformance("[5.0 MQTT-3.1.2-5] a session is resumed also by a clean start's successor", async (broker) => {
  const clientId = broker.unique("id");
  const topic = broker.unique("t");
  const first = await broker.connect({ clientId, cleanStart: true, properties: { sessionExpiryInterval: 60 } });
  await first.subscribe(topic);
  await first.close();
  const second = await broker.connect({ clientId, cleanStart: false });
  assert.equal(second.connack.sessionPresent, true);
  await (await broker.connect()).publish({ topic });
  assert.equal((await second.expect("publish")).topic, topic);
});

// "Retained messages do not form part of the Session state in the Server, they MUST NOT be deleted when the Session
// ends"
conformance(
  "[5.0] [3.1.1 MQTT-3.1.2-7] [3.1] retained messages outlive the session of their publisher",
  async (broker) => {
    const topic = broker.unique("t");
    const clientId = broker.unique("id");
    const publisher = await broker.connect({ clientId });
    await publisher.publish({ topic, qos: 1, retain: true, payload: "kept" });
    await publisher.disconnect();
    await broker.connect({ clientId });
    const subscriber = await broker.connect();
    await subscriber.subscribe(topic);
    assert.equal(new TextDecoder().decode((await subscriber.expect("publish")).payload), "kept");
  },
);
