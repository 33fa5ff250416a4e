import type { Program } from "../interop/programs.ts";
import type { Random } from "./random.ts";

/** What the broker of a run has to go through: how it is started, and what befalls it until it is killed. */
export interface Ordeal {
  /** Starts the broker on a database. It prints the address that it listens on. */
  spawn(path: string): Program;
  /** How likely it is that a round ends with the broker's death, from 0 to 1. */
  readonly deadliness: number;
  /** Whether the broker may refuse what it cannot store. */
  readonly mayRefuse: boolean;
  /** Lines of its log that speak of what has befallen it. */
  readonly expectedErrors: RegExp;
  /** What has befallen it so far. */
  readonly summary: string;
  /** Something befalls it. */
  strike(broker: Program, random: Random): Promise<void>;
  /** Whatever befalls it ends. */
  relent(broker: Program): Promise<void>;
  /** What it says is wrong with it; `undefined` if it is well. */
  failure(broker: Program): Promise<string | undefined>;
}
