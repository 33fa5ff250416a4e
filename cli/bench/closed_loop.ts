import type { Group } from "./groups.ts";
import type { Publisher } from "./publisher.ts";

/**
 * Keeps a group as busy as the broker lets it: a publisher sends its next batch as soon as that leaves no subscriber
 * further behind than all publishers' windows together. So the broker always has work, and a bounded amount of it.
 *
 * @throws {Error} When a connection ends.
 */
export function startClosedLoop(group: Group, signal: AbortSignal): Promise<never> {
  const { publishers, subscribers } = group;
  const window = publishers.reduce((sum, publisher) => sum + publisher.window, 0);
  let turn = 0;
  let advancing = false;

  /** Once for everything that has come at one time. */
  function advanceSoon(): void {
    if (!advancing) queueMicrotask(advance);
    advancing = true;
  }

  function advance(): void {
    advancing = false;
    if (signal.aborted) return;
    let credit = window - (group.published - group.arrived);
    for (let publisher = nextReady(); publisher && publisher.batch <= credit; publisher = nextReady()) {
      publisher.publish();
      group.published += publisher.batch;
      credit -= publisher.batch;
      turn = (turn + 1) % publishers.length;
    }
  }

  /** The publisher whose turn it is, or the first after it that has room in its window. */
  function nextReady(): Publisher | undefined {
    for (let skipped = 0; skipped < publishers.length; skipped++) {
      if (publishers[turn].ready) return publishers[turn];
      turn = (turn + 1) % publishers.length;
    }
    return undefined;
  }

  // Acknowledgements are waited for; a late count of QoS 0 messages is made up for by the window.
  const unhurried = publishers.every(({ qos }) => qos === 0);
  const ends = [
    ...subscribers.map((subscriber) => subscriber.receive(advanceSoon, { unhurried })),
    ...publishers.map((publisher) => publisher.receive(advanceSoon)),
  ];
  advance();
  return Promise.race(ends);
}
