import { readProcessStats } from "./process_stats.ts";

/** Something that is counted while a load runs. */
export interface Counts {
  published: number;
  delivered: number;
  subscribed?: number;
}

/** What a stretch of time came to. */
export interface StretchFigures {
  sentPerSecond: number;
  deliveredPerSecond: number;
  subscribesPerSecond?: number;
  generatorCpuPercent?: number;
  brokerCpuPercent?: number;
  brokerResidentMegabytes?: number;
}

/** Begins a stretch of time; the function that it returns ends it, and says what it came to. */
export function beginStretch(counts: () => Counts, brokerPid: number | undefined): () => StretchFigures {
  const before = snapshot(counts, brokerPid);
  return () => {
    const after = snapshot(counts, brokerPid);
    const elapsed = after.seconds - before.seconds;
    const perSecond = (start?: number, end?: number) =>
      start === undefined || end === undefined ? undefined : (end - start) / elapsed;
    const cpuPercent = (start?: number, end?: number) => {
      const share = perSecond(start, end);
      return share === undefined ? undefined : share * 100;
    };
    return {
      sentPerSecond: (after.published - before.published) / elapsed,
      deliveredPerSecond: (after.delivered - before.delivered) / elapsed,
      subscribesPerSecond: perSecond(before.subscribed, after.subscribed),
      generatorCpuPercent: cpuPercent(before.generator?.cpuSeconds, after.generator?.cpuSeconds),
      brokerCpuPercent: cpuPercent(before.broker?.cpuSeconds, after.broker?.cpuSeconds),
      brokerResidentMegabytes: after.broker && after.broker.residentBytes / 2 ** 20,
    };
  };
}

function snapshot(counts: () => Counts, brokerPid: number | undefined) {
  return {
    seconds: performance.now() / 1000,
    ...counts(),
    broker: brokerPid === undefined ? undefined : readProcessStats(brokerPid),
    generator: readProcessStats(Deno.pid),
  };
}
