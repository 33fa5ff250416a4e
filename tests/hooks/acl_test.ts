import assert from "node:assert/strict";
import { aclHook, type AclOptions, type AclRule } from "../../hooks/mod.ts";
import type { ProtocolLevel } from "../../mod.ts";
import type { ConnectOptions } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

const levels: readonly ProtocolLevel[] = [3, 4, 5];

async function startBrokerWith(options: AclOptions): Promise<TestBroker> {
  const broker = await startBroker();
  await broker.use(aclHook(options));
  return broker;
}

/** What the embedding program sees of what clients publish. */
async function watch(broker: TestBroker): Promise<string[]> {
  const topics: string[] = [];
  await broker.subscribe("#", ({ topic }) => void topics.push(topic));
  return topics;
}

/** The answer to a CONNECT. */
async function connackFor(broker: TestBroker, options: ConnectOptions): Promise<number> {
  const client = await broker.open();
  const { will, ...fields } = options;
  const payload = new TextEncoder().encode("gone");
  await client.send({
    type: "connect",
    protocolLevel: fields.level ?? 5,
    clientId: "willing",
    cleanStart: true,
    keepAlive: 60,
    ...(fields.username === undefined ? {} : { username: fields.username }),
    ...(will === undefined ? {} : { will: { topic: will.topic, payload, qos: 0, retain: false } }),
  });
  return (await client.expect("connack")).reasonCode;
}

for (const level of levels) {
  const named = `level ${level}:`;

  Deno.test(`${named} what is allowed is published and received`, async () => {
    await using broker = await startBrokerWith({
      denyByDefault: true,
      rules: [{ permission: "allow", topicFilter: "home/#" }],
    });
    const client = await broker.connect({ level });
    assert.deepEqual((await client.subscribe("home/+")).reasonCodes, [0]);
    await client.publish({ topic: "home/kitchen", payload: "hello" });
    assert.equal((await client.expect("publish")).topic, "home/kitchen");
  });

  Deno.test(`${named} a denied message is refused and goes nowhere`, async () => {
    await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "secret/#" }] });
    const topics = await watch(broker);
    const client = await broker.connect({ level });
    // Before MQTT 5 there is no word for it.
    const refused = level === 5 ? 0x87 : 0;
    assert.equal(await client.publish({ topic: "secret/plan", qos: 1 }), refused);
    assert.equal(await client.publish({ topic: "secret/plan", qos: 2 }), refused);
    assert.equal(await client.publish({ topic: "secret/plan", qos: 1, retain: true }), refused);
    await client.publish({ topic: "secret/plan" });
    await client.publish({ topic: "public", qos: 1 });
    assert.deepEqual(topics, ["public"]);
    assert.equal(broker.stats().retainedMessages, 0);
  });

  Deno.test(`${named} a denied subscription is refused, the others of the same packet are not`, async () => {
    await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "secret/#" }] });
    const client = await broker.connect({ level });
    const { reasonCodes } = await client.subscribe(["public", "secret/plan", "secret/#"], { qos: 1 });
    const refused = level === 5 ? 0x87 : 0x80;
    assert.deepEqual(reasonCodes, [1, refused, refused]);
    await broker.publish("secret/plan", "x");
    await client.expectNothing();
  });

  Deno.test(`${named} a client whose will is denied is refused`, async () => {
    await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "secret/#" }] });
    const refused = level === 5 ? 0x87 : 5;
    assert.equal(await connackFor(broker, { level, will: { topic: "secret/will" } }), refused);
    assert.equal(await connackFor(broker, { level, will: { topic: "will" } }), 0);
  });
}

Deno.test("a denied message closes a 3.1.1 client's connection if the broker is told to", async () => {
  await using broker = await startBroker({ refusedPublish: "disconnect" });
  await broker.use(aclHook({ denyByDefault: true }));
  const client = await broker.connect({ level: 4 });
  await client.publish({ topic: "a" });
  await client.expectClosed();
});

Deno.test("without rules everything is allowed, or denied by default", async () => {
  await using open = await startBrokerWith({});
  await using closed = await startBrokerWith({ denyByDefault: true });
  const client = await open.connect();
  assert.deepEqual((await client.subscribe(["#", "$SYS/#"])).reasonCodes, [0, 0]);
  const other = await closed.connect();
  assert.deepEqual((await other.subscribe(["#", "a"])).reasonCodes, [0x87, 0x87]);
  assert.equal(await other.publish({ topic: "a", qos: 1 }), 0x87);
});

Deno.test("the first rule that matches decides", async () => {
  await using broker = await startBrokerWith({
    rules: [
      { permission: "allow", topicFilter: "a/1" },
      { permission: "deny", topicFilter: "a/+" },
      { permission: "allow", topicFilter: "a/2" },
    ],
  });
  const client = await broker.connect();
  assert.equal(await client.publish({ topic: "a/1", qos: 1 }), 0x10);
  assert.equal(await client.publish({ topic: "a/2", qos: 1 }), 0x87);
  assert.equal(await client.publish({ topic: "a/b/c", qos: 1 }), 0x10);
});

Deno.test("a rule can be for reading or for writing only", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [
      { permission: "allow", topicFilter: "status", access: "read" },
      { permission: "allow", topicFilter: "command", access: "write" },
    ],
  });
  const client = await broker.connect();
  assert.deepEqual((await client.subscribe(["status", "command"])).reasonCodes, [0, 0x87]);
  assert.equal(await client.publish({ topic: "status", qos: 1 }), 0x87);
  assert.equal(await client.publish({ topic: "command", qos: 1 }), 0x10);
});

Deno.test("a rule is for the client ids and user names that match its patterns", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [
      { permission: "allow", clientId: "sensor-*", topicFilter: "sensors" },
      { permission: "allow", username: "*@example.org", topicFilter: "office" },
      { permission: "allow", username: "*", topicFilter: "users" },
    ],
  });
  const codesOf = async (options: ConnectOptions) => {
    const client = await broker.connect(options);
    return (await client.subscribe(["sensors", "office", "users"])).reasonCodes;
  };
  assert.deepEqual(await codesOf({ clientId: "sensor-1" }), [0, 0x87, 0x87]);
  assert.deepEqual(await codesOf({ clientId: "a-sensor-1" }), [0x87, 0x87, 0x87]);
  assert.deepEqual(await codesOf({ username: "ann@example.org" }), [0x87, 0, 0]);
  assert.deepEqual(await codesOf({ username: "ann@example.com", clientId: "sensor-" }), [0, 0x87, 0]);
});

Deno.test("%c and %u stand for the client's own names, also within a level", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [
      { permission: "allow", topicFilter: "home/%u/#" },
      { permission: "allow", topicFilter: "devices/dev-%c/state" },
      { permission: "allow", topicFilter: "both/%c%u" },
    ],
  });
  const client = await broker.connect({ clientId: "7", username: "ann" });
  const allowed = ["home/ann", "home/ann/#", "home/ann/+/x", "devices/dev-7/state", "both/7ann"];
  const denied = ["home/bob/#", "home/+", "home/+/x", "devices/dev-8/state", "devices/+/state", "home/%u", "both/ann7"];
  assert.deepEqual((await client.subscribe(allowed)).reasonCodes, allowed.map(() => 0));
  assert.deepEqual((await client.subscribe(denied)).reasonCodes, denied.map(() => 0x87));
});

Deno.test("a rule with %u does not match a client without a user name", async () => {
  await using broker = await startBrokerWith({
    rules: [
      { permission: "deny", topicFilter: "drafts/%u/x" },
      { permission: "allow", topicFilter: "home/%u/#" },
      { permission: "deny", topicFilter: "home/#" },
    ],
  });
  const client = await broker.connect();
  const { reasonCodes } = await client.subscribe(["home/undefined/x", "home//x", "drafts/undefined/x", "drafts//x"]);
  assert.deepEqual(reasonCodes, [0x87, 0x87, 0, 0]);
});

Deno.test("new rules hold at once, also for subscriptions that exist", async () => {
  await using broker = await startBroker();
  const acl = aclHook();
  await broker.use(acl);
  const client = await broker.connect();
  await client.subscribe("a/#");
  await broker.publish("a/1", "allowed");
  assert.equal((await client.expect("publish")).topic, "a/1");

  acl.addRule({ permission: "deny", topicFilter: "a/1" });
  await broker.publish("a/1", "denied");
  await broker.publish("a/2", "allowed");
  assert.equal((await client.expect("publish")).topic, "a/2");

  acl.setRules([{ permission: "deny", topicFilter: "a/2" }]);
  await broker.publish("a/2", "denied");
  await broker.publish("a/1", "allowed");
  assert.equal((await client.expect("publish")).topic, "a/1");

  acl.clearRules();
  await broker.publish("a/2", "allowed");
  assert.equal((await client.expect("publish")).topic, "a/2");
});

Deno.test("rules of which one is not valid are not used at all", async () => {
  await using broker = await startBroker();
  const acl = aclHook({ rules: [{ permission: "deny", topicFilter: "a" }] });
  await broker.use(acl);
  const client = await broker.connect();
  const invalid: AclRule[] = [{ permission: "deny", topicFilter: "b" }, { permission: "deny", topicFilter: "#/b" }];
  assert.throws(() => acl.setRules(invalid), { name: "RangeError", message: /^rules\[1\]\.topicFilter/ });
  assert.equal(await client.publish({ topic: "a", qos: 1 }), 0x87);
  assert.equal(await client.publish({ topic: "b", qos: 1 }), 0x10);
});

Deno.test("a will is not published if it has been denied since its client connected", async () => {
  await using broker = await startBroker();
  const acl = aclHook();
  await broker.use(acl);
  const topics = await watch(broker);
  const first = await broker.connect({ will: { topic: "will/1" } });
  const second = await broker.connect({ will: { topic: "will/2" } });
  acl.setRules([{ permission: "deny", topicFilter: "will/1" }]);
  await first.disconnect({ reasonCode: 0x04 });
  await second.disconnect({ reasonCode: 0x04 });
  assert.deepEqual(topics, ["will/2"]);
});

Deno.test("a client has the rights of the user that enhanced authentication finds", async () => {
  await using broker = await startBroker();
  await broker.use({
    id: "ask-name",
    onAuthenticate: (_client, { data }) => ({ done: true, username: new TextDecoder().decode(data) }),
  });
  await broker.use(aclHook({ denyByDefault: true, rules: [{ permission: "allow", topicFilter: "home/%u/#" }] }));
  const topics = await watch(broker);
  const properties = { authenticationMethod: "name", authenticationData: new TextEncoder().encode("ann") };
  const client = await broker.connect({ properties, username: "bob", will: { topic: "home/ann/will" } });
  assert.deepEqual((await client.subscribe(["home/ann/#", "home/bob/#"])).reasonCodes, [0, 0x87]);
  assert.equal(await client.publish({ topic: "home/bob/x", qos: 1 }), 0x87);

  const asBob = { authenticationMethod: "name", authenticationData: new TextEncoder().encode("bob") };
  await client.send({ type: "auth", reasonCode: 0x19, properties: asBob });
  await client.expect("auth");
  assert.equal(await client.publish({ topic: "home/bob/x", qos: 1 }), 0);
  assert.equal(await client.publish({ topic: "home/ann/x", qos: 1 }), 0x87);
  await broker.publish("home/ann/x", "not bob's");
  await client.expectNothing();
  await client.disconnect({ reasonCode: 0x04 });
  assert.deepEqual(topics, ["home/bob/x", "home/ann/x"]);
});

Deno.test("wide subscriptions can be granted, and are sent only what may be read", async () => {
  await using broker = await startBrokerWith({
    rules: [{ permission: "deny", topicFilter: "secret/#" }],
    wideSubscriptions: "filter",
  });
  await broker.publish("secret/retained", "x", { retain: true });
  await broker.publish("public/retained", "x", { retain: true });
  const client = await broker.connect();
  assert.deepEqual((await client.subscribe(["#", "secret/#", "secret/+"])).reasonCodes, [0, 0x87, 0x87]);
  assert.equal((await client.expect("publish")).topic, "public/retained");
  await broker.publish("secret/live", "x");
  await broker.publish("public/live", "x");
  assert.equal((await client.expect("publish")).topic, "public/live");
});

Deno.test("a wide subscription of which nothing may be read is refused", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", topicFilter: "home/+/x" }],
    wideSubscriptions: "filter",
  });
  const client = await broker.connect();
  const { reasonCodes } = await client.subscribe(["#", "+/ann/+", "home/ann/y", "office/#"]);
  assert.deepEqual(reasonCodes, [0, 0, 0x87, 0x87]);
});

Deno.test("each hook has its own rules and its own memory", async () => {
  await using first = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "a" }] });
  await using second = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "b" }] });
  const [one, two] = [await first.connect(), await second.connect()];
  assert.deepEqual((await one.subscribe(["a", "b"])).reasonCodes, [0x87, 0]);
  assert.deepEqual((await two.subscribe(["a", "b"])).reasonCodes, [0, 0x87]);
});

Deno.test("what is denied is logged when it is decided", async () => {
  const logged: unknown[] = [];
  const silent = () => {};
  const logger = {
    info: silent,
    warn: silent,
    error: silent,
    debug: (message: string, properties?: Record<string, unknown>) => {
      if (message.includes("may not")) logged.push({ ...properties });
    },
  };
  await using broker = await startBroker({ logger });
  await broker.use(aclHook({ denyByDefault: true }));
  const client = await broker.connect({ clientId: "a", username: "ann" });
  for (let times = 0; times < 3; times++) await client.publish({ topic: "t", qos: 1 });
  await client.subscribe("#");
  assert.deepEqual(logged, [
    { clientId: "a", username: "ann", direction: "write", topic: "t" },
    { clientId: "a", username: "ann", direction: "read", topic: "#" },
  ]);
});
