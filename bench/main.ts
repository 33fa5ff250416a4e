/**
 * The comparison bench, `deno task bench`: starts HookMQ and its peers, one at a time, drives the same load through each,
 * and prints what they delivered. README.md beside this file says what the figures mean.
 */

import { Command, Option } from "commander";
import type { ProtocolLevel } from "../cli/bench/packets.ts";
import { type Broker, brokerNames, findBroker } from "./brokers.ts";
import { generateLoad } from "./generator.ts";
import { payloadSize, positiveNumber, protocolLevel, wholeNumber } from "./option_values.ts";
import { canPin } from "./pinning.ts";
import { heading, isComplete, legend, type Rounds, rows, type ScenarioReport, summarize } from "./report.ts";
import { type Scenario, scenarios } from "./scenarios.ts";

interface Options {
  peer: string[];
  hookmq: boolean;
  only: string;
  level: ProtocolLevel;
  payload: number;
  window?: number;
  rate: number;
  rounds: number;
  seconds: number;
  warmUp: number;
  json?: string;
}

const options: Options = new Command("deno task bench")
  .description("Compares HookMQ with other brokers: messages per second, CPU, memory and latency.")
  .option("--peer <broker...>", `compare with ${brokerNames.join(" or ")}, or with name=host:port[,pid]`, ["mosquitto"])
  .option("--no-hookmq", "measure the peers alone")
  .option("--only <text>", "run only the scenarios whose name holds this text", "")
  .option("--level <level>", "protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0", protocolLevel, 4)
  .option("--payload <bytes>", "payload of each message, from 16 to 65,536 bytes", payloadSize, 64)
  .option("--window <messages>", "messages that a publisher may be ahead (default: each scenario's own)", wholeNumber)
  .option("--rate <messages>", "messages per second in the paced scenario", wholeNumber, 20_000)
  .option("--rounds <count>", "how often each broker runs each scenario", wholeNumber, 3)
  .option("--seconds <seconds>", "time measured in each round", positiveNumber, 3)
  .option("--warm-up <seconds>", "time before that", positiveNumber, 1)
  .addOption(new Option("--quick", "a smoke run: one round of one second").implies({ rounds: 1, seconds: 1 }))
  .option("--json <file>", "write all figures of all rounds into a file as well")
  .helpOption("--help", "show this help")
  .parse(Deno.args, { from: "user" })
  .opts();

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => interruption.abort());

const brokers = chosenBrokers();
const chosenScenarios = scenarios(options).filter(({ name }) => name.includes(options.only));
if (brokers.length === 0) fail("there is no broker to measure");
if (chosenScenarios.length === 0) fail(`no scenario has "${options.only}" in its name`);
if (!canPin) console.log("Broker and load generator share their cores: there are not two, or there is no taskset.\n");

console.log(heading());
const reports: ScenarioReport[] = [];
for (const scenario of chosenScenarios) {
  const report = summarize(scenario, await measure(scenario));
  if (interruption.signal.aborted) Deno.exit(130);
  console.log(rows(report));
  reports.push(report);
}
console.log(legend);

if (options.json !== undefined) {
  const machine = { deno: Deno.version.deno, cores: navigator.hardwareConcurrency, pinned: canPin };
  await Deno.writeTextFile(options.json, JSON.stringify({ machine, options, reports }, null, 2) + "\n");
}
Deno.exit(reports.every(({ measurements }) => measurements.every(isComplete)) ? 0 : 1);

function chosenBrokers(): Broker[] {
  const names = options.hookmq ? ["hookmq", ...options.peer] : options.peer;
  return names.flatMap((name) => {
    try {
      const broker = findBroker(name);
      if (broker === undefined) console.log(`${name} is not installed here: left out.\n`);
      return broker ?? [];
    } catch (error) {
      fail(`--peer ${name}: ${messageOf(error)}`);
    }
  });
}

/** Runs the scenario round by round, on every broker in each round, so that all see the machine in the same state. */
async function measure(scenario: Scenario): Promise<Rounds[]> {
  const measured: Rounds[] = brokers.map(({ name }) => ({ broker: name, rounds: [] }));
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, broker] of brokers.entries()) {
      if (measured[index].error !== undefined) continue;
      try {
        measured[index].rounds.push(await measureOnce(scenario, broker));
      } catch (error) {
        measured[index].error = messageOf(error);
      }
    }
  }
  return measured;
}

async function measureOnce(scenario: Scenario, broker: Broker) {
  interruption.signal.throwIfAborted();
  await using running = await broker.start(interruption.signal);
  return await generateLoad({
    ...scenario.load,
    window: scenario.load.rate === undefined ? options.window : undefined,
    host: running.hostname,
    port: running.port,
    brokerPid: running.pid,
    level: options.level,
    payload: options.payload,
    warmUp: options.warmUp,
    seconds: options.seconds,
  }, interruption.signal);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(2);
}
