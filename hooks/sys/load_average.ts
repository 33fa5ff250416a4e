/**
 * A rate per minute, averaged over three times.
 *
 * @example
 * ```ts
 * import type { LoadAverages } from "@hookmq/broker/hooks";
 *
 * // Whether much more is going on than usual.
 * function isPeak({ oneMinute, fifteenMinutes }: LoadAverages): boolean {
 *   return oneMinute > 2 * fifteenMinutes;
 * }
 * console.log(isPeak({ oneMinute: 900, fiveMinutes: 500, fifteenMinutes: 300 })); // true
 * ```
 */
export interface LoadAverages {
  /** Over about one minute. */
  oneMinute: number;
  /** Over about five minutes. */
  fiveMinutes: number;
  /** Over about fifteen minutes. */
  fifteenMinutes: number;
}

/**
 * How fast a counter grows, per minute, as exponentially weighted moving averages that begin at 0. They are mosquitto's:
 * after `t` seconds in which the counter grew at `rate` a minute, an average over `w` seconds has moved to `rate` by
 * `1 - e^(-t/w)` of the way.
 */
export class LoadAverage {
  /** As of the last update. */
  readonly averages: LoadAverages = { oneMinute: 0, fiveMinutes: 0, fifteenMinutes: 0 };
  #total: number;

  constructor(total: number) {
    this.#total = total;
  }

  /** Takes the counter's value `seconds` after the last one. */
  update(total: number, seconds: number): void {
    const rate = (total - this.#total) * 60 / seconds;
    this.#total = total;
    const { averages } = this;
    averages.oneMinute = moved(averages.oneMinute, rate, seconds / 60);
    averages.fiveMinutes = moved(averages.fiveMinutes, rate, seconds / 300);
    averages.fifteenMinutes = moved(averages.fifteenMinutes, rate, seconds / 900);
  }
}

function moved(average: number, rate: number, windows: number): number {
  return rate + (average - rate) * Math.exp(-windows);
}
