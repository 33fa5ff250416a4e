import assert from "node:assert/strict";
import { hashPassword } from "../../hooks/mod.ts";
import { type ProtocolLevel, ReasonCode, ReasonCodeError } from "../../mod.ts";
import { connectPacket, RawClient } from "../support/raw_client.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import { answer, logIn, recordingLogger, startBrokerWith } from "./auth_login.ts";

const good = { username: "alice", password: "secret" };
const bad = { username: "alice", password: "wrong" };

/** Held back so long that no test sees the end of it. */
const long = { backoff: 600, maximumBackoff: 600 };

for (const level of [3, 4, 5] as ProtocolLevel[]) {
  Deno.test(`level ${level}: after five failures a user is held back, also with the right password`, async () => {
    const { broker, auth } = await startBrokerWith({ credentials: { alice: "secret", bob: "secret" }, ...long });
    await using _broker = broker;
    for (let count = 0; count < 5; count++) {
      assert.equal(await logIn(broker, { level, ...bad }), answer(level, 0x86, 4));
    }
    assert.equal(await logIn(broker, { level, ...bad }), answer(level, 0x9f, 3));
    assert.equal(await logIn(broker, { level, ...good }), answer(level, 0x9f, 3));
    assert.deepEqual([auth.stats().failed, auth.stats().heldBack], [5, 2]);
  });
}

Deno.test("a user who is held back holds back no other one at the same address", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: "secret", bob: "secret" }, ...long });
  await using _broker = broker;
  for (let count = 0; count < 100; count++) await logIn(broker, bad);
  assert.equal(await logIn(broker, good), 0x9f);
  assert.equal(await logIn(broker, { username: "bob", password: "secret" }), 0);
});

Deno.test("an address is held back after fifty failures, of whatever users", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: "secret" }, ...long });
  await using _broker = broker;
  for (let count = 0; count < 50; count++) {
    assert.equal(await logIn(broker, { username: `user ${count}`, password: "x" }), 0x86);
  }
  assert.equal(await logIn(broker, { username: "user 50", password: "x" }), 0x9f);
  assert.equal(await logIn(broker, good), 0x9f);
});

Deno.test("being held back ends by itself", async () => {
  const logger = recordingLogger();
  const { broker } = await startBrokerWith({ credentials: { alice: "secret" }, maximumFailures: 1, backoff: 0.05 }, {
    logger,
  });
  await using _broker = broker;
  await logIn(broker, bad);
  const deadline = performance.now() + 5000;
  let answer;
  do answer = await logIn(broker, good); while (answer === 0x9f && performance.now() < deadline);
  assert.equal(answer, 0);
  assert.match(
    await logger.logged(/^warn/),
    /logins as \{username\} from \{remoteAddress\} are refused for \{seconds\} s: too many failed \{.*seconds: 0\.05/,
  );
});

Deno.test("a login that succeeds clears the failures of its user", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: "secret" }, ...long });
  await using _broker = broker;
  for (let round = 0; round < 5; round++) {
    for (let count = 0; count < 4; count++) assert.equal(await logIn(broker, bad), 0x86);
    assert.equal(await logIn(broker, good), 0);
  }
});

Deno.test("a login that succeeds gives no more guesses at other users", async () => {
  const { broker } = await startBrokerWith({ credentials: { alice: "secret", mallory: "mine" }, ...long });
  await using _broker = broker;
  const answers = [];
  for (let count = 0; count < 10; count++) {
    answers.push(await logIn(broker, bad));
    assert.equal(await logIn(broker, { username: "mallory", password: "mine" }), 0);
  }
  assert.deepEqual(answers, [...Array(5).fill(0x86), ...Array(5).fill(0x9f)]);
});

for (const limit of ["maximumFailures", "maximumFailuresPerAddress"]) {
  Deno.test(`${limit} holds back one address and no other`, async () => {
    const { broker } = await startBrokerWith({ credentials: { alice: "secret" }, [limit]: 1, ...long });
    await using _broker = broker;
    const from = async (remoteAddress: string | undefined, fields: typeof good) => {
      const [near, far] = duplexPair();
      void broker.serve(far, { remoteAddress });
      await using client = new RawClient(near);
      await client.send(connectPacket(fields));
      return (await client.expect("connack")).reasonCode;
    };
    assert.equal(await from("192.0.2.1", bad), 0x86);
    assert.equal(await from("192.0.2.1", good), 0x9f);
    assert.equal(await from("::ffff:192.0.2.1", good), 0x9f);
    assert.equal(await from("192.0.2.2", good), 0);
    assert.equal(await from("2001:db8::1", bad), 0x86);
    assert.equal(await from("2001:db8::ffff:1", good), 0x9f);
    assert.equal(await from("2001:db8:0:1::1", good), 0);
    assert.equal(await from(undefined, bad), 0x86);
    assert.equal(await from(undefined, good), 0x9f);
  });
}

Deno.test("a validator's refusals count, unless they have another reason than the password", async () => {
  const refusals: Record<string, number | boolean> = {
    alice: false,
    bob: ReasonCode.BadUserNameOrPassword,
    carol: ReasonCode.NotAuthorized,
    dave: ReasonCode.ServerUnavailable,
    eve: 0,
  };
  const { broker } = await startBrokerWith({
    validator(_client, username) {
      const refusal = refusals[username!];
      if (typeof refusal === "boolean") return refusal;
      if (refusal === 0) throw new Error("the database is away");
      throw new ReasonCodeError(refusal as ReasonCode, "no");
    },
    maximumFailures: 1,
    ...long,
  }, { logger: recordingLogger() });
  await using _broker = broker;
  const twice = async (username: string) => [await logIn(broker, { username }), await logIn(broker, { username })];
  assert.deepEqual(await twice("alice"), [0x86, 0x9f]);
  assert.deepEqual(await twice("bob"), [0x86, 0x9f]);
  assert.deepEqual(await twice("carol"), [0x87, 0x9f]);
  assert.deepEqual(await twice("dave"), [0x88, 0x88]);
  assert.deepEqual(await twice("eve"), [0x80, 0x80]);
});

Deno.test("Infinity switches the limits off", async () => {
  const { broker } = await startBrokerWith({
    credentials: { alice: "secret" },
    maximumFailures: Infinity,
    maximumFailuresPerAddress: Infinity,
  });
  await using _broker = broker;
  for (let count = 0; count < 60; count++) assert.equal(await logIn(broker, bad), 0x86);
  assert.equal(await logIn(broker, good), 0);
});

Deno.test("guesses that come at the same time are not looked at more often than those one after the other", async () => {
  const { broker, auth } = await startBrokerWith({
    credentials: { alice: await hashPassword("secret", { cost: 10 }) },
    concurrency: 2,
    ...long,
  });
  await using _broker = broker;
  const answers = await Promise.all(Array.from({ length: 100 }, () => logIn(broker, bad)));
  const { hashes, failed, heldBack } = auth.stats();
  // One may have been under way when the fifth had failed.
  assert.ok(hashes === 5 || hashes === 6, `${hashes} hashes`);
  assert.deepEqual([failed, heldBack], [hashes, 100 - hashes]);
  assert.deepEqual(answers.filter((answer) => answer === 0x86).length, failed);
});

for (const level of [4, 5] as ProtocolLevel[]) {
  Deno.test(`level ${level}: logins past those that may wait are refused, and may come again`, async () => {
    const { broker, auth } = await startBrokerWith({
      credentials: { alice: await hashPassword("secret", { cost: 15 }) },
      concurrency: 1,
      maximumWaiting: 2,
    });
    await using _broker = broker;
    const clients = await Promise.all([1, 2, 3, 4].map(() => broker.open()));
    await Promise.all(
      clients.map((client, number) => client.send(connectPacket({ level, clientId: `${number}`, ...good }))),
    );
    const answers = await Promise.all(clients.map(async (client) => (await client.expect("connack")).reasonCode));
    assert.deepEqual(answers.toSorted((a, b) => a - b), [0, 0, 0, answer(level, 0x89, 3)]);
    assert.equal(auth.stats().busy, 1);
    assert.equal(await logIn(broker, { level, ...good }), 0);
  });
}

Deno.test("a thousand bad logins at the same time leave the broker responsive", async () => {
  const { broker, auth } = await startBrokerWith({
    credentials: {
      alice: await hashPassword("secret", { cost: 10 }),
      bob: await hashPassword("secret", { cost: 10 }),
    },
    concurrency: 2,
    maximumFailuresPerAddress: 40,
    backoff: 0.05,
    maximumBackoff: 0.1,
  });
  await using _broker = broker;
  const subscriber = await broker.connect(good);
  await subscriber.subscribe("alive");
  const publisher = await broker.connect(good);
  let attacking = true;
  const attack = Promise.all(
    Array.from({ length: 1000 }, (_, number) => logInPatiently(number % 3 === 0 ? "bob" : `user ${number}`)),
  ).finally(() => attacking = false);
  let mostHashing = 0;
  let rounds = 0;
  while (attacking) {
    await publisher.publish({ topic: "alive", qos: 1 });
    await subscriber.expect("publish");
    mostHashing = Math.max(mostHashing, auth.stats().hashing);
    rounds += 1;
  }
  const answers = await attack;
  assert.ok(answers.every((answer) => answer === 0x86 || answer === 0x9f), `${[...new Set(answers)]}`);
  const { accepted, failed, heldBack, busy, hashes } = auth.stats();
  assert.deepEqual([accepted, failed + heldBack, busy], [2, 1000, 0]);
  assert.ok(hashes < 500, `${hashes} hashes`);
  assert.ok(mostHashing <= 2, `${mostHashing} hashes at one time`);
  assert.ok(rounds > 5, `${rounds} messages went through`);
  // The flood over, everybody else is let in again.
  const deadline = performance.now() + 5000;
  let last;
  do last = await logIn(broker, good); while (last === 0x9f && performance.now() < deadline);
  assert.equal(last, 0);

  /** On a machine that has much else to do, a thousand connections may take longer than one usually waits. */
  async function logInPatiently(username: string): Promise<number> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: broker.port });
    await using client = new RawClient(conn, 20_000);
    await client.send(connectPacket({ username, password: "wrong" }));
    return (await client.expect("connack")).reasonCode;
  }
});
