/**
 * Calls `reload` on every SIGHUP, never twice at one time: a signal that comes meanwhile is remembered. Dispose what is
 * returned to listen no longer.
 */
export function onReloadSignal(reload: () => Promise<void>): Disposable {
  // There it means that the console is closed, and nobody sends it for anything else.
  if (Deno.build.os === "windows") return { [Symbol.dispose]() {} };
  let last = Promise.resolve();
  const listener = () => void (last = last.then(reload));
  Deno.addSignalListener("SIGHUP", listener);
  return { [Symbol.dispose]: () => Deno.removeSignalListener("SIGHUP", listener) };
}
