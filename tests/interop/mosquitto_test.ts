import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type BrokerProcess, type Program, run, start, startBrokerProcess, startReady } from "./programs.ts";

const versions = ["mqttv31", "mqttv311", "mqttv5"];

/** How mosquitto_sub prints a message here, apart from its debug lines. */
const format = "message %t %p q%q r%r";

/** The messages in what a mosquitto_sub has printed, one a line. */
function messages({ stdout }: { stdout: string }): string[] {
  return [...stdout.matchAll(/^message (.*)$/gm)].map(([, message]) => message);
}

/** Starts mosquitto_sub and resolves when its subscriptions are acknowledged. */
function subscribe({ port }: BrokerProcess, ...args: (string | number)[]): Promise<Program> {
  // Into a pipe mosquitto_sub would write its debug lines late; stdbuf has it write each line at once.
  return startReady(/^Subscribed/m, "stdbuf", ["-oL", "mosquitto_sub", "-p", port, "-d", "-F", format, ...args]);
}

/** The messages that a mosquitto_sub prints until it ends by itself: for those that wait for it at the broker. */
async function fetch({ port }: BrokerProcess, ...args: (string | number)[]): Promise<string[]> {
  return messages(await run("mosquitto_sub", ["-p", port, "-F", format, ...args]));
}

/** Publishes with mosquitto_pub, which ends when the broker has acknowledged. */
async function publish({ port }: BrokerProcess, ...args: (string | number)[]): Promise<void> {
  const { code, stderr } = await run("mosquitto_pub", ["-p", port, ...args]);
  assert.equal(code, 0, stderr);
}

/** Leaves a session with these subscriptions at the broker, and nobody connected to it. */
async function leaveSession({ port }: BrokerProcess, ...args: (string | number)[]): Promise<void> {
  const { code, stderr } = await run("mosquitto_sub", ["-p", port, "-c", "-E", ...args]);
  assert.equal(code, 0, stderr);
}

for (const publisher of versions) {
  for (const subscriber of versions) {
    Deno.test(`mosquitto_sub ${subscriber} gets what mosquitto_pub ${publisher} publishes, each at its QoS`, async () => {
      await using broker = await startBrokerProcess();
      await using program = await subscribe(broker, "-V", subscriber, "-t", "a/#", "-q", 2, "-C", 3);
      for (const qos of [0, 1, 2]) await publish(broker, "-V", publisher, "-t", `a/${qos}`, "-q", qos, "-m", "hello");
      const outcome = await program.ended();
      assert.equal(outcome.code, 0);
      assert.deepEqual(messages(outcome), ["a/0 hello q0 r0", "a/1 hello q1 r0", "a/2 hello q2 r0"]);
    });
  }
}

for (const version of versions) {
  Deno.test(`mosquitto_sub ${version} gets a retained message when it subscribes`, async () => {
    await using broker = await startBrokerProcess();
    await publish(broker, "-V", version, "-t", "state/lamp", "-q", 1, "-m", "off", "-r");
    await publish(broker, "-V", version, "-t", "state/lamp", "-q", 1, "-m", "on", "-r");
    const received = await fetch(broker, "-V", version, "-t", "state/+", "-q", 1, "-C", 1);
    assert.deepEqual(received, ["state/lamp on q1 r1"]);
  });

  Deno.test(`mosquitto_sub ${version} does not get a retained message that an empty one has removed`, async () => {
    await using broker = await startBrokerProcess();
    await publish(broker, "-V", version, "-t", "state/lamp", "-q", 1, "-m", "on", "-r");
    await publish(broker, "-V", version, "-t", "state/lamp", "-q", 1, "-n", "-r");
    await using program = await subscribe(broker, "-V", version, "-t", "state/+", "-q", 1, "-C", 1);
    await publish(broker, "-V", version, "-t", "state/door", "-q", 1, "-m", "shut");
    assert.deepEqual(messages(await program.ended()), ["state/door shut q1 r0"]);
  });

  Deno.test(`the will of a mosquitto_sub ${version} that is killed is published`, async () => {
    await using broker = await startBrokerProcess();
    await using watcher = await subscribe(broker, "-V", version, "-t", "will/#", "-q", 2, "-C", 1);
    const will = ["--will-topic", "will/a", "--will-payload", "gone", "--will-qos", 2, "--will-retain"];
    await using victim = await subscribe(broker, "-V", version, "-t", "none", ...will);
    victim.kill("SIGKILL");
    assert.deepEqual(messages(await watcher.ended()), ["will/a gone q2 r0"]);
    const retained = await fetch(broker, "-V", version, "-t", "will/#", "-q", 2, "-C", 1);
    assert.deepEqual(retained, ["will/a gone q2 r1"]);
  });

  Deno.test(`the will of a mosquitto_sub ${version} that leaves in order is not published`, async () => {
    await using broker = await startBrokerProcess();
    await using watcher = await subscribe(broker, "-V", version, "-t", "will/#", "-C", 1);
    await using leaver = await subscribe(broker, "-V", version, "-t", "leave", "-C", 1, "--will-topic", "will/a");
    await publish(broker, "-V", version, "-t", "leave", "-m", "now");
    await leaver.ended();
    await publish(broker, "-V", version, "-t", "will/b", "-m", "later");
    assert.deepEqual(messages(await watcher.ended()), ["will/b later q0 r0"]);
  });

  for (const qos of [1, 2]) {
    Deno.test(`a session of mosquitto_sub ${version} keeps QoS ${qos} messages while it is away, in order`, async () => {
      await using broker = await startBrokerProcess();
      const session = ["-V", version, "-i", "keeper", "-t", "offline/#", "-q", 2];
      await leaveSession(broker, ...session);
      const lines = { input: "first\nsecond\nthird\n" };
      await run("mosquitto_pub", ["-p", broker.port, "-V", version, "-t", "offline/a", "-q", qos, "-l"], lines);
      const received = await fetch(broker, ...session, "-c", "-C", 3);
      assert.deepEqual(received, ["first", "second", "third"].map((payload) => `offline/a ${payload} q${qos} r0`));
    });
  }

  Deno.test(`a mosquitto_sub ${version} that asks for a clean session gets nothing from before`, async () => {
    await using broker = await startBrokerProcess();
    const session = ["-V", version, "-i", "forgetful", "-t", "offline/#", "-q", 1];
    await leaveSession(broker, ...session);
    await publish(broker, "-V", version, "-t", "offline/before", "-q", 1, "-m", "lost");
    await using program = await subscribe(broker, ...session, "-C", 1);
    await publish(broker, "-V", version, "-t", "offline/after", "-q", 1, "-m", "new");
    assert.deepEqual(messages(await program.ended()), ["offline/after new q1 r0"]);
  });

  Deno.test(`a message of 1 MB goes through mosquitto_pub and mosquitto_sub ${version} unchanged`, async () => {
    await using broker = await startBrokerProcess();
    const payload = Buffer.alloc(1_000_000, Uint8Array.from({ length: 251 }, (_, index) => index));
    const session = ["-V", version, "-i", "big", "-t", "big", "-q", 2];
    await leaveSession(broker, ...session);
    await run("mosquitto_pub", ["-p", broker.port, "-V", version, "-t", "big", "-q", 2, "-s"], { input: payload });
    const [hexadecimal] = await fetch(broker, ...session, "-c", "-C", 1, "-F", "message %x");
    assert.ok(hexadecimal === payload.toString("hex"), `${hexadecimal.length / 2} bytes came that are not those sent`);
  });

  Deno.test(`mosquitto_pub and mosquitto_sub ${version} can use any topic of Unicode`, async () => {
    await using broker = await startBrokerProcess();
    await using program = await subscribe(broker, "-V", version, "-t", "küche/+/🌡", "-C", 1);
    await publish(broker, "-V", version, "-t", "küche/温度/🌡", "-m", "21 °C");
    assert.deepEqual(messages(await program.ended()), ["küche/温度/🌡 21 °C q0 r0"]);
  });

  Deno.test(`a mosquitto_sub ${version} that unsubscribes gets no more of that topic`, async () => {
    await using broker = await startBrokerProcess();
    const session = ["-V", version, "-i", "chooser", "-q", 1];
    await leaveSession(broker, ...session, "-t", "unwanted", "-t", "wanted");
    await using program = await subscribe(broker, ...session, "-c", "-t", "other", "-U", "unwanted", "-C", 1);
    await program.printed(/received UNSUBACK/);
    await publish(broker, "-V", version, "-t", "unwanted", "-q", 1, "-m", "no");
    await publish(broker, "-V", version, "-t", "wanted", "-q", 1, "-m", "yes");
    assert.deepEqual(messages(await program.ended()), ["wanted yes q1 r0"]);
  });
}

Deno.test("the will of a client that disconnects with reason code 0x04 is published", async () => {
  await using broker = await startBrokerProcess();
  await using watcher = await subscribe(broker, "-V", "mqttv5", "-t", "will/#", "-C", 1);
  // At SIGINT mosquitto_sub sends 0x04, disconnect with will message.
  await using leaver = await subscribe(broker, "-V", "mqttv5", "-t", "none", "--will-topic", "will/a");
  leaver.kill("SIGINT");
  assert.deepEqual(messages(await watcher.ended()), ["will/a  q0 r0"]);
});

Deno.test("the properties of an MQTT 5 message go through unchanged, user properties in their order", async () => {
  await using broker = await startBrokerProcess();
  const shown = ["-F", "message %C|%D|%R|%F|%P"];
  await using program = await subscribe(broker, "-V", "mqttv5", "-t", "properties", "-C", 1, ...shown);
  const properties = [
    ["content-type", "text/plain"],
    ["correlation-data", "question 7"],
    ["response-topic", "answers/7"],
    ["payload-format-indicator", "1"],
    ["user-property", "b", "1"],
    ["user-property", "a", "2"],
    ["user-property", "b", "3"],
  ].flatMap((words) => ["-D", "publish", ...words]);
  await publish(broker, "-V", "mqttv5", "-t", "properties", "-m", "x", ...properties);
  assert.deepEqual(messages(await program.ended()), ["text/plain|question 7|answers/7|1|b:1 a:2 b:3"]);
});

Deno.test("the message expiry interval that a subscriber sees is at most what the publisher gave", async () => {
  await using broker = await startBrokerProcess();
  const session = ["-V", "mqttv5", "-i", "patient", "-t", "expiring", "-q", 1];
  await leaveSession(broker, ...session);
  const expiry = ["-D", "publish", "message-expiry-interval", 100];
  await publish(broker, "-V", "mqttv5", "-t", "expiring", "-q", 1, "-m", "x", ...expiry);
  const [interval] = (await fetch(broker, ...session, "-c", "-C", 1, "-F", "message %E")).map(Number);
  assert.ok(interval > 50 && interval <= 100, `the message expiry interval is ${interval}`);
});

Deno.test("a retained message is gone once its expiry interval is over", async () => {
  await using broker = await startBrokerProcess();
  const expiry = ["-D", "publish", "message-expiry-interval", 1];
  const start = performance.now();
  await publish(broker, "-V", "mqttv5", "-t", "fleeting", "-m", "x", "-r", ...expiry);
  let retained: string[];
  do {
    await using program = await subscribe(broker, "-V", "mqttv5", "-t", "fleeting", "-t", "now", "-C", 2);
    await publish(broker, "-t", "now", "-m", "y");
    await publish(broker, "-t", "now", "-m", "z");
    retained = messages(await program.ended()).filter((message) => message.startsWith("fleeting"));
  } while (retained.length > 0 && performance.now() - start < 10_000);
  assert.deepEqual(retained, []);
});

Deno.test("a subscription with retain-as-published keeps the retain flag of new messages", async () => {
  await using broker = await startBrokerProcess();
  const subscription = ["-V", "mqttv5", "-t", "flag", "-q", 1, "-C", 1];
  await using keeping = await subscribe(broker, ...subscription, "--retain-as-published");
  await using clearing = await subscribe(broker, ...subscription);
  await publish(broker, "-V", "mqttv5", "-t", "flag", "-q", 1, "-m", "x", "-r");
  assert.deepEqual(messages(await keeping.ended()), ["flag x q1 r1"]);
  assert.deepEqual(messages(await clearing.ended()), ["flag x q1 r0"]);
});

Deno.test("messages come with the subscription identifier of the subscription that they match", async () => {
  await using broker = await startBrokerProcess();
  const identifier = ["-D", "subscribe", "subscription-identifier", 4711];
  const args = ["-V", "mqttv5", "-t", "identified/#", ...identifier, "-C", 1, "-F", "message %S"];
  await using program = await subscribe(broker, ...args);
  await publish(broker, "-t", "identified/a", "-m", "x");
  assert.deepEqual(messages(await program.ended()), ["4711"]);
});

Deno.test("each message to a shared subscription goes to one of its members, and each member gets some", async () => {
  await using broker = await startBrokerProcess();
  const member = ["-V", "mqttv5", "-t", "$share/workers/jobs", "-t", "end", "-q", 1];
  await using first = await subscribe(broker, ...member);
  await using second = await subscribe(broker, ...member);
  const jobs = Array.from({ length: 20 }, (_, index) => `job ${index}`);
  const lines = { input: jobs.join("\n") };
  await run("mosquitto_pub", ["-p", broker.port, "-V", "mqttv5", "-t", "jobs", "-q", 1, "-l"], lines);
  await publish(broker, "-t", "end", "-q", 1, "-m", "now");
  const shares = await Promise.all([first, second].map(async (program) => {
    const [stdout] = await program.printed(/[^]*^message end/m);
    return messages({ stdout }).filter((message) => message.startsWith("jobs"));
  }));
  assert.ok(shares.every(({ length }) => length > 0), `the shares are ${shares.map(({ length }) => length)}`);
  const expected = jobs.map((job) => `jobs ${job} q1 r0`);
  assert.deepEqual(shares.flat().sort(), expected.sort());
});

Deno.test("mosquitto_rr gets the answer to its request", async () => {
  await using broker = await startBrokerProcess();
  await using responder = await subscribe(broker, "-V", "mqttv5", "-t", "requests", "-C", 1, "-F", "message %p|%R");
  const args = ["-p", broker.port, "-V", "mqttv5", "-t", "requests", "-e", "answers/1", "-m", "6 x 7", "-W", 20];
  await using requester = start("mosquitto_rr", args);
  assert.deepEqual(messages(await responder.ended()), ["6 x 7|answers/1"]);
  await publish(broker, "-V", "mqttv5", "-t", "answers/1", "-m", "42");
  assert.deepEqual(await requester.ended(), { code: 0, stdout: "42\n", stderr: "" });
});
