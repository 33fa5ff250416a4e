import type { Logger } from "./logger.ts";

/** How coarse the wheel is, in milliseconds. */
const TICK = 100;
const SLOTS = 512;

/** Something that a {@linkcode TimerWheel} will do. */
export interface Timer {
  readonly dueTick: number;
  readonly callback: () => void;
}

/**
 * The broker's only clock: thousands of keep alives, expiries and delays on one timer of the runtime, which runs only
 * while something is due. Callbacks come up to 100 ms late, never early.
 */
export class TimerWheel {
  readonly #logger: Logger;
  readonly #slots: Set<Timer>[] = Array.from({ length: SLOTS }, () => new Set());
  #size = 0;
  #tick = 0;
  #running: ReturnType<typeof setTimeout> | undefined;
  readonly #epoch = performance.now();

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Milliseconds since the wheel was made, as of the last tick: reading it costs nothing. Stands still while no timer is set. */
  now = 0;

  /** Calls `callback` once, `delay` milliseconds from now. */
  schedule(delay: number, callback: () => void): Timer {
    if (this.#running === undefined) {
      this.#tick = this.#currentTick();
      this.now = this.#tick * TICK;
      this.#run();
    }
    const dueTick = Math.ceil((performance.now() - this.#epoch + delay) / TICK);
    const timer = { dueTick: Math.max(dueTick, this.#tick + 1), callback };
    this.#slots[timer.dueTick % SLOTS].add(timer);
    this.#size += 1;
    return timer;
  }

  /** Forgets a timer; `undefined` and one that is done already are fine. */
  cancel(timer: Timer | undefined): void {
    if (timer === undefined || !this.#slots[timer.dueTick % SLOTS].delete(timer)) return;
    this.#size -= 1;
    if (this.#size === 0) this.#stop();
  }

  /** Forgets all timers. */
  clear(): void {
    for (const slot of this.#slots) slot.clear();
    this.#size = 0;
    this.#stop();
  }

  #currentTick(): number {
    return Math.floor((performance.now() - this.#epoch) / TICK);
  }

  #run(): void {
    const timeout = setTimeout(() => this.#advance(), TICK);
    // Waiting for something to expire is no reason for a program to go on.
    Deno.unrefTimer(timeout);
    this.#running = timeout;
  }

  #stop(): void {
    clearTimeout(this.#running);
    this.#running = undefined;
  }

  #advance(): void {
    const current = this.#currentTick();
    // After a long pause (a suspended machine) one round through all slots finds everything that is due.
    const first = Math.max(this.#tick + 1, current - SLOTS + 1);
    this.#tick = current;
    this.now = current * TICK;
    this.#run();
    for (let tick = first; tick <= current; tick++) {
      for (const timer of this.#slots[tick % SLOTS]) {
        if (timer.dueTick > current) continue;
        this.cancel(timer);
        try {
          timer.callback();
        } catch (error) {
          this.#logger.error("a timer failed: {error}", { error });
        }
      }
    }
  }
}
