const DEADLINE = 10_000;
const INTERVAL = 5;

/** Waits until `check` is true. For what the broker tells nobody; where there is a packet or a hook, wait for that. */
export async function eventually(check: () => boolean, awaited: string): Promise<void> {
  const end = performance.now() + DEADLINE;
  while (!check()) {
    if (performance.now() > end) throw new Error(`awaited ${awaited}: it is not so after ${DEADLINE} ms`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL));
  }
}
