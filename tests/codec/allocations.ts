/**
 * Runs `action` and returns how many bytes each `new Uint8Array(length)` in it set aside. It replaces the global
 * constructor meanwhile, so `action` is synchronous.
 */
export function allocations(action: () => void): number[] {
  const sizes: number[] = [];
  const original = globalThis.Uint8Array;
  globalThis.Uint8Array = new Proxy(original, {
    construct(target, parameters, newTarget) {
      if (typeof parameters[0] === "number") sizes.push(parameters[0]);
      return Reflect.construct(target, parameters, newTarget);
    },
  });
  try {
    action();
  } finally {
    globalThis.Uint8Array = original;
  }
  return sizes;
}
