/**
 * The soak: mixed traffic with clients that come and go, for half an hour or as long as `--minutes` says, on HookMQ with a
 * database as the command line starts it. Exits with 1 if its memory grows, or a message is lost or comes twice.
 */

import { Command } from "commander";
import { setTimeout as delay } from "node:timers/promises";
import { thousands } from "../cli/bench/summary.ts";
import { freePort, type LocalBroker, startLocal } from "./brokers.ts";
import { positiveNumber } from "./option_values.ts";
import { absentClients } from "./soak/absent_clients.ts";
import { MemoryWatch } from "./soak/memory_watch.ts";
import { mix } from "./soak/mix.ts";
import { passersBy } from "./soak/passers_by.ts";
import { retainedMessages } from "./soak/retained_messages.ts";
import { steadyLoad } from "./soak/steady_load.ts";
import type { Part } from "./soak/tally.ts";

interface Options {
  minutes: number;
  growth: number;
}

/** How far apart two measurements of memory that does not grow may lie, whatever their size. */
const toleranceBytes = 4 * 2 ** 20;

const options: Options = new Command("deno run -A bench/soak.ts")
  .description("Mixed traffic with clients that come and go; fails if memory grows or a message is lost.")
  .option("--minutes <minutes>", "how long it runs", positiveNumber, 30)
  .option("--growth <percent>", "how much more memory the last third may need than the second", positiveNumber, 5)
  .helpOption("--help", "show this help")
  .exitOverride(({ exitCode }) => Deno.exit(exitCode === 0 ? 0 : 2))
  .parse(Deno.args, { from: "user" })
  .opts();

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => interruption.abort());

try {
  Deno.exitCode = await soak() ? 0 : 1;
} catch (error) {
  if (!interruption.signal.aborted) console.error(error instanceof Error ? error.message : error);
  Deno.exitCode = interruption.signal.aborted ? 130 : 1;
}
Deno.exit();

/** Prints how it gets on, and returns whether all went well. */
async function soak(): Promise<boolean> {
  const webSocketPort = freePort();
  await using broker = await startLocal("hookmq", durableBroker(webSocketPort), interruption.signal);
  const { hostname, port } = broker;
  const address = { hostname, port };
  const parts: Part[] = [
    ...mix.map((load, index) => {
      const isWebSocket = load.request.transport === "ws";
      return steadyLoad(load, { hostname, port: isWebSocket ? webSocketPort : port }, index);
    }),
    absentClients(address),
    retainedMessages(address),
    passersBy(address),
  ];

  using memory = new MemoryWatch(broker.pid!);
  const ending = new AbortController();
  using _progress = reportEachMinute(parts, memory);
  const running = Promise.all(parts.map((part) => part.run(ending.signal)));
  const time = delay(options.minutes * 60_000, undefined, { signal: interruption.signal });
  await Promise.race([time, running]);
  // Before its clients leave: what it needs without them says nothing.
  const development = memory.development();
  ending.abort();
  await running;

  printTallies(parts);
  return printVerdict(parts, development);
}

/** As `hookmq serve --data` runs it, with WebSocket as well. */
function durableBroker(webSocketPort: number): LocalBroker {
  return {
    program: Deno.execPath(),
    configuration: (port, directory) =>
      JSON.stringify({
        listeners: [
          { transport: "tcp", hostname: "127.0.0.1", port },
          { transport: "ws", hostname: "127.0.0.1", port: webSocketPort },
        ],
        hooks: { sqlite: { path: `${directory}/hookmq.db` } },
      }),
    commandArguments: (_port, configurationFile) => [
      ...["run", "-A", `${import.meta.dirname}/../cli.ts`, "serve", "--config", configurationFile],
    ],
  };
}

function reportEachMinute(parts: Part[], memory: MemoryWatch): Disposable {
  const start = performance.now();
  const timer = setInterval(() => {
    const minutes = Math.round((performance.now() - start) / 60_000);
    console.log(`${minutes} min: ${thousands(total(parts, "delivered"))} deliveries, ${megabytes(memory.latest)}`);
  }, 60_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

function printTallies(parts: Part[]): void {
  console.log(`\n${"".padEnd(56)}${["delivered", "lost", "twice"].map((name) => name.padStart(12)).join("")}`);
  for (const { tally: { name, delivered, lost, duplicates } } of parts) {
    const figures = [delivered, lost, duplicates].map((figure) => thousands(figure).padStart(12));
    console.log(name.padEnd(56) + figures.join(""));
  }
}

/** Prints what is wrong, or that nothing is; returns whether nothing is. */
function printVerdict(parts: Part[], { middle, end }: ReturnType<MemoryWatch["development"]>): boolean {
  const allowed = Math.max(middle * options.growth / 100, toleranceBytes);
  const isFlat = end - middle <= allowed;
  const development = `${megabytes(middle)} in the second third, ${megabytes(end)} in the last`;
  console.log(`\nMemory ${isFlat ? "is flat" : "GROWS"}: ${development} (up to ${megabytes(allowed)} more is allowed)`);
  const [lost, duplicates] = [total(parts, "lost"), total(parts, "duplicates")];
  console.log(`${thousands(lost)} messages were lost, ${thousands(duplicates)} came twice or out of order`);
  return isFlat && lost === 0 && duplicates === 0;
}

function total(parts: Part[], figure: "delivered" | "lost" | "duplicates"): number {
  return parts.reduce((sum, { tally }) => sum + tally[figure], 0);
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
