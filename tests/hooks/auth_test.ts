import assert from "node:assert/strict";
import mqtt from "mqtt";
import { authHook, type AuthOptions, hashPassword } from "../../hooks/mod.ts";
import { type ClientInfo, type ConnectPacket, type ProtocolLevel, ReasonCode, ReasonCodeError } from "../../mod.ts";
import { connectPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { answer, logIn, startBrokerWith, until } from "./auth_login.ts";

const levels: readonly ProtocolLevel[] = [3, 4, 5];

/** Hashes of "secret" in every form that is read, cheap to compute. */
const secrets = {
  "plain text": "secret",
  "scrypt": "$scrypt$ln=4,r=8,p=1$AXrgZlqi7oOBO80G9apUZQ$NClj3LwXmYuViL9btjFjXQeRKa33LoS9cngD09I9SAE",
  "mosquitto's $7$":
    "$7$101$M8eTqo1CVIJtl660$CeSwjOWY9Iz0HpwiErzBn8rG1PxVA7bbSyHBq3EqF1NeBBfKGKdYXo1iFGGXqGmyl6ZJmvgO1imOY/MGlLNYvA==",
  "mosquitto's $6$":
    "$6$HK2hafyuRNO0abfc$XYExtHB9uHYRLQno9/jI1zwFJ95MvxpCpCBUcIK3zfebIp7yEokh7F2vTZbxZAt4tXUeF3Bu8mTPKwpCqwegFg==",
};

for (const level of levels) {
  for (const [form, password] of Object.entries(secrets)) {
    Deno.test(`level ${level}: a password given as ${form} lets in, and no other does`, async () => {
      const { broker } = await startBrokerWith({ credentials: { alice: password } });
      await using _broker = broker;
      const wrong = answer(level, 0x86, 4);
      assert.equal(await logIn(broker, { level, username: "alice", password: "secret" }), 0);
      assert.equal(await logIn(broker, { level, username: "alice", password: "Secret" }), wrong);
      assert.equal(await logIn(broker, { level, username: "alice", password: "" }), wrong);
      assert.equal(await logIn(broker, { level, username: "alice" }), wrong);
      assert.equal(await logIn(broker, { level, username: "alice", password }), password === "secret" ? 0 : wrong);
      assert.equal(await logIn(broker, { level, username: "bob", password: "secret" }), wrong);
      assert.equal(await logIn(broker, { level, username: "Alice", password: "secret" }), wrong);
      assert.equal(await logIn(broker, { level, username: "", password: "secret" }), wrong);
    });
  }

  Deno.test(`level ${level}: a client that is let in can do what clients do`, async () => {
    const { broker } = await startBrokerWith({ credentials: { alice: await hashPassword("secret", { cost: 4 }) } });
    await using _broker = broker;
    const client = await broker.connect({ level, username: "alice", password: "secret" });
    await client.subscribe("a");
    await client.publish({ topic: "a", payload: "x" });
    assert.equal((await client.expect("publish")).topic, "a");
    await client.disconnect();
  });

  Deno.test(`level ${level}: a client that is refused has no session`, async () => {
    const { broker } = await startBrokerWith({ credentials: { alice: secrets.scrypt } });
    await using _broker = broker;
    await logIn(broker, { level, username: "alice", password: "wrong", cleanStart: false });
    assert.deepEqual([broker.stats().sessions, broker.stats().clients], [0, 0]);
  });

  Deno.test(`level ${level}: packets behind a CONNECT that is still looked at are handled after it`, async () => {
    const { broker } = await startBrokerWith({ credentials: { alice: secrets.scrypt } });
    await using _broker = broker;
    const client = await broker.open();
    await client.send(connectPacket({ level, clientId: "a", username: "alice", password: "secret" }));
    await client.send({ type: "pingreq" });
    assert.equal((await client.expect("connack")).reasonCode, 0);
    await client.expect("pingresp");
  });

  Deno.test(`level ${level}: anonymous clients are refused by default`, async () => {
    const { broker, auth } = await startBrokerWith({ credentials: { alice: "secret" } });
    await using _broker = broker;
    for (let count = 0; count < 10; count++) assert.equal(await logIn(broker, { level }), answer(level, 0x87, 5));
    // They have not guessed at anything.
    assert.equal(await logIn(broker, { level, username: "alice", password: "secret" }), 0);
    assert.deepEqual([auth.stats().failed, auth.stats().accepted], [0, 1]);
  });

  Deno.test(`level ${level}: allowAnonymous lets anonymous clients in, but no wrong passwords`, async () => {
    const { broker } = await startBrokerWith({ credentials: { alice: "secret" }, allowAnonymous: true });
    await using _broker = broker;
    assert.equal(await logIn(broker, { level }), 0);
    assert.equal(await logIn(broker, { level, username: "alice", password: "x" }), answer(level, 0x86, 4));
    assert.equal(await logIn(broker, { level, username: "bob" }), answer(level, 0x86, 4));
  });

  Deno.test(`level ${level}: a validator decides with what the client has sent`, async () => {
    const asked: [ClientInfo, string | undefined, string | undefined, ConnectPacket][] = [];
    const { broker } = await startBrokerWith({
      credentials: { alice: "ignored" },
      validator: (...question) => {
        asked.push(question);
        return question[2] === "pässword";
      },
    });
    await using _broker = broker;
    const accepted = await broker.connect({ level, clientId: "c1", username: "alice", password: "pässword" });
    await accepted.expectNothing();
    assert.equal(await logIn(broker, { level, username: "alice", password: "ignored" }), answer(level, 0x86, 4));
    assert.equal(await logIn(broker, { level, username: "alice" }), answer(level, 0x86, 4));
    const [[client, username, password, packet], , [, , missing]] = asked;
    assert.deepEqual([client.clientId, client.protocolLevel, client.remoteAddress], ["c1", level, "127.0.0.1"]);
    assert.deepEqual([username, password, missing], ["alice", "pässword", undefined]);
    assert.deepEqual([packet.type, packet.password], ["connect", new TextEncoder().encode("pässword")]);
  });

  Deno.test(`level ${level}: a validator may take its time`, async () => {
    const { broker } = await startBrokerWith({
      validator: async (_client, username) => {
        await new Promise((resolve) => setTimeout(resolve));
        return username === "alice";
      },
    });
    await using _broker = broker;
    assert.equal(await logIn(broker, { level, username: "alice" }), 0);
    assert.equal(await logIn(broker, { level, username: "bob" }), answer(level, 0x86, 4));
  });

  Deno.test(`level ${level}: a validator may refuse with a reason code of its own`, async () => {
    const refuse = () => {
      throw new ReasonCodeError(ReasonCode.Banned, "not you");
    };
    for (const validator of [refuse, () => Promise.resolve().then(refuse)]) {
      const { broker, auth } = await startBrokerWith({ validator });
      await using _broker = broker;
      assert.equal(await logIn(broker, { level, username: "alice" }), answer(level, 0x8a, 5));
      assert.deepEqual([auth.stats().accepted, auth.stats().failed], [0, 0]);
    }
  });
}

Deno.test("a validator that returns anything but true lets nobody in", async () => {
  for (const value of [undefined, null, 1, "yes", {}, false]) {
    const { broker } = await startBrokerWith({ validator: () => value as boolean });
    await using _broker = broker;
    assert.equal(await logIn(broker, { username: "alice" }), 0x86);
  }
});

Deno.test("a validator is not asked about anonymous clients", async () => {
  for (const [allowAnonymous, expected] of [[false, 0x87], [true, 0]] as const) {
    let asked = 0;
    const { broker } = await startBrokerWith({ validator: () => ++asked > 0, allowAnonymous });
    await using _broker = broker;
    assert.equal(await logIn(broker, {}), expected);
    assert.equal(asked, 0);
  }
});

Deno.test("an MQTT 5 client that has a password alone is nobody, unless a validator knows it", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: "secret" }, allowAnonymous: true });
  await using _broker = broker;
  assert.equal(await logIn(broker, { password: "secret" }), 0x86);
  const { broker: other } = await startBrokerWith({
    validator: (_client, username, password) => username === undefined && password === "token",
  });
  await using _other = other;
  assert.equal(await logIn(other, { password: "token" }), 0);
  assert.equal(await logIn(other, { password: "other" }), 0x86);
});

Deno.test("an MQTT 5 client is told the same whether its user exists or not", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: secrets.scrypt } });
  await using _broker = broker;
  const reasons = await Promise.all(["alice", "bob"].map(async (username) => {
    const client = await broker.open();
    await client.send(connectPacket({ username, password: "wrong" }));
    const { reasonCode, properties } = await client.expect("connack");
    return [reasonCode, properties?.reasonString];
  }));
  assert.deepEqual(reasons, Array(2).fill([0x86, "wrong user name or password"]));
});

Deno.test("an authentication method without a user name is left to the hooks that know it", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: "secret" } });
  await using _broker = broker;
  const properties = { authenticationMethod: "token" };
  assert.equal(await logIn(broker, { properties }), 0x8c);
  await broker.use({
    id: "token",
    onAuthenticate: (_client, { method }) => method === "token" ? { done: true, username: "carol" } : undefined,
  });
  assert.equal(await logIn(broker, { properties }), 0);
  assert.equal(await logIn(broker, { properties, username: "alice", password: "wrong" }), 0x86);
  assert.equal(await logIn(broker, { properties, username: "alice", password: "secret" }), 0);
});

Deno.test("an unknown user costs as many hashes as a known one", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: secrets.scrypt } });
  await using _broker = broker;
  const hashesFor = async (username: string, password: string) => {
    const before = auth.stats().hashes;
    await logIn(broker, { username, password });
    return auth.stats().hashes - before;
  };
  assert.equal(await hashesFor("alice", "wrong"), 1);
  assert.equal(await hashesFor("bob", "wrong"), 1);
  assert.equal(await hashesFor("", ""), 1);
  assert.equal(await hashesFor("alice", "secret"), 1);
  assert.equal(await hashesFor("bob", "secret"), 1);
});

Deno.test("a login that has succeeded once costs no hash again, until the password changes", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: secrets.scrypt } });
  await using _broker = broker;
  for (let count = 0; count < 3; count++) {
    assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
    assert.equal(auth.stats().hashes, 1);
  }
  assert.equal(await logIn(broker, { username: "alice", password: "wrong" }), 0x86);
  assert.equal(auth.stats().hashes, 2);
  auth.addUser("alice", await hashPassword("other", { cost: 4 }));
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  assert.equal(await logIn(broker, { username: "alice", password: "other" }), 0);
  assert.equal(auth.stats().hashes, 4);
});

Deno.test("a login that is remembered does not wait for others", async () => {
  const { broker, auth } = await startBrokerWith({
    credentials: { alice: secrets.scrypt, bob: await hashPassword("secret", { cost: 15 }) },
    concurrency: 1,
    maximumWaiting: 0,
  });
  await using _broker = broker;
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
  const slow = logIn(broker, { username: "bob", password: "secret" });
  await until(() => auth.stats().hashing === 1);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
  assert.equal(await slow, 0);
});

Deno.test("rememberLogins: false computes the hash each time", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: secrets.scrypt }, rememberLogins: false });
  await using _broker = broker;
  for (let count = 1; count <= 3; count++) {
    assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
    assert.equal(auth.stats().hashes, count);
  }
});

Deno.test("clients that log in as the same user at the same time cost few hashes", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { fleet: secrets.scrypt }, concurrency: 1 });
  await using _broker = broker;
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => logIn(broker, { username: "fleet", password: "secret" })),
  );
  assert.deepEqual(answers, Array(50).fill(0));
  assert.equal(auth.stats().hashes, 1);
});

Deno.test("addUser lets a user in from then on, and may give one another password", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: {} });
  await using _broker = broker;
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  auth.addUser("alice", "secret");
  const client = await broker.connect({ username: "alice", password: "secret" });
  auth.addUser("alice", secrets.scrypt.replace("ln=4", "ln=5"));
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  await client.expectNothing();
});

for (const level of levels) {
  Deno.test(`level ${level}: removeUser keeps a user out and disconnects its clients, but no others`, async () => {
    const { broker, auth } = await startBrokerWith({ credentials: { alice: secrets.scrypt, bob: "secret" } });
    await using _broker = broker;
    const clients = [
      await broker.connect({ level, username: "alice", password: "secret" }),
      await broker.connect({ level, username: "alice", password: "secret" }),
    ];
    const other = await broker.connect({ level, username: "bob", password: "secret" });
    assert.equal(auth.removeUser("alice"), true);
    for (const client of clients) {
      if (level === 5) assert.equal((await client.expect("disconnect")).reasonCode, 0x87);
      await client.expectClosed();
    }
    await other.expectNothing();
    assert.equal(await logIn(broker, { level, username: "alice", password: "secret" }), answer(level, 0x86, 4));
    assert.equal(auth.removeUser("alice"), false);
  });
}

Deno.test("removeUser with disconnect: false leaves its clients alone", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: "secret" } });
  await using _broker = broker;
  const client = await broker.connect({ username: "alice", password: "secret" });
  assert.equal(auth.removeUser("alice", { disconnect: false }), true);
  await client.expectNothing();
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
});

Deno.test("removeUser leaves a client alone that has taken over the session of one who was the user", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: "secret", bob: "secret" } });
  await using _broker = broker;
  await broker.connect({ clientId: "a", username: "alice", password: "secret" });
  const successor = await broker.connect({ clientId: "a", username: "bob", password: "secret" });
  auth.removeUser("alice");
  await successor.expectNothing();
});

Deno.test("a user who is removed while its password is looked at is not let in", async () => {
  await using broker = await startBroker();
  const auth = authHook({ credentials: { alice: secrets.scrypt } });
  // When this happens, the hash is being computed.
  await broker.use({ id: "remover", onConnect: () => queueMicrotask(() => auth.removeUser("alice")) });
  await broker.use(auth);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  assert.equal(auth.stats().hashes, 1);
});

Deno.test("a user who is removed while another hook looks at its client is disconnected", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: "secret" } });
  await using _broker = broker;
  await broker.use({ id: "remover", onConnect: () => void auth.removeUser("alice") });
  const client = await broker.open();
  await client.send(connectPacket({ username: "alice", password: "secret" }));
  await client.expect("connack");
  assert.equal((await client.expect("disconnect")).reasonCode, 0x87);
});

Deno.test("a client that is gone before every hook knows that it is connected is not kept in mind", async () => {
  await using broker = await startBroker();
  const auth = authHook({ credentials: { alice: "secret", bob: "secret" } });
  const gone = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  await broker.use({ id: "slow", onConnected: () => gone.promise });
  await broker.use(auth);
  await broker.use({ id: "last", onDisconnect: () => gone.resolve(), onConnected: () => told.resolve() });
  const client = await broker.connect({ clientId: "a", username: "alice", password: "secret" });
  const successor = await broker.connect({ clientId: "a", username: "bob", password: "secret" });
  await told.promise;
  assert.equal((await client.expect("disconnect")).reasonCode, 0x8e);
  auth.removeUser("alice");
  await successor.expectNothing();
});

Deno.test("with a validator there are no users to add or remove", () => {
  const auth = authHook({ validator: () => true });
  const message = "there are no users: the validator decides about every login";
  assert.throws(() => auth.addUser("alice", "secret"), { message });
  assert.throws(() => auth.removeUser("alice"), { message });
});

Deno.test("logins that wait when the hook is removed are refused, and nothing is left to do", async () => {
  const slow = await hashPassword("secret", { cost: 15 });
  const { broker, auth } = await startBrokerWith({
    credentials: { alice: slow },
    concurrency: 1,
    maximumFailures: Infinity,
  });
  await using _broker = broker;
  const answers = Array.from({ length: 20 }, () => logIn(broker, { username: "alice", password: "wrong" }));
  await until(() => auth.stats().waiting >= 10);
  await broker.remove(auth);
  assert.deepEqual([auth.stats().hashing, auth.stats().waiting], [0, 0]);
  // Those that came later found no hook.
  for (const answer of await Promise.all(answers)) {
    assert.ok([0x86, 0x88, 0].includes(answer), `the answer is ${answer}`);
  }
});

Deno.test("two hooks in one process know nothing of each other", async () => {
  const [first, second] = await Promise.all([
    startBrokerWith({ credentials: { alice: "first" } }),
    startBrokerWith({ credentials: { alice: "second" } }),
  ]);
  await using one = first.broker;
  await using other = second.broker;
  assert.equal(await logIn(one, { username: "alice", password: "first" }), 0);
  assert.equal(await logIn(other, { username: "alice", password: "first" }), 0x86);
  first.auth.removeUser("alice");
  assert.equal(await logIn(other, { username: "alice", password: "second" }), 0);
});

Deno.test("MQTT.js is let in with the right password and told about the wrong one", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: secrets["mosquitto's $7$"] } });
  await using _broker = broker;
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const client = await mqtt.connectAsync(url, { username: "alice", password: "secret", protocolVersion: 5 });
  await client.endAsync();
  await assert.rejects(mqtt.connectAsync(url, { username: "alice", password: "x", reconnectPeriod: 0 }, false), {
    code: 4,
  });
});

const mistakes: { options: unknown; name: string; message: string }[] = [
  {
    options: {},
    name: "TypeError",
    message: "there is nobody who could log in: give credentials, passwordFile or validator",
  },
  { options: { validator: true }, name: "RangeError", message: "validator is no function" },
  { options: { credentials: { "": "hunter2" } }, name: "RangeError", message: "a user name is empty" },
  { options: { credentials: { alice: "" } }, name: "RangeError", message: 'credentials["alice"] is empty' },
  { options: { credentials: { alice: 12345 } }, name: "RangeError", message: 'credentials["alice"] is no text' },
  {
    options: { credentials: { alice: "$7$hunter2" } },
    name: "RangeError",
    message:
      'credentials["alice"] looks like a hash: a hash with this beginning is written as $7$<iterations>$<salt>$<hash>',
  },
  {
    options: { credentials: { alice: "$2b$12$hunter2" } },
    name: "RangeError",
    message: 'credentials["alice"] looks like a hash: not a hash that begins with $scrypt$, $7$ or $6$',
  },
  ...Object.entries({
    concurrency: { value: 0, what: "a whole number from 1 to 256" },
    maximumWaiting: { value: -1, what: "a whole number from 0 to Infinity" },
    maximumFailures: { value: 2.5, what: "a whole number from 1 to Infinity" },
    maximumFailuresPerAddress: { value: 0, what: "a whole number from 1 to Infinity" },
    reloadInterval: { value: -1, what: "a number of seconds from 0 to 1000000" },
    failureWindow: { value: 0, what: "a number of seconds from 0.001 to 1000000" },
    backoff: { value: NaN, what: "a number of seconds from 0.001 to 1000000" },
    maximumBackoff: { value: Infinity, what: "a number of seconds from 0.001 to 1000000" },
  }).map(([name, { value, what }]) => ({
    options: { credentials: {}, [name]: value },
    name: "RangeError",
    message: `${name} is ${value}; it must be ${what}`,
  })),
];

for (const { options, name, message } of mistakes) {
  Deno.test(`authHook refuses its options: ${message}`, () => {
    assert.throws(() => authHook(options as AuthOptions), { name, message });
  });
}

Deno.test("addUser refuses what credentials may not be", () => {
  const auth = authHook({ credentials: {} });
  assert.throws(() => auth.addUser("", "secret"), { name: "RangeError", message: "a user name is empty" });
  assert.throws(() => auth.addUser("alice", ""), { name: "RangeError", message: 'the password of "alice" is empty' });
  assert.throws(() => auth.addUser("alice", "$6$x"), { message: /^the password of "alice" looks like a hash: / });
});
