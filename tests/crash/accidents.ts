import { fileURLToPath } from "node:url";
import type { Fate } from "../hooks/watched_workers.ts";
import { type Program, start } from "../interop/programs.ts";
import type { Accident, Health } from "./accident_prone_broker.ts";
import type { Ordeal } from "./ordeal.ts";
import type { Random } from "./random.ts";

const script = fileURLToPath(new URL("./accident_prone_broker.ts", import.meta.url));

/** How large the database may become, in bytes: the sessions that are away fill it in a part of a second. */
const FULL = 384 * 1024;

const ioError: Fate = { error: "disk I/O error" };
const full: Fate = { error: "database or disk is full" };
const none: Accident = { fates: [], hasRoom: true, canOpen: true, isHeld: false };

/** What can happen to a store, and how it is called in the summary. */
const accidents: Record<string, (random: Random) => Partial<Accident>> = {
  "commit errors": (random) => ({ fates: several(random, 1, 4, () => ioError) }),
  "full disks": (random) => ({ fates: several(random, 1, 3, () => full), hasRoom: false }),
  "deaths of the writer": (random) => ({ fates: [random.pick(["dies", "dies before", "dies after"] as const)] }),
  "batches that kill their writer": () => ({ fates: ["dies before", "dies before", "dies before"] }),
  "vanished disks": (random) => ({
    fates: [random.pick(["dies", "dies before", "dies after"] as const)],
    canOpen: false,
  }),
  "mixtures": (random) => ({
    fates: several(random, 5, 15, () => random.pick(["written", "written", ioError, full, "dies", "dies after"])),
  }),
  "slow disks": () => ({ isHeld: true }),
  "good times": () => ({}),
};

/** A store that meets with every accident there is, on a disk that is too small, and SIGKILL in the middle of that. */
export class Accidents implements Ordeal {
  readonly deadliness = 0.4;
  readonly mayRefuse = true;
  readonly expectedErrors = /cannot be written, messages are refused|has died and is started again/;
  readonly #counts = new Map(Object.keys(accidents).map((name) => [name, 0]));

  get summary(): string {
    return [...this.#counts].map(([name, count]) => `${count} ${name}`).join(", ");
  }

  spawn(path: string): Program {
    return start(Deno.execPath(), ["run", "-A", script, path, FULL], { env: { NO_COLOR: "1" } });
  }

  async strike(broker: Program, random: Random): Promise<void> {
    const name = random.pick([...this.#counts.keys()]);
    this.#counts.set(name, this.#counts.get(name)! + 1);
    await tell(broker, { ...none, ...accidents[name](random) });
  }

  async relent(broker: Program): Promise<void> {
    await tell(broker, none);
  }

  async failure(broker: Program): Promise<string | undefined> {
    const { ok, reason } = await tell(broker, none);
    return ok ? undefined : reason;
  }
}

function several(random: Random, least: number, most: number, fate: () => Fate): Fate[] {
  return Array.from({ length: random.between(least, most) }, fate);
}

async function tell(broker: Program, accident: Accident): Promise<Health> {
  const [address] = await broker.printed(/http:\/\/\S+/);
  try {
    const response = await fetch(address, { method: "POST", body: JSON.stringify(accident) });
    return await response.json();
  } catch {
    throw new Error(`the broker has died: ${(await broker.ended()).stderr}`);
  }
}
