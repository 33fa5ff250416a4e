/** A broker with the hooks of a variant: `deno run -A bench/hook_broker.ts "an empty hook" 1883` runs until SIGTERM. */

import { Broker } from "../mod.ts";
import { hookVariants } from "./hook_variants.ts";

const [name, port] = Deno.args;
const variant = hookVariants.find((variant) => variant.name === name)!;
const broker = new Broker();
for (const hook of variant.hooks()) await broker.use(hook);
await broker.listen({ port: Number(port), hostname: "127.0.0.1" });
Deno.addSignalListener("SIGTERM", async () => {
  await broker.close();
  Deno.exit(0);
});
