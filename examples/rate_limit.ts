// No client publishes more than ten messages a second, after twenty at once; what is more is refused and counted.
//
//   deno run --allow-net=127.0.0.1 examples/rate_limit.ts
//
// Try it with a hundred messages at once:
//
//   seq 100 | deno run -A cli.ts pub -l -t numbers
import { Broker } from "@hookmq/broker";
import { rateLimitHook } from "@hookmq/broker/hooks";

const broker = new Broker();
const rateLimit = rateLimitHook({ publishRate: 10, interval: 1, burstSize: 20, onExceed: "drop" });
await broker.use(rateLimit);
await broker.use({
  id: "report",
  onDisconnect: ({ clientId }) => console.log(`${clientId} has left; refused so far: ${rateLimit.counters().dropped}`),
});

const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
