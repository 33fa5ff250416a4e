import type { LoadResult } from "./load/request.ts";
import type { Scenario } from "./scenarios.ts";

/** What came of one scenario on one broker. */
export interface Measurement {
  broker: string;
  /** In the order in which they ran; a round that failed is not among them. */
  rounds: LoadResult[];
  /** Why a round failed. */
  error?: string;
  /** Each figure's median over the rounds, and what the worst of them lost; absent where a round failed. */
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
    for (const other of others) other.ratio = first.median!.messagesPerSecond / other.median!.messagesPerSecond;
  }
  return { scenario, measurements };
}

/** Whether every round was carried out, and every message arrived. */
export function isComplete({ median }: Measurement): boolean {
  return median?.lost === 0;
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
p50/99  time from before the write to after the read of a message, in paced scenarios
ratio   messages of the first broker for each one of this broker`;

const columnWidths = [24, -11, -13, -6, -13, -6, -8, -9, -9, -8];

function row(cells: string[]): string {
  return cells.map((cell, index) => {
    const width = columnWidths[index];
    return width < 0 ? cell.padStart(-width) : cell.padEnd(width);
  }).join("").trimEnd();
}

function medianResult(rounds: LoadResult[]): LoadResult {
  const middle = (figure: (round: LoadResult) => number | undefined) => median(rounds.map(figure));
  return {
    messagesPerSecond: middle((round) => round.messagesPerSecond)!,
    brokerCpuPercent: middle((round) => round.brokerCpuPercent),
    generatorCpuPercent: middle((round) => round.generatorCpuPercent),
    brokerResidentMegabytes: middle((round) => round.brokerResidentMegabytes),
    lost: rounds.map(({ lost }) => lost).reduce((worst, lost) => Math.abs(lost) > Math.abs(worst) ? lost : worst),
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

function messageRate({ lost, messagesPerSecond }: LoadResult): string {
  if (lost === 0) return thousands(messagesPerSecond);
  return lost > 0 ? `LOST ${thousands(lost)}` : `EXTRA ${thousands(-lost)}`;
}

function messagesPerCpuSecond({ messagesPerSecond, brokerCpuPercent }: LoadResult): string {
  return brokerCpuPercent ? thousands(messagesPerSecond / brokerCpuPercent * 100) : "-";
}

function thousands(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function withUnit(value: number | undefined, digits: number, unit: string): string {
  return value === undefined ? "-" : value.toFixed(digits) + unit;
}
