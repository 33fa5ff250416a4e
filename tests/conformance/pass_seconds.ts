/**
 * Waits until so many seconds have passed, and a little more: for what only time brings about, and nobody is told of.
 */
export function passSeconds(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000 + 50));
}
