import assert from "node:assert/strict";
import { Counter, Gauge } from "prom-client";
import { type MetricsHook, metricsHook, type MetricsOptions } from "../../hooks/mod.ts";
import { Broker, type HookHealth, type Logger } from "../../mod.ts";
import { eventually } from "../broker/eventually.ts";
import { passingTime } from "../broker/passing_time.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** How long something may take to appear on the page, in milliseconds. */
const DEADLINE = 10_000;

/** A broker whose figures are served on a free port. */
async function startMeasured(options: MetricsOptions = {}): Promise<{ broker: TestBroker; metrics: MetricsHook }> {
  const broker = await startBroker();
  const metrics = metricsHook({ port: 0, ...options });
  await broker.use(metrics);
  return { broker, metrics };
}

async function get(
  metrics: MetricsHook,
  path: string,
  init?: RequestInit,
): Promise<{ response: Response; body: string }> {
  const response = await fetch(`http://127.0.0.1:${metrics.address!.port}${path}`, init);
  return { response, body: await response.text() };
}

/** The figures of the page, by name and labels as they stand there. */
async function figures(metrics: MetricsHook): Promise<Record<string, number>> {
  const { body } = await get(metrics, "/metrics");
  const lines = body.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => {
    const space = line.lastIndexOf(" ");
    return [line.slice(0, space), Number(line.slice(space + 1))];
  }));
}

async function healthPage(metrics: MetricsHook, path: string): Promise<[status: number, body: unknown]> {
  const { response, body } = await get(metrics, path);
  return [response.status, JSON.parse(body)];
}

Deno.test("the page follows what clients do", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const sleeper = await broker.connect({ properties: { sessionExpiryInterval: 60 } });
  await sleeper.subscribe("queued", { qos: 1 });
  await sleeper.disconnect();
  const subscriber = await broker.connect();
  await subscriber.subscribe("$share/group/t");
  const publisher = await broker.connect();
  await publisher.publish({ topic: "t", payload: "1" });
  await publisher.publish({ topic: "queued", payload: "12", qos: 1 });
  await publisher.publish({ topic: "kept", payload: "123", qos: 1, retain: true });
  await subscriber.expect("publish");
  await broker.open();
  const expected = {
    hookmq_clients_connected: 2,
    hookmq_clients_disconnected: 1,
    hookmq_clients_connected_maximum: 2,
    hookmq_sessions: 3,
    hookmq_subscriptions: 2,
    hookmq_shared_subscriptions: 1,
    hookmq_retained_messages: 1,
    hookmq_queued_messages: 1,
    hookmq_connects_received_total: 3,
    hookmq_connections_accepted_total: 4,
    hookmq_connections_refused_total: 0,
    hookmq_sessions_expired_total: 0,
    // CONNECT three times, SUBSCRIBE twice, DISCONNECT, and three messages; what they are answered, and one message.
    hookmq_packets_received_total: 9,
    hookmq_packets_sent_total: 8,
    hookmq_publish_received_total: 3,
    hookmq_publish_sent_total: 1,
    hookmq_publish_dropped_total: 0,
    hookmq_publish_received_bytes_total: 6,
    hookmq_publish_sent_bytes_total: 1,
    hookmq_connect_duration_seconds_count: 3,
    hookmq_connection_duration_seconds_count: 1,
  };
  const page = await figures(metrics);
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((name) => [name, page[name]])), expected);
  const { bytesReceived, bytesSent, queuedBytes } = broker.stats();
  assert(bytesReceived > 0 && bytesSent > 0 && queuedBytes > 0);
  assert.deepEqual(
    [page.hookmq_received_bytes_total, page.hookmq_sent_bytes_total, page.hookmq_queued_bytes],
    [bytesReceived, bytesSent, queuedBytes],
  );
  assert(page.hookmq_heap_bytes > 0 && page.hookmq_heap_maximum_bytes >= page.hookmq_heap_bytes);
});

Deno.test("counters do not grow by being read", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  await broker.connect();
  await figures(metrics);
  const { hookmq_connects_received_total, hookmq_connections_accepted_total } = await figures(metrics);
  assert.deepEqual([hookmq_connects_received_total, hookmq_connections_accepted_total], [1, 1]);
});

Deno.test("sessions that have expired are counted", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const sleeper = await broker.connect({ properties: { sessionExpiryInterval: 1 } });
  await sleeper.disconnect();
  await eventually(() => broker.stats().sessions === 0, "the end of the session");
  assert.equal((await figures(metrics)).hookmq_sessions_expired_total, 1);
});

Deno.test("what was before the hook is counted, too", async () => {
  await using broker = await startBroker();
  const first = await broker.connect();
  await broker.connect();
  await first.disconnect();
  using _time = passingTime(90);
  const metrics = metricsHook({ port: 0 });
  await broker.use(metrics);
  const { hookmq_clients_connected, hookmq_clients_connected_maximum, hookmq_uptime_seconds } = await figures(metrics);
  assert.deepEqual([hookmq_clients_connected, hookmq_clients_connected_maximum], [1, 2]);
  assert(hookmq_uptime_seconds >= 90 && hookmq_uptime_seconds < 100, `${hookmq_uptime_seconds}`);
});

Deno.test("the page is in Prometheus' text format, with its names for things", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const { response, body } = await get(metrics, "/metrics");
  assert.deepEqual([response.status, response.headers.get("content-type")], [
    200,
    "text/plain; version=0.0.4; charset=utf-8",
  ]);
  const types = new Map([...body.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]));
  const described = [...body.matchAll(/^# HELP (\S+) \S.*\.$/gm)].map(([, name]) => name);
  assert.deepEqual(described, [...types.keys()]);
  assert(types.size > 20);
  for (const [name, type] of types) {
    assert.match(name, /^hookmq_[a-z_]+$/);
    assert.equal(name.endsWith("_total"), type === "counter", name);
    if (type === "histogram") assert.match(name, /_seconds$/);
  }
});

Deno.test("the page names the version", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  assert.match((await get(metrics, "/metrics")).body, /^hookmq_build_info\{version="\d+\.\d+\.\d+"\} 1$/m);
});

Deno.test("a page costs one look at the broker", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const { stats } = broker;
  let looks = 0;
  broker.stats = () => {
    looks += 1;
    return stats.call(broker);
  };
  await get(metrics, "/metrics");
  assert.equal(looks, 1);
  await broker.connect();
  assert.equal((await figures(metrics)).hookmq_clients_connected, 1);
  assert.equal(looks, 2);
});

Deno.test("nothing is measured per message", () => {
  const handled = Object.keys(metricsHook()).filter((key) => /^(on|canRead)/.test(key));
  assert.deepEqual(handled.sort(), ["onConnected", "onDisconnect"]);
});

Deno.test("the time that hooks take to let a client in is measured", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  await broker.use({ id: "slow", onConnect: () => new Promise((resolve) => setTimeout(resolve, 60)) });
  await broker.connect();
  const page = await figures(metrics);
  assert(page.hookmq_connect_duration_seconds_sum >= 0.055);
  assert.equal(page['hookmq_connect_duration_seconds_bucket{le="0.05"}'], 0);
});

Deno.test("the delay of the event loop is measured", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const end = performance.now() + 350;
  while (performance.now() < end);
  const deadline = performance.now() + DEADLINE;
  let page: Record<string, number>;
  do page = await figures(metrics); while (
    page.hookmq_event_loop_delay_seconds_count === 0 && performance.now() < deadline
  );
  // The first sample was due after 200 ms.
  const delay = page.hookmq_event_loop_delay_seconds_sum;
  assert(delay >= 0.1 && delay < DEADLINE / 1000, `${delay}`);
});

Deno.test("an embedding program's own instruments are on the page", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  new Counter({ name: "jobs_total", help: "Jobs.", registers: [metrics.registry] }).inc(3);
  assert.equal((await figures(metrics)).jobs_total, 3);
});

Deno.test("two brokers in one process have pages of their own", async () => {
  const one = await startMeasured();
  const other = await startMeasured();
  await using _one = one.broker;
  await using _other = other.broker;
  await one.broker.connect();
  const pages = [await figures(one.metrics), await figures(other.metrics)];
  assert.deepEqual(pages.map((page) => page.hookmq_clients_connected), [1, 0]);
});

for (const path of ["/healthz", "/healthz/ready"]) {
  Deno.test(`${path} says ok while nothing else is reported`, async () => {
    const { broker, metrics } = await startMeasured();
    await using _broker = broker;
    metrics.setHealth("sqlite", { ok: true });
    const { response } = await get(metrics, path);
    assert.equal(response.headers.get("content-type"), "application/json");
    assert.deepEqual(await healthPage(metrics, path), [200, { status: "ok", ready: true, reasons: {} }]);
  });

  Deno.test(`${path} says degraded with the reasons, and ok again when they are gone`, async () => {
    const { broker, metrics } = await startMeasured();
    await using _broker = broker;
    metrics.setHealth("redis", { ok: false, reason: "Redis does not answer" });
    metrics.setHealth("sqlite", { ok: false, reason: "the disk is slow" });
    assert.deepEqual(await healthPage(metrics, path), [200, {
      status: "degraded",
      ready: true,
      reasons: { redis: "Redis does not answer", sqlite: "the disk is slow" },
    }]);
    metrics.setHealth("sqlite", { ok: true });
    assert.deepEqual(await healthPage(metrics, path), [200, {
      status: "degraded",
      ready: true,
      reasons: { redis: "Redis does not answer" },
    }]);
    metrics.setHealth("redis", { ok: true });
    assert.deepEqual(await healthPage(metrics, path), [200, { status: "ok", ready: true, reasons: {} }]);
  });
}

for (const path of ["/healthz", "/healthz/ready"]) {
  Deno.test(`${path} says degraded while a hook says that it is not well`, async () => {
    const { broker, metrics } = await startMeasured();
    await using _broker = broker;
    let health: HookHealth = { ok: true };
    await broker.use({ id: "sqlite", health: () => health });
    assert.deepEqual(await healthPage(metrics, path), [200, { status: "ok", ready: true, reasons: {} }]);
    health = { ok: false, reason: "the disk is full" };
    assert.deepEqual(await healthPage(metrics, path), [200, {
      status: "degraded",
      ready: true,
      reasons: { sqlite: "the disk is full" },
    }]);
    await broker.remove("sqlite");
    assert.deepEqual(await healthPage(metrics, path), [200, { status: "ok", ready: true, reasons: {} }]);
  });
}

Deno.test("a hook that does not say what is wrong is not well all the same", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  await broker.use({ id: "silent", health: () => ({ ok: false }) });
  await broker.use({
    id: "broken",
    health() {
      throw new Error("no idea");
    },
  });
  assert.deepEqual(await healthPage(metrics, "/healthz"), [200, {
    status: "degraded",
    ready: true,
    reasons: { silent: "it does not say why", broken: "Error: no idea" },
  }]);
});

Deno.test("what is reported of a hook holds, whatever the hook says", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  await broker.use({ id: "sqlite", health: () => ({ ok: true }) });
  metrics.setHealth("sqlite", { ok: false, reason: "the file is on the wrong disk", ready: false });
  assert.deepEqual(await healthPage(metrics, "/healthz/ready"), [503, {
    status: "degraded",
    ready: false,
    reasons: { sqlite: "the file is on the wrong disk" },
  }]);
});

Deno.test("a broker that should get no clients is live, but not ready", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  metrics.setHealth("sqlite", { ok: false, reason: "the disk is full", ready: false });
  const body = { status: "degraded", ready: false, reasons: { sqlite: "the disk is full" } };
  assert.deepEqual(await healthPage(metrics, "/healthz"), [200, body]);
  assert.deepEqual(await healthPage(metrics, "/healthz/ready"), [503, body]);
});

Deno.test("a hook can say that the broker should get no clients", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  await broker.use({ id: "cluster", health: () => ({ ok: false, reason: "Redis does not answer", ready: false }) });
  const body = { status: "degraded", ready: false, reasons: { cluster: "Redis does not answer" } };
  assert.deepEqual(await healthPage(metrics, "/healthz"), [200, body]);
  assert.deepEqual(await healthPage(metrics, "/healthz/ready"), [503, body]);
});

Deno.test("the health of parts is on the page of the figures, too", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  metrics.setHealth("redis", { ok: false, reason: "Redis does not answer" });
  await broker.use({ id: "sqlite", health: () => ({ ok: true }) });
  const page = await figures(metrics);
  assert.deepEqual([page['hookmq_health{part="redis"}'], page['hookmq_health{part="sqlite"}']], [0, 1]);
  await broker.remove("sqlite");
  assert.equal('hookmq_health{part="sqlite"}' in await figures(metrics), false);
});

Deno.test("other paths are not found, and the answer says what there is", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  for (const path of ["/", "/metrics/", "/healthz/live", "/%2e%2e/etc/passwd"]) {
    const { response, body } = await get(metrics, path);
    assert.deepEqual([response.status, body], [404, "there are /metrics, /healthz and /healthz/ready\n"]);
  }
});

Deno.test("only GET and HEAD are allowed", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
    const { response } = await get(metrics, "/metrics", { method });
    assert.deepEqual([response.status, response.headers.get("allow")], [405, "GET, HEAD"]);
  }
  const { response, body } = await get(metrics, "/metrics", { method: "HEAD" });
  assert.deepEqual([response.status, body], [200, ""]);
});

Deno.test("an instrument that fails costs its page, and is logged", async () => {
  const errors: unknown[] = [];
  const logger: Logger = {
    debug() {},
    info() {},
    warn() {},
    error: (_message, properties) => errors.push(properties!.error),
  };
  await using broker = await startBroker({ logger });
  const metrics = metricsHook({ port: 0 });
  await broker.use(metrics);
  const failure = new Error("no thermometer");
  const collect = () => {
    throw failure;
  };
  metrics.registry.registerMetric(new Gauge({ name: "temperature", help: "t", registers: [], collect }));
  const { response, body } = await get(metrics, "/metrics");
  assert.deepEqual([response.status, body], [500, "the page cannot be made; the log says why\n"]);
  assert.deepEqual(errors, [failure]);
  assert.equal((await get(metrics, "/healthz")).response.status, 200);
});

Deno.test("by default the pages are for this machine only", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  assert.equal(metrics.address?.hostname, "127.0.0.1");
});

Deno.test("a port that is in use is an error in one line", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const { port } = metrics.address!;
  await using other = new Broker();
  await assert.rejects(other.use(metricsHook({ port })), {
    name: "Error",
    message: `cannot serve metrics on 127.0.0.1:${port}: address in use (another broker? choose another port)`,
  });
});

Deno.test("an address that this machine does not have is an error in one line", async () => {
  await using broker = new Broker();
  await assert.rejects(broker.use(metricsHook({ port: 0, hostname: "192.0.2.1" })), {
    message: "cannot serve metrics on 192.0.2.1:0: this machine has no such address (choose another hostname)",
  });
});

for (const port of [-1, 65_536, 1.5, NaN, "80" as unknown as number]) {
  Deno.test(`the port ${Deno.inspect(port)} is refused`, () => {
    assert.throws(() => metricsHook({ port }), {
      name: "RangeError",
      message: `port is ${port}; it must be a whole number from 0 to 65535`,
    });
  });
}

Deno.test("a hook that is removed frees its port, and can be added again", async () => {
  const { broker, metrics } = await startMeasured();
  await using _broker = broker;
  const { port } = metrics.address!;
  await broker.remove(metrics);
  assert.equal(metrics.address, undefined);
  await assert.rejects(Deno.connect({ hostname: "127.0.0.1", port }), { name: "ConnectionRefused" });
  await broker.use(metrics);
  await broker.connect();
  assert.equal((await figures(metrics)).hookmq_clients_connected, 1);
});

Deno.test("a reader that does not read its page does not hold the broker up when it closes", async () => {
  const { broker, metrics } = await startMeasured();
  const help = "x".repeat(20_000_000);
  metrics.registry.registerMetric(new Gauge({ name: "large", help, registers: [] }));
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: metrics.address!.port });
  await conn.write(new TextEncoder().encode("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
  await conn.read(new Uint8Array(1));
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise((resolve) => timer = setTimeout(resolve, DEADLINE, "not closed"));
  const closed = broker[Symbol.asyncDispose]().then(() => "closed");
  assert.equal(await Promise.race([closed, timeout]), "closed");
  clearTimeout(timer);
});
