import assert from "node:assert/strict";
import type { Qos } from "../../codec/mod.ts";
import { receive, receivedSoFar, receiveTexts } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { packetBytes, properties, text } from "../codec/packet_bytes.ts";
import type { RawClient } from "../support/raw_client.ts";
import { conformance, type ConformanceBroker } from "./conformance.ts";
import { expectDisconnected } from "./expect_disconnected.ts";

/** Publishes so many messages, and returns their payloads. */
async function publishAll(broker: ConformanceBroker, topic: string, count: number, qos: Qos = 1): Promise<string[]> {
  const publisher = await broker.connect();
  const texts = Array.from({ length: count }, (_, number) => `${number}`);
  for (const payload of texts) await publisher.publish({ topic, qos, payload });
  // At QoS 0 nothing else says that the broker has them.
  await publisher.expectNothing();
  return texts;
}

/** A filter that begins with `$share/` and is no shared subscription ends the connection. */
async function expectMalformed(broker: ConformanceBroker, filters: string[]): Promise<void> {
  for (const filter of filters) {
    for (
      const packet of [
        packetBytes(0x82, [0, 1], properties(), text(filter), 0),
        packetBytes(0xa2, [0, 1], properties(), text(filter)),
      ]
    ) {
      const client = await broker.connect();
      await client.sendBytes(packet);
      await expectDisconnected(client, 0x81);
    }
  }
}

// "A Shared Subscription's Topic Filter MUST start with $share/ and MUST contain a ShareName that is at least one
// character long."
conformance(
  "[5.0 MQTT-4.8.2-1] a shared subscription begins with $share/ and a name; what begins otherwise is a plain one",
  async (broker) => {
    await expectMalformed(broker, ["$share/", "$share//", "$share//t", "$share//#"]);
    const topic = broker.unique("t");
    const clients = [await broker.connect(), await broker.connect()];
    const plain = ["$share", `$SHARE/g/${topic}`, `$shared/g/${topic}`, `share/g/${topic}`, `/$share/g/${topic}`];
    for (const client of clients) await client.subscribe([`$share/n/${topic}`, ...plain]);
    const texts = await publishAll(broker, topic, 4);
    const received = await Promise.all(clients.map(receivedSoFar));
    assert.deepEqual(received.flat().sort(), texts);
    for (const topicName of plain) {
      await publishAll(broker, topicName, 1);
      for (const client of clients) assert.deepEqual(await receivedSoFar(client), ["0"], topicName);
    }
  },
);

// "The ShareName MUST NOT contain the characters "/", "+" or "#", but MUST be followed by a "/" character. This "/"
// character MUST be followed by a Topic Filter."
conformance(
  "[5.0 MQTT-4.8.2-2] a share name has no wildcards, and a topic filter follows it",
  async (broker) => {
    await expectMalformed(broker, [
      "$share/g",
      "$share/g/",
      "$share/+/t",
      "$share/#/t",
      "$share/g+/t",
      "$share/#g/t",
      "$share/+",
      "$share/#",
      "$share/g/t#",
      "$share/g/#/t",
      "$share/g/t+",
      "$share/g/\0",
    ]);
    const topic = broker.unique("t");
    const client = await broker.connect();
    const filters = [`$share/g//${topic}`, `$share/$a b/${topic}/+`, `$share/ö/${topic}/#`];
    assert.deepEqual((await client.subscribe(filters)).reasonCodes, [0, 0, 0]);
    for (const [topicName, copies] of [[`/${topic}`, 1], [topic, 1], [`${topic}/a`, 2], [`g/${topic}`, 0]] as const) {
      await publishAll(broker, topicName, 1);
      assert.equal((await receivedSoFar(client)).length, copies, topicName);
    }
  },
);

// "… a publication that matches its Topic Filter is only sent to one of its subscribing Sessions." "… a copy would be
// sent to exactly one of the Sessions subscribed to $share/consumer1/…, a separate copy … to exactly one of the
// Sessions subscribed to $share/consumer2/… and further copies would be sent to any Clients with non-shared
// subscriptions"
conformance("[5.0] a message goes to one session of each shared subscription, and to all others", async (broker) => {
  const topic = broker.unique("t");
  const join = async (filter: string) => {
    const clients = [await broker.connect(), await broker.connect()];
    for (const client of clients) await client.subscribe(filter, { qos: 1 });
    return clients;
  };
  const shares = [
    await join(`$share/1/${topic}/+`),
    await join(`$share/2/${topic}/+`),
    await join(`$share/1/${topic}/#`),
  ];
  const plain = await join(`${topic}/+`);
  const texts = await publishAll(broker, `${topic}/a`, 10);
  for (const clients of shares) {
    const received = await Promise.all(clients.map(receivedSoFar));
    assert.deepEqual(received.flat().sort(), texts);
  }
  for (const client of plain) assert.deepEqual(await receivedSoFar(client), texts);
});

// "No Retained Messages are sent to the Session when it first subscribes." "Retained messages are not sent to this new
// subscriber."
conformance("[5.0] a shared subscription brings no retained messages", async (broker) => {
  const topic = broker.unique("t");
  const publisher = await broker.connect();
  await publisher.publish({ topic, qos: 1, retain: true, payload: "kept" });
  const clients = [await broker.connect(), await broker.connect()];
  for (const client of [...clients, clients[0]]) {
    await client.subscribe(`$share/g/${topic}`, { retainHandling: 0 });
    await client.expectNothing();
  }
  await publisher.publish({ topic, qos: 1, retain: true });
});

// "A Client is permitted to submit a second SUBSCRIBE request to a Shared Subscription …. This does not increase the
// number of times that the Session is associated with the Shared Subscription, so the Session will leave the Shared
// Subscription on its first UNSUBSCRIBE."
conformance(
  "[5.0] a session that subscribes to a shared subscription twice leaves it with one UNSUBSCRIBE",
  async (broker) => {
    const topic = broker.unique("t");
    const filter = `$share/g/${topic}`;
    const client = await broker.connect();
    for (const qos of [0, 1] as Qos[]) await client.subscribe(filter, { qos });
    await publishAll(broker, topic, 1);
    assert.equal((await receive(client)).qos, 1);
    await client.expectNothing();
    assert.deepEqual((await client.unsubscribe(filter)).reasonCodes, [0]);
    await publishAll(broker, topic, 1);
    await client.expectNothing();
  },
);

// "When sending an Application Message to a Client, the Server MUST respect the granted QoS for the Client's
// subscription."
conformance(
  "[5.0 MQTT-4.8.2-3] each session of a shared subscription gets messages at the QoS that was granted to it",
  async (broker) => {
    const topic = broker.unique("t");
    for (const published of [0, 1, 2] as Qos[]) {
      for (const granted of [0, 1, 2] as Qos[]) {
        const client = await broker.connect();
        await client.subscribe(`$share/g/${topic}`, { qos: granted });
        await publishAll(broker, topic, 1, published);
        assert.equal((await receive(client)).qos, Math.min(published, granted));
        await client.unsubscribe(`$share/g/${topic}`);
      }
    }
    const members: RawClient[] = [];
    for (const qos of [0, 1, 2] as Qos[]) {
      members.push(await broker.connect());
      await members[qos].subscribe(`$share/g/${topic}`, { qos });
    }
    const texts = await publishAll(broker, topic, 9, 2);
    const received: string[] = [];
    for (const [granted, member] of members.entries()) {
      await member.send({ type: "pingreq" });
      for (let message; (message = await publishOrEnd(member)) !== undefined;) {
        assert.equal(message.qos, granted);
        received.push(new TextDecoder().decode(message.payload));
      }
    }
    assert.deepEqual(received.sort(), texts);
  },
);

/** The next message; `undefined` if the next packet is the answer to a PINGREQ. */
async function publishOrEnd(client: RawClient) {
  return await client.expect("publish").catch((error: Error) => {
    assert.match(error.message, /^awaited publish: got { type: "pingresp" }/);
  });
}

/** Two sessions of one shared subscription, the first of which has just been sent a QoS 2 message. */
async function shareQos2(broker: ConformanceBroker, options: { lasting: boolean }) {
  const [topic, clientId] = [broker.unique("t"), broker.unique("c")];
  const chosen = await broker.connect({ ...options.lasting ? lasting(5) : {}, clientId });
  await chosen.subscribe(`$share/g/${topic}`, { qos: 2 });
  await publishAll(broker, topic, 2, 2);
  const messages = [await chosen.expect("publish"), await chosen.expect("publish")];
  const other = await broker.connect();
  await other.subscribe(`$share/g/${topic}`, { qos: 2 });
  return { topic, clientId, chosen, other, messages };
}

/** Waits until the broker has noticed the end of a member's connection. What the other one gets until then is for it alone. */
async function waitForEnd(broker: ConformanceBroker, topic: string, other: RawClient): Promise<void> {
  const publisher = await broker.connect();
  // As long as there are two members, they take turns.
  for (let time = 0; time < 1000; time++) {
    for (let count = 0; count < 2; count++) await publisher.publish({ topic, payload: "for whoever is there" });
    await publisher.expectNothing();
    const texts = await receivedSoFar(other);
    assert.deepEqual(texts.filter((text) => text !== "for whoever is there"), []);
    if (texts.length === 2) return;
  }
  assert.fail("the broker does not notice the end of a connection");
}

// "If the Server is in the process of sending a QoS 2 message to its chosen subscribing Client and the connection to
// the Client breaks before delivery is complete, the Server MUST complete the delivery of the message to that Client
// when it reconnects."
conformance(
  "[5.0 MQTT-4.8.2-4] a QoS 2 message on its way is completed with the session that it was for, when it comes back",
  async (broker) => {
    const { topic, clientId, chosen, other, messages: [first, second] } = await shareQos2(broker, { lasting: true });
    await chosen.send({ type: "pubrec", packetId: first.packetId!, reasonCode: 0 });
    await chosen.expect("pubrel");
    await chosen.close();
    await waitForEnd(broker, topic, other);
    await other.expectNothing();
    const again = await broker.connect({ ...lasting(5), clientId });
    assert.equal((await again.expect("pubrel")).packetId, first.packetId);
    await again.send({ type: "pubcomp", packetId: first.packetId!, reasonCode: 0 });
    const { packetId, dup, text } = await receive(again);
    assert.deepEqual([packetId, dup, text], [second.packetId, true, "1"]);
    await again.expectNothing();
    await other.expectNothing();
  },
);

// "If the Client's Session terminates before the Client reconnects, the Server MUST NOT send the Application Message to
// any other subscribed Client."
conformance(
  "[5.0 MQTT-4.8.2-5] a QoS 2 message on its way goes to nobody else when the session that it was for ends",
  async (broker) => {
    for (const isLasting of [false, true]) {
      const { topic, clientId, chosen, other } = await shareQos2(broker, { lasting: isLasting });
      await chosen.close();
      if (isLasting) {
        const again = await broker.connect({ clientId, cleanStart: true });
        assert.equal(again.connack.sessionPresent, false);
      }
      await waitForEnd(broker, topic, other);
      await other.expectNothing();
    }
  },
);

// "If the Client's Session terminates before the Client reconnects, the Server SHOULD send the Application Message to
// another Client that is subscribed to the same Shared Subscription." That is of QoS 1.
conformance("[5.0] a QoS 1 message on its way goes to another session when its own ends", async (broker) => {
  const topic = broker.unique("t");
  const chosen = await broker.connect();
  await chosen.subscribe(`$share/g/${topic}`, { qos: 1 });
  const texts = await publishAll(broker, topic, 3);
  for (let count = 0; count < 3; count++) await chosen.expect("publish");
  const other = await broker.connect();
  await other.subscribe(`$share/g/${topic}`, { qos: 1 });
  await chosen.close();
  assert.deepEqual(await receiveTexts(other, 3), texts);
});

// "If a Client responds with a PUBACK or PUBREC containing a Reason Code of 0x80 or greater to a PUBLISH packet from
// the Server, the Server MUST discard the Application Message and not attempt to send it to any other Subscriber."
conformance(
  "[5.0 MQTT-4.8.2-6] a message that a session refuses with PUBACK or PUBREC is discarded",
  async (broker) => {
    for (const [qos, type] of [[1, "puback"], [2, "pubrec"]] as const) {
      for (const reasonCode of [0x80, 0x83, 0x87, 0x90, 0x97, 0x99]) {
        const [topic, clientId] = [broker.unique("t"), broker.unique("c")];
        const refusing = await broker.connect({ ...lasting(5), clientId });
        await refusing.subscribe(`$share/g/${topic}`, { qos });
        await publishAll(broker, topic, 1, qos);
        const { packetId } = await refusing.expect("publish");
        const other = await broker.connect();
        await other.subscribe(`$share/g/${topic}`, { qos });
        await refusing.send({ type, packetId: packetId!, reasonCode });
        await refusing.expectNothing();
        await other.expectNothing();
        await refusing.close();
        const again = await broker.connect({ ...lasting(5), clientId });
        await again.expectNothing();
        await other.expectNothing();
      }
    }
  },
);
