import { logarithmicScale, shortNumber } from "./logarithmic_scale.ts";
import { round, svgDocument, svgLegend, svgLine, svgMark, svgText } from "./svg.ts";

/** A chart with a line for each series. */
export interface LineChart {
  title: string;
  series: { name: string; points: { x: number; y: number }[] }[];
}

const width = 760;
const height = 380;
const area = { left: 70, right: width - 30, top: 86, bottom: height - 44 };

/** Draws the chart as an SVG file: a logarithmic axis from left to right, a linear one that starts at 0 upwards. */
export function lineChart({ title, series }: LineChart): string {
  const points = series.flatMap(({ points }) => points);
  const scale = logarithmicScale(points.map(({ x }) => x), area.left, area.right);
  const step = niceStep(Math.max(...points.map(({ y }) => y)));
  const steps = Math.ceil(Math.max(...points.map(({ y }) => y)) * 1.1 / step);
  const yOf = (value: number) => area.bottom - value / (steps * step) * (area.bottom - area.top);

  const elements = [
    svgText(20, 30, title, "title"),
    ...svgLegend(series.map(({ name }) => name), 20, 58),
    ...Array.from({ length: steps + 1 }, (_, index) => index * step).flatMap((value) => [
      svgLine(area.left, yOf(value), area.right, yOf(value), "grid"),
      svgText(area.left - 10, yOf(value) + 4, String(round(value * 100) / 100), "quiet end"),
    ]),
    ...scale.powers.map((power) => {
      return svgText(scale.position(power), area.bottom + 24, shortNumber(power), "quiet middle");
    }),
    ...series.flatMap(({ points }, index) => {
      const path = points.map(({ x, y }) => `${round(scale.position(x))},${round(yOf(y))}`).join(" ");
      return [
        `<polyline points="${path}" class="line line${index}"/>`,
        ...points.map(({ x, y }) => svgMark(index, scale.position(x), yOf(y))),
      ];
    }),
  ];
  return svgDocument(width, height, title, elements);
}

/** A distance of grid lines that is 1, 2 or 5 times a power of ten, for some five of them. */
function niceStep(largest: number): number {
  const power = 10 ** Math.floor(Math.log10(largest / 5));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => largest / step <= 6)!;
}
