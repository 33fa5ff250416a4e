import type { LoadResult } from "../cli/bench/load.ts";
import { busyPercent, thousands } from "../cli/bench/summary.ts";
import { medianIfAll } from "./median.ts";
import { perCpuSecond } from "./per_cpu_second.ts";
import type { Scenario } from "./scenarios.ts";

/** What came of one scenario on one broker. */
export interface Measurement {
  broker: string;
  /** In the order in which they ran; a round that failed is not among them. */
  rounds: LoadResult[];
  /** Whether the broker does not have what the scenario asks for. */
  lacking?: boolean;
  /** Why a round failed. */
  error?: string;
  /** Each figure's median over the rounds, and the most that one lost or got twice; absent where a round failed. */
  median?: LoadResult;
  /** How many messages the first broker delivered for each one of this broker. */
  ratio?: number;
  /** How many messages the first broker delivered with a second on a core for each one of this broker. */
  cpuRatio?: number;
}

/** What came of one scenario, broker by broker. */
export interface ScenarioReport {
  scenario: Scenario;
  measurements: Measurement[];
}

/** What came of one scenario on one broker, round by round. */
export type Rounds = Pick<Measurement, "broker" | "rounds" | "lacking" | "error">;

/** Combines the rounds of each broker, and compares the brokers with the first of them. */
export function summarize(scenario: Scenario, brokers: Rounds[]): ScenarioReport {
  const measurements: Measurement[] = brokers.map((broker) => ({
    ...broker,
    median: broker.error === undefined && !broker.lacking ? medianResult(broker.rounds) : undefined,
  }));
  const [first, ...others] = measurements;
  if (isComplete(first)) {
    for (const other of others.filter((other) => !other.lacking && isComplete(other))) {
      other.ratio = first.median!.deliveredPerSecond / other.median!.deliveredPerSecond;
      const [cpuOfFirst, cpuOfOther] = [efficiency(first.median!), efficiency(other.median!)];
      if (cpuOfFirst !== undefined && cpuOfOther !== undefined) other.cpuRatio = cpuOfFirst / cpuOfOther;
    }
  }
  return { scenario, measurements };
}

/** Whether every round was carried out, and every message arrived; nothing is wrong with a broker that lacks something. */
export function isComplete({ lacking, median }: Measurement): boolean {
  return lacking === true || (median?.lost === 0 && median.duplicates === 0);
}

/** The names of the columns of {@linkcode cells}. */
export const columns = ["scenario", "broker", "msg/s", "CPU", "msg/CPU s", "load", "RSS", "p50", "p99"].concat(
  ["ratio", "per CPU"],
);

/** A row of the table for each broker. */
export function cells({ scenario, measurements }: ScenarioReport): string[][] {
  return measurements.map((measurement, index) => {
    const { broker, lacking, error, median, ratio, cpuRatio } = measurement;
    const names = [index === 0 ? scenario.name : "", broker];
    if (lacking) return [...names, "does not have it"];
    if (median === undefined) return [...names, `FAILED: ${error}`];
    return [
      ...names,
      messageRate(median, scenario),
      withUnit(median.brokerCpuPercent, 0, " %"),
      thousandsOf(efficiency(median)),
      withUnit(median.generatorCpuPercent, 0, " %") + (generatorIsLimit(median) ? " !" : ""),
      withUnit(median.brokerResidentMegabytes, 0, " MB"),
      withUnit(median.latency?.p50Milliseconds, 2, " ms"),
      withUnit(median.latency?.p99Milliseconds, 2, " ms"),
      withUnit(ratio, 2, "x"),
      withUnit(cpuRatio, 2, "x"),
    ];
  });
}

/** What the columns mean. */
export const legend = `
msg/s     deliveries to subscribers per second, or connections; LOST: deliveries that never came; EXTRA: those that came
          too often
CPU       of the broker, in percent of one core; msg/CPU s: deliveries per second of it
load      CPU of the load generator; "!": it is busy and the broker is not, so msg/s is what the load generator can do;
          where neither is busy in a closed loop, something else needs the cores
RSS       resident memory of the broker at the end
p50, p99  time from before the write to after the read of a message; unless paced, the broker's queues are always full
ratio     messages of the first broker for each one of this broker; per CPU: the same for each second on a core`;

/** Deliveries for each second that the broker spent on a core; undefined where that is not known. */
function efficiency({ deliveredPerSecond, brokerCpuPercent }: LoadResult): number | undefined {
  return perCpuSecond(deliveredPerSecond, brokerCpuPercent);
}

function medianResult(rounds: LoadResult[]): LoadResult {
  const middle = (figure: (round: LoadResult) => number | undefined) => medianIfAll(rounds.map(figure));
  return {
    sentPerSecond: middle((round) => round.sentPerSecond)!,
    deliveredPerSecond: middle((round) => round.deliveredPerSecond)!,
    subscribesPerSecond: middle((round) => round.subscribesPerSecond),
    lost: Math.max(...rounds.map(({ lost }) => lost)),
    duplicates: Math.max(...rounds.map(({ duplicates }) => duplicates)),
    brokerCpuPercent: middle((round) => round.brokerCpuPercent),
    generatorCpuPercent: middle((round) => round.generatorCpuPercent),
    brokerResidentMegabytes: middle((round) => round.brokerResidentMegabytes),
    latency: rounds.every(({ latency }) => latency !== undefined)
      ? {
        p50Milliseconds: middle((round) => round.latency?.p50Milliseconds)!,
        p99Milliseconds: middle((round) => round.latency?.p99Milliseconds)!,
      }
      : undefined,
  };
}

function messageRate(result: LoadResult, { load }: Scenario): string {
  const { lost, duplicates, deliveredPerSecond, subscribesPerSecond } = result;
  if (lost > 0) return `LOST ${thousands(lost)}`;
  if (duplicates > 0) return `EXTRA ${thousands(duplicates)}`;
  // Where a broker does not keep up with the storm, its messages had less of it beside them.
  const calm = load.storm !== undefined && subscribesPerSecond! < load.storm * 0.95;
  return thousands(deliveredPerSecond) + (calm ? ` (${thousands(subscribesPerSecond!)} subscribes/s)` : "");
}

/** Whether the load generator had no time left while the broker had. */
export function generatorIsLimit({ generatorCpuPercent = 0, brokerCpuPercent = 100 }: LoadResult): boolean {
  return generatorCpuPercent >= busyPercent && brokerCpuPercent < busyPercent;
}

function thousandsOf(value: number | undefined): string {
  return value === undefined ? "-" : thousands(value);
}

function withUnit(value: number | undefined, digits: number, unit: string): string {
  return value === undefined ? "-" : value.toFixed(digits) + unit;
}
