/** Clients that try to get more than the rules allow. */

import assert from "node:assert/strict";
import { aclHook, type AclOptions } from "../../hooks/mod.ts";
import type { ProtocolLevel } from "../../mod.ts";
import type { ConnectOptions, RawClient } from "../support/raw_client.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

const levels: readonly ProtocolLevel[] = [3, 4, 5];

async function startBrokerWith(options: AclOptions): Promise<TestBroker> {
  const broker = await startBroker();
  await broker.use(aclHook(options));
  return broker;
}

/** Subscribes to each filter; returns those that were granted. */
async function granted(client: RawClient, topicFilters: string[]): Promise<string[]> {
  const { reasonCodes } = await client.subscribe(topicFilters);
  return topicFilters.filter((_filter, index) => reasonCodes[index] < 0x80);
}

/** Names that would be more than a part of one topic level. */
const injections = ["+", "#", "a/b", "bob/#", "+/x", "/", "a+", "#a", "*", "a*"];

for (const level of levels) {
  for (const name of injections) {
    Deno.test(`level ${level}: a client named ${name} gets nothing from a rule with its name`, async () => {
      await using broker = await startBrokerWith({
        denyByDefault: true,
        rules: [
          { permission: "allow", topicFilter: "users/%u/#" },
          { permission: "allow", topicFilter: "clients/%c/#" },
          { permission: "allow", topicFilter: "parts/user-%u" },
          { permission: "allow", topicFilter: "open" },
        ],
      });
      const topics: string[] = [];
      await broker.subscribe("#", ({ topic }) => void topics.push(topic));
      const client = await broker.connect({ level, clientId: name, username: name });
      const filters = ["users", "clients"].flatMap((root) => [
        ...[`${root}/#`, `${root}/+`, `${root}/+/x`, `${root}/bob`, `${root}/bob/x`, `${root}/a/b`, `${root}/a/b/#`],
        ...[`${root}/${name.replaceAll(/[^a-z]/g, "")}/x`, `${root}/*/x`],
      ]);
      assert.deepEqual(await granted(client, [...filters, "parts/+", "parts/user-bob", "parts/#"]), []);
      for (const filter of filters) {
        if (!/[+#]/.test(filter)) await client.publish({ topic: filter, qos: 1 });
      }
      await client.publish({ topic: "open", qos: 1 });
      assert.deepEqual(topics, ["open"]);
    });

    Deno.test(`level ${level}: a client named ${name} does not escape a rule that denies by its name`, async () => {
      await using broker = await startBrokerWith({
        rules: [
          { permission: "deny", topicFilter: "quarantine/%c/#" },
          { permission: "deny", topicFilter: "users/%u/secret" },
        ],
      });
      const topics: string[] = [];
      await broker.subscribe("#", ({ topic }) => void topics.push(topic));
      const client = await broker.connect({ level, clientId: name, username: name });
      const own = name.replaceAll("#", "x").replaceAll("+", "x");
      const filters = [`quarantine/${own}/x`, `users/${own}/secret`, "users/+/secret", "quarantine/#", "users/#", "#"];
      assert.deepEqual(await granted(client, [...filters, "other/#"]), ["other/#"]);
      await client.publish({ topic: `quarantine/${own}/x`, qos: 1 });
      await client.publish({ topic: `users/${own}/secret`, qos: 1 });
      await client.publish({ topic: "open", qos: 1 });
      assert.deepEqual(topics, ["open"]);
    });
  }

  Deno.test(`level ${level}: a filter that is wider than what may be read is refused`, async () => {
    await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "home/ann/diary" }] });
    const client = await broker.connect({ level });
    const wide = ["#", "+/#", "+/+/+", "+/ann/diary", "home/#", "home/+/#", "home/+/diary", "home/ann/+", "home/ann/#"];
    assert.deepEqual(await granted(client, [...wide, "home/ann/diary/#", "home/ann/+/#", "+/+/diary"]), []);
    await broker.publish("home/ann/diary", "dear diary");
    await client.expectNothing();
  });

  Deno.test(`level ${level}: wrapping a forbidden filter into a shared subscription does not help`, async () => {
    await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "secret/#" }] });
    const client = await broker.connect({ level });
    const filters = ["secret/plan", "secret/#", "+/plan", "#", "+/+"].map((filter) => `$share/group/${filter}`);
    assert.deepEqual(await granted(client, [...filters, "$share/public/x"]), ["$share/public/x"]);
    await broker.publish("secret/plan", "x");
    await client.expectNothing();
  });
}

Deno.test("a member of a group gets nothing that it may not read, and takes nothing from those who may", async () => {
  await using broker = await startBrokerWith({
    rules: [
      { permission: "allow", username: "worker" },
      { permission: "deny", topicFilter: "jobs/secret" },
    ],
    wideSubscriptions: "filter",
  });
  const worker = await broker.connect({ username: "worker" });
  const intruder = await broker.connect({ username: "intruder" });
  const filters = ["$share/workers/jobs/#", "$share/workers/jobs/secret", "$share/workers/jobs/secret/#"];
  assert.deepEqual(await granted(worker, filters.slice(0, 1)), filters.slice(0, 1));
  assert.deepEqual(await granted(intruder, filters), ["$share/workers/jobs/#", "$share/workers/jobs/secret/#"]);
  for (let job = 0; job < 4; job++) {
    await broker.publish("jobs/secret", String(job));
    assert.equal((await worker.expect("publish")).topic, "jobs/secret");
  }
  await intruder.expectNothing();
});

Deno.test("names are not looked through for further substitutions", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", topicFilter: "home/%c/#" }],
  });
  const filters = ["home/ann/x", "home/%c/x", "home/%u/x", "home/home/x", "home/$&/x", "home/$1/x"];
  const own = async (clientId: string) => granted(await broker.connect({ clientId, username: "ann" }), filters);
  assert.deepEqual(await own("%u"), ["home/%u/x"]);
  assert.deepEqual(await own("%c"), ["home/%c/x"]);
  assert.deepEqual(await own("$&"), ["home/$&/x"]);
  assert.deepEqual(await own("$1"), ["home/$1/x"]);
});

Deno.test("a star in a client's name is no pattern", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", clientId: "sensor-1", username: "ann", topicFilter: "a" }],
  });
  assert.deepEqual(await granted(await broker.connect({ clientId: "*", username: "*" }), ["a"]), []);
  assert.deepEqual(await granted(await broker.connect({ clientId: "sensor-*", username: "an*" }), ["a"]), []);
});

Deno.test("a client named $SYS does not get the broker's own topics from a rule with its name", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", topicFilter: "%u/#" }, { permission: "allow", topicFilter: "%c/#" }],
  });
  const client = await broker.connect({ clientId: "$SYS", username: "$SYS" });
  assert.deepEqual(await granted(client, ["$SYS/#", "$SYS/broker/uptime", "#", "+/#", "$SYS"]), []);
});

Deno.test("a client named $SYS does not escape a rule that denies by its name", async () => {
  await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "%u/#" }] });
  const client = await broker.connect({ username: "$SYS" });
  assert.deepEqual(await granted(client, ["$SYS/#", "$SYS/broker/uptime", "#"]), []);
});

Deno.test("an empty user name is not substituted", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", topicFilter: "home/%u/#" }, { permission: "allow", topicFilter: "user-%u" }],
  });
  const client = await broker.connect({ username: "" });
  assert.deepEqual(await granted(client, ["home//#", "home//x", "home/#", "user-"]), []);
});

Deno.test("[5.0 MQTT-4.7.2-1] a rule for # or + does not allow topics that begin with $", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", topicFilter: "#" }, { permission: "allow", topicFilter: "+/+" }],
  });
  const client = await broker.connect();
  const filters = ["$SYS/#", "$SYS/+", "$SYS/broker/uptime", "$share/g/$SYS/#", "$other/x"];
  assert.deepEqual(await granted(client, [...filters, "#"]), ["#"]);
  await broker.publish("$SYS/broker/uptime", "1");
  await client.expectNothing();
});

Deno.test("a subscription from before a rule brings neither live nor retained messages that the rule denies", async () => {
  await using broker = await startBroker();
  const acl = aclHook();
  await broker.use(acl);
  await broker.publish("secret/plan", "x", { retain: true });
  const client = await broker.connect();
  await client.subscribe("secret/#");
  assert.equal((await client.expect("publish")).topic, "secret/plan");
  acl.setRules([{ permission: "deny", topicFilter: "secret/plan" }]);
  await broker.publish("secret/plan", "y", { retain: true });
  // Asking for it again is refused, and sends nothing.
  assert.deepEqual(await granted(client, ["secret/#"]), []);
  await client.expectNothing();
});

Deno.test("a topic alias is no way around a rule", async () => {
  await using broker = await startBrokerWith({ rules: [{ permission: "deny", topicFilter: "secret" }] });
  const topics: string[] = [];
  await broker.subscribe("#", ({ topic }) => void topics.push(topic));
  const client = await broker.connect();
  const properties = { topicAlias: 1 };
  assert.equal(await client.publish({ topic: "secret", qos: 1, properties }), 0x87);
  assert.equal(await client.publish({ topic: "", qos: 1, properties }), 0x87);
  assert.equal(await client.publish({ topic: "open", qos: 1, properties }), 0);
  assert.equal(await client.publish({ topic: "secret", qos: 1, properties }), 0x87);
  assert.equal(await client.publish({ topic: "", qos: 1, properties }), 0x87);
  assert.deepEqual(topics, ["open"]);
});

Deno.test("a client that takes over the session of another user does not get what that user may read", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [{ permission: "allow", topicFilter: "home/%u/#" }],
  });
  const session: ConnectOptions = { clientId: "shared", cleanStart: false, properties: { sessionExpiryInterval: 60 } };
  const ann = await broker.connect({ ...session, username: "ann" });
  assert.deepEqual(await granted(ann, ["home/ann/#"]), ["home/ann/#"]);
  const bob = await broker.connect({ ...session, username: "bob" });
  assert.equal(bob.connack.sessionPresent, true);
  await broker.publish("home/ann/diary", "dear diary");
  await bob.expectNothing();
});

Deno.test("a name of 64 KiB is as good as any other", async () => {
  await using broker = await startBrokerWith({
    denyByDefault: true,
    rules: [
      { permission: "allow", username: "*a*a*a*a*a*b" },
      { permission: "allow", topicFilter: "home/%u" },
    ],
  });
  const username = "a".repeat(65_000);
  const client = await broker.connect({ username });
  assert.deepEqual(await granted(client, ["open", `home/${username}`]), [`home/${username}`]);
});

for (const will of ["secret/will", "home/bob/will"]) {
  Deno.test(`a will on ${will} is refused with its client, whatever else the client may do`, async () => {
    await using broker = await startBrokerWith({
      rules: [
        { permission: "allow", topicFilter: "home/%u/#" },
        { permission: "deny", topicFilter: "home/#", access: "write" },
        { permission: "deny", topicFilter: "secret/#", access: "write" },
      ],
    });
    const topics: string[] = [];
    await broker.subscribe("#", ({ topic }) => void topics.push(topic));
    const client = await broker.open();
    await client.send({
      type: "connect",
      protocolLevel: 5,
      clientId: "a",
      username: "ann",
      cleanStart: true,
      keepAlive: 60,
      will: { topic: will, payload: new Uint8Array(1), qos: 2, retain: true, properties: { willDelayInterval: 0 } },
    });
    assert.equal((await client.expect("connack")).reasonCode, 0x87);
    await client.expectClosed();
    assert.deepEqual(topics, []);
    assert.equal(broker.stats().retainedMessages, 0);
  });
}
