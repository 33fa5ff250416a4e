/** Colours of the series of a chart, in their order, on a light and on a dark ground. */
const seriesColors = [
  { light: "#1d6fd8", dark: "#62a6f8" },
  { light: "#c2560c", dark: "#f09a55" },
  { light: "#0f8a64", dark: "#4ecfa4" },
  { light: "#8a4bc7", dark: "#c093f0" },
];

const style = `
  .ground { fill: #ffffff } text { fill: #24292f; font: 13px system-ui, sans-serif } .quiet { fill: #57606a } .small { font-size: 11px }
  .title { font-weight: 600; font-size: 15px } .end { text-anchor: end } .middle { text-anchor: middle }
  .grid { stroke: #d8dee4; fill: none } .link { stroke: #afb8c1; stroke-width: 2; fill: none } .line { stroke-width: 2; fill: none }
${seriesColors.map(({ light }, index) => colorRules(index, light)).join("\n")}
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9da7b1 } .grid { stroke: #30363d } .link { stroke: #57606a }
${seriesColors.map(({ dark }, index) => colorRules(index, dark)).join("\n")}
  }
`;

/** An SVG file with a ground of its own, so that it can be read on a light and on a dark page. */
export function svgDocument(width: number, height: number, description: string, elements: string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(description)}</title>`,
    `<style>${style}</style>`,
    `<rect class="ground" width="${width}" height="${height}" rx="6"/>`,
    ...elements,
    "</svg>",
    "",
  ].join("\n");
}

/** A text whose classes are those of the style. */
export function svgText(x: number, y: number, text: string, classes = ""): string {
  return `<text x="${round(x)}" y="${round(y)}" class="${classes}">${escaped(text)}</text>`;
}

/** A straight line. */
export function svgLine(x1: number, y1: number, x2: number, y2: number, classes: string): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" class="${classes}"/>`;
}

/** A bar in the colour of its series. */
export function svgBar(series: number, left: number, top: number, right: number, bottom: number): string {
  const place = `x="${round(left)}" y="${round(top)}" width="${round(right - left)}" height="${round(bottom - top)}"`;
  return `<rect ${place} class="series${series % seriesColors.length}"/>`;
}

/** A mark whose colour and shape tell its series from others. */
export function svgMark(series: number, x: number, y: number): string {
  const classes = `class="series${series % seriesColors.length}"`;
  switch (series % 4) {
    case 0:
      return `<circle cx="${round(x)}" cy="${round(y)}" r="5.5" ${classes}/>`;
    case 1:
      return `<rect x="${round(x - 4.5)}" y="${round(y - 4.5)}" width="9" height="9" ${classes}/>`;
    case 2:
      return polygon([[x, y - 6], [x + 6, y], [x, y + 6], [x - 6, y]], classes);
    default:
      return polygon([[x, y - 6], [x + 6, y + 5], [x - 6, y + 5]], classes);
  }
}

/** The names of the series, side by side, each behind its mark. */
export function svgLegend(names: string[], x: number, y: number): string[] {
  const characterWidth = 7.5;
  let left = x;
  return names.flatMap((name, series) => {
    const elements = [svgMark(series, left + 6, y - 4), svgText(left + 18, y, name)];
    left += 42 + name.length * characterWidth;
    return elements;
  });
}

/** The coordinate as it stands in the file. */
export function round(coordinate: number): number {
  return Math.round(coordinate * 10) / 10;
}

function polygon(points: number[][], classes: string): string {
  return `<polygon points="${points.map((point) => point.map(round).join(",")).join(" ")}" ${classes}/>`;
}

function colorRules(index: number, color: string): string {
  return `    .series${index} { fill: ${color} } .line${index} { stroke: ${color} }`;
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
