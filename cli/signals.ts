// Windows knows no SIGTERM; Ctrl+C is SIGINT there too.
const exitCodes: Partial<Record<Deno.Signal, number>> = Deno.build.os === "windows"
  ? { SIGINT: 130 }
  : { SIGINT: 130, SIGTERM: 143 };

/**
 * Calls `stop` on the first SIGINT or SIGTERM, with the exit code that says so (128 + the signal's number). A second
 * signal ends the process at once, with its exit code. Dispose what is returned to listen no longer.
 */
export function onTerminationSignal(stop: (exitCode: number) => void): Disposable {
  let stopping = false;
  const listeners = Object.entries(exitCodes).map(([signal, exitCode]) => {
    const listener = () => {
      if (stopping) Deno.exit(exitCode);
      stopping = true;
      stop(exitCode);
    };
    Deno.addSignalListener(signal as Deno.Signal, listener);
    return { signal: signal as Deno.Signal, listener };
  });
  return {
    [Symbol.dispose]() {
      for (const { signal, listener } of listeners) Deno.removeSignalListener(signal, listener);
    },
  };
}
