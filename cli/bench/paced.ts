import type { Group } from "./groups.ts";

/** Options of {@linkcode startPaced}. */
export interface PacedOptions {
  /** Messages a second, of all groups together. */
  rate: number;
  /** Ends the publishing. */
  signal: AbortSignal;
}

/**
 * Publishes at a steady rate, whatever the broker does: each millisecond what is due, from one group after the other. Only
 * a publisher that has as many messages in flight as the broker takes holds up the others.
 *
 * @throws {Error} When a connection ends.
 */
export function startPaced(groups: Group[], { rate, signal }: PacedOptions): Promise<never> {
  const start = performance.now();
  let published = 0;
  const timer = setInterval(() => {
    const due = Math.floor((performance.now() - start) / 1000 * rate);
    for (; published < due; published++) {
      const group = groups[published % groups.length];
      const publisher = group.publishers[group.published % group.publishers.length];
      if (!publisher.ready) return;
      publisher.publish();
      group.published++;
    }
  }, 1);
  signal.addEventListener("abort", () => clearInterval(timer));
  const clients = groups.flatMap(({ publishers, subscribers }) => [...publishers, ...subscribers]);
  return Promise.race(clients.map((client) => client.receive(() => {})));
}
