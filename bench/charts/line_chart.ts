import { linearScale } from "./linear_scale.ts";
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
  const heights = linearScale(Math.max(...points.map(({ y }) => y)), area.bottom, area.top);

  const elements = [
    svgText(20, 30, title, "title"),
    ...svgLegend(series.map(({ name }) => name), 20, 58),
    ...heights.steps.flatMap((step) => [
      svgLine(area.left, heights.position(step), area.right, heights.position(step), "grid"),
      svgText(area.left - 10, heights.position(step) + 4, String(round(step * 100) / 100), "quiet end"),
    ]),
    ...scale.powers.map((power) => {
      return svgText(scale.position(power), area.bottom + 24, shortNumber(power), "quiet middle");
    }),
    ...series.flatMap(({ points }, index) => {
      const path = points.map(({ x, y }) => `${round(scale.position(x))},${round(heights.position(y))}`).join(" ");
      return [
        `<polyline points="${path}" class="line line${index}"/>`,
        ...points.map(({ x, y }) => svgMark(index, scale.position(x), heights.position(y))),
      ];
    }),
  ];
  return svgDocument(width, height, title, elements);
}
