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
