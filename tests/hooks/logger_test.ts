import { configure, type LogRecord, reset } from "@logtape/logtape";
import assert from "node:assert/strict";
import { loggerHook, type LoggerOptions, LogLevel, type LogLevelName } from "../../hooks/mod.ts";
import type { Hook, Logger } from "../../mod.ts";
import { startBroker } from "../support/start_broker.ts";

interface Entry {
  severity: keyof Logger;
  message: string;
  properties: Record<string, unknown>;
}

/** How long an entry may take to appear, in milliseconds. */
const DEADLINE = 10_000;

/** A logger that keeps what it is told. */
class Recorder implements Logger {
  readonly entries: Entry[] = [];
  #recorded = Promise.withResolvers<void>();

  readonly debug = this.#recordAs("debug");
  readonly info = this.#recordAs("info");
  readonly warn = this.#recordAs("warn");
  readonly error = this.#recordAs("error");

  /** The first entry whose message, with its properties in place, is this one. */
  async find(message: string | RegExp): Promise<Entry> {
    const end = performance.now() + DEADLINE;
    for (;;) {
      const found = this.entries.find((entry) =>
        typeof message === "string" ? rendered(entry) === message : message.test(rendered(entry))
      );
      if (found !== undefined) return found;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const timeout = new Promise<never>((_resolve, reject) => {
        const failure = new Error(`no entry ${message}; there are:\n${this.entries.map(rendered).join("\n")}`);
        timer = setTimeout(() => reject(failure), end - performance.now());
      });
      try {
        await Promise.race([this.#recorded.promise, timeout]);
      } finally {
        clearTimeout(timer);
      }
    }
  }

  #recordAs(severity: keyof Logger): Logger["info"] {
    return (message, properties = {}) => {
      this.entries.push({ severity, message, properties });
      this.#recorded.resolve();
      this.#recorded = Promise.withResolvers();
    };
  }
}

/** An entry as a formatter that adds nothing would write it. */
function rendered({ message, properties }: Entry): string {
  return message.replace(/\{(\w+)\}/g, (_braces, name) => String(properties[name]));
}

/** A broker whose clients are logged. */
async function startLogged(options: LoggerOptions = {}, brokerOptions: Parameters<typeof startBroker>[0] = {}) {
  const broker = await startBroker(brokerOptions);
  const log = new Recorder();
  await broker.use(loggerHook({ logger: log, level: LogLevel.all, ...options }));
  return { broker, log };
}

Deno.test("the life of a client is logged, in structured records", async () => {
  const { broker, log } = await startLogged();
  await using _broker = broker;
  const client = await broker.connect({ clientId: "a", username: "u", keepAlive: 30, cleanStart: false });
  await client.subscribe(["t/+", "u"], { qos: 1 });
  await client.publish({ topic: "other", payload: "12345", qos: 1, retain: true });
  await client.unsubscribe("u");
  await client.disconnect();
  await log.find("the session of a is over");
  const session = { clientId: "a" };
  const connection = { clientId: "a", remoteAddress: "127.0.0.1" };
  assert.deepEqual(log.entries, [
    { severity: "info", message: "{clientId} has a new session", properties: session },
    {
      severity: "info",
      message: "{clientId} connected from {remoteAddress}",
      properties: { ...connection, username: "u", protocolLevel: 5, keepAlive: 30, cleanStart: false },
    },
    {
      severity: "info",
      message: "{clientId} subscribes to {topicFilters}",
      properties: { clientId: "a", topicFilters: "t/+ (QoS 1), u (QoS 1)" },
    },
    {
      severity: "debug",
      message: "{clientId} publishes {bytes} bytes on {topic}",
      properties: { clientId: "a", topic: "other", qos: 1, retain: true, bytes: 5 },
    },
    {
      severity: "info",
      message: "{clientId} unsubscribes from {topicFilters}",
      properties: { clientId: "a", topicFilters: "u" },
    },
    { severity: "info", message: "the session of {clientId} is over", properties: session },
    {
      severity: "info",
      message: "{clientId} from {remoteAddress} is gone: {reason}",
      properties: { ...connection, reason: "it said goodbye", reasonCode: undefined },
    },
  ]);
});

Deno.test("a client that comes back to its session is logged", async () => {
  const { broker, log } = await startLogged({ level: LogLevel.session });
  await using _broker = broker;
  const first = await broker.connect({ clientId: "a", properties: { sessionExpiryInterval: 60 } });
  await first.disconnect();
  await broker.connect({ clientId: "a", cleanStart: false });
  assert.deepEqual(log.entries.map(rendered), ["a has a new session", "a has its session back"]);
});

const events: Record<Exclude<LogLevelName, "all">, (keyof Hook)[]> = {
  connection: ["onConnected", "onDisconnect"],
  subscribe: ["onSubscribe", "onUnsubscribe"],
  publish: ["onPublish", "onWillPublish", "onMessageDropped"],
  session: ["onSessionCreated", "onSessionResumed", "onSessionEnded"],
};

function handled(options?: LoggerOptions): string[] {
  return Object.keys(loggerHook(options)).filter((key) => key.startsWith("on")).sort();
}

for (const [name, methods] of Object.entries(events)) {
  Deno.test(`level ${name} has the hook called on its own events only`, () => {
    assert.deepEqual(handled({ level: LogLevel[name as LogLevelName] }), methods.toSorted());
    assert.deepEqual(handled({ level: [name as LogLevelName] }), methods.toSorted());
  });
}

Deno.test("levels can be put together, as bits and as names", () => {
  const expected = [...events.connection, ...events.session].sort();
  assert.deepEqual(handled({ level: LogLevel.connection | LogLevel.session }), expected);
  assert.deepEqual(handled({ level: ["connection", "session"] }), expected);
  assert.deepEqual(handled({ level: ["all"] }), Object.values(events).flat().sort());
  assert.deepEqual(handled({ level: [] }), []);
});

Deno.test("by default everything but messages is logged", () => {
  assert.deepEqual(handled(), [...events.connection, ...events.subscribe, ...events.session].sort());
});

for (const level of [-1, 16, 1.5, NaN]) {
  Deno.test(`the level ${level} does not exist`, () => {
    assert.throws(() => loggerHook({ level }), {
      name: "RangeError",
      message: `level is ${level}; it must be put together from the bits of LogLevel, 0 to 15`,
    });
  });
}

Deno.test("a level's name that does not exist is named, with those that do", () => {
  assert.throws(() => loggerHook({ level: ["session", "conection" as "connection"] }), {
    name: "RangeError",
    message: 'level has "conection"; there are connection, subscribe, publish, session, all',
  });
});

Deno.test("a logger that lacks a method is not accepted", () => {
  const logger = { debug() {}, info() {}, error() {} } as unknown as Logger;
  assert.throws(() => loggerHook({ logger }), { name: "TypeError", message: 'logger has no method "warn"' });
});

Deno.test("neither passwords nor payloads are logged", async () => {
  const { broker, log } = await startLogged({}, { limits: { queueMessages: 0 } });
  await using _broker = broker;
  const sleeper = await broker.connect({ clientId: "sleeper", properties: { sessionExpiryInterval: 60 } });
  await sleeper.subscribe("t", { qos: 1 });
  await sleeper.disconnect();
  const will = { topic: "will", payload: "s3cret will" };
  const client = await broker.connect({ clientId: "a", username: "u", password: "s3cret password", will });
  await client.publish({ topic: "t", payload: "s3cret payload", qos: 1 });
  await client.close();
  await log.find("the will of a is published: 11 bytes on will");
  await log.find("a message on t does not reach sleeper: queue-full");
  const written = Deno.inspect(log.entries, { depth: Infinity, strAbbreviateSize: Infinity });
  assert(!written.includes("s3cret"), written);
  assert(!written.includes("Uint8Array"), written);
});

Deno.test("a message that does not reach a client is a warning", async () => {
  const { broker, log } = await startLogged({ level: ["publish"] }, { limits: { queueMessages: 0 } });
  await using _broker = broker;
  const sleeper = await broker.connect({ clientId: "sleeper", properties: { sessionExpiryInterval: 60 } });
  await sleeper.subscribe("t", { qos: 1 });
  await sleeper.disconnect();
  await broker.publish("t", "1234", { qos: 1 });
  assert.deepEqual(log.entries, [{
    severity: "warn",
    message: "a message on {topic} does not reach {clientId}: {reason}",
    properties: { clientId: "sleeper", topic: "t", qos: 1, retain: false, bytes: 4, reason: "queue-full" },
  }]);
});

Deno.test("a client that vanishes is no warning", async () => {
  const { broker, log } = await startLogged();
  await using _broker = broker;
  const client = await broker.connect({ clientId: "a" });
  await client.close();
  assert.equal((await log.find(/^a from 127\.0\.0\.1 is gone: /)).severity, "info");
});

Deno.test("a client that is taken over is no warning", async () => {
  const { broker, log } = await startLogged();
  await using _broker = broker;
  await broker.connect({ clientId: "a" });
  await broker.connect({ clientId: "a" });
  const { severity, properties } = await log.find(/^a from 127\.0\.0\.1 is gone: /);
  assert.deepEqual([severity, properties.reasonCode], ["info", 0x8e]);
});

Deno.test("a client that breaks the protocol is a warning", async () => {
  const { broker, log } = await startLogged();
  await using _broker = broker;
  const client = await broker.connect({ clientId: "a" });
  await client.send({ type: "pingresp" });
  const { severity, properties } = await log.find(/^a from 127\.0\.0\.1 is gone: /);
  assert.deepEqual([severity, properties.reasonCode], ["warn", 0x82]);
});

Deno.test("what clients choose themselves cannot forge a line, colour it or turn it around", async () => {
  const { broker, log } = await startLogged();
  await using _broker = broker;
  const evil = "a\n2026-01-01 [INF] root connected\r\x1b[2K\u202e\u2028\u{e0041}\\";
  const client = await broker.connect({
    clientId: evil,
    username: evil,
    will: { topic: evil, payload: "" },
    properties: { sessionExpiryInterval: 60 },
  });
  await client.subscribe(evil, { qos: 1 });
  await client.unsubscribe(evil);
  await client.publish({ topic: evil, qos: 1 });
  await client.close();
  await log.find(/^the will of /);
  const escaped = "a\\u{a}2026-01-01 [INF] root connected\\u{d}\\u{1b}[2K\\u{202e}\\u{2028}\\u{e0041}\\\\";
  for (const { properties } of log.entries) assert.equal(properties.clientId, escaped);
  for (const entry of log.entries) assert.doesNotMatch(rendered(entry), /[\p{C}\p{Zl}\p{Zp}]/u);
  assert.equal((await log.find(/ connected from /)).properties.username, escaped);
  assert.equal((await log.find(/ publishes /)).properties.topic, escaped);
  assert.equal((await log.find(/ subscribes to /)).properties.topicFilters, `${escaped} (QoS 1)`);
  assert.equal((await log.find(/ unsubscribes from /)).properties.topicFilters, escaped);
});

Deno.test("of many topic filters only the first are logged", async () => {
  const { broker, log } = await startLogged({ level: ["subscribe"] });
  await using _broker = broker;
  const client = await broker.connect({ clientId: "a" });
  await client.subscribe(Array.from({ length: 5000 }, (_, index) => `t${index}`));
  const { topicFilters } = log.entries[0].properties;
  assert.match(topicFilters as string, /^t0 \(QoS 0\), .*t9 \(QoS 0\) and 4990 more$/);
});

Deno.test("the hook grants subscriptions as they are", async () => {
  const { broker } = await startLogged();
  await using _broker = broker;
  const client = await broker.connect();
  assert.deepEqual((await client.subscribe(["a", "b"], { qos: 2 })).reasonCodes, [2, 2]);
});

Deno.test("a logger that fails refuses nothing, and the broker's own logger is told", async () => {
  const log = new Recorder();
  await using broker = await startBroker({ logger: log });
  const fail = () => {
    throw new Error("disk full");
  };
  await broker.use(loggerHook({ logger: { debug: fail, info: fail, warn: fail, error: fail }, level: LogLevel.all }));
  const client = await broker.connect();
  assert.deepEqual((await client.subscribe("a")).reasonCodes, [0]);
  assert.equal(await client.publish({ topic: "b", qos: 1 }), 0x10);
  await log.find("the logger of hook logger failed: Error: disk full");
});

Deno.test("by default the records go to LogTape's category hookmq.clients", async () => {
  const records: LogRecord[] = [];
  await configure({
    sinks: { memory: (record) => records.push(record) },
    loggers: [
      { category: ["hookmq", "clients"], sinks: ["memory"] },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
  try {
    await using broker = await startBroker();
    await broker.use(loggerHook());
    const client = await broker.connect({ clientId: "a", level: 4 });
    await client.disconnect();
  } finally {
    await reset();
  }
  const [{ category, level, rawMessage, properties }] = records.filter(({ rawMessage }) =>
    /connected/.test(`${rawMessage}`)
  );
  assert.deepEqual([category, level], [["hookmq", "clients"], "info"]);
  assert.equal(rawMessage, "{clientId} connected from {remoteAddress}");
  assert.deepEqual([properties.clientId, properties.protocolLevel], ["a", 4]);
});
