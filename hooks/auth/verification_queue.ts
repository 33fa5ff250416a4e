import { Fifo } from "../../broker/fifo.ts";

/** Runs tasks in the order in which they came, only so many of them at one time, while others wait. */
export class VerificationQueue {
  readonly #concurrency: number;
  readonly #maximumWaiting: number;
  readonly #waiting = new Fifo<() => void>();
  #running = 0;

  constructor(concurrency: number, maximumWaiting: number) {
    this.#concurrency = concurrency;
    this.#maximumWaiting = maximumWaiting;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Whether one more task would have to wait, and there are as many of these as may be. */
  get full(): boolean {
    return this.#running >= this.#concurrency && this.#waiting.length >= this.#maximumWaiting;
  }

  /** Settles as the task does. */
  async run<T>(task: () => T | Promise<T>): Promise<T> {
    if (this.#running >= this.#concurrency) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#running += 1;
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running -= 1;
      else next(); // It takes over the place of this one.
    }
  }
}
