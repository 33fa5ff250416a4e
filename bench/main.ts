/**
 * The comparison bench, `deno task bench`: starts HookMQ and its peers, one at a time, drives the same load through each,
 * and prints what they delivered. README.md beside this file says what the figures mean.
 */

import { Option } from "commander";
import type { ProtocolLevel } from "../cli/bench/packets.ts";
import { thousands } from "../cli/bench/summary.ts";
import { makeCertificate } from "./certificate.ts";
import { generateLoad } from "./generator.ts";
import { type Broker, brokerNames, findBroker } from "./known_brokers.ts";
import { describeMachine } from "./machine.ts";
import { measureMemory, type MemoryFigure } from "./memory.ts";
import { payloadSize, positiveNumber, protocolLevel, wholeNumber } from "./option_values.ts";
import { sayIfNotPinned } from "./pinning.ts";
import { commandLine, interruption, messageOf, runBench } from "./program.ts";
import { cells, columns, isComplete, legend, type Rounds, type ScenarioReport, summarize } from "./report.ts";
import { dimensionsOf, memoryCell, type Results, writeResults } from "./results.ts";
import { growth, measureScaling, type ScalingFigure } from "./scaling.ts";
import { type Scenario, scenarios, suites } from "./scenarios.ts";
import { type Certificate, user } from "./setup.ts";
import { textRow } from "./text_table.ts";

interface Options {
  peer: string[];
  hookmq: boolean;
  suite: string[];
  only: string;
  level?: ProtocolLevel;
  payload?: number;
  window?: number;
  rounds: number;
  seconds: number;
  warmUp: number;
  largest: number;
  idleLimit: number;
  json?: string;
  results?: string;
}

const suiteNames = [...Object.keys(suites), "memory", "scaling"];
/** A message on a full broker may cost so many times what it costs on an empty one; more is no measuring error. */
const mostGrowth = 1.5;
/** So many times longer is measured at a given rate: few messages make the slowest ones, and take a broker long to get warm. */
const pacedFactor = 4;
const widths = [30, -10, -13, -7, -13, -8, -9, -12, -12, -9, -9];

const options: Options = commandLine(
  "deno task bench",
  "Compares HookMQ with other brokers: messages per second, CPU, memory and latency.",
)
  .option(
    "--peer <broker...>",
    `compare with ${brokerNames.join(", ")}, or with name=host:port[,pid]`,
    brokerNames.filter((name) => name !== "hookmq"),
  )
  .option("--no-hookmq", "measure the peers alone")
  .addOption(new Option("--suite <name...>", "run only these suites").choices(suiteNames).default(suiteNames, "all"))
  .option("--only <text>", "run only the scenarios whose name holds this text, no memory and scaling", "")
  .option("--level <level>", "protocol level of all scenarios: 4 is MQTT 3.1.1, 5 is MQTT 5.0", protocolLevel)
  .option("--payload <bytes>", "payload of each message in all scenarios, from 16 to 65,536 bytes", payloadSize)
  .option("--window <messages>", "messages that a publisher may be ahead (default: each scenario's own)", wholeNumber)
  .option("--rounds <count>", "how often each broker runs each scenario", wholeNumber, 3)
  .option("--seconds <seconds>", "time measured in each round", positiveNumber, 1.5)
  .option("--warm-up <seconds>", "time before that", positiveNumber, 1)
  .option(
    "--largest <count>",
    "in the suite scaling: the most connections, sessions, subscriptions",
    wholeNumber,
    100_000,
  )
  .option(
    "--idle-limit <kilobytes>",
    "exit with 1 if an idle connection takes the first broker more",
    positiveNumber,
    9,
  )
  .addOption(
    new Option("--quick", "a smoke run: one round of one second, scaling up to 1,000")
      .implies({ rounds: 1, seconds: 1, warmUp: 0.5, largest: 1000 }),
  )
  .option("--json <file>", "write all figures of all rounds into a file as well")
  .addOption(
    new Option("--results [directory]", "write RESULTS.md and its charts as well, into bench/ unless told where")
      .preset(import.meta.dirname),
  )
  .parse(Deno.args, { from: "user" })
  .opts();

const brokers = chosenBrokers();
const chosenScenarios = scenarios.filter(({ suite, name }) => {
  return options.suite.includes(suite) && name.includes(options.only);
});
const withMemory = options.suite.includes("memory") && options.only === "";
const withScaling = options.suite.includes("scaling") && options.only === "";
if (brokers.length === 0) fail("there is no broker to measure");
if (chosenScenarios.length === 0 && !withMemory && !withScaling) fail(`no scenario has "${options.only}" in its name`);
sayIfNotPinned();

const certificateDirectory = await Deno.makeTempDir({ prefix: "bench-certificate-" });
await runBench(async () => {
  try {
    const results = await run();
    if (options.json !== undefined) await Deno.writeTextFile(options.json, JSON.stringify(results, null, 2) + "\n");
    if (options.results !== undefined) await writeResults(results, options.results);
    return isGood(results);
  } finally {
    await Deno.remove(certificateDirectory, { recursive: true });
  }
});

async function run(): Promise<Results> {
  const versions = Object.fromEntries(
    await Promise.all(brokers.map(async (broker) => [broker.name, await broker.version()])),
  );
  return {
    command: ["deno task bench", ...Deno.args].join(" "),
    machine: describeMachine(),
    versions,
    options: { rounds: options.rounds, seconds: options.seconds, warmUp: options.warmUp },
    reports: await runScenarios(),
    memory: withMemory ? await runMemory() : [],
    scaling: withScaling ? await runScaling() : [],
    date: new Date().toISOString().slice(0, 10),
  };
}

async function runScenarios(): Promise<ScenarioReport[]> {
  const certificate = chosenScenarios.some(({ load }) => load.transport === "tls")
    ? await makeCertificate(certificateDirectory)
    : undefined;
  const reports: ScenarioReport[] = [];
  for (const scenario of chosenScenarios) {
    if (scenario.suite !== reports.at(-1)?.scenario.suite) {
      console.log(`\n${suites[scenario.suite]}\n${textRow(columns, widths)}`);
    }
    const report = summarize(scenario, await measure(scenario, certificate));
    for (const row of cells(report)) console.log(textRow(row, widths));
    reports.push(report);
  }
  if (reports.length > 0) console.log(legend);
  return reports;
}

/** Runs the scenario round by round, on every broker in each round, so that all see the machine in the same state. */
async function measure(scenario: Scenario, certificate: Certificate | undefined): Promise<Rounds[]> {
  const measured: Rounds[] = brokers.map((broker) => {
    return { broker: broker.name, rounds: [], lacking: broker.lacks(withOverrides(scenario)) || undefined };
  });
  for (let round = 0; round < options.rounds; round++) {
    for (const [index, broker] of brokers.entries()) {
      if (measured[index].lacking || measured[index].error !== undefined) continue;
      try {
        measured[index].rounds.push(await measureOnce(withOverrides(scenario), broker, certificate));
      } catch (error) {
        interruption.throwIfAborted();
        measured[index].error = messageOf(error);
      }
    }
  }
  return measured;
}

/** What the command line says about all scenarios goes before what the table says about each. */
function withOverrides(scenario: Scenario): Scenario {
  const { level, payload } = options;
  return {
    ...scenario,
    load: { ...scenario.load, ...(level !== undefined && { level }), ...(payload !== undefined && { payload }) },
  };
}

async function measureOnce({ load, secured = false }: Scenario, broker: Broker, certificate: Certificate | undefined) {
  interruption.throwIfAborted();
  const transport = load.transport ?? "tcp";
  const factor = load.rate === undefined ? 1 : pacedFactor;
  await using running = await broker.start({ transport, secured, certificate, morePorts: [] }, interruption);
  return await generateLoad({
    level: 4,
    payload: 64,
    window: load.rate === undefined ? options.window : undefined,
    ...load,
    ...(secured && { username: user.username, pw: user.password }),
    ...(transport === "tls" && { cafile: certificate?.certificateFile }),
    host: running.hostname,
    port: running.port,
    brokerPid: running.pid,
    warmUp: factor * options.warmUp,
    seconds: factor * options.seconds,
  }, interruption);
}

async function runMemory(): Promise<MemoryFigure[]> {
  console.log("\nResident memory for each, in bytes");
  const figures: MemoryFigure[] = [];
  for await (const figure of measureMemory(brokers, interruption)) {
    const name = figure.item === figures.at(-1)?.item ? "" : figure.item;
    console.log(textRow([name, figure.broker, memoryCell(figure)], [40, -10, -13]));
    figures.push(figure);
  }
  return figures;
}

async function runScaling(): Promise<ScalingFigure[]> {
  console.log(`\nMicroseconds of CPU for each message of ${brokers[0].name}, with so many of these on it`);
  const figures: ScalingFigure[] = [];
  for await (const figure of measureScaling(brokers[0], options, interruption)) {
    const name = figure.dimension === figures.at(-1)?.dimension ? "" : figure.dimension;
    console.log(textRow([name, thousands(figure.count), figure.microseconds.toFixed(2)], [30, -10, -13]));
    figures.push(figure);
  }
  return figures;
}

/** Whether everything arrived once, and what must not grow did not. */
function isGood({ reports, memory, scaling }: Results): boolean {
  const complete = reports.every(({ measurements }) => measurements.every(isComplete));
  const idle = memory.find(({ item }) => item === "idle connection")?.bytes ?? 0;
  const grown = dimensionsOf(scaling).filter(({ figures }) => growth(figures) > mostGrowth);
  for (const { name, figures } of grown) {
    console.log(`A message costs ${growth(figures).toFixed(2)} times as much with the most ${name} as with the least.`);
  }
  if (idle > options.idleLimit * 1024) console.log(`An idle connection takes more than ${options.idleLimit} KB.`);
  return complete && grown.length === 0 && idle <= options.idleLimit * 1024;
}

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

function fail(message: string): never {
  console.error(message);
  Deno.exit(2);
}
