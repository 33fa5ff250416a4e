/** Each bucket reaches 1 % further than the one before. */
const growth = Math.log(1.01);
const shortestMilliseconds = 0.001;
/** Up to 700 seconds; what takes longer counts as that. */
const bucketCount = 2048;

/** How long messages took, any number of them in little memory; percentiles are exact to half a percent. */
export class LatencyHistogram {
  /** Messages recorded. */
  count = 0;
  readonly #buckets = new Float64Array(bucketCount);

  /** Records that so many messages took this time. */
  record(milliseconds: number, messages: number): void {
    const bucket = Math.round(Math.log(milliseconds / shortestMilliseconds) / growth);
    this.#buckets[Math.min(Math.max(bucket, 0), bucketCount - 1)] += messages;
    this.count += messages;
  }

  /** The time in milliseconds within which so many percent of the messages came; 0 if there is none. */
  percentile(percent: number): number {
    let remaining = Math.max(this.count * percent / 100, 1);
    const bucket = this.#buckets.findIndex((messages) => (remaining -= messages) <= 0);
    return bucket === -1 ? 0 : shortestMilliseconds * Math.exp(bucket * growth);
  }

  clear(): void {
    this.#buckets.fill(0);
    this.count = 0;
  }
}
