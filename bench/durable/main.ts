/**
 * What durable sessions cost, `deno run -A bench/durable/main.ts`: QoS 1 and 2 to sessions that outlive their connections,
 * with HookMQ's database, without it, and with mosquitto. README.md beside this file says what the figures mean.
 */

import { Command } from "commander";
import type { ProtocolLevel } from "../../cli/bench/packets.ts";
import { thousands } from "../../cli/bench/summary.ts";
import { startLocal } from "../brokers.ts";
import { payloadSize, positiveNumber, protocolLevel, wholeNumber } from "../option_values.ts";
import { canPin, generatorCore, pinned } from "../pinning.ts";
import { type Variant, variants } from "./brokers.ts";
import type { DurableRequest, DurableResult, Throughput } from "./request.ts";

interface Options {
  level: ProtocolLevel;
  payload: number;
  pairs: number;
  window: number;
  queued: number;
  rate: number;
  rounds: number;
  seconds: number;
  only: string;
}

const options: Options = new Command("deno run -A bench/durable/main.ts")
  .description("Measures QoS 1 and 2 to sessions that outlive their connections.")
  .option("--level <level>", "protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0", protocolLevel, 4)
  .option("--payload <bytes>", "payload of each message, from 16 to 65,536 bytes", payloadSize, 64)
  .option("--pairs <count>", "publishers, each with a subscriber of its own", wholeNumber, 20)
  .option("--window <messages>", "messages that a publisher may have in flight", wholeNumber, 200)
  .option("--queued <messages>", "messages for each subscriber while it is away; at most 10,000", wholeNumber, 5000)
  .option("--rate <messages>", "messages per second where acknowledgements are timed", wholeNumber, 5000)
  .option("--rounds <count>", "how often each broker runs", wholeNumber, 3)
  .option("--seconds <seconds>", "time measured in each round", positiveNumber, 3)
  .option("--only <text>", "measure only the brokers whose name holds this text", "")
  .helpOption("--help", "show this help")
  .parse(Deno.args, { from: "user" })
  .opts();

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => interruption.abort());

/** The first and last are texts, those in between figures. */
const columnWidths = [6, 24, -11, -11, -11, -11, -11, -11, -9, -9];

try {
  if (!canPin) console.log("Broker and load generator share their cores: there are not two, or there is no taskset.\n");
  console.log(row(["", "", "online", "/ CPU s", "offline", "/ CPU s", "backlog", "/ CPU s", "p50", "p99"]));
  const chosen = variants.filter(({ name }) => name.includes(options.only));
  for (const qos of [1, 2] as const) {
    const results = await measureRounds(chosen, qos);
    for (const [index, { name }] of chosen.entries()) {
      console.log(row([index === 0 ? `QoS ${qos}` : "", name, ...figures(results[index])]));
    }
  }
  Deno.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(interruption.signal.aborted ? 130 : 2);
}

/** For each broker what came of its rounds. In a round every broker runs once, so that all see the same machine. */
async function measureRounds(chosen: Variant[], qos: 1 | 2): Promise<DurableResult[][]> {
  const results: DurableResult[][] = chosen.map(() => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, variant] of chosen.entries()) results[index].push(await measure(variant, qos));
  }
  return results;
}

async function measure(variant: Variant, qos: 1 | 2): Promise<DurableResult> {
  const { signal } = interruption;
  signal.throwIfAborted();
  const directory = await Deno.makeTempDir({ prefix: "bench-durable-" });
  try {
    // Mosquitto gives up its privileges when root starts it.
    await Deno.chmod(directory, 0o777);
    await using broker = await startLocal(variant.name, variant.broker(directory), signal);
    const { level, pairs, window, seconds, queued, rate } = options;
    const { hostname, port, pid: brokerPid } = broker;
    return await load({
      ...{ hostname, port, brokerPid, level, qos, pairs, window, seconds, queued, rate },
      payloadSize: options.payload,
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function load(request: DurableRequest): Promise<DurableResult> {
  const script = `${import.meta.dirname}/load.ts`;
  const command = [Deno.execPath(), "run", "-A", script, JSON.stringify(request)];
  const [program, ...args] = pinned(generatorCore, command);
  const { signal } = interruption;
  const { code, stdout, stderr } = await new Deno.Command(program, { args, env: { NO_COLOR: "1" }, signal }).output();
  if (code !== 0) throw new Error(`the load could not be carried out: ${new TextDecoder().decode(stderr).trim()}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

function figures(rounds: DurableResult[]): string[] {
  const middle = (figure: (round: DurableResult) => number | undefined) => median(rounds.map(figure));
  const throughput = (of: (round: DurableResult) => Throughput) => [
    thousands(middle((round) => of(round).messagesPerSecond)!),
    withThousands(middle((round) => perCpuSecond(of(round)))),
  ];
  return [
    ...throughput(({ online }) => online),
    ...throughput(({ offline }) => offline),
    ...throughput(({ backlog }) => backlog),
    `${middle(({ latency }) => latency.p50Milliseconds)!.toFixed(1)} ms`,
    `${middle(({ latency }) => latency.p99Milliseconds)!.toFixed(1)} ms`,
  ];
}

function perCpuSecond({ messagesPerSecond, brokerCpuPercent }: Throughput): number | undefined {
  return brokerCpuPercent === undefined ? undefined : messagesPerSecond / brokerCpuPercent * 100;
}

/** The middle value, or the larger of the two in the middle; undefined where a value is. */
function median(values: (number | undefined)[]): number | undefined {
  if (values.includes(undefined)) return undefined;
  return Float64Array.from(values as number[]).sort()[values.length >> 1];
}

function withThousands(value: number | undefined): string {
  return value === undefined ? "-" : thousands(value);
}

function row(cells: string[]): string {
  return cells.map((cell, index) => {
    const width = columnWidths[index];
    return width < 0 ? cell.padStart(-width) : cell.padEnd(width);
  }).join("").trimEnd();
}
