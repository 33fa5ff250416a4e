/**
 * HookMQ from the command line that also says, to whoever asks at a port, what memory it uses when its garbage is
 * collected: `deno run -A --v8-flags=--expose-gc bench/soak/broker.ts 4711 serve --memory`.
 */

import { main } from "../../cli.ts";

const { gc } = globalThis as unknown as { gc(): void };
const [port, ...args] = Deno.args;

Deno.serve({ hostname: "127.0.0.1", port: Number(port), onListen() {} }, async () => {
  gc();
  // What the objects held outside of the heap is let go behind it.
  await new Promise((resolve) => setTimeout(resolve, 100));
  gc();
  return Response.json(Deno.memoryUsage());
});

Deno.exit(await main(args));
