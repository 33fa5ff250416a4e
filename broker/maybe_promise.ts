/**
 * A value now, or a promise of one: what a hook may return. What is there now is never waited for.
 *
 * @example
 * ```ts
 * import type { MaybePromise } from "@hookmq/broker";
 *
 * const known = new Map([["alice", true]]);
 * // Only who is not known yet costs a request.
 * function isUser(name: string): MaybePromise<boolean> {
 *   return known.get(name) ?? Promise.resolve(name.length > 0);
 * }
 * console.log(isUser("alice"), await isUser("bob")); // true true
 * ```
 */
export type MaybePromise<T> = T | Promise<T>;

export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  // Most values are booleans or nothing: they are told apart without looking a property up in them.
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** Calls `next` with the value: at once if it is there, otherwise when the promise has settled. */
export function then<T, R>(value: MaybePromise<T>, next: (value: T) => MaybePromise<R>): MaybePromise<R> {
  return isPromise(value) ? value.then(next) : next(value);
}

/** Calls `step` for one item after the other, waiting only where a call returns a promise. */
export function forEachInTurn<T>(
  items: readonly T[],
  step: (item: T) => MaybePromise<void>,
  from = 0,
): MaybePromise<void> {
  for (let index = from; index < items.length; index++) {
    const result = step(items[index]);
    if (isPromise(result)) return result.then(() => forEachInTurn(items, step, index + 1));
  }
}

/** Calls `run`; what it throws, or what its promise rejects with, becomes what `onError` returns. */
export function recover<T>(
  run: () => MaybePromise<T>,
  onError: (error: unknown) => MaybePromise<T>,
): MaybePromise<T> {
  try {
    const value = run();
    return isPromise(value) ? value.catch(onError) : value;
  } catch (error) {
    return onError(error);
  }
}
