import { readProcessStats } from "../../cli/bench/process_stats.ts";

const intervalMilliseconds = 500;

/** How the memory of a process has developed; see {@linkcode MemoryWatch.development}. */
export interface MemoryDevelopment {
  /** Resident memory, in bytes, in the second third of the time. */
  middle: number;
  /** The same in the last third. */
  end: number;
}

/** Looks at the resident memory of a process, twice a second. */
export class MemoryWatch implements Disposable {
  readonly #samples: number[] = [];
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(pid: number) {
    this.#timer = setInterval(() => {
      const stats = readProcessStats(pid);
      if (stats !== undefined) this.#samples.push(stats.residentBytes);
    }, intervalMilliseconds);
  }

  /** The last sample, in bytes. */
  get latest(): number {
    return this.#samples.at(-1) ?? 0;
  }

  /**
   * What the process needs in the second and in the last third of the time, without what the garbage collector has not
   * taken away at the moment: the lowest tenth of the samples lies below. In the first third everything is new.
   */
  development(): MemoryDevelopment {
    const third = Math.floor(this.#samples.length / 3);
    return {
      middle: lowestTenth(this.#samples.slice(third, 2 * third)),
      end: lowestTenth(this.#samples.slice(2 * third)),
    };
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** The value below which a tenth of the samples lie. */
function lowestTenth(samples: number[]): number {
  return samples.toSorted((a, b) => a - b)[Math.floor(samples.length / 10)];
}
