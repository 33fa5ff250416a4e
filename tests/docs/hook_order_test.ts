import assert from "node:assert/strict";
import { type Hook, HookChain, type HookEvent } from "../../broker/hooks.ts";
import type { PublishPacket } from "../../codec/mod.ts";
import { connectPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { blocksOf } from "./markdown.ts";

const eventNames = Object.keys(new HookChain().on) as HookEvent[];

/** The events that a diagram of docs/hooks.md names, in their order, without some. */
async function eventsIn(firstLine: string, ...left: HookEvent[]): Promise<HookEvent[]> {
  const diagram = (await blocksOf("docs/hooks.md", "")).find((text) => text.startsWith(firstLine))!;
  const [now] = diagram.split("\nlater,");
  // What a line explains comes after two spaces.
  const words = now.split("\n").flatMap((line) => line.trim().split("  ")[0].match(/\w+/g) ?? []) as HookEvent[];
  return words.filter((word) => eventNames.includes(word) && !left.includes(word));
}

/** A hook that has every event but those that make the broker leave queues to it, and that notes them in their order. */
function recordingHook(): { hook: Hook; taken: (among: readonly HookEvent[]) => HookEvent[] } {
  let events: HookEvent[] = [];
  const retained: PublishPacket = {
    type: "publish",
    topic: "retained",
    payload: new Uint8Array(1),
    qos: 0,
    retain: true,
    dup: false,
  };
  const answers: Partial<Record<HookEvent, (...args: never[]) => unknown>> = {
    onAuthenticate: () => ({ done: true }),
    onSubscribe: (_client, subscriptions) => subscriptions,
    canRead: () => true,
    canWrite: () => true,
    getRetained: () => [retained],
  };
  const recording = eventNames.filter((event) => event !== "queueOutgoing").map((
    event,
  ) => [event, (...args: never[]) => {
    events.push(event);
    return answers[event]?.(...args);
  }]);
  return {
    hook: { id: "recording", ...Object.fromEntries(recording) },
    taken(among) {
      const taken = events.filter((event) => among.includes(event));
      events = [];
      return taken;
    },
  };
}

const durable = { clientId: "durable", cleanStart: false, properties: { sessionExpiryInterval: 600 } };

Deno.test("docs/hooks.md has the order of events for a CONNECT", async () => {
  const expected = await eventsIn("CONNECT\n", "onSessionEnded", "onSessionCreated");
  const { hook, taken } = recordingHook();
  await using broker = await startBroker();
  await broker.use(hook);
  const before = await broker.connect(durable);
  await before.subscribe("t", { qos: 1, retainHandling: 2 });
  await before.disconnect();
  await broker.publish("t", "waits", { qos: 1 });
  taken([]);
  const again = await broker.open();
  const properties = { ...durable.properties, authenticationMethod: "m" };
  await again.send(connectPacket({ ...durable, properties }));
  await again.expect("connack");
  await again.expect("publish");
  await again.expectNothing();
  assert.deepEqual(taken(expected), expected);
});

Deno.test("docs/hooks.md has the order of events for a SUBSCRIBE", async () => {
  const expected = await eventsIn("SUBSCRIBE\n");
  const { hook, taken } = recordingHook();
  await using broker = await startBroker();
  await broker.use(hook);
  const client = await broker.connect(durable);
  taken([]);
  await client.subscribe("retained");
  await client.expect("publish");
  assert.deepEqual(taken(expected), expected);
});

Deno.test("docs/hooks.md has the order of events for a PUBLISH", async () => {
  const expected = await eventsIn("PUBLISH\n", "onMessageDropped");
  const { hook, taken } = recordingHook();
  await using broker = await startBroker();
  await broker.use(hook);
  await (await broker.connect(durable)).subscribe("t", { qos: 1, retainHandling: 2 });
  const publisher = await broker.connect();
  taken([]);
  assert.equal(await publisher.publish({ topic: "t", payload: "x", qos: 1, retain: true }), 0);
  assert.deepEqual(taken(expected), expected);
});

for (
  const [what, options, without] of [
    ["a durable session", durable, "onSessionEnded"],
    ["a session that ends with it", {}, "storeSession"],
  ] as const
) {
  Deno.test(`docs/hooks.md has the order of events for the end of a connection with ${what}`, async () => {
    const expected = await eventsIn("the client says goodbye", without);
    const { hook, taken } = recordingHook();
    const gone = Promise.withResolvers<void>();
    await using broker = await startBroker();
    await broker.use(hook);
    await broker.use({ id: "last", onDisconnect: () => gone.resolve() });
    const client = await broker.connect({ ...options, will: { topic: "w", payload: "x" } });
    taken([]);
    await client.close();
    await gone.promise;
    assert.deepEqual(taken(expected), expected);
  });
}
