/** `hookmq serve` that at SIGUSR2 also prints how many bytes it holds when all garbage is collected. Needs `--expose-gc`. */

import { main } from "../../../cli.ts";

const { gc } = globalThis as unknown as { gc(): void };
let asked = 0;

Deno.addSignalListener("SIGUSR2", async () => {
  gc();
  // What the objects of the first round held outside of the heap is let go behind it.
  await new Promise((resolve) => setTimeout(resolve, 100));
  gc();
  const { heapUsed, external } = Deno.memoryUsage();
  console.log(`memory ${++asked}: ${heapUsed + external} bytes`);
});

Deno.exit(await main(["serve", ...Deno.args]));
