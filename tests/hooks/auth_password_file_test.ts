import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { FileWatcher } from "../../hooks/auth/file_watcher.ts";
import { hashPassword } from "../../hooks/mod.ts";
import type { ProtocolLevel } from "../../mod.ts";
import { answer, logIn, recordingLogger, startBrokerWith } from "./auth_login.ts";

/** Written by mosquitto_passwd 2.0.11: alice has the password "secret", carol too, bob "pässwörd". */
const ofMosquitto = `# users
alice:$7$101$M8eTqo1CVIJtl660$CeSwjOWY9Iz0HpwiErzBn8rG1PxVA7bbSyHBq3EqF1NeBBfKGKdYXo1iFGGXqGmyl6ZJmvgO1imOY/MGlLNYvA==
bob:$7$101$Dr9v8Qvfye0Ko+sq$pTLbUPtFx2FgOCMzenOgVaX86ROdBl8Y3LwEBGhgGY6vr4745vg+URN2ROUTMJ+/yVRLq8JHA4sh4LrwfFRxNg==
carol:$6$HK2hafyuRNO0abfc$XYExtHB9uHYRLQno9/jI1zwFJ95MvxpCpCBUcIK3zfebIp7yEokh7F2vTZbxZAt4tXUeF3Bu8mTPKwpCqwegFg==
`;

/** How often the file is looked at here, in seconds. */
const reloadInterval = 0.01;

const taken = /^info: the users are those of/;
const kept = /^error: the users stay as they are/;

/** A password file with this text, which is deleted at the end of the `await using` block. */
async function passwordFile(text: string) {
  const path = await Deno.makeTempFile({ suffix: ".txt" });
  await Deno.writeTextFile(path, text);
  return {
    path,
    write: (changed: string) => Deno.writeTextFile(path, changed),
    [Symbol.asyncDispose]: () => Deno.remove(path).catch(() => {}),
  };
}

for (const level of [3, 4, 5] as ProtocolLevel[]) {
  Deno.test(`level ${level}: users of a file of mosquitto_passwd log in`, async () => {
    await using file = await passwordFile(ofMosquitto);
    const { broker } = await startBrokerWith({ passwordFile: file.path });
    await using _broker = broker;
    for (const [username, password] of [["alice", "secret"], ["bob", "pässwörd"], ["carol", "secret"]]) {
      assert.equal(await logIn(broker, { level, username, password }), 0);
      assert.equal(await logIn(broker, { level, username, password: "other" }), answer(level, 0x86, 4));
    }
    assert.equal(await logIn(broker, { level, username: "# users", password: "secret" }), answer(level, 0x86, 4));
  });
}

Deno.test("the file may be given as a URL, and credentials besides it come first", async () => {
  await using file = await passwordFile(ofMosquitto);
  const { broker } = await startBrokerWith({
    passwordFile: pathToFileURL(file.path),
    credentials: { alice: "mine", dave: "his" },
  });
  await using _broker = broker;
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  assert.equal(await logIn(broker, { username: "alice", password: "mine" }), 0);
  assert.equal(await logIn(broker, { username: "dave", password: "his" }), 0);
  assert.equal(await logIn(broker, { username: "carol", password: "secret" }), 0);
});

Deno.test("a user who is added to the file logs in, without a word to the broker", async () => {
  await using file = await passwordFile(ofMosquitto);
  const logger = recordingLogger();
  const { broker } = await startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger });
  await using _broker = broker;
  assert.equal(await logIn(broker, { username: "dave", password: "new" }), 0x86);
  await file.write(`${ofMosquitto}dave:${await hashPassword("new", { cost: 4 })}\n`);
  await logger.logged(taken);
  assert.equal(await logIn(broker, { username: "dave", password: "new" }), 0);
});

Deno.test("a file that is replaced by another is read again", async () => {
  await using file = await passwordFile(ofMosquitto);
  const logger = recordingLogger();
  const { broker } = await startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger });
  await using _broker = broker;
  await Deno.writeTextFile(`${file.path}.new`, `dave:${await hashPassword("new", { cost: 4 })}\n`);
  await Deno.rename(`${file.path}.new`, file.path);
  await logger.logged(taken);
  assert.equal(await logIn(broker, { username: "dave", password: "new" }), 0);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
});

Deno.test("a link that comes to point to another file is followed", async () => {
  await using first = await passwordFile(ofMosquitto);
  await using second = await passwordFile(`dave:${await hashPassword("new", { cost: 4 })}\n`);
  const link = `${first.path}.link`;
  await Deno.symlink(first.path, link);
  try {
    const logger = recordingLogger();
    const { broker } = await startBrokerWith({ passwordFile: link, reloadInterval }, { logger });
    await using _broker = broker;
    await Deno.symlink(second.path, `${link}.new`);
    await Deno.rename(`${link}.new`, link);
    await logger.logged(taken);
    assert.equal(await logIn(broker, { username: "dave", password: "new" }), 0);
  } finally {
    await Deno.remove(link);
  }
});

Deno.test("clients of a user who is in the file no longer are disconnected, others stay", async () => {
  await using file = await passwordFile(ofMosquitto);
  const { broker, auth } = await startBrokerWith({ passwordFile: file.path, reloadInterval: 0 });
  await using _broker = broker;
  const alice = await broker.connect({ username: "alice", password: "secret" });
  const bob = await broker.connect({ username: "bob", password: "pässwörd" });
  const others = ofMosquitto.split("\n").filter((line) => !line.startsWith("alice:"));
  await file.write(others.join("\n"));
  assert.equal(await auth.reload(), true);
  assert.equal((await alice.expect("disconnect")).reasonCode, 0x87);
  await bob.expectNothing();
});

Deno.test("a malformed file changes nothing, and the log says where it is malformed", async () => {
  await using file = await passwordFile(ofMosquitto);
  const logger = recordingLogger();
  const { broker } = await startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger });
  await using _broker = broker;
  const client = await broker.connect({ username: "alice", password: "secret" });
  await file.write(`${ofMosquitto}dave:hunter2\n`);
  const line = await logger.logged(kept);
  assert.ok(line.includes(`${file.path}:5: not a hash that begins with $scrypt$, $7$ or $6$`), line);
  await client.expectNothing();
  assert.equal(await logIn(broker, { username: "bob", password: "pässwörd" }), 0);
  assert.equal(await logIn(broker, { username: "dave", password: "hunter2" }), 0x86);
  await file.write(`${ofMosquitto}dave:${await hashPassword("hunter2", { cost: 4 })}\n`);
  await logger.logged(taken);
  assert.equal(await logIn(broker, { username: "dave", password: "hunter2" }), 0);
});

Deno.test("a file that vanishes changes nothing, and its return is noticed", async () => {
  await using file = await passwordFile(ofMosquitto);
  const logger = recordingLogger();
  const { broker } = await startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger });
  await using _broker = broker;
  await Deno.remove(file.path);
  assert.match(await logger.logged(kept), /cannot read .*: there is no such file; hookmq passwd -c makes one/);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
  await file.write("");
  await logger.logged(taken);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
});

Deno.test("reload() says whether the users are those of the file now", async () => {
  await using file = await passwordFile("");
  const { broker, auth } = await startBrokerWith({ passwordFile: file.path, reloadInterval: 0 });
  await using _broker = broker;
  await file.write(ofMosquitto);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  assert.equal(await auth.reload(), true);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
  await file.write("alice");
  assert.equal(await auth.reload(), false);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
});

Deno.test("reload() has nothing to do where there is no file", async () => {
  const { broker, auth } = await startBrokerWith({ credentials: { alice: "secret" } });
  await using _broker = broker;
  assert.equal(await auth.reload(), true);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
});

Deno.test("what is remembered of a login outlives a reload that leaves its line as it is", async () => {
  await using file = await passwordFile(ofMosquitto);
  const { broker, auth } = await startBrokerWith({ passwordFile: file.path, reloadInterval: 0 });
  await using _broker = broker;
  await logIn(broker, { username: "alice", password: "secret" });
  await file.write(`# changed\n${ofMosquitto}`);
  await auth.reload();
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
  assert.equal(auth.stats().hashes, 1);
});

Deno.test("a client whose user was removed with disconnect: false stays, also after a reload", async () => {
  await using file = await passwordFile(ofMosquitto);
  const { broker, auth } = await startBrokerWith({ passwordFile: file.path, reloadInterval: 0 });
  await using _broker = broker;
  const client = await broker.connect({ username: "alice", password: "secret" });
  auth.removeUser("alice", { disconnect: false });
  await auth.reload();
  await client.expectNothing();
});

Deno.test("reloads that are asked for at the same time come one after the other", async () => {
  await using file = await passwordFile("");
  const { broker, auth } = await startBrokerWith({ passwordFile: file.path, reloadInterval: 0 });
  await using _broker = broker;
  const first = auth.reload();
  await file.write(ofMosquitto);
  const others = [auth.reload(), auth.reload()];
  assert.deepEqual(await Promise.all([first, ...others]), [true, true, true]);
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0);
});

Deno.test("removeUser keeps out a user of the file, also after a reload, until it is added again", async () => {
  await using file = await passwordFile(ofMosquitto);
  const { broker, auth } = await startBrokerWith({ passwordFile: file.path, reloadInterval: 0 });
  await using _broker = broker;
  assert.equal(auth.removeUser("alice"), true);
  await auth.reload();
  assert.equal(await logIn(broker, { username: "alice", password: "secret" }), 0x86);
  assert.equal(await Deno.readTextFile(file.path), ofMosquitto);
  auth.addUser("alice", "new");
  assert.equal(await logIn(broker, { username: "alice", password: "new" }), 0);
});

const unusable = [
  { what: "malformed", text: "alice:$7$x", message: /\.txt:1: a hash with this beginning is written as/ },
  { what: "no text", text: "\xff", message: /\.txt: it is not UTF-8 text$/ },
];

for (const { what, text, message } of unusable) {
  Deno.test(`a broker does not take a hook whose password file is ${what}`, async () => {
    await using file = await passwordFile("");
    await Deno.writeFile(file.path, Uint8Array.from(text, (character) => character.charCodeAt(0)));
    await assert.rejects(startBrokerWith({ passwordFile: file.path, reloadInterval }), { message });
  });
}

Deno.test("a broker does not take a hook whose password file is missing", async () => {
  await assert.rejects(startBrokerWith({ passwordFile: "/nowhere/users.txt", reloadInterval }), {
    message: "cannot read /nowhere/users.txt: there is no such file; hookmq passwd -c makes one",
  });
});

Deno.test("a file is read when it has changed and then rested, once", async () => {
  await using file = await passwordFile("");
  let changes = 0;
  const watcher = new FileWatcher(file.path, 1_000_000, () => Promise.resolve(changes += 1));
  await watcher.start();
  const changesAfterLook = async () => {
    await watcher.look();
    return changes;
  };
  assert.equal(await changesAfterLook(), 0);
  await file.write("half");
  assert.equal(await changesAfterLook(), 0);
  await file.write("the whole");
  assert.equal(await changesAfterLook(), 0);
  assert.equal(await changesAfterLook(), 1);
  assert.equal(await changesAfterLook(), 1);
  await watcher.stop();
});

Deno.test("a hook that has been stopped, or could not start, does not look at its file any more", async () => {
  await using file = await passwordFile("malformed");
  const [stopped, failed, witness] = [recordingLogger(), recordingLogger(), recordingLogger()];
  await assert.rejects(startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger: failed }));
  await file.write("");
  const { broker: closed } = await startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger: stopped });
  await closed.close();
  const { broker } = await startBrokerWith({ passwordFile: file.path, reloadInterval }, { logger: witness });
  await using _broker = broker;
  for (const text of ["#", "##", "###"]) {
    await file.write(text);
    await witness.logged(taken);
  }
  assert.deepEqual([...stopped.lines, ...failed.lines].filter((line) => taken.test(line)), []);
});

Deno.test("no password reaches a log, whatever happens", async () => {
  const passwords = ["hunter2", "tr0ub4dor", "corr3ct-horse", "sw0rdfish"];
  const [right, wrong, inTheWrongPlace, ofNobody] = passwords;
  await using file = await passwordFile(ofMosquitto);
  const logger = recordingLogger();
  const { broker, auth } = await startBrokerWith(
    {
      passwordFile: file.path,
      reloadInterval: 0,
      credentials: { alice: right },
      maximumFailures: 2,
      maximumFailuresPerAddress: 4,
      backoff: 0.05,
    },
    { logger },
  );
  {
    await using _broker = broker;
    for (const level of [3, 4, 5] as ProtocolLevel[]) {
      for (const password of [right, wrong, wrong, wrong]) await logIn(broker, { level, username: "alice", password });
      for (let count = 0; count < 3; count++) await logIn(broker, { level, username: "nobody", password: ofNobody });
    }
    for (const line of [inTheWrongPlace, `alice:${inTheWrongPlace}`, `${inTheWrongPlace}:$7$`, `x:$7$${wrong}`]) {
      await file.write(line);
      await auth.reload();
    }
    auth.addUser("alice", wrong);
    auth.removeUser("alice");
  }
  assert.ok(logger.lines.some((line) => line.startsWith("info: {clientId} from {remoteAddress} failed to log in as")));
  assert.ok(logger.lines.some((line) => line.startsWith("warn: logins as {username} from {remoteAddress}")));
  assert.ok(logger.lines.some((line) => line.startsWith("warn: logins from {remoteAddress} are refused")));
  assert.ok(logger.lines.some((line) => kept.test(line)));
  const log = logger.lines.join("\n");
  for (const password of passwords) assert.equal(log.includes(password), false, `${password} is in the log:\n${log}`);
});

Deno.test("what a client has chosen is logged as a property, and not at any length", async () => {
  const logger = recordingLogger();
  const { broker } = await startBrokerWith({ credentials: {} }, { logger });
  await using _broker = broker;
  await logIn(broker, { username: "\n[error] all is lost {clientId}", password: "x" });
  await logIn(broker, { username: "u".repeat(60_000), password: "x" });
  const failed = logger.lines.filter((line) => line.includes("failed to log in"));
  assert.match(
    failed[0],
    /^info: \{clientId\} from \{remoteAddress\} failed to log in as \{username\} \{.*"\\\\u\{a\}\[error\]/,
  );
  assert.ok(failed[1].includes(`"${"u".repeat(64)}…"`));
  assert.equal(failed[1].length < 300, true);
});
