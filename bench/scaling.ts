import { freePort } from "./brokers.ts";
import { generateLoad } from "./generator.ts";
import type { Broker } from "./known_brokers.ts";
import { median } from "./median.ts";
import { Population } from "./population.ts";
import { plainSetup } from "./setup.ts";

/** Something that a message has nothing to do with, of which a broker may have many. */
interface Dimension {
  name: string;
  /** How many of it there can be at most. */
  limit(): number;
  grow(population: Population, from: number, to: number): Promise<void>;
}

/** What a message costs on a broker with so many of something. */
export interface ScalingFigure {
  dimension: string;
  broker: string;
  count: number;
  /** Time on a core for each message: the median of the rounds. */
  microseconds: number;
}

/** Options of {@linkcode measureScaling}. */
export interface ScalingOptions {
  rounds: number;
  seconds: number;
  warmUp: number;
  /** The largest number of each. */
  largest: number;
}

const dimensions: Dimension[] = [
  {
    name: "idle connections",
    limit: openFileLimit,
    grow: (population, from, to) => population.addConnections(from, to),
  },
  {
    name: "sessions of absent clients",
    limit: () => Infinity,
    grow: (population, from, to) => population.addSessions(from, to),
  },
  {
    name: "unrelated subscriptions",
    limit: () => Infinity,
    grow: (population, from, to) => population.addSubscriptions(from, to, 10),
  },
];

/** The system has some 28,000 local ports for connections to one port. */
const connectionsPerPort = 20_000;

/** Files that broker and bench need besides connections. */
const otherFiles = 500;

/** Measures what a message costs with more and more of each dimension: 50 pairs at QoS 0. */
export async function* measureScaling(
  broker: Broker,
  options: ScalingOptions,
  signal: AbortSignal,
): AsyncGenerator<ScalingFigure> {
  const morePorts = Array.from({ length: Math.ceil(options.largest / connectionsPerPort) - 1 }, freePort);
  for (const { name, limit, grow } of dimensions) {
    await using running = await broker.start({ ...plainSetup, morePorts }, signal);
    using population = new Population(running, { morePorts });
    if (running.pid === undefined) throw new Error(`${broker.name}: its CPU time cannot be read without its process`);
    const microseconds = async (seconds: number) => {
      const { deliveredPerSecond, brokerCpuPercent } = await generateLoad({
        scenario: "pairs",
        qos: 0,
        payload: 64,
        level: 4,
        host: running.hostname,
        port: running.port,
        brokerPid: running.pid,
        warmUp: options.warmUp,
        seconds,
      }, signal);
      return brokerCpuPercent! / 100 / deliveredPerSecond * 1e6;
    };
    // The first messages of a process cost more, however many of anything there are.
    await microseconds(options.seconds * 2);
    let count = 0;
    for (const next of sizes(Math.min(options.largest, limit()))) {
      await grow(population, count, next);
      count = next;
      const rounds: number[] = [];
      while (rounds.length < options.rounds) rounds.push(await microseconds(options.seconds));
      yield { dimension: name, broker: broker.name, count, microseconds: median(rounds) };
    }
  }
}

/** How many times as much a message costs with the most of something as with the least. */
export function growth(figures: ScalingFigure[]): number {
  return figures.at(-1)!.microseconds / figures[0].microseconds;
}

/** Powers of ten from 10 on, and the largest. */
function sizes(largest: number): number[] {
  const powers = [10, 100, 1000, 10_000, 100_000].filter((size) => size < largest);
  return [...powers, Math.floor(largest / 10) * 10];
}

/** How many connections a process may have here. */
function openFileLimit(): number {
  try {
    const limits = Deno.readTextFileSync("/proc/self/limits");
    const files = Number(/^Max open files +(\d+)/m.exec(limits)?.[1]);
    return Number.isNaN(files) ? Infinity : files - otherFiles;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return Infinity;
    throw error;
  }
}
