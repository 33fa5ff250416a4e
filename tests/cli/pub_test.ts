import assert from "node:assert/strict";
import type { PublishPacket } from "../../codec/mod.ts";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { runHookmq, startHookmq, type StartOptions } from "../interop/programs.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** Runs `hookmq pub`, which must succeed, and returns the messages that have arrived at the broker by then. */
async function publish(
  broker: TestBroker,
  args: (string | number)[],
  options?: StartOptions,
): Promise<PublishPacket[]> {
  const messages: PublishPacket[] = [];
  using _subscription = await broker.subscribe("#", (message) => void messages.push(message));
  const outcome = await runHookmq(["pub", "-p", broker.port, ...args], options);
  assert.deepEqual(outcome, { code: 0, stdout: "", stderr: "" });
  return messages;
}

function texts(messages: PublishPacket[]): string[] {
  return messages.map(({ payload }) => new TextDecoder().decode(payload));
}

for (const version of ["mqttv31", "mqttv311", "mqttv5"]) {
  for (const qos of [0, 1, 2]) {
    Deno.test(`hookmq pub as ${version} ends with 0 when the broker has its message at QoS ${qos}`, async () => {
      await using broker = await startBroker();
      const [message] = await publish(broker, ["-V", version, "-t", "a/b", "-q", qos, "-m", "hello"]);
      const { topic, retain } = message;
      assert.deepEqual([topic, message.qos, retain, texts([message])], ["a/b", qos, false, ["hello"]]);
    });
  }
}

Deno.test("hookmq pub -r publishes a retained message, and -n -r removes it", async () => {
  await using broker = await startBroker();
  await publish(broker, ["-t", "state", "-r", "-m", "on"]);
  assert.equal(broker.stats().retainedMessages, 1);
  await publish(broker, ["-t", "state", "-r", "-n"]);
  assert.equal(broker.stats().retainedMessages, 0);
});

Deno.test("hookmq pub -f publishes a file, byte for byte", async () => {
  await using broker = await startBroker();
  const file = await Deno.makeTempFile();
  const bytes = crypto.getRandomValues(new Uint8Array(50_000));
  await Deno.writeFile(file, bytes);
  const [{ payload }] = await publish(broker, ["-t", "a", "-f", file]);
  await Deno.remove(file);
  assert.deepEqual(payload, bytes);
});

Deno.test("hookmq pub -s publishes all of standard input as one message", async () => {
  await using broker = await startBroker();
  assert.deepEqual(texts(await publish(broker, ["-t", "a", "-s"], { input: "one\ntwo\n" })), ["one\ntwo\n"]);
});

Deno.test("hookmq pub -l publishes every line of standard input, also an empty one and an unfinished last one", async () => {
  await using broker = await startBroker();
  const messages = await publish(broker, ["-t", "a", "-l"], { input: "one\n\nthrée\nfour" });
  assert.deepEqual(texts(messages), ["one", "", "thrée", "four"]);
});

Deno.test("hookmq pub -l -q 2 has no more messages in flight than the broker's receive maximum", async () => {
  await using broker = await startBroker({ limits: { receiveMaximum: 3 } });
  const lines = Array.from({ length: 200 }, (_, index) => `${index}`);
  const args = ["-V", "mqttv5", "-t", "a", "-q", 2, "-l"];
  assert.deepEqual(texts(await publish(broker, args, { input: lines.join("\n") })), lines);
});

Deno.test("hookmq pub --repeat publishes the message several times", async () => {
  await using broker = await startBroker();
  const args = ["-t", "a", "-m", "x", "--repeat", 3, "--repeat-delay", 0.01];
  assert.deepEqual(texts(await publish(broker, args)), ["x", "x", "x"]);
});

Deno.test("hookmq pub -D sets the properties of an MQTT 5 message", async () => {
  await using broker = await startBroker();
  const properties = [
    ["content-type", "text/plain"],
    ["correlation-data", "question 7"],
    ["message-expiry-interval", "100"],
    ["payload-format-indicator", "1"],
    ["response-topic", "answers"],
    ["user-property", "a", "1"],
    ["user-property", "a", "2"],
  ].flatMap((words) => ["-D", "publish", ...words]);
  const [message] = await publish(broker, ["-V", "5", "-t", "a", "-m", "x", ...properties]);
  assert.deepEqual(message.properties, {
    contentType: "text/plain",
    correlationData: new TextEncoder().encode("question 7"),
    messageExpiryInterval: 100,
    payloadFormatIndicator: 1,
    responseTopic: "answers",
    userProperties: [["a", "1"], ["a", "2"]],
  });
});

Deno.test("hookmq pub -D sets one property alone", async () => {
  await using broker = await startBroker();
  const [message] = await publish(broker, [
    "-V",
    "5",
    "-t",
    "a",
    "-m",
    "x",
    "-D",
    "publish",
    "content-type",
    "text/plain",
  ]);
  assert.deepEqual(message.properties, { contentType: "text/plain" });
});

Deno.test("hookmq pub says in one line that no broker is there", async () => {
  assert.deepEqual(await runHookmq(["pub", "-p", 1, "-t", "a", "-m", "x"]), {
    code: 1,
    stdout: "",
    stderr: "hookmq: cannot connect to 127.0.0.1:1: connection refused (is a broker running there?)\n",
  });
});

Deno.test("hookmq pub --quiet says nothing, and fails with the same exit code", async () => {
  const outcome = await runHookmq(["pub", "-p", 1, "-t", "a", "-m", "x", "--quiet"]);
  assert.deepEqual(outcome, { code: 1, stdout: "", stderr: "" });
});

for (
  const [version, words] of [["mqttv311", "bad user name or password"], [
    "mqttv5",
    "bad user name or password (ask Anna)",
  ]]
) {
  Deno.test(`hookmq pub as ${version} says in one line that its password is refused`, async () => {
    await using broker = await startBroker();
    await broker.use({
      id: "password",
      onConnect: (_client, { username, password }) => {
        if (username === "anna" && new TextDecoder().decode(password) === "secret") return;
        throw new ReasonCodeError(ReasonCode.BadUserNameOrPassword, "ask Anna");
      },
    });
    const args = ["pub", "-p", broker.port, "-V", version, "-t", "a", "-m", "x", "-u", "anna", "-P"];
    assert.deepEqual(await runHookmq([...args, "wrong"]), {
      code: 1,
      stdout: "",
      stderr: `hookmq: 127.0.0.1:${broker.port} refused the connection: ${words}\n`,
    });
    assert.equal((await runHookmq([...args, "secret"])).code, 0);
  });
}

Deno.test("hookmq pub says in one line why the broker refuses its message", async () => {
  await using broker = await startBroker();
  await broker.use({
    id: "read-only",
    onPublish: () => {
      throw new ReasonCodeError(ReasonCode.NotAuthorized, "this broker is read-only");
    },
  });
  for (const qos of [1, 2]) {
    const outcome = await runHookmq(["pub", "-p", broker.port, "-V", "5", "-t", "a", "-m", "x", "-q", qos]);
    const stderr = "hookmq: the broker refused the message: not authorized (this broker is read-only)\n";
    assert.deepEqual(outcome, { code: 1, stdout: "", stderr });
  }
});

Deno.test("hookmq pub says in one line that a message is too large for the broker", async () => {
  await using broker = await startBroker({ limits: { packetSize: 1000 } });
  const args = ["pub", "-p", broker.port, "-V", "5", "-t", "a", "-q", 1, "-m", "x".repeat(1000)];
  const { code, stderr } = await runHookmq(args);
  assert.equal(code, 1);
  assert.match(stderr, /^hookmq: the broker closed the connection: packet too large \(.*\)\n$/);
});

const wrongUses = [
  { args: ["-m", "x"], message: "required option '-t, --topic <topic>' not specified" },
  { args: ["-t", "a"], message: "what shall be published? add one of -m, -n, -f, -l and -s" },
  {
    args: ["-t", "a", "-m", "x", "-n"],
    message: "option '-m, --message <text>' cannot be used with option '-n, --null-message'",
  },
  {
    args: ["-t", "a/+", "-m", "x"],
    message: "option '-t, --topic <topic>' argument 'a/+' is invalid. " +
      "A topic to publish to is not empty and has no + and #.",
  },
  {
    args: ["-t", "a", "-m", "x", "-q", 3],
    message: /argument '3' is invalid. It must be a whole number from 0 to 2.$/,
  },
  { args: ["-t", "a", "-m", "x", "-V", 4], message: /It must be mqttv31, mqttv311 or mqttv5.$/ },
  {
    args: ["-t", "a", "-m", "x", "-c"],
    message: "-c needs a client id, under which the session is found again: add -i",
  },
  { args: ["-t", "a", "-m", "x", "-x", 5], message: "-x is an MQTT 5 property: add -V mqttv5" },
  { args: ["-t", "a", "-m", "x", "-P", "y"], message: "-P needs a user name before MQTT 5: add -u" },
  { args: ["-t", "a", "-m", "x", "--will-payload", "y"], message: "a will needs a topic: add --will-topic" },
  {
    args: ["-t", "a", "-m", "x", "-D", "publish", "content-type", "y"],
    message: "-D sets an MQTT 5 property: add -V mqttv5",
  },
  {
    args: ["-t", "a", "-m", "x", "-V", 5, "-D", "publish", "colour", "y"],
    message: "-D publish colour: unknown property",
  },
  {
    args: ["-t", "a", "-m", "x", "-V", 5, "-D", "publish", "message-expiry-interval", "soon"],
    message: "-D publish message-expiry-interval soon: It must be a whole number from 0 to 4294967295.",
  },
  {
    args: ["-t", "a", "-m", "x", "-V", 5, "-D", "publish", "user-property", "y"],
    message: "-D publish user-property y: a word is missing at the end",
  },
];

for (const { args, message } of wrongUses) {
  Deno.test(`hookmq pub ${args.join(" ")} is answered with one line and exit code 2`, async () => {
    const { code, stdout, stderr } = await runHookmq(["pub", ...args]);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
    const [line, ...rest] = stderr.split("\n");
    assert.deepEqual(rest, [""]);
    if (typeof message === "string") assert.equal(line, `hookmq: ${message}`);
    else assert.match(line, message);
  });
}

Deno.test("hookmq pub says in one line that it cannot read the file", async () => {
  const { code, stderr } = await runHookmq(["pub", "-t", "a", "-f", "/nowhere"]);
  assert.equal(code, 1);
  assert.match(stderr, /^hookmq: cannot read the file to publish: No such file.*'\/nowhere'\n$/);
});

Deno.test("hookmq pub leaves in order at Ctrl+C, and tells by its exit code that it was not done", async () => {
  await using broker = await startBroker();
  const args = ["pub", "-p", broker.port, "-t", "a", "-m", "x", "--repeat", 2, "--repeat-delay", 1000, "-d"];
  await using program = await startHookmq(/sending PUBLISH/, args);
  program.kill("SIGINT");
  const { code, stderr } = await program.ended();
  assert.equal(code, 130);
  assert.match(stderr, /sending DISCONNECT\n$/);
});
