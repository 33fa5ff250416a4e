/** Carries out a load and ends its process: whatever goes wrong ends it at once, with one line on standard error. */
export async function runLoadProcess(run: () => Promise<void>): Promise<never> {
  // The clients read in the background: when one of their connections fails, that is where it shows.
  addEventListener("unhandledrejection", (event) => fail(event.reason));
  await run().catch(fail);
  Deno.exit(0);
}

function fail(error: unknown): never {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}
