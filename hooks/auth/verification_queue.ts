import { Fifo } from "../../broker/fifo.ts";

interface WaitingTask {
  start(): void;
  giveUp(error: Error): void;
}

/** Runs tasks in the order in which they came, only so many of them at one time, while others wait. */
export class VerificationQueue {
  readonly #concurrency: number;
  readonly #maximumWaiting: number;
  readonly #waiting = new Fifo<WaitingTask>();
  #running = 0;
  #idle: PromiseWithResolvers<void> | undefined;

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

  /** Whether one more task would have to wait, while as many are waiting as may. */
  get full(): boolean {
    return this.#running >= this.#concurrency && this.#waiting.length >= this.#maximumWaiting;
  }

  /** Settles as the task does. */
  run<T>(task: () => Promise<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const start = () => {
      this.#running += 1;
      void task().then(resolve, reject).finally(() => this.#next());
    };
    if (this.#running < this.#concurrency) start();
    else this.#waiting.push({ start, giveUp: reject });
    return promise;
  }

  /** Rejects what is waiting, and resolves when nothing is running any more. */
  async giveUp(error: Error): Promise<void> {
    for (const task of this.#waiting) task.giveUp(error);
    this.#waiting.clear();
    if (this.#running > 0) await (this.#idle ??= Promise.withResolvers()).promise;
  }

  #next(): void {
    this.#running -= 1;
    this.#waiting.shift()?.start();
    if (this.#running > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }
}
