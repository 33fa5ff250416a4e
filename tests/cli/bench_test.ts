import assert from "node:assert/strict";
import { LatencyHistogram } from "../../cli/bench/latency_histogram.ts";
import type { LoadResult } from "../../cli/bench/load.ts";
import { ReasonCode, ReasonCodeError } from "../../mod.ts";
import { type Outcome, runHookmq, startHookmq } from "../interop/programs.ts";
import { createAuthority, issueCertificate } from "../listeners/certificates.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** A load that is small, and over in a moment. */
const small = ["--publishers", 2, "--warm-up", 0, "--seconds", 0.2, "--window", 8];

/** Runs `hookmq bench` on the broker with a small load, unless the arguments ask for another. */
function bench(broker: TestBroker, args: (string | number)[]): Promise<Outcome> {
  return runHookmq(["bench", "-p", broker.port, ...small, ...args]);
}

/** A file with this text, for as long as the test needs it. */
async function temporaryFile(text: string): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, text);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
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

for (const scenario of ["pairs", "fan-in", "fan-out", "wildcards", "shared", "spread"]) {
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
  Deno.test(`hookmq bench --properties at QoS ${qos} gets every message once`, async () => {
    await using broker = await startBroker();
    const { lost, duplicates } = await figures(broker, ["--properties", "--level", 5, "--qos", qos]);
    assert.deepEqual({ lost, duplicates }, { lost: 0, duplicates: 0 });
  });
}

Deno.test("hookmq bench --properties gives every message the properties that MQTT 5 has for it", async () => {
  await using broker = await startBroker();
  const published: Record<string, unknown>[] = [];
  await broker.use({ id: "observer", onPublish: (_client, { properties }) => void published.push({ ...properties }) });
  await figures(broker, ["--properties", "--level", 5]);
  assert.ok(published.length > 0);
  for (const properties of published) {
    const { messageExpiryInterval, contentType, responseTopic, correlationData, userProperties } = properties;
    assert.equal(messageExpiryInterval, 3600);
    assert.deepEqual([contentType, responseTopic], ["application/octet-stream", "bench/answers"]);
    assert.equal(new TextDecoder().decode(correlationData as Uint8Array), "correlation");
    assert.deepEqual(userProperties, [["trace-id", "4bf92f3577b34da6"]]);
  }
});

for (const [scenario, payload] of [["pairs", 65_536], ["fan-out", 16], ["pairs", 110]] as const) {
  Deno.test(`hookmq bench --transport ws ${scenario} with ${payload} bytes gets every message once`, async () => {
    await using broker = await startBroker();
    const { address } = await broker.listen({ transport: "ws", port: 0 });
    const args = ["-p", address.port, "--transport", "ws", "--scenario", scenario, "--payload", payload, "--qos", 1];
    const { deliveredPerSecond, lost, duplicates } = await figures(broker, args);
    assert.deepEqual({ lost, duplicates }, { lost: 0, duplicates: 0 });
    assert.ok(deliveredPerSecond > 0);
  });
}

Deno.test("hookmq bench --transport tls --cafile gets every message once", async () => {
  await using broker = await startBroker();
  const authority = await createAuthority();
  const identity = await issueCertificate(authority, "server");
  const { address } = await broker.listen({ transport: "tls", port: 0, ...identity });
  await using file = await temporaryFile(authority.certificate);
  const { deliveredPerSecond, lost } = await figures(broker, [
    ...["-p", address.port, "--transport", "tls", "--cafile", file.path],
  ]);
  assert.equal(lost, 0);
  assert.ok(deliveredPerSecond > 0);
});

Deno.test("hookmq bench --transport tls says in one line that the broker's certificate is not trusted", async () => {
  await using broker = await startBroker();
  const identity = await issueCertificate(await createAuthority(), "server");
  const { address } = await broker.listen({ transport: "tls", port: 0, ...identity });
  const { code, stdout, stderr } = await bench(broker, ["-p", address.port, "--transport", "tls", "--json"]);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(
    stderr,
    /^hookmq: cannot connect to \S+: nobody who is trusted has signed its certificate \(.*--cafile\)\n$/,
  );
});

Deno.test("hookmq bench --transport tls says what is wrong with an authority's certificate that a broker uses as its own", async () => {
  await using broker = await startBroker();
  const identity = await createAuthority();
  const { address } = await broker.listen({ transport: "tls", port: 0, ...identity });
  await using file = await temporaryFile(identity.certificate);
  const args = ["-p", address.port, "--transport", "tls", "--cafile", file.path, "--json"];
  assert.deepEqual(await bench(broker, args), {
    code: 1,
    stdout: "",
    stderr:
      `hookmq: cannot connect to 127.0.0.1:${address.port}: its certificate is one for an authority (CA:TRUE), which ` +
      "bench does not accept of a server (make it with -addext basicConstraints=critical,CA:FALSE)\n",
  });
});

Deno.test("hookmq bench --transport tls says that nobody answers with TLS", async () => {
  await using broker = await startBroker();
  const { code, stderr } = await bench(broker, ["--transport", "tls", "--json"]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^hookmq: cannot connect to \S+: it does not answer with TLS \(is this its port for that\?\)\n$/,
  );
});

Deno.test("hookmq bench --transport ws says in one line that there is no WebSocket", async () => {
  await using http = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    return new Response(null, { status: 404 });
  });
  const { port } = http.addr;
  assert.deepEqual(await runHookmq(["bench", "-p", port, "--transport", "ws", "--json"]), {
    code: 1,
    stdout: "",
    stderr: `hookmq: cannot connect to 127.0.0.1:${port}: no WebSocket: HTTP/1.1 404 Not Found\n`,
  });
});

Deno.test("hookmq bench wildcards subscribes with + and # to a topic of each publisher", async () => {
  await using broker = await startBroker();
  const filters = new Set<string>();
  const topics = new Set<string>();
  await broker.use({
    id: "observer",
    onSubscribe: (_client, subscriptions) => {
      for (const { topicFilter } of subscriptions) filters.add(topicFilter);
      return subscriptions;
    },
    onPublish: (_client, { topic }) => void topics.add(topic),
  });
  await figures(broker, ["--scenario", "wildcards"]);
  assert.deepEqual([...filters].toSorted(), ["bench/000/#", "bench/000/+/state"]);
  assert.deepEqual([...topics].toSorted(), ["bench/000/0/state", "bench/000/1/state"]);
});

Deno.test("hookmq bench spread publishes to every topic, and each of its subscribers has some of them", async () => {
  await using broker = await startBroker();
  const filters = new Map<string, number>();
  const topics = new Set<string>();
  await broker.use({
    id: "observer",
    onSubscribe: ({ clientId }, subscriptions) => {
      filters.set(clientId, subscriptions.length);
      return subscriptions;
    },
    onPublish: (_client, { topic }) => void topics.add(topic),
  });
  const args = ["--scenario", "spread", "--subscribers", 3, "--topics-per-subscriber", 4];
  const { lost, sentPerSecond, deliveredPerSecond } = await figures(broker, args);
  assert.equal(lost, 0);
  assert.deepEqual([...filters.values()], [4, 4, 4]);
  assert.equal(topics.size, 12);
  assert.ok(Math.abs(sentPerSecond / deliveredPerSecond - 1) < 0.2);
});

Deno.test("hookmq bench --storm subscribes and unsubscribes beside the messages", async () => {
  await using broker = await startBroker();
  let unsubscribed = 0;
  await broker.use({ id: "observer", onUnsubscribe: (_client, filters) => void (unsubscribed += filters.length) });
  const { subscribesPerSecond, lost } = await figures(broker, ["--storm", 200]);
  assert.ok(subscribesPerSecond! > 0);
  assert.ok(unsubscribed > 0);
  assert.equal(lost, 0);
  assert.equal(broker.stats().subscriptions, 0);
});

Deno.test("hookmq bench connect counts connections, of which none is left", async () => {
  await using broker = await startBroker();
  const { deliveredPerSecond, latency } = await figures(broker, ["--scenario", "connect"]);
  assert.ok(deliveredPerSecond > 0);
  assert.ok(latency!.p50Milliseconds > 0);
  assert.ok(broker.stats().connectionsAccepted >= deliveredPerSecond * 0.2);
});

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
  { args: ["--properties"], message: "--properties needs MQTT 5: add --level 5" },
  {
    args: ["--scenario", "spread", "--publishers", 7],
    message: "--publishers 7: they cannot share out 100000 topics evenly",
  },
  { args: ["--cafile", "nowhere.pem"], message: /^hookmq: --cafile nowhere\.pem: No such file or directory/ },
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
