import { executable } from "./executable.ts";

/** The core on which brokers run. */
export const brokerCore = 0;

/** The core on which the load generator runs. */
export const generatorCore = 1;

/** Whether this machine has two cores to keep the broker and the load generator apart, and `taskset` to do it with. */
export const canPin: boolean = navigator.hardwareConcurrency >= 2 && executable("taskset") !== undefined;

/** Tells the user where they are not kept apart: what one needs is then missing to the other. */
export function sayIfNotPinned(): void {
  if (!canPin) console.log("Broker and load generator share their cores: there are not two, or there is no taskset.\n");
}

/** The command that runs `command` on one core alone; `command` itself where that cannot be done. */
export function pinned(core: number, command: string[]): string[] {
  return canPin ? ["taskset", "-c", String(core), ...command] : command;
}
