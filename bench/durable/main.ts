/**
 * What durable sessions cost, `deno run -A bench/durable/main.ts`: QoS 1 and 2 to sessions that outlive their connections,
 * with HookMQ's database, without it, and with mosquitto. README.md beside this file says what the figures mean.
 */

import type { ProtocolLevel } from "../../cli/bench/packets.ts";
import { thousands } from "../../cli/bench/summary.ts";
import { startLocal } from "../brokers.ts";
import { medianIfAll } from "../median.ts";
import { payloadSize, positiveNumber, protocolLevel, wholeNumber } from "../option_values.ts";
import { perCpuSecond } from "../per_cpu_second.ts";
import { generatorCore, pinned, sayIfNotPinned } from "../pinning.ts";
import { commandLine, interruption, runBench } from "../program.ts";
import { textRow } from "../text_table.ts";
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

const widths = [6, 24, -11, -11, -11, -11, -11, -11, -11, -11];

const options: Options = commandLine(
  "deno run -A bench/durable/main.ts",
  "Measures QoS 1 and 2 to sessions that outlive their connections.",
)
  .option("--level <level>", "protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0", protocolLevel, 4)
  .option("--payload <bytes>", "payload of each message, from 16 to 65,536 bytes", payloadSize, 64)
  .option("--pairs <count>", "publishers, each with a subscriber of its own", wholeNumber, 20)
  .option("--window <messages>", "messages that a publisher may have in flight", wholeNumber, 200)
  .option("--queued <messages>", "messages for each subscriber while it is away; at most 10,000", wholeNumber, 5000)
  .option("--rate <messages>", "messages per second where acknowledgements are timed", wholeNumber, 5000)
  .option("--rounds <count>", "how often each broker runs", wholeNumber, 3)
  .option("--seconds <seconds>", "time measured in each round", positiveNumber, 3)
  .option("--only <text>", "measure only the brokers whose name holds this text", "")
  .parse(Deno.args, { from: "user" })
  .opts();

sayIfNotPinned();
await runBench(async () => {
  console.log(textRow(["", "", "online", "/ CPU s", "offline", "/ CPU s", "backlog", "/ CPU s", "p50", "p99"], widths));
  const chosen = variants.filter(({ name }) => name.includes(options.only));
  for (const qos of [1, 2] as const) {
    const results = await measureRounds(chosen, qos);
    for (const [index, { name }] of chosen.entries()) {
      console.log(textRow([index === 0 ? `QoS ${qos}` : "", name, ...figures(results[index])], widths));
    }
  }
  return true;
});

/** For each broker what came of its rounds. In a round every broker runs once, so that all see the same machine. */
async function measureRounds(chosen: Variant[], qos: 1 | 2): Promise<DurableResult[][]> {
  const results: DurableResult[][] = chosen.map(() => []);
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, variant] of chosen.entries()) results[index].push(await measure(variant, qos));
  }
  return results;
}

async function measure(variant: Variant, qos: 1 | 2): Promise<DurableResult> {
  interruption.throwIfAborted();
  const directory = await Deno.makeTempDir({ prefix: "bench-durable-" });
  try {
    // Mosquitto gives up its privileges when root starts it.
    await Deno.chmod(directory, 0o777);
    await using broker = await startLocal(variant.name, variant.broker(directory), interruption);
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
  const options = { args, env: { NO_COLOR: "1" }, signal: interruption };
  const { code, stdout, stderr } = await new Deno.Command(program, options).output();
  if (code !== 0) throw new Error(`the load could not be carried out: ${new TextDecoder().decode(stderr).trim()}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

function figures(rounds: DurableResult[]): string[] {
  const middle = (figure: (round: DurableResult) => number | undefined) => medianIfAll(rounds.map(figure));
  const throughput = (of: (round: DurableResult) => Throughput) => {
    const each = middle((round) => perCpuSecond(of(round).messagesPerSecond, of(round).brokerCpuPercent));
    return [
      thousands(middle((round) => of(round).messagesPerSecond)!),
      each === undefined ? "-" : thousands(each),
    ];
  };
  return [
    ...throughput(({ online }) => online),
    ...throughput(({ offline }) => offline),
    ...throughput(({ backlog }) => backlog),
    `${middle(({ latency }) => latency.p50Milliseconds)!.toFixed(1)} ms`,
    `${middle(({ latency }) => latency.p99Milliseconds)!.toFixed(1)} ms`,
  ];
}
