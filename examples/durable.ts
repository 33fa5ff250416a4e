// Sessions, their messages and retained messages are kept in a database, and outlive the process.
//
//   deno run --allow-net=127.0.0.1 --allow-read --allow-write=messages.db examples/durable.ts
//
// Try it: subscribe once, stop that with Ctrl+C, publish, restart the broker, and subscribe again.
//
//   deno run -A cli.ts sub -i my-phone -c -q 1 -t letters
//   deno run -A cli.ts pub -q 1 -t letters -m 'This has been waiting for you.'
import { Broker } from "@hookmq/broker";
import { sqliteHook } from "@hookmq/broker/hooks";

const broker = new Broker();
// The publisher gets its acknowledgement when the message is on the disk, not before.
await broker.use(sqliteHook({ path: "messages.db" }));

const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
