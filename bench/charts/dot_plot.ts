import { logarithmicScale, shortNumber } from "./logarithmic_scale.ts";
import { svgDocument, svgLegend, svgLine, svgMark, svgText } from "./svg.ts";

/** A chart with a row for each thing that was measured, and in it a mark for each series. */
export interface DotPlot {
  title: string;
  series: string[];
  /** What stands above the notes. */
  noteTitle: string;
  rows: DotPlotRow[];
}

/** A row of a {@linkcode DotPlot}. */
export interface DotPlotRow {
  name: string;
  /** For each series; undefined where it has none. */
  values: (number | undefined)[];
  /** What stands at the end of the row. */
  note: string;
}

const width = 960;
const left = 240;
const right = width - 130;
const legendY = 56;
const top = 92;
const rowHeight = 24;

/** Draws the chart as an SVG file, on a logarithmic axis. */
export function dotPlot({ title, series, noteTitle, rows }: DotPlot): string {
  const bottom = top + rows.length * rowHeight;
  const scale = logarithmicScale(rows.flatMap(({ values }) => values.filter(isNumber)), left, right);
  const elements = [
    svgText(20, 30, title, "title"),
    ...svgLegend(series, 20, legendY),
    svgText(width - 20, legendY, noteTitle, "quiet end"),
    ...scale.powers.flatMap((power) => [
      svgLine(scale.position(power), top - 4, scale.position(power), bottom, "grid"),
      svgText(scale.position(power), top - 12, shortNumber(power), "quiet middle"),
    ]),
    ...rows.flatMap((row, index) => drawRow(row, top + (index + 0.5) * rowHeight, scale.position)),
  ];
  return svgDocument(width, bottom + 16, title, elements);
}

function drawRow({ name, values, note }: DotPlotRow, y: number, position: (value: number) => number): string[] {
  const positions = values.filter(isNumber).map(position);
  return [
    svgText(left - 16, y + 4, name, "end"),
    svgLine(Math.min(...positions), y, Math.max(...positions), y, "link"),
    // The first series is drawn last: it lies above the others.
    ...values.map((value, series) => value === undefined ? "" : svgMark(series, position(value), y)).reverse(),
    svgText(width - 20, y + 4, note, "end"),
  ].filter((element) => element !== "");
}

function isNumber(value: number | undefined): value is number {
  return value !== undefined;
}
