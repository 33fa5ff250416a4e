import { linearScale } from "./linear_scale.ts";
import { round, svgBar, svgDocument, svgLegend, svgLine, svgText } from "./svg.ts";

/** A chart with bars from left to right, a row for each thing that was measured, and in it a bar for each series. */
export interface BarChart {
  title: string;
  /** What stands below the title. */
  subtitle: string;
  series: string[];
  /** The series that has no bars, since it is 1 in every row: a line. */
  reference: number;
  rows: BarChartRow[];
}

/** A row of a {@linkcode BarChart}. */
export interface BarChartRow {
  name: string;
  /** For each series; undefined where it has no bar. */
  bars: ({ value: number; label: string } | undefined)[];
}

const width = 760;
const left = 150;
const right = width - 60;
const legendY = 80;
const top = 116;
const barHeight = 10;
const rowGap = 10;

/** Draws the chart as an SVG file, on a linear axis that starts at 0. */
export function barChart({ title, subtitle, series, reference, rows }: BarChart): string {
  const rowHeight = (series.length - 1) * barHeight + rowGap;
  const bottom = top + rows.length * rowHeight;
  const values = rows.flatMap(({ bars }) => bars.flatMap((bar) => bar?.value ?? []));
  const scale = linearScale(Math.max(1, ...values), left, right);
  const elements = [
    svgText(20, 30, title, "title"),
    svgText(20, 52, subtitle, "quiet"),
    ...svgLegend(series, 20, legendY),
    ...scale.steps.flatMap((step) => [
      svgLine(scale.position(step), top - 4, scale.position(step), bottom, "grid"),
      svgText(scale.position(step), top - 10, `${round(step)}x`, "quiet middle"),
    ]),
    ...rows.flatMap(({ name, bars }, index) => {
      const rowTop = top + index * rowHeight + rowGap / 2;
      const drawn = bars.flatMap((bar, index) => bar === undefined ? [] : { ...bar, index });
      return [
        svgText(left - 12, rowTop + (rowHeight - rowGap) / 2 + 4, name, "end"),
        ...drawn.flatMap(({ value, label, index }, position) => {
          const y = rowTop + position * barHeight;
          const end = scale.position(value);
          return [svgBar(index, left, y, end, y + barHeight), svgText(end + 5, y + barHeight - 1, label, "small")];
        }),
      ];
    }),
    svgLine(scale.position(1), top - 4, scale.position(1), bottom, `line line${reference}`),
  ];
  return svgDocument(width, bottom + 16, title, elements);
}
