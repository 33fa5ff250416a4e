// The smallest broker: whoever is on this machine can publish and subscribe.
//
//   deno run --allow-net=127.0.0.1 examples/basic.ts
//
// Try it with two other terminals:
//
//   deno run -A cli.ts sub -t 'greetings/#' -v
//   deno run -A cli.ts pub -t greetings/world -m hello
import { Broker } from "@hookmq/broker";

const broker = new Broker();
const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
