/** What became of the messages of one part of the soak. */
export interface Tally {
  name: string;
  delivered: number;
  lost: number;
  duplicates: number;
}

/** A part of the soak: goes on until the signal aborts, then comes to an end, and counts in its tally. */
export interface Part {
  tally: Tally;
  run(signal: AbortSignal): Promise<void>;
}

/** A tally of nothing yet. */
export function emptyTally(name: string): Tally {
  return { name, delivered: 0, lost: 0, duplicates: 0 };
}
