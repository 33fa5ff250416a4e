/** A linear axis that starts at 0: where a value lies on it, and at which values it has lines. */
export interface LinearScale {
  position(value: number): number;
  steps: number[];
}

/** An axis from pixel `start` to pixel `end`, with room for the largest value and some five lines. */
export function linearScale(largest: number, start: number, end: number): LinearScale {
  const step = niceStep(largest);
  const count = Math.ceil(largest * 1.1 / step);
  return {
    position: (value) => start + value / (count * step) * (end - start),
    steps: Array.from({ length: count + 1 }, (_, index) => index * step),
  };
}

/** A distance of lines that is 1, 2 or 5 times a power of ten. */
function niceStep(largest: number): number {
  const power = 10 ** Math.floor(Math.log10(largest / 5));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => largest / step <= 6)!;
}
