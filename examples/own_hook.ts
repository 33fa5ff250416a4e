// A hook of your own in twenty lines: clients find out who else is there, on `presence/{client id}`.
//
//   deno run --allow-net=127.0.0.1 examples/own_hook.ts
//
// Try it with two other terminals, and stop the second one with Ctrl+C:
//
//   deno run -A cli.ts sub -t 'presence/#' -v
//   deno run -A cli.ts sub -t '#' -i bob
import { Broker, type ClientInfo, type Hook } from "@hookmq/broker";

function presenceHook(): Hook {
  let broker: Broker;
  const tell = ({ clientId }: ClientInfo, what: "online" | "offline") =>
    // A client may have any id, also one that is no level of a topic.
    broker.publish(`presence/${encodeURIComponent(clientId)}`, what, { retain: true });
  return {
    id: "presence",
    init(context) {
      broker = context.broker;
    },
    onConnected: (client) => tell(client, "online"),
    onDisconnect: (client) => tell(client, "offline"),
    canWrite: (_client, topic) => !topic.startsWith("presence/"),
  };
}

const broker = new Broker();
await broker.use(presenceHook());
const { url } = await broker.listen({ port: Number(Deno.args[0] ?? 1883) });
console.log(`listening on ${url}`);
