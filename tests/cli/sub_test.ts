import assert from "node:assert/strict";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { type Outcome, type Program, runHookmq, startHookmq } from "../interop/programs.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** Starts `hookmq sub` and resolves when its subscriptions are acknowledged. */
function subscribe({ port }: { port: number }, ...args: (string | number)[]): Promise<Program> {
  return startHookmq(/received SUBACK/, ["sub", "-p", port, "-d", ...args]);
}

/** Runs `hookmq sub` to its end, for messages that wait for it at the broker. */
function fetch({ port }: TestBroker, ...args: (string | number)[]): Promise<Outcome> {
  return runHookmq(["sub", "-p", port, ...args]);
}

for (const version of ["mqttv31", "mqttv311", "mqttv5"]) {
  for (const qos of [0, 1, 2] as const) {
    Deno.test(`hookmq sub as ${version} prints messages of QoS ${qos}, and ends after as many as -C says`, async () => {
      await using broker = await startBroker();
      await using program = await subscribe(broker, "-V", version, "-t", "a/#", "-q", 2, "-C", 2);
      for (const payload of ["one", "two"]) await broker.publish("a/b", payload, { qos });
      const { code, stdout } = await program.ended();
      assert.deepEqual({ code, stdout }, { code: 0, stdout: "one\ntwo\n" });
    });
  }
}

for (const qos of [1, 2] as const) {
  Deno.test(`hookmq sub -c takes up its session and prints the QoS ${qos} messages that wait there, in order`, async () => {
    await using broker = await startBroker();
    const session = ["-i", "keeper", "-c", "-t", "a", "-q", qos];
    assert.equal((await fetch(broker, ...session, "-E")).code, 0);
    for (const payload of ["one", "two", "three"]) await broker.publish("a", payload, { qos });
    assert.equal((await fetch(broker, ...session, "-C", 3)).stdout, "one\ntwo\nthree\n");
  });
}

Deno.test("hookmq sub -C acknowledges the last message that it prints, and leaves those behind it in the session", async () => {
  await using broker = await startBroker();
  const session = ["-i", "keeper", "-c", "-t", "a", "-q", 1];
  await fetch(broker, ...session, "-E");
  for (const payload of ["one", "two", "three"]) await broker.publish("a", payload, { qos: 1 });
  assert.equal((await fetch(broker, ...session, "-C", 2)).stdout, "one\ntwo\n");
  assert.equal((await fetch(broker, ...session, "-C", 1)).stdout, "three\n");
});

Deno.test("hookmq sub -x says how long an MQTT 5 session outlives its connection", async () => {
  await using broker = await startBroker();
  await fetch(broker, "-V", "5", "-i", "brief", "-c", "-x", 0, "-t", "a", "-E");
  assert.equal(broker.stats().sessions, 0);
  await fetch(broker, "-V", "5", "-i", "long", "-c", "-x", 1000, "-t", "a", "-E");
  assert.equal(broker.stats().sessions, 1);
});

Deno.test("hookmq sub subscribes to every -t", async () => {
  await using broker = await startBroker();
  await using program = await subscribe(broker, "-t", "a", "-t", "b/+", "-C", 2);
  await broker.publish("a", "one");
  await broker.publish("b/c", "two");
  assert.equal((await program.ended()).stdout, "one\ntwo\n");
});

Deno.test("hookmq sub -U gives a subscription of the session up", async () => {
  await using broker = await startBroker();
  const session = ["-i", "chooser", "-c", "-q", 1];
  await fetch(broker, ...session, "-t", "a", "-t", "b", "-E");
  await fetch(broker, ...session, "-U", "a", "-E");
  await broker.publish("a", "one", { qos: 1 });
  await broker.publish("b", "two", { qos: 1 });
  assert.equal((await fetch(broker, ...session, "-t", "b", "-C", 1)).stdout, "two\n");
});

Deno.test("hookmq sub -v prints the topic before the message", async () => {
  await using broker = await startBroker();
  await broker.publish("küche/🌡", "21 °C", { retain: true });
  assert.equal((await fetch(broker, "-t", "#", "-v", "-C", 1)).stdout, "küche/🌡 21 °C\n");
});

Deno.test("hookmq sub -N prints no end of line, and every byte as it came", async () => {
  await using broker = await startBroker();
  const payload = Uint8Array.from({ length: 300_000 }, (_, index) => 32 + index % 95);
  await broker.publish("a", payload, { retain: true });
  assert.equal((await fetch(broker, "-t", "a", "-N", "-C", 1)).stdout, new TextDecoder().decode(payload));
});

Deno.test("hookmq sub -F prints the fields of a message", async () => {
  await using broker = await startBroker();
  const format = "%t|%p|%x|%l|%q|%r|%%|%C|%D|%E|%F|%P|%R\\t\\\\\\n.";
  await broker.publish("a/b", "hi", {
    qos: 1,
    retain: true,
    properties: {
      contentType: "text/plain",
      correlationData: new TextEncoder().encode("7"),
      messageExpiryInterval: 1000,
      payloadFormatIndicator: 1,
      responseTopic: "answers",
      userProperties: [["a", "1"], ["a", "2"], ["b", "3"]],
    },
  });
  const { stdout } = await fetch(broker, "-V", "5", "-t", "a/b", "-q", 1, "-C", 1, "-F", format);
  const expected = "a/b|hi|6869|2|1|1|%|text/plain|7|1000|1|a:1 a:2 b:3|answers\t\\\n.\n";
  // The message may have waited for a second by now.
  assert.equal(stdout.replace("|999|", "|1000|"), expected);
});

Deno.test("hookmq sub -R prints no retained messages", async () => {
  await using broker = await startBroker();
  await broker.publish("state/lamp", "on", { retain: true });
  await using program = await subscribe(broker, "-t", "state/#", "-R", "-C", 1);
  await broker.publish("state/lamp", "off");
  assert.equal((await program.ended()).stdout, "off\n");
});

Deno.test("hookmq sub --retained-only prints retained messages and ends at the first other one", async () => {
  await using broker = await startBroker();
  await broker.publish("state/lamp", "on", { retain: true });
  await using program = await subscribe(broker, "-t", "state/#", "--retained-only");
  await broker.publish("state/lamp", "off");
  const { code, stdout } = await program.ended();
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "on\n" });
});

Deno.test("hookmq sub --remove-retained removes the retained messages that it gets", async () => {
  await using broker = await startBroker();
  for (const topic of ["state/lamp", "state/door", "other"]) await broker.publish(topic, "x", { retain: true });
  const { stdout } = await fetch(broker, "-t", "state/#", "--remove-retained", "-v", "-C", 2);
  assert.deepEqual(stdout.trim().split("\n").sort(), ["state/door x", "state/lamp x"]);
  assert.equal(broker.stats().retainedMessages, 1);
});

Deno.test("hookmq sub -W ends with 27 when its time is over", async () => {
  await using broker = await startBroker();
  assert.deepEqual(await fetch(broker, "-t", "a", "-W", 0.1), {
    code: 27,
    stdout: "",
    stderr: "hookmq: timed out after 0.1 seconds\n",
  });
});

Deno.test("hookmq sub whose connection breaks subscribes again", async () => {
  await using broker = await startBroker();
  await using program = await subscribe(broker, "-i", "phoenix", "-t", "a", "-C", 1);
  broker.disconnect("phoenix");
  await program.printed(/hookmq: the connection is lost, reconnecting[^]*received SUBACK/);
  await broker.publish("a", "one");
  const { code, stdout } = await program.ended();
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "one\n" });
});

Deno.test("hookmq sub whose session is taken over says so and does not fight for it", async () => {
  await using broker = await startBroker();
  await using program = await subscribe(broker, "-V", "5", "-i", "twin", "-t", "a");
  await broker.connect({ clientId: "twin" });
  const { code, stderr } = await program.ended();
  assert.equal(code, 1);
  assert.match(stderr, /^hookmq: another client took over this session\n$/m);
});

for (const [version, words] of [["mqttv311", "unspecified error"], ["mqttv5", "not authorized (not for you)"]]) {
  Deno.test(`hookmq sub as ${version} says in one line which subscription the broker refuses`, async () => {
    await using broker = await startBroker();
    await broker.use({
      id: "private",
      onSubscribe: (_client, subscriptions) => {
        if (subscriptions.length > 1) return subscriptions;
        throw new ReasonCodeError(ReasonCode.NotAuthorized, "not for you");
      },
    });
    const stderr = `hookmq: the broker refused the subscription to "secret/#": ${words}\n`;
    assert.deepEqual(await fetch(broker, "-V", version, "-t", "secret/#"), { code: 1, stdout: "", stderr });
  });
}

Deno.test("hookmq sub says in one line that no broker is there", async () => {
  assert.deepEqual(await runHookmq(["sub", "-p", 1, "-t", "a"]), {
    code: 1,
    stdout: "",
    stderr: "hookmq: cannot connect to 127.0.0.1:1: connection refused (is a broker running there?)\n",
  });
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`hookmq sub leaves in order at ${signal}, with exit code 0 and without its will`, async () => {
    await using broker = await startBroker();
    const wills: string[] = [];
    await broker.subscribe("will", ({ topic }) => void wills.push(topic));
    await using program = await subscribe(broker, "-t", "a", "--will-topic", "will", "--will-payload", "gone");
    program.kill(signal);
    const { code, stderr } = await program.ended();
    assert.equal(code, 0);
    assert.match(stderr, /sending DISCONNECT\n$/);
    assert.deepEqual(wills, []);
  });
}

Deno.test("the will of a hookmq sub that is killed is published", async () => {
  await using broker = await startBroker();
  await using watcher = await subscribe(broker, "-t", "will", "-q", 2, "-F", "%p %q %r", "-C", 1);
  const will = ["--will-topic", "will", "--will-payload", "gone", "--will-qos", 2, "--will-retain"];
  await using victim = await subscribe(broker, "-t", "a", ...will);
  victim.kill("SIGKILL");
  assert.equal((await watcher.ended()).stdout, "gone 2 0\n");
  assert.equal(broker.stats().retainedMessages, 1);
});

Deno.test("a second Ctrl+C ends hookmq sub at once, although the broker does not answer", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const program = subscribe(listener.addr, "-t", "a");
  using connection = await listener.accept();
  const bytes = new Uint8Array(1000);
  await connection.read(bytes);
  await connection.write(Uint8Array.of(0x20, 2, 0, 0));
  await connection.read(bytes);
  await connection.write(Uint8Array.of(0x90, 3, bytes[2], bytes[3], 0));
  await using subscriber = await program;
  subscriber.kill("SIGINT");
  await subscriber.printed(/sending DISCONNECT/);
  subscriber.kill("SIGINT");
  assert.equal((await subscriber.ended()).code, 130);
});

const wrongUses = [
  { args: [], message: "what shall be subscribed to? add -t" },
  {
    args: ["-t", "a/#/b"],
    message: "option '-t, --topic <filter>' argument 'a/#/b' is invalid. " +
      "A topic filter has + and # only as whole levels, and # only as the last one.",
  },
  {
    args: ["-t", "a", "-F", "%y"],
    message: "option '-F, --format <format>' argument '%y' is invalid. " +
      '"%y" is unknown; there are %% %t %p %x %l %q %r %m %C %D %E %F %P %R %S.',
  },
  {
    args: ["-t", "a", "-C", 0],
    message: "option '-C, --count <count>' argument '0' is invalid. It must be a whole number from 1 to 2147483648.",
  },
  {
    args: ["-t", "a", "-W", "soon"],
    message: "option '-W, --timeout <seconds>' argument 'soon' is invalid. It must be a number of seconds.",
  },
];

for (const { args, message } of wrongUses) {
  Deno.test(`${["hookmq sub", ...args].join(" ")} is answered with one line and exit code 2`, async () => {
    assert.deepEqual(await runHookmq(["sub", ...args]), { code: 2, stdout: "", stderr: `hookmq: ${message}\n` });
  });
}
