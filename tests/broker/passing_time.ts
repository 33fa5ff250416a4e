/**
 * Lets the wall clock be this many seconds ahead until the end of its `using` block, for what the broker reckons by it:
 * how much is left of a message's lifetime.
 */
export function passingTime(seconds: number): Disposable {
  const { now } = Date;
  Date.now = () => now() + seconds * 1000;
  return {
    [Symbol.dispose]() {
      Date.now = now;
    },
  };
}

/** Lets the broker's timers be this many seconds ahead until the end of its `using` block. */
export function passingTimers(seconds: number): Disposable {
  const { now } = performance;
  performance.now = () => now.call(performance) + seconds * 1000;
  return {
    [Symbol.dispose]() {
      performance.now = now;
    },
  };
}
