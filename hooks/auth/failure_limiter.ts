/** When attempts are held back; times in milliseconds. */
export interface FailureLimits {
  /** Attempts are held back after so many failures within one `window`; `Infinity` for never. */
  maximum: number;
  window: number;
  /** How long attempts are held back first; each further failure doubles it, … */
  backoff: number;
  /** … up to this. */
  maximumBackoff: number;
}

interface FailureRecord {
  /** What has not been forgiven yet, as of `since`. */
  failures: number;
  since: number;
  /** How often attempts have been held back. */
  strikes: number;
}

/** Past it the record with the oldest failure is forgotten, which bounds the memory. */
const MOST_RECORDS = 10_000;

/**
 * Counts failures under keys, and says when attempts under a key are held back. Failures are forgiven evenly,
 * `maximum` in one `window`, but not while attempts are held back; when all are forgiven, the key is forgotten.
 */
export class FailureLimiter {
  readonly #limits: FailureLimits;
  readonly #now: () => number;
  readonly #records = new Map<string, FailureRecord>();

  constructor(limits: FailureLimits, now: () => number = () => performance.now()) {
    this.#limits = limits;
    this.#now = now;
  }

  /** How many keys are remembered. */
  get size(): number {
    return this.#records.size;
  }

  /** Whether an attempt has to be refused without a look at it. */
  holdsBack(key: string): boolean {
    const record = this.#records.get(key);
    return record !== undefined && this.#now() < record.since;
  }

  /** Counts a failure. Returns for how long, in milliseconds, attempts are held back now; 0 if they are not. */
  fail(key: string): number {
    const { maximum, backoff, maximumBackoff } = this.#limits;
    if (maximum === Infinity) return 0;
    const now = this.#now();
    const record = this.#records.get(key);
    const unforgiven = record === undefined ? 0 : this.#unforgiven(record, now);
    const strikes = record === undefined || unforgiven === 0 ? 0 : record.strikes;
    const failures = Math.min(unforgiven + 1, maximum);
    // A part that has been forgiven in the meantime makes none of them undone.
    const tooMany = Math.ceil(failures) >= maximum;
    const delay = tooMany ? Math.min(backoff * 2 ** strikes, maximumBackoff) : 0;
    // Put in again, so that the first one in the map is the one whose last failure is the oldest.
    this.#records.delete(key);
    this.#records.set(key, { failures, since: now + delay, strikes: tooMany ? strikes + 1 : strikes });
    this.#forgetOldest(now);
    return delay;
  }

  /** Forgives everything. */
  forget(key: string): void {
    this.#records.delete(key);
  }

  #unforgiven({ failures, since }: FailureRecord, now: number): number {
    const { maximum, window } = this.#limits;
    return Math.max(0, failures - Math.max(0, now - since) * maximum / window);
  }

  #forgetOldest(now: number): void {
    for (const [key, record] of this.#records) {
      if (this.#records.size <= MOST_RECORDS && (now < record.since || this.#unforgiven(record, now) > 0)) return;
      this.#records.delete(key);
    }
  }
}
