/**
 * What it costs that several brokers are one: drives the same load through one broker, and from one broker over Redis to
 * another. All brokers and Redis share one core, the load generator has another, so that messages per second compare what
 * a message costs. README.md in the folder above says what the figures mean.
 */

import type { QoS } from "../../cli/bench/packets.ts";
import { readProcessStats } from "../../cli/bench/process_stats.ts";
import { thousands } from "../../cli/bench/summary.ts";
import { readLines } from "../../cli/lines.ts";
import { encode } from "../../codec/mod.ts";
import { type RunningBroker, startLocal } from "../brokers.ts";
import { executable } from "../executable.ts";
import { payloadSize, positiveNumber, wholeNumber } from "../option_values.ts";
import { generatorCore, pinned, sayIfNotPinned } from "../pinning.ts";
import { commandLine, interruption, runBench } from "../program.ts";
import { textRow } from "../text_table.ts";
import type { ForwardReport, ForwardRequest } from "./request.ts";

interface Options {
  pairs: number;
  payload: number;
  window: number;
  warmUp: number;
  seconds: number;
  filters: number;
}

const widths = [32, -11, -10, -11, -22, -11, -7, -7];

const options: Options = commandLine(
  "deno run -A bench/cluster/main.ts",
  "Measures what it costs to forward messages to another broker over Redis.",
)
  .option("--pairs <count>", "pairs of a publisher and a subscriber, each on a topic of its own", wholeNumber, 50)
  .option("--payload <bytes>", "payload of each message, from 16 to 65,536 bytes", payloadSize, 64)
  .option("--window <messages>", "messages that a publisher may be ahead of its subscriber", wholeNumber, 100)
  .option("--warm-up <seconds>", "time before that which is measured", positiveNumber, 1)
  .option("--seconds <seconds>", "time measured", positiveNumber, 3)
  .option("--filters <count>", "topic filters that a broker has to learn when it joins", wholeNumber, 100_000)
  .parse(Deno.args, { from: "user" })
  .opts();

const hostname = "127.0.0.1";
const cli = `${import.meta.dirname}/../../cli.ts`;

/** Filters that one client subscribes to, and in one packet. */
const filtersPerClient = 10_000;
const filtersPerPacket = 1000;

sayIfNotPinned();
await runBench(async () => {
  await measureForwarding();
  await measureJoining();
  return true;
});

async function measureForwarding(): Promise<void> {
  const header = ["", "msg/s", "of local", "msg/frame", "Redis commands/1,000", "CPU: from", "to", "Redis"];
  console.log(textRow(header, widths));
  for (const qos of [0, 1, 2] as const) {
    const local = await measureLocal(qos);
    console.log(textRow([`QoS ${qos}, one broker`, thousands(local), "100 %", "", "", "", "", ""], widths));
    await measureForwarded(`QoS ${qos}, to another broker`, qos, false, local);
    if (qos > 0) await measureForwarded(`QoS ${qos}, to durable sessions there`, qos, true, local);
  }
}

async function measureLocal(qos: QoS): Promise<number> {
  await using broker = await startBroker("local", ["--memory"]);
  const { messages, seconds } = await load({ ...request(broker, broker), qos, isDurable: false }, () => {});
  return messages / seconds;
}

async function measureForwarded(name: string, qos: QoS, isDurable: boolean, local: number): Promise<void> {
  await using redis = await startRedis();
  await using from = await startNode("from", redis);
  await using to = await startNode("to", redis);
  const figures = async () => ({
    commands: await commandCounts(redis),
    cpu: [from, to, redis].map(({ pid }) => readProcessStats(pid!)!.cpuSeconds),
  });
  let before: Promise<Awaited<ReturnType<typeof figures>>> | undefined;
  const { messages, seconds } = await load({ ...request(from, to), qos, isDurable }, () => before = figures());
  const start = await before!;
  const end = await figures();
  const used = (command: string) => (end.commands[command] ?? 0) - (start.commands[command] ?? 0);
  const frames = qos === 0 ? used("publish") : used("xadd");
  const row = [
    name,
    thousands(messages / seconds),
    `${(messages / seconds / local * 100).toFixed(0)} %`,
    isDurable ? "" : (messages / frames).toFixed(1),
    (used("total") / messages * 1000).toFixed(1),
    ...end.cpu.map((cpu, index) => `${((cpu - start.cpu[index]) / seconds * 100).toFixed(0)} %`),
  ];
  console.log(textRow(row, widths));
}

/** How long a broker takes to start when there is nothing to learn, and when there are many filters. */
async function measureJoining(): Promise<void> {
  await using redis = await startRedis();
  await using first = await startNode("first", redis);
  const alone = await secondsToJoin(redis);
  const subscribing = performance.now();
  const clients = await Promise.all(
    Array.from({ length: Math.ceil(options.filters / filtersPerClient) }, (_, index) => subscribeToMany(first, index)),
  );
  const subscribed = (performance.now() - subscribing) / 1000;
  const full = await secondsToJoin(redis);
  console.log(
    `\n${thousands(options.filters)} filters: subscribed in ${subscribed.toFixed(1)} s, and a broker that joins has ` +
      `learnt them in ${(full - alone).toFixed(2)} s (it listens after ${full.toFixed(2)} s, without them after ` +
      `${alone.toFixed(2)} s)`,
  );
  for (const client of clients) client.close();
}

async function secondsToJoin(redis: RunningBroker): Promise<number> {
  const startedAt = performance.now();
  await using _broker = await startNode("joining", redis);
  return (performance.now() - startedAt) / 1000;
}

async function subscribeToMany(broker: RunningBroker, client: number): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname, port: broker.port });
  const count = Math.min(filtersPerClient, options.filters - client * filtersPerClient);
  const connect = {
    type: "connect",
    protocolLevel: 5,
    clientId: `many-${client}`,
    cleanStart: true,
    keepAlive: 0,
  } as const;
  await connection.write(encode(connect, 5));
  const reader = connection.readable.getReader();
  await reader.read();
  for (let start = 0; start < count; start += filtersPerPacket) {
    const subscriptions = Array.from({ length: Math.min(filtersPerPacket, count - start) }, (_, index) => ({
      topicFilter: `site/${client}/device/${start + index}/+`,
      qos: 1 as const,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0 as const,
    }));
    const bytes = encode({ type: "subscribe", packetId: 1, subscriptions }, 5);
    for (let written = 0; written < bytes.length;) written += await connection.write(bytes.subarray(written));
    // A byte for each filter, and a few before them.
    for (let read = 0; read < subscriptions.length;) read += (await reader.read()).value!.length;
  }
  return connection;
}

/** A broker's options on the command line, besides where it listens. */
function startBroker(name: string, args: string[]): Promise<RunningBroker> {
  const commandArguments = (port: number) => ["run", "-A", cli, "serve", "--port", String(port), ...args];
  return startLocal(name, { program: Deno.execPath(), commandArguments }, interruption);
}

function startNode(name: string, redis: RunningBroker): Promise<RunningBroker> {
  return startBroker(name, ["--cluster", `redis://${redis.hostname}:${redis.port}`, "--node-id", name]);
}

function startRedis(): Promise<RunningBroker> {
  const program = executable("redis-server");
  if (program === undefined) throw new Error("redis-server is not installed here");
  const commandArguments = (port: number) => ["--port", String(port), "--bind", hostname, "--save", ""];
  return startLocal("Redis", { program, commandArguments }, interruption);
}

/** How often Redis has carried out each command, and all of them. */
async function commandCounts({ port }: RunningBroker): Promise<Record<string, number>> {
  const { stdout } = await new Deno.Command("redis-cli", { args: ["-p", String(port), "INFO", "everything"] }).output();
  const text = new TextDecoder().decode(stdout);
  const counts = text.matchAll(/^cmdstat_(\w+):calls=(\d+)/gm).map(([, name, calls]) => [name, Number(calls)]);
  return { ...Object.fromEntries(counts), total: Number(text.match(/^total_commands_processed:(\d+)/m)![1]) };
}

function request(from: RunningBroker, to: RunningBroker): Omit<ForwardRequest, "qos" | "isDurable"> {
  const { pairs, payload, window, warmUp, seconds } = options;
  const places = { hostname, publishPort: from.port, subscribePort: to.port };
  return { ...places, level: 5, pairs, payloadSize: payload, window, warmUp, seconds };
}

/** Runs the load generator, and calls `onMeasuring` when its measuring begins. */
async function load(
  request: ForwardRequest,
  onMeasuring: () => void,
): Promise<Extract<ForwardReport, { event: "measured" }>> {
  const script = `${import.meta.dirname}/load.ts`;
  const [program, ...args] = pinned(generatorCore, [Deno.execPath(), "run", "-A", script, JSON.stringify(request)]);
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: interruption,
  }).spawn();
  let measured: Extract<ForwardReport, { event: "measured" }> | undefined;
  const problem = new Response(child.stderr).text();
  for await (const line of readLines(child.stdout)) {
    const report: ForwardReport = JSON.parse(line.toString());
    if (report.event === "measured") measured = report;
    else onMeasuring();
  }
  if (!(await child.status).success || measured === undefined) throw new Error((await problem).trim());
  return measured;
}
