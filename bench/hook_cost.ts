/**
 * What hooks cost on the way of a message: drives the same load through HookMQ with different hooks, all of them in each
 * round, and compares them with HookMQ without a hook. Exits with 1 where one costs more than it may.
 */

import type { LoadResult } from "../cli/bench/load.ts";
import type { ProtocolLevel } from "../cli/bench/packets.ts";
import { thousands } from "../cli/bench/summary.ts";
import { startLocal } from "./brokers.ts";
import { generateLoad } from "./generator.ts";
import { type HookVariant, hookVariants } from "./hook_variants.ts";
import { perCpuSecond } from "./per_cpu_second.ts";
import { positiveNumber, protocolLevel, wholeNumber } from "./option_values.ts";
import { sayIfNotPinned } from "./pinning.ts";
import { commandLine, interruption, runBench } from "./program.ts";
import { user } from "./setup.ts";
import { textRow } from "./text_table.ts";

interface Options {
  rounds: number;
  seconds: number;
  warmUp: number;
  level: ProtocolLevel;
}

const widths = [28, -11, -11, -11, -18, -20];

const options: Options = commandLine(
  "deno run -A bench/hook_cost.ts",
  "Measures what hooks cost on the way of a message: 50 pairs at QoS 0.",
)
  .option("--rounds <count>", "how often each variant runs", wholeNumber, 5)
  .option("--seconds <seconds>", "time measured in each round", positiveNumber, 2)
  .option("--warm-up <seconds>", "time before that", positiveNumber, 1)
  .option("--level <level>", "protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0", protocolLevel, 4)
  .parse(Deno.args, { from: "user" })
  .opts();

sayIfNotPinned();
await runBench(async () => report(await measureRounds()));

/** For each variant what came of its rounds. */
async function measureRounds(): Promise<LoadResult[][]> {
  const results: LoadResult[][] = hookVariants.map(() => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const index of orderOf(round)) results[index].push(await measure(hookVariants[index]));
  }
  return results;
}

/** Every other round runs backwards, so that no variant always comes first after the same one. */
function orderOf(round: number): number[] {
  const order = hookVariants.map((_, index) => index);
  return round % 2 === 0 ? order : order.reverse();
}

async function measure({ name }: HookVariant): Promise<LoadResult> {
  interruption.throwIfAborted();
  const program = Deno.execPath();
  const commandArguments = (port: number) => ["run", "-A", `${import.meta.dirname}/hook_broker.ts`, name, String(port)];
  await using broker = await startLocal(name, { program, commandArguments }, interruption);
  const result = await generateLoad({
    scenario: "pairs",
    qos: 0,
    payload: 64,
    level: options.level,
    seconds: options.seconds,
    warmUp: options.warmUp,
    host: broker.hostname,
    port: broker.port,
    brokerPid: broker.pid,
    username: user.username,
    pw: user.password,
  }, interruption);
  if (result.lost > 0) throw new Error(`${name}: ${thousands(result.lost)} deliveries never came`);
  return result;
}

/** Prints the table, and returns whether every variant reaches its target. */
function report(results: LoadResult[][]): boolean {
  const hasCpu = results.flat().every(({ brokerCpuPercent }) => brokerCpuPercent !== undefined);
  const eachCpuSecond = ({ deliveredPerSecond, brokerCpuPercent }: LoadResult) =>
    perCpuSecond(deliveredPerSecond, brokerCpuPercent)!;
  const perSecond = ({ deliveredPerSecond }: LoadResult) => deliveredPerSecond;
  // Of a machine that does other things too, a broker gets now more and now less.
  const figure = hasCpu ? eachCpuSecond : perSecond;

  console.log(textRow(["hooks", "msg/s", hasCpu ? "msg/CPU s" : "", "ratio", "of rounds", "target"], widths));
  return hookVariants.map(({ name, target }, index) => {
    const ratios = results[index].map((result, round) => figure(result) / figure(results[0][round]));
    const ratio = best(results[index], figure) / best(results[0], figure);
    console.log(textRow([
      name,
      thousands(best(results[index], perSecond)),
      hasCpu ? thousands(best(results[index], eachCpuSecond)) : "",
      percent(ratio),
      `${percent(Math.min(...ratios))} - ${percent(Math.max(...ratios))}`,
      index === 0 ? "" : `>= ${percent(target)}${ratio < target ? "  MISSED" : ""}`,
    ], widths));
    return ratio >= target;
  }).every((reached) => reached);
}

/** The figure of the best round: whatever else the machine does can only make one slower. */
function best(results: LoadResult[], figure: (result: LoadResult) => number): number {
  return Math.max(...results.map(figure));
}

function percent(ratio: number): string {
  return `${(ratio * 100).toFixed(1)} %`;
}
