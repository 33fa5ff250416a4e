import assert from "node:assert/strict";
import { sysHook } from "../../hooks/mod.ts";
import { LoadAverage } from "../../hooks/sys/load_average.ts";
import type { Logger } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { passingTime } from "../broker/passing_time.ts";
import type { RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** The shortest there is, in seconds. */
const INTERVAL = 0.1;

/** What mosquitto 2.0 publishes. */
const topics = [
  "bytes/received",
  "bytes/sent",
  "clients/active",
  "clients/connected",
  "clients/disconnected",
  "clients/expired",
  "clients/inactive",
  "clients/maximum",
  "clients/total",
  "heap/current",
  "heap/maximum",
  ...[
    "bytes/received",
    "bytes/sent",
    "connections",
    "messages/received",
    "messages/sent",
    "publish/dropped",
    "publish/received",
    "publish/sent",
    "sockets",
  ].flatMap((figure) => ["15min", "1min", "5min"].map((window) => `load/${figure}/${window}`)),
  "messages/received",
  "messages/sent",
  "messages/stored",
  "publish/bytes/received",
  "publish/bytes/sent",
  "publish/messages/dropped",
  "publish/messages/received",
  "publish/messages/sent",
  "retained messages/count",
  "shared_subscriptions/count",
  "store/messages/bytes",
  "store/messages/count",
  "subscriptions/count",
  "uptime",
  "version",
].map((topic) => `$SYS/broker/${topic}`);

/** So many messages, and nothing behind them: the payload by the topic. */
async function receive(client: RawClient, count: number): Promise<Record<string, string>> {
  const received: Record<string, string> = {};
  for (let index = 0; index < count; index++) {
    const { topic, payload } = await client.expect("publish");
    received[topic] = text(payload);
  }
  await client.expectNothing();
  return received;
}

/** Waits until a topic has a value. */
async function expectValue(client: RawClient, topic: string, value: string): Promise<void> {
  for (;;) {
    const packet = await client.expect("publish");
    if (packet.topic === `$SYS/broker/${topic}` && text(packet.payload) === value) return;
  }
}

/** Waits until each of these topics has its value, rounded to a whole number. */
async function expectPublished(broker: TestBroker, expected: Record<string, number>): Promise<void> {
  const missing = new Map(Object.entries(expected));
  using _subscription = await broker.subscribe("$SYS/broker/#", ({ topic, payload }) => {
    const name = topic.slice("$SYS/broker/".length);
    if (missing.get(name) === Math.round(Number(text(payload)))) missing.delete(name);
  });
  await eventually(() => missing.size === 0, `${Object.keys(expected)}`);
}

/** Waits until the broker has been looked at so many times: once in each interval. */
async function looks(broker: TestBroker, count: number, onLook = () => {}): Promise<void> {
  const { stats } = broker;
  let counted = 0;
  broker.stats = () => {
    counted += 1;
    onLook();
    return stats.call(broker);
  };
  await eventually(() => counted >= count, `look ${count} at the broker`);
}

function text(payload: Uint8Array): string {
  return new TextDecoder().decode(payload);
}

Deno.test("a subscriber to $SYS/# gets every figure as a retained message of QoS 0", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook());
  const client = await broker.connect();
  await client.subscribe("$SYS/#", { qos: 2 });
  const received: string[] = [];
  for (const _topic of topics) {
    const { topic, retain, qos } = await client.expect("publish");
    assert.deepEqual([retain, qos], [true, 0]);
    received.push(topic);
  }
  await client.expectNothing();
  assert.deepEqual(received.sort(), topics);
});

for (const topicFilter of ["#", "+/broker/#"]) {
  Deno.test(`a subscription to ${topicFilter} gets none of the figures`, async () => {
    await using broker = await startBroker();
    await broker.use(sysHook({ interval: INTERVAL }));
    const client = await broker.connect();
    await client.subscribe(topicFilter);
    const watcher = await broker.connect();
    await watcher.subscribe("$SYS/broker/subscriptions/count");
    await expectValue(watcher, "subscriptions/count", "2");
    await client.expectNothing();
  });
}

Deno.test("the figures are written as mosquitto writes them", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ version: "HookMQ 1.2.3" }));
  const client = await broker.connect();
  await client.subscribe("$SYS/#");
  const received = await receive(client, topics.length);
  assert.equal(received["$SYS/broker/version"], "HookMQ 1.2.3");
  assert.equal(received["$SYS/broker/uptime"], "0 seconds");
  assert.equal(received["$SYS/broker/clients/connected"], "0");
  assert.equal(received["$SYS/broker/load/bytes/received/5min"], "0.00");
  assert.match(received["$SYS/broker/heap/current"], /^[1-9]\d+$/);
});

Deno.test("the version is the package's unless told otherwise", async () => {
  await using broker = await startBroker();
  const sys = sysHook();
  await broker.use(sys);
  assert.match(sys.metrics().version, /^HookMQ \d+\.\d+\.\d+$/);
});

Deno.test("the figures follow what clients do", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ interval: INTERVAL }));
  const sleeper = await broker.connect({ properties: { sessionExpiryInterval: 60 } });
  await sleeper.subscribe("queued", { qos: 1 });
  await sleeper.disconnect();
  const subscriber = await broker.connect();
  await subscriber.subscribe("t", { qos: 1 });
  const publisher = await broker.connect();
  await publisher.publish({ topic: "t", payload: "x" });
  await publisher.publish({ topic: "queued", payload: "x", qos: 1 });
  await publisher.publish({ topic: "kept", payload: "x", qos: 1, retain: true });
  await subscriber.expect("publish");
  await publisher.disconnect();
  const { queuedBytes, bytesReceived, bytesSent } = broker.stats();
  assert(queuedBytes > 0 && bytesReceived > 0 && bytesSent > 0);
  await expectPublished(broker, {
    "clients/connected": 1,
    "clients/active": 1,
    "clients/disconnected": 1,
    "clients/inactive": 1,
    "clients/total": 2,
    "clients/maximum": 2,
    "publish/messages/received": 3,
    "publish/messages/dropped": 0,
    "bytes/received": bytesReceived,
    "bytes/sent": bytesSent,
    "retained messages/count": topics.length + 1,
    "store/messages/count": topics.length + 2,
    "messages/stored": topics.length + 2,
    "store/messages/bytes": queuedBytes,
    // The third one is what the figures are read with.
    "subscriptions/count": 3,
  });
});

Deno.test("sessions that have expired are counted", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ interval: INTERVAL }));
  const watcher = await broker.connect();
  await watcher.subscribe("$SYS/broker/clients/expired");
  const sleeper = await broker.connect({ properties: { sessionExpiryInterval: 1 } });
  await sleeper.disconnect();
  await expectValue(watcher, "clients/expired", "1");
});

Deno.test("every packet is counted, and the payload of every message", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ interval: INTERVAL }));
  await broker.open();
  // CONNECT twice, SUBSCRIBE, PUBLISH, PUBREL; an answer to each of them, and the message twice.
  const subscriber = await broker.connect();
  await subscriber.subscribe(["t", "$share/group/t"]);
  const publisher = await broker.connect();
  await publisher.publish({ topic: "t", payload: "12345", qos: 2 });
  await expectPublished(broker, {
    "messages/received": 5,
    "messages/sent": 7,
    "publish/messages/received": 1,
    "publish/messages/sent": 2,
    "publish/bytes/received": 5,
    "publish/bytes/sent": 10,
    "shared_subscriptions/count": 1,
    "load/messages/received/1min": 5,
    "load/messages/sent/1min": 7,
    "load/publish/received/1min": 1,
    "load/publish/sent/1min": 2,
    "load/connections/1min": 2,
    "load/sockets/1min": 3,
  });
});

Deno.test("the uptime is the broker's, also if the hook comes later", async () => {
  await using broker = await startBroker();
  using _time = passingTime(90);
  const sys = sysHook();
  await broker.use(sys);
  const { uptime } = sys.metrics();
  assert(uptime >= 90 && uptime < 100, `${uptime}`);
});

Deno.test("the uptime is never negative, also if the clock has been put back", async () => {
  await using broker = await startBroker();
  using _time = passingTime(-90);
  const sys = sysHook();
  await broker.use(sys);
  assert.equal(sys.metrics().uptime, 0);
});

Deno.test("only what has changed is published again", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ interval: INTERVAL }));
  const client = await broker.connect();
  await client.subscribe("$SYS/broker/#");
  const received = [];
  // What is sent to this client changes every time.
  for (let rounds = 0; rounds < 3;) {
    const { topic, payload, retain } = await client.expect("publish");
    if (retain) continue;
    received.push(`${topic} ${text(payload)}`);
    if (topic.endsWith("/bytes/sent")) rounds += 1;
  }
  assert(received.includes("$SYS/broker/clients/connected 1"));
  assert(!received.some((message) => message.startsWith("$SYS/broker/version")));
  const withoutAverages = received.filter((message) => !message.includes("/load/"));
  assert.deepEqual([...new Set(withoutAverages)], withoutAverages);
});

Deno.test("a client finds no averages but 0.00 at first, and growing ones from the next interval on", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ interval: INTERVAL }));
  const client = await broker.connect();
  await client.subscribe("$SYS/broker/load/sockets/1min");
  let { payload } = await client.expect("publish");
  if (text(payload) === "0.00") ({ payload } = await client.expect("publish"));
  // One connection in the first tenth of a second, or a little more: at most the whole of it has moved the average.
  assert(Number(text(payload)) > 0.9 && Number(text(payload)) <= 1, text(payload));
});

Deno.test("with the interval 0 the figures are published once, and no timer is set", async () => {
  await using broker = await startBroker();
  const { setInterval } = globalThis;
  globalThis.setInterval = () => assert.fail("a timer is set");
  try {
    await broker.use(sysHook({ interval: 0 }));
  } finally {
    globalThis.setInterval = setInterval;
  }
  const client = await broker.connect();
  await client.subscribe("$SYS/#");
  await receive(client, topics.length);
});

// As mosquitto 2.0 reports two packets that came in the first six seconds.
Deno.test("load averages are mosquitto's", () => {
  const load = new LoadAverage(0);
  load.update(2, 6);
  const { oneMinute, fiveMinutes, fifteenMinutes } = load.averages;
  assert.deepEqual([oneMinute, fiveMinutes, fifteenMinutes].map((value) => value.toFixed(2)), ["1.90", "0.40", "0.13"]);
});

Deno.test("load averages begin with what happens after the hook was added", () => {
  const load = new LoadAverage(1_000_000);
  load.update(1_000_000, 10);
  assert.deepEqual(load.averages, { oneMinute: 0, fiveMinutes: 0, fifteenMinutes: 0 });
});

Deno.test("load averages come to a steady rate, and do not depend on the interval", () => {
  const fine = new LoadAverage(0);
  const coarse = new LoadAverage(0);
  for (let second = 1; second <= 7200; second++) {
    fine.update(second * 5, 1);
    if (second % 60 === 0) coarse.update(second * 5, 60);
  }
  for (const window of ["oneMinute", "fiveMinutes", "fifteenMinutes"] as const) {
    assert(Math.abs(fine.averages[window] - 300) < 0.2, `${fine.averages[window]}`);
    assert(Math.abs(fine.averages[window] - coarse.averages[window]) < 1e-6);
  }
});

Deno.test("metrics() returns the figures of this moment", async () => {
  await using broker = await startBroker();
  const sys = sysHook({ version: "v" });
  await broker.use(sys);
  const client = await broker.connect();
  await client.subscribe("a");
  await client.publish({ topic: "a", payload: "12345" });
  await client.expect("publish");
  const { load, heapSize, heapMaximum, bytesReceived, bytesSent, uptime, ...metrics } = sys.metrics();
  assert.deepEqual(metrics, {
    version: "v",
    clientsConnected: 1,
    clientsDisconnected: 0,
    clientsTotal: 1,
    clientsMaximum: 1,
    connections: 1,
    connectionsAccepted: 1,
    connectionsRefused: 0,
    connectsReceived: 1,
    sessionsExpired: 0,
    packetsReceived: 3,
    packetsSent: 3,
    publishReceived: 1,
    publishSent: 1,
    publishDropped: 0,
    publishBytesReceived: 5,
    publishBytesSent: 5,
    subscriptions: 1,
    sharedSubscriptions: 0,
    retainedMessages: topics.length,
    queuedMessages: 0,
    queuedBytes: 0,
  });
  assert(uptime < 60 && bytesReceived > 0 && bytesSent > 0 && heapSize > 0 && heapMaximum >= heapSize);
  assert.deepEqual(load.bytesReceived, { oneMinute: 0, fiveMinutes: 0, fifteenMinutes: 0 });
});

Deno.test("metrics() is an error before the hook is added", () => {
  assert.throws(() => sysHook().metrics(), { message: "the hook sys has not been added to a broker" });
});

Deno.test("the most clients at one time are those of the broker, also before the hook was added", async () => {
  await using broker = await startBroker();
  const clients = [await broker.connect(), await broker.connect(), await broker.connect()];
  for (const client of clients) await client.disconnect();
  const sys = sysHook();
  await broker.use(sys);
  await broker.connect();
  const { clientsMaximum, clientsConnected } = sys.metrics();
  assert.deepEqual({ clientsMaximum, clientsConnected }, { clientsMaximum: 3, clientsConnected: 1 });
});

Deno.test("subscriptions that the broker does not know can be added, and taken back", async () => {
  await using broker = await startBroker();
  const sys = sysHook({ interval: INTERVAL });
  await broker.use(sys);
  const client = await broker.connect();
  await client.subscribe("$SYS/broker/subscriptions/count");
  await expectValue(client, "subscriptions/count", "1");
  sys.incrementSubscriptions();
  sys.incrementSubscriptions(5);
  await expectValue(client, "subscriptions/count", "7");
  sys.decrementSubscriptions(2);
  assert.equal(sys.metrics().subscriptions, 5);
  sys.decrementSubscriptions();
  assert.equal(sys.metrics().subscriptions, 4);
  sys.decrementSubscriptions(100);
  await expectValue(client, "subscriptions/count", "1");
});

Deno.test("a hook that is removed takes its retained messages along, and can be added again", async () => {
  await using broker = await startBroker();
  const sys = sysHook();
  await broker.use(sys);
  await broker.remove(sys);
  assert.equal(broker.stats().retainedMessages, 0);
  await broker.use(sys);
  assert.equal(broker.stats().retainedMessages, topics.length);
});

Deno.test("topicPrefix moves the figures elsewhere", async () => {
  await using broker = await startBroker();
  await broker.use(sysHook({ topicPrefix: "status/node-1" }));
  const client = await broker.connect();
  await client.subscribe("status/#");
  const received = await receive(client, topics.length);
  assert.equal(received["status/node-1/clients/connected"], "0");
});

Deno.test("two brokers in one process have figures of their own", async () => {
  await using one = await startBroker();
  await using other = await startBroker();
  const [sysOfOne, sysOfOther] = [sysHook(), sysHook()];
  await one.use(sysOfOne);
  await other.use(sysOfOther);
  await one.connect();
  assert.deepEqual([sysOfOne.metrics().clientsConnected, sysOfOther.metrics().clientsConnected], [1, 0]);
});

Deno.test("figures that cannot be stored are a warning, and nothing else", async () => {
  const warnings: string[] = [];
  const logger: Logger = {
    debug() {},
    info() {},
    warn: (message, properties) => warnings.push(message.replace(/\{(\w+)\}/g, (_, name) => `${properties![name]}`)),
    error: (message) => assert.fail(message),
  };
  await using broker = await startBroker({ logger, limits: { retainedMessages: 10 } });
  await broker.use(sysHook());
  assert.deepEqual(warnings, [
    `cannot publish ${topics.length - 10} of the topics below $SYS/broker: ` +
    "ReasonCodeError: 10 topics have a retained message",
  ]);
  await broker.connect();
});

Deno.test("a broker that closes while figures are published logs nothing about it", async () => {
  const warnings: string[] = [];
  const warn = (message: string) => void warnings.push(message);
  await using broker = await startBroker({ logger: { debug() {}, info() {}, warn, error: warn } });
  const stopping = Promise.withResolvers<void>();
  await broker.use(sysHook({ interval: INTERVAL }));
  // Added last, it is the first to be stopped: meanwhile the figures are still looked at.
  await broker.use({ id: "slow", stop: () => stopping.promise });
  const closed = broker.close();
  await looks(broker, 3);
  stopping.resolve();
  await closed;
  assert.deepEqual(warnings, []);
});

Deno.test("while a store takes its time, nothing more is published", async () => {
  await using broker = await startBroker();
  const stored: string[] = [];
  let gate: Promise<void> | undefined;
  let onStored = () => {};
  await broker.use({
    id: "store",
    storeRetained(topic, { payload }) {
      stored.push(`${topic} ${text(payload)}`);
      onStored();
      return gate;
    },
  });
  const isStored = (message: string) =>
    new Promise<void>((resolve) => onStored = () => stored.includes(message) && resolve());
  const sys = sysHook({ interval: INTERVAL });
  await broker.use(sys);
  assert.equal(stored.length, topics.length);

  const { promise, resolve: open } = Promise.withResolvers<void>();
  gate = promise;
  await broker.connect();
  await new Promise<void>((resolve) => onStored = resolve);
  await looks(broker, 3, () => sys.incrementSubscriptions());
  assert.equal(stored.length, topics.length + 1);

  gate = undefined;
  const next = isStored("$SYS/broker/clients/connected 2");
  await broker.connect();
  open();
  await next;
  assert(!stored.includes("$SYS/broker/subscriptions/count 1"));
});

Deno.test("figures that could not be stored are published again", async () => {
  await using broker = await startBroker();
  const stored = Promise.withResolvers<void>();
  let failing = true;
  await broker.use({
    id: "store",
    storeRetained(topic) {
      if (failing) throw new Error("the disk is full");
      if (topic === "$SYS/broker/version") stored.resolve();
    },
  });
  await broker.use(sysHook({ interval: INTERVAL }));
  failing = false;
  await stored.promise;
});

for (const interval of [-1, 0.05, 2_147_484, NaN, Infinity, "10" as unknown as number]) {
  Deno.test(`the interval ${Deno.inspect(interval)} is refused`, () => {
    assert.throws(() => sysHook({ interval }), {
      name: "RangeError",
      message: `interval is ${interval}; it must be 0, or a number of seconds from 0.1 to 2147483`,
    });
  });
}

for (const topicPrefix of ["", "a/#", "+/a", "$SYS/broker/"]) {
  Deno.test(`the topicPrefix ${JSON.stringify(topicPrefix)} is refused`, () => {
    assert.throws(() => sysHook({ topicPrefix }), {
      name: "RangeError",
      message: `topicPrefix is ${JSON.stringify(topicPrefix)}; it must be a topic name without a "/" at its end`,
    });
  });
}
