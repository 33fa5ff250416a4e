/** A logarithmic axis: where a value lies on it, and which powers of ten are on it. */
export interface LogarithmicScale {
  position(value: number): number;
  powers: number[];
}

/** An axis from pixel `start` to pixel `end`, with whole powers of ten at both ends. */
export function logarithmicScale(values: number[], start: number, end: number): LogarithmicScale {
  const first = Math.floor(Math.log10(Math.min(...values)));
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(...values))));
  return {
    position: (value) => start + (Math.log10(value) - first) / (last - first) * (end - start),
    powers: Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index)),
  };
}

/** A power of ten in short, e.g. `10 k`. */
export function shortNumber(value: number): string {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value >= 1000 ? `${value / 1000} k` : String(value);
}
