import type { Progress } from "./load.ts";
import { thousands } from "./summary.ts";

/** Shows how a load is getting on; disposing of it clears its line. */
export interface ProgressLine extends Disposable {
  show: (progress: Progress) => void;
}

const startOfClearedLine = "\r\x1b[K";

/** On standard error: one line that changes on a terminal, a line each time elsewhere. */
export function progressLine({ warmUpSeconds, seconds }: { warmUpSeconds: number; seconds: number }): ProgressLine {
  const isTerminal = Deno.stderr.isTerminal();
  const write = (text: string) => void Deno.stderr.writeSync(new TextEncoder().encode(text));
  return {
    show(progress) {
      const time = `${Math.round(progress.seconds)} of ${Math.round(warmUpSeconds + seconds)} s`;
      const sent = `sent ${thousands(progress.sentPerSecond)} msg/s`;
      const text = `  ${time}: ${sent}, delivered ${thousands(progress.deliveredPerSecond)} msg/s`;
      write(isTerminal ? startOfClearedLine + text : `${text}\n`);
    },
    [Symbol.dispose]: () => {
      if (isTerminal) write(startOfClearedLine);
    },
  };
}
