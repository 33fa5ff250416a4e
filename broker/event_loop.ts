/** How long after a turn of the event loop the next one is looked for, in milliseconds. */
const INTERVAL = 10;
/** How long that may take before all reading waits for it, in milliseconds. */
const PATIENCE = 5;

/**
 * Sees to it that the event loop turns. A read of a connection that has more to say settles at once, so that a few busy
 * ones can keep each other going for ever, and timers and everybody else's I/O would starve.
 */
export class EventLoop {
  #turnedAt = 0;
  #askedAt = 0;
  #turn: PromiseWithResolvers<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isWaitedFor = false;
  #isStopped = false;

  /** To be asked before each read. Returns a promise if it has to wait for the event loop to turn. */
  overdue(): Promise<void> | undefined {
    const now = Date.now();
    if (this.#turn === undefined) {
      if (!this.#isStopped && now - this.#turnedAt >= INTERVAL) this.#ask(now);
      return undefined;
    }
    if (now - this.#askedAt <= PATIENCE) return undefined;
    if (!this.#isWaitedFor) {
      this.#isWaitedFor = true;
      // A timer that begins when reading stops: only while there is nothing at all to do the runtime looks for I/O.
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#turned(), 0);
    }
    return this.#turn.promise;
  }

  /** Nobody reads any more. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    this.#turned();
  }

  #ask(now: number): void {
    this.#askedAt = now;
    this.#turn = Promise.withResolvers();
    this.#timer = setTimeout(() => this.#turned(), 0);
  }

  #turned(): void {
    this.#turnedAt = Date.now();
    this.#isWaitedFor = false;
    this.#turn?.resolve();
    this.#turn = undefined;
  }
}
