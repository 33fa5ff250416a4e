import type { Broker } from "./known_brokers.ts";
import { Population } from "./population.ts";
import { plainSetup } from "./setup.ts";
import { settledMemory } from "./settled_memory.ts";

/** Something of which a broker has many, and what there is of it when its memory is measured. */
interface Item {
  name: string;
  count: number;
  add(population: Population, from: number, to: number): Promise<void>;
}

/** What a broker needs for one of something. */
export interface MemoryFigure {
  item: string;
  broker: string;
  count: number;
  /** Of resident memory, for each of them; absent where it could not be measured. */
  bytes?: number;
  error?: string;
}

const items: Item[] = [
  {
    name: "idle connection",
    count: 8000,
    add: (population, from, to) => population.addConnections(from, to),
  },
  {
    name: "subscription, 1,000 for each client",
    count: 200_000,
    add: (population, from, to) => population.addSubscriptions(from, to, 1000),
  },
  {
    name: "queued message, 64 bytes",
    count: 200_000,
    add: (population, from, to) => population.addQueuedMessages(from, to, 1000),
  },
  {
    name: "retained message, 64 bytes",
    count: 200_000,
    add: (population, from, to) => population.addRetainedMessages(from, to),
  },
];

/**
 * How many of them are there before the first measurement: what a broker needs for having any at all is not the price of
 * one.
 */
const firstShare = 1 / 10;

/** Measures what each item costs each broker, from how its resident memory grows. */
export async function* measureMemory(brokers: Broker[], signal: AbortSignal): AsyncGenerator<MemoryFigure> {
  for (const item of items) {
    for (const broker of brokers) {
      const figure = { item: item.name, broker: broker.name, count: item.count };
      try {
        yield { ...figure, bytes: await bytesForEach(item, broker, signal) };
      } catch (error) {
        signal.throwIfAborted();
        yield { ...figure, error: (error as Error).message };
      }
    }
  }
}

async function bytesForEach({ count, add }: Item, broker: Broker, signal: AbortSignal): Promise<number> {
  await using running = await broker.start(plainSetup, signal);
  using population = new Population(running);
  const first = count * firstShare;
  await add(population, 0, first);
  const before = await settledMemory(running, signal);
  await add(population, first, count);
  const after = await settledMemory(running, signal);
  return (after - before) / (count - first);
}
