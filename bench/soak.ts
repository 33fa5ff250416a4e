/**
 * The soak, `deno task soak`: mixed traffic with clients that come and go, for half an hour or as long as `--minutes`
 * says, on HookMQ with a database. Exits with 1 if its memory grows, or a message is lost or comes twice.
 */

import { readProcessStats } from "../cli/bench/process_stats.ts";
import { thousands } from "../cli/bench/summary.ts";
import { freePort, type LocalBroker, startLocal } from "./brokers.ts";
import { positiveNumber } from "./option_values.ts";
import { commandLine, interruption, messageOf, runBench } from "./program.ts";
import { absentClients } from "./soak/absent_clients.ts";
import { type MemoryAtRest, memoryAtRest } from "./soak/memory_at_rest.ts";
import { mix } from "./soak/mix.ts";
import { passersBy } from "./soak/passers_by.ts";
import { retainedMessages } from "./soak/retained_messages.ts";
import { steadyLoad } from "./soak/steady_load.ts";
import type { Part } from "./soak/tally.ts";
import { textRow } from "./text_table.ts";

interface Options {
  minutes: number;
}

/**
 * How much more of each may be there at the end than after half of the time, in bytes: what two looks at a broker differ
 * by that keeps nothing. Objects differ by little. Buffers are kept for reuse, as many as were needed at one time.
 */
const allowedGrowth: Record<keyof MemoryAtRest, number> = {
  objects: 400 * 2 ** 10,
  buffers: 24 * 2 ** 20,
  process: 96 * 2 ** 20,
};

const kinds = Object.keys(allowedGrowth) as (keyof MemoryAtRest)[];

const options: Options = commandLine("deno task soak", "Mixed traffic with clients that come and go, and no leak.")
  .option("--minutes <minutes>", "how long it runs", positiveNumber, 30)
  .parse(Deno.args, { from: "user" })
  .opts();

await runBench(soak);

/** Prints how it gets on, and returns whether all went well. */
async function soak(): Promise<boolean> {
  const [webSocketPort, memoryPort] = [freePort(), freePort()];
  await using broker = await startLocal("hookmq", durableBroker(webSocketPort, memoryPort), interruption);
  const pid = broker.pid!;
  const address = { hostname: broker.hostname, port: broker.port };
  const parts: Part[] = [
    ...mix.map((load, index) => {
      const isWebSocket = load.request.transport === "ws";
      return steadyLoad(load, isWebSocket ? { ...address, port: webSocketPort } : address, index);
    }),
    absentClients(address),
    retainedMessages(address),
    passersBy(address),
  ];
  using _progress = reportEachMinute(parts, pid);

  const memory: MemoryAtRest[] = [];
  try {
    while (memory.length < 4) {
      const until = performance.now() + options.minutes * 60_000 / 4;
      await Promise.race([Promise.all(parts.map((part) => run(part, until))), interrupted()]);
      memory.push(await memoryAtRest(memoryPort, pid));
    }
  } catch (error) {
    interruption.throwIfAborted();
    console.log(`\n${messageOf(error)}`);
    return false;
  }

  printTallies(parts);
  return [isFlat(memory), isComplete(parts)].every((isWell) => isWell);
}

async function run({ tally, run }: Part, until: number): Promise<void> {
  try {
    await run(until);
  } catch (error) {
    throw new Error(`${tally.name}: ${messageOf(error)}`);
  }
}

function interrupted(): Promise<never> {
  return new Promise((_resolve, reject) => interruption.addEventListener("abort", () => reject(interruption.reason)));
}

/** As `hookmq serve --data` runs it, with WebSocket as well. */
function durableBroker(webSocketPort: number, memoryPort: number): LocalBroker {
  return {
    program: Deno.execPath(),
    configuration: (port, directory) =>
      JSON.stringify({
        // Whoever reaches the last of them reaches all.
        listeners: [
          { transport: "ws", hostname: "127.0.0.1", port: webSocketPort },
          { transport: "tcp", hostname: "127.0.0.1", port },
        ],
        hooks: { sqlite: { path: `${directory}/hookmq.db` } },
      }),
    commandArguments: (_port, configurationFile) => [
      ...["run", "-A", "--v8-flags=--expose-gc", `${import.meta.dirname}/soak/broker.ts`, String(memoryPort)],
      ...["serve", "--config", configurationFile],
    ],
  };
}

function reportEachMinute(parts: Part[], pid: number): Disposable {
  const start = performance.now();
  const timer = setInterval(() => {
    const minutes = Math.round((performance.now() - start) / 60_000);
    const resident = megabytes(readProcessStats(pid)?.residentBytes ?? 0);
    console.log(`${minutes} min: ${thousands(total(parts, "delivered"))} deliveries, ${resident}`);
  }, 60_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function printTallies(parts: Part[]): void {
  const widths = [56, -12, -12, -12];
  console.log(`\n${textRow(["", "delivered", "lost", "twice"], widths)}`);
  for (const { tally: { name, delivered, lost, duplicates } } of parts) {
    console.log(textRow([name, ...[delivered, lost, duplicates].map(thousands)], widths));
  }
}

/** Prints what the broker needed at rest after each quarter of the time, and returns whether that does not grow. */
function isFlat(memory: MemoryAtRest[]): boolean {
  const widths = [20, -12, -12, -12, -12];
  console.log(`\n${textRow(["memory at rest after", "1/4", "2/4", "3/4", "4/4"], widths)}`);
  return kinds.map((kind) => {
    const growth = memory[3][kind] - memory[1][kind];
    const verdict = growth > allowedGrowth[kind] ? `  GROWS by more than ${megabytes(allowedGrowth[kind])}` : "";
    console.log(textRow([kind, ...memory.map((look) => megabytes(look[kind]))], widths) + verdict);
    return verdict === "";
  }).every((isFlat) => isFlat);
}

/** Prints what became of the messages, and returns whether each came once. */
function isComplete(parts: Part[]): boolean {
  const [lost, duplicates] = [total(parts, "lost"), total(parts, "duplicates")];
  console.log(`\n${thousands(lost)} messages were lost, ${thousands(duplicates)} came twice or out of order`);
  return lost === 0 && duplicates === 0;
}

function total(parts: Part[], figure: "delivered" | "lost" | "duplicates"): number {
  return parts.reduce((sum, { tally }) => sum + tally[figure], 0);
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(2)} MB`;
}
