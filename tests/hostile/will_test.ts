/** Clients that try to publish by dying what they may not publish in life. */

import assert from "node:assert/strict";
import { encode } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { lasting, versions } from "../broker/versions.ts";
import { type ConnectOptions, connectPacket, type RawClient } from "../support/raw_client.ts";
import { passwords, rules, startGuardedBroker } from "./guarded_broker.ts";

const bob: ConnectOptions = { clientId: "bob", username: "bob", password: passwords.bob };

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: nobody gets in with a will to a forbidden topic`, async () => {
    await using broker = await startGuardedBroker();
    await broker.publish("home/ann/door", "closed", { retain: true });
    assert.deepEqual(await broker.arrived(), ["home/ann/door"]);
    const topics = [
      "home/ann/door",
      "home/ann",
      "home/bobby",
      "news/today",
      "plans",
      "$internal/x",
      "$share/g/home/bob",
    ];
    for (const topic of topics) {
      for (const payload of ["open", ""]) {
        const will = { topic, payload, qos: 2, retain: true } as const;
        assert.equal(await broker.attempt({ ...bob, level, will }), level === 5 ? 0x87 : 5, topic);
      }
    }
    await broker.expectUnharmed({ retainedMessages: 1 });
  });

  Deno.test(`MQTT ${version}: nobody's will goes to the broker's own topics`, async () => {
    await using broker = await startGuardedBroker();
    for (const topic of ["$SYS", "$SYS/", "$SYS/broker/version"]) {
      const client = broker.open();
      const will = { topic, payload: "forged", retain: true };
      await client.send(connectPacket({ level, clientId: "a", username: "admin", password: passwords.admin, will }));
      if (level === 5) assert.equal((await client.expect("connack")).reasonCode, 0x90);
      await client.expectClosed();
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: a will to what is no topic name ends the connection`, async () => {
    await using broker = await startGuardedBroker();
    for (const topic of ["home/bob/#", "home/bob/+", "#", "home/bob/x\x07"]) {
      const packet = connectPacket({ ...bob, level, will: { topic: topic.replaceAll(/[#+]/g, "\x07"), payload: "x" } });
      // No other byte of it is 7, and we do not encode what is not valid.
      const instead = topic.endsWith("\x07") ? 0 : topic.charCodeAt(topic.length - 1);
      const client = broker.open();
      client.level = level;
      await client.sendBytes(encode(packet, level).map((byte) => byte === 7 ? instead : byte));
      if (level === 5) assert.ok([0x81, 0x90].includes((await client.expect("connack")).reasonCode));
      await client.expectClosed();
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: a will is not published on a topic that has been denied since, however its client goes`, async () => {
    await using broker = await startGuardedBroker();
    const ends: Record<string, (client: RawClient) => unknown> = {
      closes: (client) => client.close(),
      "sends what is malformed": (client) => client.sendBytes(new Uint8Array(2)),
      "is taken over": () => broker.connectAs("bob", { level }),
      "is removed": () => broker.auth.removeUser("bob"),
    };
    for (const [name, end] of Object.entries(ends)) {
      broker.acl.setRules(rules);
      const client = await broker.connectAs("bob", {
        level,
        will: { topic: "home/bob/will", payload: "gone", retain: true },
      });
      broker.acl.setRules(rules.slice(0, 1));
      const { clients } = broker.stats();
      await end(client);
      if (name !== "is taken over") {
        await eventually(() => broker.stats().clients === clients - 1, `that the client ${name}`);
      }
      assert.deepEqual(await broker.arrived(), [], name);
    }
    await broker.expectUnharmed();
  });
}

/** A will that waits until its session is resumed, or for a second. */
const delayed = {
  ...lasting(5),
  will: { topic: "home/bob/will", payload: "gone", retain: true, properties: { willDelayInterval: 1 } },
};

Deno.test("[5.0] a will that waits is not published where its topic has been denied meanwhile", async () => {
  await using broker = await startGuardedBroker();
  for (const clientId of ["waits", "is thrown away", "is thrown away by another user"]) {
    const client = await broker.connectAs("bob", { ...delayed, clientId });
    await client.close();
  }
  const innocent = { topic: "home/ann/will", payload: "gone", properties: { willDelayInterval: 1 } };
  const ann = await broker.connectAs("ann", { ...lasting(5), will: innocent });
  await ann.close();
  let published = false;
  const subscription = await broker.subscribe(innocent.topic, () => void (published = true));
  broker.acl.setRules(rules.map((rule) => rule.topicFilter === "home/%u/#" ? { ...rule, username: "ann" } : rule));
  await broker.connectAs("bob", { clientId: "is thrown away" });
  await broker.connectAs("ann", { clientId: "is thrown away by another user" });
  assert.deepEqual(await broker.arrived(), []);
  // Hers comes when its second is over, and his would have come before it.
  await eventually(() => published, "her will");
  assert.deepEqual(await broker.arrived(), ["home/ann/will"]);
  subscription.unsubscribe();
  await broker.expectUnharmed({ sessions: 2 });
});

Deno.test("[5.0] a will keeps the rights of who left it, whoever takes its client id", async () => {
  await using broker = await startGuardedBroker();
  const ann = await broker.connectAs("ann", {
    ...delayed,
    clientId: "shared",
    will: { ...delayed.will, topic: "home/ann/will" },
  });
  await ann.close();
  // Who goes on with the session cancels the will, and who throws the session away has it published: as hers.
  const taken = await broker.connectAs("bob", { ...lasting(5), clientId: "shared" });
  await taken.close();
  assert.deepEqual(await broker.arrived(), []);
  const again = await broker.connectAs("bob", { ...delayed, clientId: "shared" });
  await again.close();
  await broker.connectAs("ann", { clientId: "shared" });
  assert.deepEqual(await broker.arrived(), ["home/bob/will"]);
  await broker.expectUnharmed({ retainedMessages: 1 });
});

Deno.test("[5.0] an authentication that fails at its end leaves no will", async () => {
  await using broker = await startGuardedBroker();
  const steps: string[] = [];
  await broker.use({
    id: "two steps",
    onAuthenticate(_client, { method, step }) {
      if (method !== "two steps") return undefined;
      steps.push(`${step}`);
      // Whoever comes to the second step turns out to be Bob.
      return step === 0 ? { done: false } : { done: true, username: "bob" };
    },
  });
  for (const [end, topic] of [["close", "home/bob/will"], ["goodbye", "home/bob/will"]]) {
    const client = broker.open();
    const properties = { authenticationMethod: "two steps" };
    await client.send(connectPacket({ clientId: "a", properties, will: { topic, payload: "x", retain: true } }));
    await client.expect("auth");
    if (end === "goodbye") await client.send({ type: "disconnect", reasonCode: 4 });
    await client.close();
  }
  // One who finishes it has Bob's rights, and no more: with a will to Ann's topic he is not let in.
  const client = broker.open();
  const properties = { authenticationMethod: "two steps" };
  await client.send(connectPacket({ clientId: "a", properties, will: { topic: "home/ann/will", payload: "x" } }));
  await client.expect("auth");
  await client.send({ type: "auth", reasonCode: 0x18, properties });
  assert.equal((await client.expect("connack")).reasonCode, 0x87);
  await client.close();
  assert.deepEqual(steps, ["0", "0", "0", "1"]);
  await broker.expectUnharmed();
});
