import assert from "node:assert/strict";
import { Broker } from "../../mod.ts";
import { connectPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { RecordingLogger } from "./recording_logger.ts";

/** What a client calls itself and its topics to begin a line of its own in a log, and to write it in another direction. */
const evil = "a\n2026-01-01 [INF] root connected\x1b[2K\u202e\u2066\\";
const escaped = "a\\u{a}2026-01-01 [INF] root connected\\u{1b}[2K\\u{202e}\\u{2066}\\\\";

Deno.test("what a client is called cannot forge a line of the log, colour it or turn it around", async () => {
  const logger = new RecordingLogger({ debug: true });
  await using broker = await startBroker({ logger });
  const fail = () => {
    throw new Error("broken");
  };
  await broker.use({ id: "broken", onPublish: fail, onSubscribe: fail, onWillPublish: fail });
  const client = await broker.connect({ clientId: evil, will: { topic: "will", payload: "" } });
  await client.subscribe("t");
  await client.publish({ topic: "t", qos: 1 });
  await client.close();
  await eventually(() => broker.stats().sessions === 0, "the end of the session");
  assert.deepEqual(logger.entries, [
    `error: a hook failed on a subscription of ${escaped}: Error: broken`,
    `error: a hook failed on a message from ${escaped}: Error: broken`,
    `debug: a message from ${escaped} is refused: the message could not be handled`,
    `debug: ${escaped} from 127.0.0.1 is gone: the client closed the connection`,
    `error: the will of ${escaped} is not published: Error: broken`,
  ]);
});

Deno.test("what a topic is called cannot forge a line of the log", async () => {
  const logger = new RecordingLogger();
  await using broker = await startBroker({ logger });
  using _subscription = await broker.subscribe("#", () => {
    throw new Error("broken");
  });
  const client = await broker.connect();
  await client.publish({ topic: evil, qos: 1 });
  assert.deepEqual(logger.entries, [`error: a subscription's handler failed on ${escaped}: Error: broken`]);
});

Deno.test("a reason that quotes what a client has sent cannot forge a line of the log", async () => {
  const logger = new RecordingLogger({ debug: true });
  await using broker = await startBroker({ logger });
  const client = await broker.open();
  await client.send(connectPacket({ clientId: "a", will: { topic: `${evil}/+` } }));
  await client.expect("connack");
  await client.expectClosed();
  assert.equal(logger.entries.length, 1);
  assert.match(logger.entries[0], /^debug: .* is gone: will topic "a.*\\u\{202e\}.*" is not a topic name$/);
});

Deno.test("a client that says goodbye is logged as one that has disconnected itself", async () => {
  const logger = new RecordingLogger({ debug: true });
  await using broker = await startBroker({ logger });
  const client = await broker.connect({ clientId: "a" });
  await client.disconnect();
  assert.deepEqual(logger.entries, ["debug: a from 127.0.0.1 is gone: disconnected by the client"]);
});

Deno.test("what hooks log is escaped as well; numbers, errors and what stands in the message stay as they are", async () => {
  const records: unknown[] = [];
  const record = (...args: unknown[]) => void records.push(args);
  await using broker = new Broker({ logger: { debug: record, info: record, warn: record, error: record } });
  const error = new Error(evil);
  await broker.use({
    id: "talkative",
    init({ logger }) {
      logger.info("{clientId} has {count}\n", { clientId: evil, count: 1, none: undefined });
      logger.error("{error}", { error });
      logger.warn("nothing");
    },
  });
  assert.deepEqual(records, [
    ["{clientId} has {count}\n", { clientId: escaped, count: 1, none: undefined }],
    ["{error}", { error }],
    ["nothing", undefined],
  ]);
  assert.equal((records[1] as [string, { error: Error }])[1].error, error);
});
