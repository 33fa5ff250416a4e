import assert from "node:assert/strict";
import { receiveTexts } from "../broker/receive.ts";
import { lasting } from "../broker/versions.ts";
import { conformance } from "./conformance.ts";

// "When a Server takes ownership of an incoming Application Message it MUST add it to the Session State for those Clients that
// have matching Subscriptions"
conformance(
  "[5.0 MQTT-4.5.0-1] [3.1.1 MQTT-4.5.0-1] [3.1] an acknowledged message reaches all sessions with a matching subscription, connected or not",
  async (broker, level) => {
    const topic = broker.unique("t");
    const filters = [`${topic}/a/b`, `${topic}/+/b`, `${topic}/#`, `${topic}/a`, `${topic}/+`];
    const subscribers = filters.map((filter) => (
      { filter, options: { ...lasting(level), clientId: broker.unique("subscriber") } }
    ));
    for (const { filter, options } of subscribers) {
      const before = await broker.connect(options);
      await before.subscribe(filter, { qos: 2 });
      await before.close();
    }
    const connected = await broker.connect();
    await connected.subscribe(`${topic}/a/#`, { qos: 2 });
    const publisher = await broker.connect();
    for (const qos of [1, 2] as const) await publisher.publish({ topic: `${topic}/a/b`, qos, payload: `at ${qos}` });
    await publisher.disconnect();
    assert.deepEqual(await receiveTexts(connected, 2), ["at 1", "at 2"]);
    for (const { filter, options } of subscribers) {
      const after = await broker.connect(options);
      const matches = !filter.endsWith("/a") && filter !== `${topic}/+`;
      if (matches) assert.deepEqual(await receiveTexts(after, 2), ["at 1", "at 2"]);
      await after.expectNothing();
    }
  },
);

conformance(
  "[5.0 MQTT-4.5.0-1] [3.1.1 MQTT-4.5.0-1] [3.1] a session does not get what was published before it subscribed, or after it unsubscribed",
  async (broker, level) => {
    const topic = broker.unique("t");
    const options = { ...lasting(level), clientId: broker.unique("subscriber") };
    const publisher = await broker.connect();
    await publisher.publish({ topic, qos: 1, payload: "before" });
    const first = await broker.connect(options);
    await first.subscribe(topic, { qos: 1 });
    await first.close();
    await publisher.publish({ topic, qos: 1, payload: "meanwhile" });
    const second = await broker.connect(options);
    assert.deepEqual(await receiveTexts(second, 1), ["meanwhile"]);
    await second.unsubscribe(topic);
    await second.close();
    await publisher.publish({ topic, qos: 1, payload: "after" });
    const third = await broker.connect(options);
    await third.expectNothing();
  },
);
