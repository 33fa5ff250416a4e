/** The middle value, or the mean of the two in the middle. */
export function median(values: number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The same of what may not be known; undefined where one of the values is. */
export function medianIfAll(values: (number | undefined)[]): number | undefined {
  return values.includes(undefined) ? undefined : median(values as number[]);
}
