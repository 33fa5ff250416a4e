// The program that runs the broker takes part itself, without a connection: a thermostat for any number of rooms.
//
//   deno run --allow-net=127.0.0.1 examples/in_process_client.ts
//
// Try it with two other terminals:
//
//   deno run -A cli.ts sub -t 'rooms/+/heating' -v
//   deno run -A cli.ts pub -t rooms/kitchen/temperature -m 18.5
import { Broker } from "@hookmq/broker";

const broker = new Broker();

await broker.subscribe("rooms/+/temperature", async ({ topic, payload }) => {
  const [, room] = topic.split("/");
  const celsius = Number(new TextDecoder().decode(payload));
  if (Number.isNaN(celsius)) return;
  await broker.publish(`rooms/${room}/heating`, celsius < 20 ? "on" : "off", { retain: true });
});

const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
