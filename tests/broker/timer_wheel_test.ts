import assert from "node:assert/strict";
import fc from "fast-check";
import { TimerWheel } from "../../broker/timer_wheel.ts";

/** Time that passes only when it is told to, in place of the runtime's, until the end of its `using` block. */
class TestClock implements Disposable {
  #now = 0;
  #timeout: { due: number; callback: () => void } | undefined;
  readonly #real = { now: performance.now, setTimeout, clearTimeout, unrefTimer: Deno.unrefTimer };

  constructor() {
    performance.now = () => this.#now;
    globalThis.setTimeout = ((callback: () => void, delay: number) => {
      assert.equal(this.#timeout, undefined, "one timer of the runtime is enough");
      this.#timeout = { due: this.#now + delay, callback };
      return 1;
    }) as unknown as typeof setTimeout;
    globalThis.clearTimeout = () => this.#timeout = undefined;
    Deno.unrefTimer = () => {};
  }

  get now(): number {
    return this.#now;
  }

  /** Whether the runtime has been asked to wake somebody up. */
  get isRunning(): boolean {
    return this.#timeout !== undefined;
  }

  /** Lets time pass, with a timeout that comes when it is due. */
  advance(milliseconds: number): void {
    const end = this.#now + milliseconds;
    while (this.#timeout !== undefined && this.#timeout.due <= end) {
      const { due, callback } = this.#timeout;
      this.#now = due;
      this.#timeout = undefined;
      callback();
    }
    this.#now = end;
  }

  /** Lets time pass as on a machine that is suspended: what was due comes late, and once. */
  suspend(milliseconds: number): void {
    this.#now += milliseconds;
    const { callback } = this.#timeout!;
    this.#timeout = undefined;
    callback();
  }

  [Symbol.dispose](): void {
    performance.now = this.#real.now;
    globalThis.setTimeout = this.#real.setTimeout;
    globalThis.clearTimeout = this.#real.clearTimeout;
    Deno.unrefTimer = this.#real.unrefTimer;
  }
}

function wheel(errors: unknown[] = []): TimerWheel {
  const ignore = () => {};
  return new TimerWheel({
    debug: ignore,
    info: ignore,
    warn: ignore,
    error: (_message, properties) => void errors.push(properties?.error),
  });
}

Deno.test("every timer comes once, never early, and soon after it is due", () => {
  const timer = fc.record({ after: fc.nat(3000), delay: fc.oneof(fc.nat(1000), fc.nat(200_000)) });
  fc.assert(
    fc.property(fc.array(timer, { maxLength: 30 }), (timers) => {
      using clock = new TestClock();
      const timerWheel = wheel();
      const late: number[] = [];
      for (const { after, delay } of timers) {
        clock.advance(after);
        const due = clock.now + delay;
        timerWheel.schedule(delay, () => late.push(clock.now - due));
      }
      clock.advance(201_000);
      assert.equal(late.length, timers.length);
      for (const time of late) assert(time >= 0 && time <= 200, `comes ${time} ms after it is due`);
      assert.equal(clock.isRunning, false);
    }),
    { numRuns: 200 },
  );
});

Deno.test("a timer that is cancelled does not come", () => {
  using clock = new TestClock();
  const timerWheel = wheel();
  const seen: string[] = [];
  const first = timerWheel.schedule(500, () => seen.push("first"));
  timerWheel.schedule(500, () => seen.push("second"));
  timerWheel.cancel(first);
  timerWheel.cancel(first);
  timerWheel.cancel(undefined);
  clock.advance(1000);
  assert.deepEqual(seen, ["second"]);
  timerWheel.cancel(first);
  timerWheel.schedule(500, () => seen.push("third"));
  clock.advance(1000);
  assert.deepEqual(seen, ["second", "third"]);
});

Deno.test("a timer can cancel another one that is due at the same time", () => {
  using clock = new TestClock();
  const timerWheel = wheel();
  const seen: string[] = [];
  timerWheel.schedule(500, () => {
    seen.push("first");
    timerWheel.cancel(second);
  });
  const second = timerWheel.schedule(500, () => seen.push("second"));
  clock.advance(1000);
  assert.deepEqual(seen, ["first"]);
});

Deno.test("a timer can set the next one", () => {
  using clock = new TestClock();
  const timerWheel = wheel();
  const seen: number[] = [];
  const again = () => {
    seen.push(clock.now);
    if (seen.length < 5) timerWheel.schedule(1000, again);
  };
  timerWheel.schedule(0, again);
  clock.advance(10_000);
  assert.equal(seen.length, 5);
  for (let index = 1; index < 5; index++) assert(seen[index] - seen[index - 1] >= 1000);
});

Deno.test("the runtime is asked for nothing while no timer is set", () => {
  using clock = new TestClock();
  const timerWheel = wheel();
  assert.equal(clock.isRunning, false);
  const timer = timerWheel.schedule(1000, () => {});
  assert.equal(clock.isRunning, true);
  timerWheel.cancel(timer);
  assert.equal(clock.isRunning, false);
  timerWheel.schedule(1000, () => {});
  timerWheel.clear();
  assert.equal(clock.isRunning, false);
});

Deno.test("after a long pause everything that was due comes, and nothing else", () => {
  using clock = new TestClock();
  const timerWheel = wheel();
  const seen: number[] = [];
  for (const seconds of [1, 60, 3000, 4000]) timerWheel.schedule(seconds * 1000, () => seen.push(seconds));
  clock.suspend(3_600_000);
  assert.deepEqual(seen.sort((a, b) => a - b), [1, 60, 3000]);
  clock.advance(401_000);
  assert.deepEqual(seen.sort((a, b) => a - b), [1, 60, 3000, 4000]);
});

Deno.test("a timer that fails is logged, and those after it come all the same", () => {
  using clock = new TestClock();
  const errors: unknown[] = [];
  const timerWheel = wheel(errors);
  const failure = new Error("boom");
  let came = false;
  timerWheel.schedule(100, () => {
    throw failure;
  });
  timerWheel.schedule(100, () => came = true);
  clock.advance(1000);
  assert.deepEqual([errors, came], [[failure], true]);
});

Deno.test("the wheel's clock goes with the ticks while a timer is set", () => {
  using clock = new TestClock();
  const timerWheel = wheel();
  timerWheel.schedule(5000, () => {});
  clock.advance(2050);
  assert.equal(timerWheel.now, 2000);
  clock.advance(60_000);
  timerWheel.schedule(100, () => {});
  assert(timerWheel.now > 62_000 - 100 && timerWheel.now <= 62_050);
});
