import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  type Outcome,
  type Program,
  run,
  runHookmq,
  startBrokerProcess,
  startHookmq,
  type StartOptions,
  startReady,
} from "./programs.ts";

type Arguments = (string | number)[];

/** A pair of programs that publish and subscribe; ours take the options of mosquitto's. */
interface Clients {
  name: string;
  publish(args: Arguments, options?: StartOptions): Promise<Outcome>;
  /** Resolves when the subscriptions are acknowledged. */
  subscribe(args: Arguments): Promise<Program>;
  /** Subscribes and resolves when the subscriber has ended by itself, for messages that wait for it. */
  fetch(args: Arguments): Promise<Outcome>;
}

const hookmq: Clients = {
  name: "hookmq",
  publish: (args, options) => runHookmq(["pub", ...args], options),
  subscribe: (args) => startHookmq(/received SUBACK/, ["sub", "-d", ...args]),
  fetch: (args) => runHookmq(["sub", ...args]),
};

const mosquitto: Clients = {
  name: "mosquitto",
  publish: (args, options) => run("mosquitto_pub", args, options),
  // Into a pipe mosquitto_sub would write its debug lines late; stdbuf has it write each line at once.
  subscribe: (args) => startReady(/^Subscribed/m, "stdbuf", ["-oL", "mosquitto_sub", "-d", ...args]),
  fetch: (args) => run("mosquitto_sub", args),
};

/** What a subscriber has printed behind the word `message`. */
function messages({ stdout }: Outcome): string[] {
  return [...stdout.matchAll(/^message (.*)$/gm)].map(([, message]) => message);
}

for (const version of ["mqttv31", "mqttv311", "mqttv5"]) {
  for (const [from, to] of [[hookmq, mosquitto], [mosquitto, hookmq], [hookmq, hookmq]]) {
    Deno.test(`${to.name} subscribes as ${version} and gets what ${from.name} publishes, each at its QoS`, async () => {
      await using broker = await startBrokerProcess();
      const common = ["-p", broker.port, "-V", version];
      const format = ["-F", "message %t %p %q %r %l %%"];
      await using subscriber = await to.subscribe([...common, "-t", "a/#", "-q", 2, "-C", 3, ...format]);
      for (const qos of [0, 1, 2]) {
        const { code } = await from.publish([...common, "-t", `a/${qos}`, "-q", qos, "-m", "héllo"]);
        assert.equal(code, 0);
      }
      assert.deepEqual(messages(await subscriber.ended()), [
        "a/0 héllo 0 0 6 %",
        "a/1 héllo 1 0 6 %",
        "a/2 héllo 2 0 6 %",
      ]);
    });
  }
}

for (const [from, to] of [[hookmq, mosquitto], [mosquitto, hookmq]]) {
  Deno.test(`${to.name} gets the properties that ${from.name} gives a message`, async () => {
    await using broker = await startBrokerProcess();
    const common = ["-p", broker.port, "-V", "mqttv5", "-t", "properties"];
    await using subscriber = await to.subscribe([...common, "-C", 1, "-F", "message %C|%D|%E|%F|%R|%P|%x"]);
    const properties = [
      ["content-type", "text/plain"],
      ["correlation-data", "question 7"],
      ["message-expiry-interval", "2000000000"],
      ["payload-format-indicator", "1"],
      ["response-topic", "answers/7"],
      ["user-property", "a", "1"],
      ["user-property", "a", "2"],
      ["user-property", "b", "3"],
    ].flatMap((words) => ["-D", "publish", ...words]);
    await from.publish([...common, "-m", "hi", ...properties]);
    const expected = "text/plain|question 7|2000000000|1|answers/7|a:1 a:2 b:3|6869";
    assert.deepEqual(messages(await subscriber.ended()), [expected]);
  });

  Deno.test(`${to.name} gets a retained message of 1 MB from ${from.name}, unchanged`, async () => {
    await using broker = await startBrokerProcess();
    const payload = Buffer.alloc(1_000_000, Uint8Array.from({ length: 251 }, (_, index) => index));
    const common = ["-p", broker.port, "-t", "big", "-q", 2];
    await from.publish([...common, "-r", "-s"], { input: payload });
    const [message] = messages(await to.fetch([...common, "-C", 1, "-F", "message %r %x"]));
    assert.ok(message === `1 ${payload.toString("hex")}`, `${message.length} characters came that are not as expected`);
  });

  Deno.test(`a session that ${to.name} has left keeps what ${from.name} publishes meanwhile`, async () => {
    await using broker = await startBrokerProcess();
    const common = ["-p", broker.port, "-t", "offline", "-q", 2];
    const session = [...common, "-i", "keeper", "-c"];
    await to.fetch([...session, "-E"]);
    const lines = Array.from({ length: 200 }, (_, index) => `${index}`);
    await from.publish([...common, "-l"], { input: lines.join("\n") });
    assert.deepEqual(messages(await to.fetch([...session, "-C", lines.length, "-F", "message %p"])), lines);
  });
}

Deno.test("hookmq sub and mosquitto_sub share the messages of a shared subscription", async () => {
  await using broker = await startBrokerProcess();
  const member = ["-p", broker.port, "-V", "mqttv5", "-q", 1, "-t", "$share/workers/jobs", "-t", "end"];
  const format = ["-F", "message %t %p"];
  await using first = await hookmq.subscribe([...member, ...format]);
  await using second = await mosquitto.subscribe([...member, ...format]);
  const jobs = Array.from({ length: 20 }, (_, index) => `${index}`);
  await hookmq.publish(["-p", broker.port, "-t", "jobs", "-q", 1, "-l"], { input: jobs.join("\n") });
  await hookmq.publish(["-p", broker.port, "-t", "end", "-q", 1, "-m", "now"]);
  const shares = await Promise.all([first, second].map(async (program) => {
    const [stdout] = await program.printed(/[^]*^message end/m);
    return [...stdout.matchAll(/^message jobs (.*)$/gm)].map(([, job]) => Number(job));
  }));
  assert.ok(shares.every(({ length }) => length > 0), `the shares are ${shares.map(({ length }) => length)}`);
  assert.deepEqual(shares.flat().sort((a, b) => a - b), jobs.map(Number));
});
