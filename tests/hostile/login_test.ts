/** Clients that try to get in. */

import assert from "node:assert/strict";
import { hashPassword } from "../../hooks/mod.ts";
import { encode, type Packet, type ProtocolLevel } from "../../mod.ts";
import { lasting, versions } from "../broker/versions.ts";
import { type ConnectOptions, connectPacket, publishPacket } from "../support/raw_client.ts";
import { passwordHashes, passwords, startGuardedBroker } from "./guarded_broker.ts";

/** Every guess is looked at. */
const unlimited = { maximumFailures: Infinity, maximumFailuresPerAddress: Infinity };

/** What is not Ann's user name, however much it looks like it, and what is nobody's. */
const wrongNames = [
  ...["Ann", "ANN", " ann", "ann ", "ann\n", "ann/", "an", "annn", "ann:crème brûlée", "\u{feff}ann", "ann\u{200b}"],
  // Cyrillic, full width, with a combining character that joins nothing, from right to left.
  ...["\u0430nn", "\uff41\uff4e\uff4e", "ann\u034f", "\u202eann"],
  ...["*", "+", "#", "%u", "a*", "", "null", "undefined", "__proto__", "constructor", "toString"],
  "ann".repeat(20_000),
];

const wrongPasswords: (string | Uint8Array)[] = [
  ...["", " ", "Crème Brûlée", "crème brûlée ", "crème brûlée\n", "crème brûlé", "creme brulee"],
  ...["\u{feff}crème brûlée", "crème brûlée".normalize("NFD"), "\0", "*", "undefined", "x".repeat(65_535)],
  ...[passwords.bob, passwords.admin, passwordHashes.ann, "crème brûlée".repeat(4000)],
  new TextEncoder().encode(passwords.ann).with(2, 0xff),
  new Uint8Array(64),
];

/** Every login but a right one. */
function wrongLogins(level: ProtocolLevel): ConnectOptions[] {
  return [
    {},
    { username: "ann" },
    { username: "" },
    ...(level === 5 ? [{ password: "" }, { password: passwords.ann }] : []),
    ...wrongNames.map((username) => ({ username, password: passwords.ann })),
    ...wrongPasswords.map((password) => ({ username: "ann", password })),
    { username: passwords.ann, password: "ann" },
    { username: "josé".normalize("NFD"), password: passwords.josé },
    { username: "josé", password: passwords.josé.normalize("NFD") },
    { username: "josé", password: passwords.ann },
  ];
}

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: nobody gets in with anything but a user's own name and password`, async () => {
    await using broker = await startGuardedBroker({ auth: unlimited });
    const { accepted } = broker.auth.stats();
    for (const login of wrongLogins(level)) {
      const isAnonymous = login.username === undefined && login.password === undefined;
      const expected = level === 5 ? (isAnonymous ? 0x87 : 0x86) : (isAnonymous ? 5 : 4);
      assert.equal(await broker.attempt({ level, ...login }), expected, Deno.inspect(login));
    }
    assert.equal(broker.auth.stats().accepted, accepted);
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: U+0000 in a user name ends the connection before anybody looks at the password`, async () => {
    await using broker = await startGuardedBroker();
    const before = broker.auth.stats();
    for (const username of ["ann\x07", "\x07ann", "a\x07nn", "\x07"]) {
      const packet = connectPacket({ level, clientId: "a", username, password: passwords.ann });
      // No other byte of it is 7, and we do not encode what is not valid.
      const bytes = encode(packet, level).map((byte) => byte === 7 ? 0 : byte);
      const client = broker.open();
      await client.sendBytes(bytes);
      client.level = level;
      if (level === 5) assert.equal((await client.expect("connack")).reasonCode, 0x81);
      await client.expectClosed();
    }
    assert.deepEqual(broker.auth.stats(), before);
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: what comes behind a wrong login is not handled`, async () => {
    await using broker = await startGuardedBroker();
    for (const login of [{}, { username: "ann", password: "wrong" }, { username: "nobody", password: "x" }]) {
      const client = broker.open();
      await client.send(
        connectPacket({ level, ...login, clientId: "a", will: { topic: "home/ann/will", retain: true } }),
        subscribeTo("news/#"),
        publishPacket({ topic: "home/ann/door", payload: "open", retain: true }),
        publishPacket({ topic: "home/ann/door", payload: "open", qos: 2, packetId: 7, retain: true }),
        { type: "pubrel", packetId: 7, reasonCode: 0 },
        // Would have the will published.
        { type: "disconnect", reasonCode: level === 5 ? 4 : 0 },
      );
      assert.notEqual((await client.expect("connack")).reasonCode, 0);
      await client.expectClosed();
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: nothing is handled before a CONNECT, or while its password is looked at`, async () => {
    await using broker = await startGuardedBroker();
    const message = publishPacket({ topic: "home/ann/door", payload: "open" });
    const connect = connectPacket({ level, clientId: "a", username: "ann", password: "wrong" });
    for (const first of [message, subscribeTo("news/#"), { type: "pingreq" }, { type: "disconnect", reasonCode: 0 }]) {
      const client = broker.open();
      client.level = level;
      await client.send(first as Packet, connect, message);
      await client.expectClosed();
    }
    for (const next of [message, subscribeTo("news/#"), connect, { type: "disconnect", reasonCode: 0 }]) {
      const client = broker.open();
      await client.send(connect);
      await client.send(next as Packet);
      assert.notEqual((await client.expect("connack")).reasonCode, 0);
      await client.expectClosed();
    }
    await broker.expectUnharmed();
  });

  Deno.test(`MQTT ${version}: a wrong login with another client's id does that client no harm`, async () => {
    await using broker = await startGuardedBroker();
    const session = { ...lasting(level), clientId: "ann's phone" };
    const ann = await broker.connectAs("ann", session);
    await ann.subscribe("home/ann/#", { qos: 1 });
    const wrong = { ...session, cleanStart: true, will: { topic: "home/ann/will", payload: "gone" } };
    const attack = async () => {
      assert.notEqual(await broker.attempt({ ...wrong, username: "ann", password: "wrong" }), 0);
      assert.notEqual(await broker.attempt({ ...wrong, username: "nobody", password: "wrong" }), 0);
      assert.notEqual(await broker.attempt(wrong), 0);
    };
    await attack();
    await ann.expectNothing();
    await ann.close();
    await broker.publish("home/ann/letter", "dear Ann", { qos: 1 });
    await attack();
    const back = await broker.connectAs("ann", session);
    assert.equal((await back.expect("publish")).topic, "home/ann/letter");
    await back.send({ type: "puback", packetId: 1, reasonCode: 0 });
    await back.expectNothing();
    assert.deepEqual(await broker.arrived(), ["home/ann/letter"]);
    await broker.expectUnharmed({ sessions: 1, subscriptions: 1 });
  });

  Deno.test(`MQTT ${version}: a second CONNECT makes nobody somebody else`, async () => {
    await using broker = await startGuardedBroker();
    const { accepted } = broker.auth.stats();
    const bob = await broker.connectAs("bob", { level });
    const client = { level, clientId: "bob", username: "admin", password: passwords.admin };
    await bob.send(connectPacket(client), publishPacket({ topic: "home/ann/door", payload: "open" }));
    if (level === 5) assert.equal((await bob.expect("disconnect")).reasonCode, 0x82);
    await bob.expectClosed();
    assert.equal(broker.auth.stats().accepted, accepted + 1);
    await broker.expectUnharmed();
  });
}

for (const level of [3, 4] as const) {
  Deno.test(`level ${level}: a password without a user name is no CONNECT`, async () => {
    await using broker = await startGuardedBroker();
    const packet = connectPacket({ level, clientId: "a", username: "", password: passwords.ann });
    const bytes = encode(packet, level);
    const flagsAt = 2 + 2 + (level === 3 ? "MQIsdp" : "MQTT").length + 1;
    bytes[flagsAt] &= 0x7f;
    const client = broker.open();
    await client.sendBytes(bytes);
    await client.expectClosed();
    await broker.expectUnharmed();
  });
}

Deno.test("[5.0] an authentication method that nobody knows is no way around the password", async () => {
  await using broker = await startGuardedBroker();
  const properties = { authenticationMethod: "PLAIN", authenticationData: new TextEncoder().encode("\0ann\0x") };
  const will = { topic: "home/ann/will", payload: "gone" };
  assert.equal(await broker.attempt({ properties, will }), 0x8c);
  assert.equal(await broker.attempt({ properties, will, username: "ann" }), 0x86);
  assert.equal(await broker.attempt({ properties, will, username: "ann", password: "wrong" }), 0x86);
  assert.equal(await broker.attempt({ properties, will, username: "ann", password: passwords.ann }), 0x8c);
  await broker.expectUnharmed();
});

Deno.test("[5.0] nobody becomes somebody else by authenticating again", async () => {
  await using broker = await startGuardedBroker();
  for (const reasonCode of [0x19, 0x18, 0x00]) {
    const bob = await broker.connectAs("bob");
    const authenticationData = new TextEncoder().encode("\0admin\0");
    await bob.send({ type: "auth", reasonCode, properties: { authenticationMethod: "PLAIN", authenticationData } });
    assert.equal((await bob.expect("disconnect")).reasonCode, 0x82);
    await bob.expectClosed();
  }
  await broker.expectUnharmed();
});

for (const form of ["scrypt", "pbkdf2"] as const) {
  Deno.test(`a password with zero bytes behind it is another password, also for ${form}`, async () => {
    const hash = await hashPassword(passwords.ann, { form, cost: 4 });
    await using broker = await startGuardedBroker({ auth: { credentials: { ...passwordHashes, ann: hash } } });
    assert.notEqual(await broker.attempt({ username: "ann", password: `${passwords.ann}\0` }), 0);
    assert.notEqual(await broker.attempt({ username: "ann", password: `${passwords.ann}\0\0\0` }), 0);
    assert.equal(await broker.attempt({ username: "ann", password: passwords.ann }), 0);
    await broker.expectUnharmed();
  });
}

Deno.test("a validator is not told that a password with a byte order mark is the one without", async () => {
  await using broker = await startGuardedBroker({
    auth: { validator: (_client, username, password) => passwords[username as keyof typeof passwords] === password },
  });
  for (const [level] of versions) {
    assert.notEqual(await broker.attempt({ level, username: "ann", password: `\u{feff}${passwords.ann}` }), 0);
  }
  await broker.expectUnharmed();
});

// Guessing

Deno.test("a wrong login costs one hash, whether there is such a user, or one who logs in all the time, or none", async () => {
  await using broker = await startGuardedBroker({ auth: unlimited });
  assert.equal(await broker.attempt({ username: "ann", password: passwords.ann }), 0);
  const costs = async (login: ConnectOptions) => {
    const before = broker.auth.stats().hashes;
    assert.notEqual(await broker.attempt(login), 0);
    return broker.auth.stats().hashes - before;
  };
  for (const username of ["ann", "bob", "admin", ...wrongNames]) {
    for (const password of ["wrong", "x".repeat(60_000), undefined]) {
      assert.equal(await costs({ username, password }), 1, `${username.slice(0, 20)}: ${password?.slice(0, 20)}`);
    }
  }
  await broker.expectUnharmed();
});

for (const [level, version] of versions) {
  Deno.test(`MQTT ${version}: guesses show nobody which user names there are`, async () => {
    await using broker = await startGuardedBroker({ auth: { backoff: 600, maximumBackoff: 600 } });
    const guess = async (username: string, remoteAddress: string) => {
      const before = broker.auth.stats().hashes;
      const answers: number[] = [];
      for (let round = 0; round < 8; round++) {
        answers.push(await broker.attempt({ level, username, password: `guess ${round}` }, remoteAddress));
      }
      return { answers, hashes: broker.auth.stats().hashes - before };
    };
    const known = await guess("ann", "192.0.2.1");
    const heldBack = level === 5 ? 0x9f : 3;
    assert.deepEqual(known.answers.slice(5), [heldBack, heldBack, heldBack]);
    assert.equal(known.hashes, 5);
    assert.deepEqual(await guess("nobody", "192.0.2.2"), known);
    assert.deepEqual(await guess("Ann", "192.0.2.3"), known);
    assert.deepEqual(await guess("", "192.0.2.4"), known);
    // She herself comes from elsewhere.
    assert.equal(await broker.attempt({ level, username: "ann", password: passwords.ann }, "192.0.2.5"), 0);
    await broker.expectUnharmed();
  });
}

Deno.test("a right password that is tried while guesses are held back tells nothing", async () => {
  await using broker = await startGuardedBroker({ auth: { backoff: 600, maximumBackoff: 600 } });
  for (let round = 0; round < 5; round++) await broker.attempt({ username: "ann", password: `${round}` });
  const answers = [];
  for (const password of [passwords.ann, "wrong", passwords.ann]) {
    answers.push(await broker.attempt({ username: "ann", password }));
  }
  assert.deepEqual(answers, [0x9f, 0x9f, 0x9f]);
  await broker.expectUnharmed();
});

Deno.test("while a thousand bad logins come, clients are served and others log in", async () => {
  const cost = 10;
  const credentials = {
    admin: await hashPassword(passwords.admin, { cost }),
    ann: await hashPassword(passwords.ann, { cost }),
    bob: await hashPassword(passwords.bob, { cost }),
  };
  const auth = { credentials, backoff: 600, maximumBackoff: 600 };
  // Two hundred hashes take their time on a machine that has other things to do.
  await using broker = await startGuardedBroker({ auth, patience: 20_000 });
  const ann = await broker.connectAs("ann");
  const before = broker.auth.stats();
  const names = ["ann", "bob", "admin", "nobody", "Ann"];
  const attack = Promise.all(Array.from({ length: 1000 }, (_, number) => {
    const username = number % 2 === 0 ? names[number % names.length] : `user ${number}`;
    return broker.attempt({ username, password: `${number}`, clientId: "ann" }, `192.0.2.${number % 4}`);
  }));
  // Every expectation has a deadline of its own.
  const bob = await broker.connectAs("bob");
  for (let round = 0; round < 50; round++) {
    assert.equal(await ann.publish({ topic: "home/ann/lamp", qos: 1 }), 0);
    await bob.expectNothing();
  }
  const answers = await attack;
  assert.deepEqual([...new Set(answers)].toSorted(), [0x86, 0x9f]);
  const { accepted, failed, heldBack, busy, hashes } = broker.auth.stats();
  assert.equal(accepted, before.accepted + 1);
  assert.deepEqual([failed + heldBack, busy], [1000, 0]);
  // Fifty of each address, and one that was under way.
  assert.ok(hashes - before.hashes <= 4 * 51 + 1, `${hashes - before.hashes} hashes`);
  assert.deepEqual(await broker.arrived(), Array(50).fill("home/ann/lamp"));
  await broker.expectUnharmed();
});

function subscribeTo(topicFilter: string): Packet {
  const options = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const;
  return { type: "subscribe", packetId: 1, subscriptions: [{ topicFilter, ...options }] };
}
