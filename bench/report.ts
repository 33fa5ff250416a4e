import type { LoadResult } from "../cli/bench/load.ts";
import { thousands } from "../cli/bench/summary.ts";
import type { Scenario } from "./scenarios.ts";

/** What came of one scenario on one broker. */
export interface Measurement {
  broker: string;
  /** In the order in which they ran; a round that failed is not among them. */
  rounds: LoadResult[];
  /** Why a round failed. */
  error?: string;
  /** Each figure's median over the rounds, and the most that one lost or got twice; absent where a round failed. */
  median?: LoadResult;
  /** How many messages the first broker delivered for each one of this broker. */
  ratio?: number;
}

/** What came of one scenario, broker by broker. */
export interface ScenarioReport {
  scenario: Scenario;
  measurements: Measurement[];
}

/** What came of one scenario on one broker, round by round. */
export type Rounds = Pick<Measurement, "broker" | "rounds" | "error">;

/** Combines the rounds of each broker, and compares the brokers with the first of them. */
export function summarize(scenario: Scenario, brokers: Rounds[]): ScenarioReport {
  const measurements: Measurement[] = brokers.map((broker) => ({
    ...broker,
    median: broker.error === undefined ? medianResult(broker.rounds) : undefined,
  }));
  const [first, ...others] = measurements.filter(isComplete);
  if (first === measurements[0]) {
    for (const other of others) other.ratio = first.median!.deliveredPerSecond / other.median!.deliveredPerSecond;
  }
  return { scenario, measurements };
}

/** Whether every round was carried out, and every message arrived. */
export function isComplete({ median }: Measurement): boolean {
  return median?.lost === 0 && median.duplicates === 0;
}

/** The heading of the table that {@linkcode rows} fills. */
export function heading(): string {
  return row(["scenario", "broker", "msg/s", "CPU", "msg/CPU s", "load", "RSS", "p50", "p99", "ratio"]);
}

/** The lines of the table for one scenario. */
export function rows({ scenario, measurements }: ScenarioReport): string {
  return measurements.map((measurement, index) => {
    const { broker, error, median, ratio } = measurement;
    const names = [index === 0 ? scenario.name : "", broker];
    if (median === undefined) return `${row(names)}  FAILED: ${error}`;
    return row([
      ...names,
      messageRate(median),
      withUnit(median.brokerCpuPercent, 0, "%"),
      messagesPerCpuSecond(median),
      withUnit(median.generatorCpuPercent, 0, "%"),
      withUnit(median.brokerResidentMegabytes, 0, " MB"),
      withUnit(median.latency?.p50Milliseconds, 2, " ms"),
      withUnit(median.latency?.p99Milliseconds, 2, " ms"),
      withUnit(ratio, 2, "x"),
    ]);
  }).join("\n");
}

/** What the columns mean. */
export const legend = `
msg/s   deliveries to subscribers per second; LOST: deliveries that never came; EXTRA: those that came too often
CPU     of the broker, in percent of one core; msg/CPU s: deliveries per second of it
load    CPU of the load generator; near 100 %, while the broker's is not, it is the load generator that is measured;
        where neither is near 100 % in a closed loop, something else needs the cores
RSS     resident memory of the broker at the end
p50/99  time from before the write to after the read of a message; unless paced, the broker's queues are always full
ratio   messages of the first broker for each one of this broker`;

const columnWidths = [24, -11, -13, -6, -13, -6, -8, -12, -12, -8];

function row(cells: string[]): string {
  return cells.map((cell, index) => {
    const width = columnWidths[index];
    return width < 0 ? cell.padStart(-width) : cell.padEnd(width);
  }).join("").trimEnd();
}

function medianResult(rounds: LoadResult[]): LoadResult {
  const middle = (figure: (round: LoadResult) => number | undefined) => median(rounds.map(figure));
  return {
    sentPerSecond: middle((round) => round.sentPerSecond)!,
    deliveredPerSecond: middle((round) => round.deliveredPerSecond)!,
    lost: Math.max(...rounds.map(({ lost }) => lost)),
    duplicates: Math.max(...rounds.map(({ duplicates }) => duplicates)),
    brokerCpuPercent: middle((round) => round.brokerCpuPercent),
    generatorCpuPercent: middle((round) => round.generatorCpuPercent),
    brokerResidentMegabytes: middle((round) => round.brokerResidentMegabytes),
    latency: rounds[0].latency && {
      p50Milliseconds: middle((round) => round.latency?.p50Milliseconds)!,
      p99Milliseconds: middle((round) => round.latency?.p99Milliseconds)!,
    },
  };
}

/** The middle value, or the mean of the two in the middle; undefined where a value is. */
function median(values: (number | undefined)[]): number | undefined {
  if (values.includes(undefined)) return undefined;
  const sorted = Float64Array.from(values as number[]).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function messageRate({ lost, duplicates, deliveredPerSecond }: LoadResult): string {
  if (lost > 0) return `LOST ${thousands(lost)}`;
  return duplicates > 0 ? `EXTRA ${thousands(duplicates)}` : thousands(deliveredPerSecond);
}

function messagesPerCpuSecond({ deliveredPerSecond, brokerCpuPercent }: LoadResult): string {
  return brokerCpuPercent ? thousands(deliveredPerSecond / brokerCpuPercent * 100) : "-";
}

function withUnit(value: number | undefined, digits: number, unit: string): string {
  return value === undefined ? "-" : value.toFixed(digits) + unit;
}
