import type { Histogram } from "prom-client";

/** Time between two samples, in milliseconds. */
const INTERVAL = 200;

/**
 * Observes how late the event loop comes to a timer: as long has everything else had to wait that became due then.
 * Returns a function that ends it.
 */
export function observeEventLoopDelay(histogram: Histogram): () => void {
  let timer: ReturnType<typeof setTimeout>;
  wait();
  return () => clearTimeout(timer);

  function wait(): void {
    const due = performance.now() + INTERVAL;
    timer = setTimeout(() => {
      histogram.observe(Math.max(0, performance.now() - due) / 1000);
      wait();
    }, INTERVAL);
    Deno.unrefTimer(timer);
  }
}
