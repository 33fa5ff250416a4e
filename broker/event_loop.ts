/** How long after a turn of the event loop the next one is looked for, in milliseconds. */
const INTERVAL = 20;
/** How long that may take before all reading waits for it, in milliseconds. */
const PATIENCE = 20;

/**
 * Sees to it that the event loop turns. A read of a connection that has more to say settles at once, so that a few busy
 * ones can keep each other going for ever, and timers and everybody else's I/O would starve.
 */
export class EventLoop {
  #turnedAt = 0;
  #askedAt = 0;
  #turn: PromiseWithResolvers<void> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** To be asked before each read. Returns a promise if it has to wait for the event loop to turn. */
  overdue(): Promise<void> | undefined {
    const now = Date.now();
    if (this.#turn !== undefined) return now - this.#askedAt > PATIENCE ? this.#turn.promise : undefined;
    if (now - this.#turnedAt < INTERVAL) return undefined;
    this.#askedAt = now;
    this.#turn = Promise.withResolvers();
    // Only a timer will do: as long as there is anything else to be done at once, the runtime looks for no I/O.
    this.#timer = setTimeout(() => this.#turned(), 0);
    return undefined;
  }

  /** Nobody reads any more. */
  stop(): void {
    clearTimeout(this.#timer);
    if (this.#turn !== undefined) this.#turned();
  }

  #turned(): void {
    this.#turnedAt = Date.now();
    this.#turn?.resolve();
    this.#turn = undefined;
  }
}
