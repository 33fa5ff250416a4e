import { executable } from "./executable.ts";

/** The core on which brokers run. */
export const brokerCore = 0;

/** The core on which the load generator runs. */
export const generatorCore = 1;

/** Whether this machine has two cores to keep the broker and the load generator apart, and `taskset` to do it with. */
export const canPin: boolean = navigator.hardwareConcurrency >= 2 && executable("taskset") !== undefined;

/** The command that runs `command` on one core alone; `command` itself where that cannot be done. */
export function pinned(core: number, command: string[]): string[] {
  return canPin ? ["taskset", "-c", String(core), ...command] : command;
}
