import { thousands } from "../cli/bench/summary.ts";
import { barChart } from "./charts/bar_chart.ts";
import { dotPlot } from "./charts/dot_plot.ts";
import { lineChart } from "./charts/line_chart.ts";
import type { Machine } from "./machine.ts";
import type { MemoryFigure } from "./memory.ts";
import { outputOf } from "./output_of.ts";
import { cells, columns, generatorIsLimit, type Measurement, type ScenarioReport } from "./report.ts";
import { growth, type ScalingFigure } from "./scaling.ts";
import { type SuiteName, suites } from "./scenarios.ts";

/** Everything that one run of the bench has found. */
export interface Results {
  /** Of the day on which it ended, e.g. `2026-01-31`. */
  date: string;
  command: string;
  machine: Machine;
  /** Of each broker. */
  versions: Record<string, string>;
  options: { rounds: number; seconds: number; warmUp: number };
  reports: ScenarioReport[];
  memory: MemoryFigure[];
  scaling: ScalingFigure[];
}

/** Messages and connections are not on one chart. */
const chartedSuites: SuiteName[] = ["throughput", "payload", "mqtt5", "routing", "security"];

/** Writes `RESULTS.md` into the directory, and its charts into `results/` below it, formatted as all files here are. */
export async function writeResults(results: Results, directory: string): Promise<void> {
  const files = {
    "RESULTS.md": markdown(results),
    ...Object.fromEntries(Object.entries(charts(results)).map(([name, svg]) => [`results/${name}.svg`, svg])),
  };
  await Deno.mkdir(`${directory}/results`, { recursive: true });
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${directory}/${name}`, text);
  await outputOf(Deno.execPath(), ["fmt", "--quiet", ...Object.keys(files).map((name) => `${directory}/${name}`)]);
}

function charts(results: Results): Record<string, string> {
  return {
    ...(comparedReports(results).length > 0 && { comparison: comparisonChart(results) }),
    ...(chartedReports(results).length > 0 && { throughput: throughputChart(results) }),
    ...(results.scaling.length > 0 && { scaling: scalingChart(results) }),
  };
}

function chartedReports({ reports }: Results): ScenarioReport[] {
  return reports.filter(({ scenario, measurements }) => {
    return chartedSuites.includes(scenario.suite) && measurements.some(({ median }) => median !== undefined);
  });
}

/** Those that show best what brokers differ in: the suite throughput, where at least two brokers were measured. */
function comparedReports({ reports }: Results): ScenarioReport[] {
  return reports.filter(({ scenario, measurements }) => {
    return scenario.suite === "throughput" && measurements.length > 1 &&
      measurements.slice(0, 2).every(({ median }) => median !== undefined);
  });
}

/** All brokers as multiples of the second one. */
function comparisonChart(results: Results): string {
  const series = Object.keys(results.versions);
  return barChart({
    title: `Messages delivered per second, as multiples of ${series[1]}`,
    subtitle: "Publishers -> subscribers, 64 bytes, MQTT 3.1.1; ≥ and ≤ where the load generator was the limit",
    series,
    reference: 1,
    rows: comparedReports(results).map(({ scenario, measurements }) => ({
      name: scenario.name,
      bars: measurements.map((measurement, index) => index === 1 ? undefined : bar(measurement, measurements[1])),
    })),
  });
}

/** A broker as a multiple of another one. Those whom the load generator has limited could have delivered more. */
function bar(
  { median }: Measurement,
  { median: reference }: Measurement,
): { value: number; label: string } | undefined {
  if (median === undefined) return undefined;
  const value = median.deliveredPerSecond / reference!.deliveredPerSecond;
  const isLimited = generatorIsLimit(median);
  if (isLimited === generatorIsLimit(reference!)) return { value, label: `${value.toFixed(1)}x` };
  return { value, label: `${isLimited ? "≥" : "≤"} ${value.toFixed(1)}x` };
}

function throughputChart(results: Results): string {
  const series = Object.keys(results.versions);
  return dotPlot({
    title: "Messages delivered per second (logarithmic)",
    series,
    noteTitle: `${series[0]} : next`,
    rows: chartedReports(results).map(({ scenario, measurements }) => {
      const ratios = measurements.flatMap(({ ratio }) => ratio ?? []);
      return {
        name: scenario.name,
        values: measurements.map(({ median }) => median?.deliveredPerSecond),
        note: ratios.length === 0 ? "" : `${Math.min(...ratios).toFixed(1)}x`,
      };
    }),
  });
}

function scalingChart({ scaling }: Results): string {
  return lineChart({
    title: "Microseconds of CPU for each message, with so many of these on the broker",
    series: dimensionsOf(scaling).map(({ name, figures }) => ({
      name,
      points: figures.map(({ count, microseconds }) => ({ x: count, y: microseconds })),
    })),
  });
}

function markdown(results: Results): string {
  const { date, command, machine, versions, options } = results;
  const pinned = machine.pinned ? "broker on core 0, load generator on core 1" : "broker and load generator not pinned";
  return [
    "# Results",
    "",
    "Written by the bench; what the figures mean and how they come about is in [README.md](README.md).",
    "",
    `- Command: \`${command}\`, ${date}`,
    `- Rounds: ${options.rounds} of ${options.seconds} s after ${options.warmUp} s of warm-up, interleaved; medians`,
    `- Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGigabytes} GB; ${machine.system}; ${pinned}`,
    ...Object.entries(versions).map(([name, version]) => `- ${name}: ${version}`),
    "",
    ...(comparedReports(results).length > 0
      ? [`![As multiples of ${Object.keys(versions)[1]}](results/comparison.svg)`, ""]
      : []),
    ...(chartedReports(results).length > 0 ? ["![Messages per second](results/throughput.svg)", ""] : []),
    ...suiteSections(results),
    ...memorySection(results),
    ...scalingSection(results),
  ].join("\n").trimEnd() + "\n";
}

function suiteSections({ reports }: Results): string[] {
  return Object.entries(suites).flatMap(([suite, title]) => {
    const members = reports.filter(({ scenario }) => scenario.suite === suite);
    if (members.length === 0) return [];
    return [`## ${title}`, "", ...markdownTable(columns, members.flatMap(cells)), ""];
  });
}

function memorySection({ memory, versions }: Results): string[] {
  if (memory.length === 0) return [];
  const brokers = Object.keys(versions);
  const rows = [...new Set(memory.map(({ item }) => item))].map((item) => {
    const figures = memory.filter((figure) => figure.item === item);
    return [
      `${item} (of ${thousands(figures[0].count)})`,
      ...brokers.map((name) => memoryCell(figures.find(({ broker }) => broker === name))),
    ];
  });
  return ["## Memory for each", "", ...markdownTable(["bytes of resident memory", ...brokers], rows), ""];
}

/** The figure as it stands in a table. */
export function memoryCell(figure: MemoryFigure | undefined): string {
  if (figure?.bytes === undefined) return figure?.error === undefined ? "-" : `FAILED: ${figure.error}`;
  return thousands(figure.bytes);
}

function scalingSection({ scaling }: Results): string[] {
  if (scaling.length === 0) return [];
  const dimensions = dimensionsOf(scaling);
  const rows = dimensions.map(({ name, figures }) => [
    name,
    figures.map(({ count, microseconds }) => `${thousands(count)}: ${microseconds.toFixed(2)}`).join(", "),
    `${growth(figures).toFixed(2)}x`,
  ]);
  const header = ["on the broker", "how many: microseconds of CPU for each message", "most : least"];
  return [
    "## Cost of a message beside what it has nothing to do with",
    "",
    "![Cost of a message](results/scaling.svg)",
    "",
    "There are as many connections as the system lets a process have open files (`ulimit -Hn`).",
    "",
    ...markdownTable(header, rows),
    "",
  ];
}

/** The figures of each dimension, in the order in which they were measured. */
export function dimensionsOf(scaling: ScalingFigure[]): { name: string; figures: ScalingFigure[] }[] {
  return [...Map.groupBy(scaling, ({ dimension }) => dimension)].map(([name, figures]) => ({ name, figures }));
}

/** Numbers are aligned to the right. */
function markdownTable(header: string[], rows: string[][]): string[] {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const filled = rows.map((row) => header.map((_, index) => row[index] ?? ""));
  const isNumeric = (index: number) => rows.some((row) => /^[\d,.]+( %| % !| MB| ms|x)?$/.test(row[index] ?? ""));
  return [line(header), line(header.map((_, index) => isNumeric(index) ? "---:" : "---")), ...filled.map(line)];
}
