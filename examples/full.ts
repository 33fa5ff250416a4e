// A broker as one might run it: TCP and WebSocket, users, access rules, a rate limit, a database, logs and metrics, and
// an orderly end. The command line does the same from a file: deno run -A cli.ts serve --config hookmq.yaml
//
//   deno run --allow-net=127.0.0.1 --ignore-env --allow-read --allow-write=hookmq.db examples/full.ts
//
// Try it:
//
//   deno run -A cli.ts sub -u alice -P wonderland -t 'home/alice/#' -v
//   deno run -A cli.ts pub -u admin -P 'top secret' -t home/alice/lamp -m on
//   curl http://127.0.0.1:9883/metrics
import { configure, getConsoleSink } from "@logtape/logtape";
import { Broker } from "@hookmq/broker";
import {
  aclHook,
  authHook,
  loggerHook,
  LogLevel,
  metricsHook,
  rateLimitHook,
  sqliteHook,
  sysHook,
} from "@hookmq/broker/hooks";

const [port = 1883, webSocketPort = 8083, metricsPort = 9883] = Deno.args.map(Number);

// The broker logs with LogTape, which is silent until a program says where the log goes.
await configure({
  sinks: { console: getConsoleSink() },
  loggers: [
    { category: "hookmq", lowestLevel: "info", sinks: ["console"] },
    { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["console"] },
  ],
});

const broker = new Broker({
  limits: { packetSize: 1_000_000, connectionsPerAddress: 100 },
  maximumSessionExpiry: 7 * 24 * 60 * 60,
});
const metrics = metricsHook({ port: metricsPort });

// In this order: a client is authenticated first, and what is logged is what clients get.
await broker.use(authHook({ credentials: { admin: "top secret", alice: "wonderland" } }));
await broker.use(rateLimitHook({ publishRate: 100 }));
await broker.use(aclHook({
  denyByDefault: true,
  rules: [{ permission: "allow", username: "admin" }, { permission: "allow", topicFilter: "home/%u/#" }],
}));
await broker.use(loggerHook({ level: LogLevel.connection | LogLevel.subscribe }));
await broker.use(sqliteHook({ path: "hookmq.db" }));
await broker.use(sysHook());
await broker.use(metrics);

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, async () => {
    await broker.close();
    Deno.exit();
  });
}

await broker.listen({ port });
await broker.listen({ transport: "ws", port: webSocketPort });
const urls = broker.listeners.map(({ url }) => url).join(" and ");
console.log(`listening on ${urls}, metrics on http://127.0.0.1:${metrics.address!.port}/metrics`);
