// What the broker holds and does: for MQTT clients below $SYS/broker, for Prometheus on a page.
//
//   deno run --allow-net=127.0.0.1 examples/metrics.ts
//
// Try it:
//
//   deno run -A cli.ts sub -t '$SYS/broker/clients/#' -v
//   curl http://127.0.0.1:9883/metrics
import { Broker } from "@hookmq/broker";
import { metricsHook, sysHook } from "@hookmq/broker/hooks";

const [port = 1883, metricsPort = 9883] = Deno.args.map(Number);

const broker = new Broker();
await broker.use(sysHook({ interval: 1 }));
const metrics = metricsHook({ port: metricsPort });
await broker.use(metrics);

const { url } = await broker.listen({ port });
console.log(`listening on ${url}, metrics on http://127.0.0.1:${metrics.address!.port}/metrics`);
