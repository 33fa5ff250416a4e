/** What became of the messages of one part of the soak. */
export interface Tally {
  name: string;
  delivered: number;
  lost: number;
  duplicates: number;
}

/** A part of the soak, which counts in its tally. */
export interface Part {
  tally: Tally;
  /** Goes on until that time of `performance.now()`; then all of its clients leave. It can be called again. */
  run(until: number): Promise<void>;
}

/** A tally of nothing yet. */
export function emptyTally(name: string): Tally {
  return { name, delivered: 0, lost: 0, duplicates: 0 };
}
