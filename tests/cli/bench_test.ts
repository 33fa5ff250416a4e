import assert from "node:assert/strict";
import { LatencyHistogram } from "../../cli/bench/latency_histogram.ts";
import type { LoadResult } from "../../cli/bench/load.ts";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { type Outcome, runHookmq, startHookmq } from "../interop/programs.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** A load that is small, and over in a moment. */
const small = ["--publishers", 2, "--warm-up", 0, "--seconds", 0.2, "--window", 8];

/** Runs `hookmq bench` on the broker with a small load, unless the arguments ask for another. */
function bench(broker: TestBroker, args: (string | number)[]): Promise<Outcome> {
  return runHookmq(["bench", "-p", broker.port, ...small, ...args]);
}

/** Runs `hookmq bench --json`, which must succeed, and returns its figures. */
async function figures(broker: TestBroker, args: (string | number)[]): Promise<LoadResult> {
  const { code, stdout, stderr } = await bench(broker, ["--json", ...args]);
  assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
  return JSON.parse(stdout);
}

Deno.test("hookmq bench --help shows its options and examples", async () => {
  const { code, stdout } = await runHookmq(["bench", "--help"]);
  assert.equal(code, 0);
  assert.match(stdout, /^Usage: hookmq bench /);
  assert.match(stdout, /--host <host>/);
  assert.match(stdout, /^Examples:\n( {2}.*hookmq.*\n){3,}/m);
});

for (const scenario of ["pairs", "fan-in", "fan-out"]) {
  for (const qos of [0, 1, 2]) {
    for (const level of [4, 5]) {
      Deno.test(`hookmq bench ${scenario} at QoS ${qos}, level ${level}, gets every message once`, async () => {
        await using broker = await startBroker();
        const args = ["--scenario", scenario, "--subscribers", 4, "--qos", qos, "--level", level];
        const { sentPerSecond, deliveredPerSecond, lost, duplicates, latency } = await figures(broker, args);
        assert.deepEqual({ lost, duplicates }, { lost: 0, duplicates: 0 });
        assert.ok(sentPerSecond > 0 && deliveredPerSecond > 0);
        assert.ok(latency!.p50Milliseconds > 0 && latency!.p50Milliseconds <= latency!.p99Milliseconds);
      });
    }
  }
}

for (const qos of [0, 1, 2]) {
  Deno.test(`hookmq bench --rate at QoS ${qos} sends so many messages a second, whatever the broker does`, async () => {
    await using broker = await startBroker();
    const args = ["bench", "-p", broker.port, "--json", "--publishers", 2, "--warm-up", 0, "--seconds", 0.5];
    const { code, stdout } = await runHookmq([...args, "--rate", 500, "--qos", qos]);
    assert.equal(code, 0);
    const { sentPerSecond } = JSON.parse(stdout);
    assert.ok(sentPerSecond > 250 && sentPerSecond < 550, `${sentPerSecond} messages a second`);
  });
}

Deno.test("hookmq bench connects the clients that were asked for, which subscribe to a topic for each publisher", async () => {
  await using broker = await startBroker();
  const topics: string[] = [];
  let connected = 0;
  await broker.use({
    id: "observer",
    onConnected: () => void connected++,
    onSubscribe: (_client, subscriptions) => {
      topics.push(...subscriptions.map(({ topicFilter }) => topicFilter));
      return subscriptions;
    },
  });
  await figures(broker, ["--subscribers", 4, "-t", "load"]);
  assert.equal(connected, 6);
  assert.deepEqual(topics.toSorted(), ["load/000", "load/000", "load/001", "load/001"]);
});

Deno.test("hookmq bench says goodbye with all of its clients", async () => {
  await using broker = await startBroker();
  const ends: (Error | undefined)[] = [];
  const allEnded = Promise.withResolvers<void>();
  await broker.use({
    id: "observer",
    onDisconnect: (_client, error) => {
      if (ends.push(error) === 4) allEnded.resolve();
    },
  });
  await figures(broker, []);
  await allEnded.promise;
  assert.deepEqual(ends, [undefined, undefined, undefined, undefined]);
});

Deno.test("hookmq bench prints what it does, how it gets on, and a summary", async () => {
  await using broker = await startBroker();
  const { code, stdout, stderr } = await bench(broker, ["--seconds", 1.5]);
  assert.equal(code, 0);
  const [line, ...table] = stdout.trimEnd().split("\n");
  const load = "2 publishers to 2 subscribers, 2 topics, QoS 0, 64 bytes, MQTT 3.1.1, window 8";
  assert.equal(line, `127.0.0.1:${broker.port}: ${load}`);
  const names = table.map((row) => row.trim().split(/ {2,}/)[0]);
  assert.deepEqual(names.slice(0, 5), ["sent", "delivered", "latency", "lost", "duplicates"]);
  assert.match(stderr, /^ {2}1 of 2 s: sent [\d,]+ msg\/s, delivered [\d,]+ msg\/s\n/);
});

Deno.test("hookmq bench -u -P logs in with a user name and a password", async () => {
  await using broker = await startBroker();
  const logins = new Set<string>();
  await broker.use({
    id: "logins",
    onConnect: (_client, { username, password }) => {
      logins.add(`${username}:${new TextDecoder().decode(password)}`);
    },
  });
  await figures(broker, ["-u", "anna", "-P", "secret"]);
  assert.deepEqual([...logins], ["anna:secret"]);
});

for (const level of [4, 5]) {
  Deno.test(`hookmq bench at level ${level} says in one line that it is not let in`, async () => {
    await using broker = await startBroker();
    await broker.use({
      id: "closed",
      onConnect: () => {
        throw new ReasonCodeError(ReasonCode.BadUserNameOrPassword, "");
      },
    });
    assert.deepEqual(await bench(broker, ["--json", "--level", level]), {
      code: 1,
      stdout: "",
      stderr: `hookmq: 127.0.0.1:${broker.port} refused the connection: bad user name or password\n`,
    });
  });
}

Deno.test("hookmq bench says in one line that its subscription is refused", async () => {
  await using broker = await startBroker();
  await broker.use({ id: "deaf", onSubscribe: () => [] });
  assert.deepEqual(await bench(broker, ["--json", "--level", 5]), {
    code: 1,
    stdout: "",
    stderr: "hookmq: the broker refused the subscription: not authorized\n",
  });
});

Deno.test("hookmq bench says in one line that its messages are refused", async () => {
  await using broker = await startBroker();
  await broker.use({
    id: "read-only",
    onPublish: () => {
      throw new ReasonCodeError(ReasonCode.NotAuthorized, "");
    },
  });
  assert.deepEqual(await bench(broker, ["--json", "--level", 5, "--qos", 1]), {
    code: 1,
    stdout: "",
    stderr: "hookmq: the broker refused a message: not authorized\n",
  });
});

Deno.test("hookmq bench says in one line that no broker is there", async () => {
  assert.deepEqual(await runHookmq(["bench", "-p", 1, "--json"]), {
    code: 1,
    stdout: "",
    stderr: "hookmq: cannot connect to 127.0.0.1:1: connection refused (is a broker running there?)\n",
  });
});

Deno.test("hookmq bench fails with 1 when messages do not arrive, and counts them", async () => {
  await using broker = await startBroker();
  let published = 0;
  await broker.use({ id: "counter", onPublish: () => void published++, canRead: () => false });
  const { code, stdout, stderr } = await bench(broker, ["--json"]);
  assert.equal(code, 1);
  assert.equal(JSON.parse(stdout).lost, published);
  assert.equal(stderr, `hookmq: ${published} deliveries never came\n`);
});

Deno.test("hookmq bench fails with 1 when messages arrive twice, and counts them", async () => {
  await using broker = await startBroker();
  let repeated = 0;
  await broker.use({
    id: "echo",
    onPublish: async (_client, { topic, payload }) => {
      await broker.publish(topic, payload.slice());
      repeated++;
    },
  });
  const { code, stdout, stderr } = await bench(broker, ["--json", "--publishers", 1]);
  assert.equal(code, 1, stderr);
  const { lost, duplicates } = JSON.parse(stdout);
  assert.equal(lost, 0);
  assert.ok(duplicates > 0 && duplicates <= repeated, `${duplicates} of ${repeated}`);
});

Deno.test("hookmq bench ends at Ctrl+C with 130", async () => {
  await using broker = await startBroker();
  const args = ["bench", "-p", broker.port, "--publishers", 1, "--rate", 10, "--seconds", 1000];
  await using program = await startHookmq(/1 of 1001 s: sent/, args);
  program.kill("SIGINT");
  assert.equal((await program.ended()).code, 130);
});

const wrongUses = [
  {
    args: ["--subscribers", 70],
    message: "--subscribers 70: 50 publishers with a topic each need a multiple of 50",
  },
  { args: ["--rate", 10, "--window", 10], message: /option '--window <messages>' cannot be used with option '--rate/ },
  { args: ["--payload", 15], message: /argument '15' is invalid. It must be a whole number from 16 to 65536.$/ },
  { args: ["--seconds", 0], message: /argument '0' is invalid. It must be above 0.$/ },
  { args: ["-t", "a/#"], message: /A topic to publish to is not empty and has no \+ and #.$/ },
  { args: ["-P", "secret"], message: "-P needs a user name before MQTT 5: add -u" },
];

for (const { args, message } of wrongUses) {
  Deno.test(`hookmq bench ${args.join(" ")} is answered with one line and exit code 2`, async () => {
    const { code, stdout, stderr } = await runHookmq(["bench", ...args]);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
    const [line, ...rest] = stderr.split("\n");
    assert.deepEqual(rest, [""]);
    if (typeof message === "string") assert.equal(line, `hookmq: ${message}`);
    else assert.match(line, message);
  });
}

Deno.test("the percentiles of a latency histogram are right to half a percent", () => {
  const histogram = new LatencyHistogram();
  for (let milliseconds = 1; milliseconds <= 1000; milliseconds++) histogram.record(milliseconds, 3);
  for (const percent of [1, 50, 99, 100]) {
    const error = histogram.percentile(percent) / (percent * 10) - 1;
    assert.ok(Math.abs(error) <= 0.0051, `${percent}: ${error}`);
  }
});

Deno.test("a latency histogram takes times that no clock can tell from 0, and those beyond its end", () => {
  const histogram = new LatencyHistogram();
  histogram.record(0, 1);
  histogram.record(1e9, 1);
  assert.equal(histogram.percentile(50), 0.001);
  assert.ok(histogram.percentile(99) > 600_000);
});
