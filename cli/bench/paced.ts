import type { Group } from "./groups.ts";

/** Options of {@linkcode startPaced}. */
export interface PacedOptions {
  /** Messages a second, of all groups together. */
  rate: number;
  /** Ends the publishing. */
  signal: AbortSignal;
  /** Called for every delivery with the time since just before its message was written. */
  onLatency: (milliseconds: number) => void;
}

/** Publishes at a steady rate, whatever the broker does: each millisecond what is due, from one group after the other. */
export function startPaced(groups: Group[], { rate, signal, onLatency }: PacedOptions): void {
  for (const { publishers, subscribers } of groups) {
    for (const publisher of publishers) publisher.receive(() => {});
    for (const subscriber of subscribers) {
      subscriber.receiveStamped((timestamp) => onLatency(performance.now() - timestamp));
    }
  }

  const start = performance.now();
  let published = 0;
  const timer = setInterval(() => {
    const due = Math.floor((performance.now() - start) / 1000 * rate);
    while (published < due) {
      const group = groups[published % groups.length];
      const publisher = group.publishers[group.published % group.publishers.length];
      publisher.publishStamped(performance.now());
      group.published += publisher.batch;
      published += publisher.batch;
    }
  }, 1);
  signal.addEventListener("abort", () => clearInterval(timer));
}
