/**
 * How much memory an idle connection costs: starts a broker, opens many connections that do nothing, and compares the
 * resident memory of its process before and after. Exits with 1 where a connection costs more than the limit.
 */

import { Command } from "commander";
import { Connection } from "../cli/bench/connection.ts";
import type { ProtocolLevel } from "../cli/bench/packets.ts";
import { readProcessStats } from "../cli/bench/process_stats.ts";
import { findBroker, type RunningBroker } from "./brokers.ts";
import { positiveNumber, protocolLevel, wholeNumber } from "./option_values.ts";

interface Options {
  peer: string;
  connections: number;
  limit: number;
  level: ProtocolLevel;
}

const connectsAtATime = 200;
/** Memory that has changed by less than 1 % in this time has settled. */
const settledSeconds = 2;
const settleDeadlineSeconds = 30;

const options: Options = new Command("deno run -A bench/idle_memory.ts")
  .description("Measures the memory that a broker needs for an idle connection.")
  .option("--peer <broker>", "measure this broker instead: mosquitto, or name=host:port,pid", "hookmq")
  .option("--connections <count>", "idle connections to open", wholeNumber, 8000)
  .option("--limit <kilobytes>", "what a connection may cost, in KB (1,024 bytes)", positiveNumber, 10)
  .option("--level <level>", "protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0", protocolLevel, 4)
  .helpOption("--help", "show this help")
  .parse(Deno.args, { from: "user" })
  .opts();

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => interruption.abort());

try {
  const kilobytes = await measure();
  Deno.exit(kilobytes <= options.limit ? 0 : 1);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(interruption.signal.aborted ? 130 : 2);
}

/** Prints what it finds, and returns the KB that one connection costs. */
async function measure(): Promise<number> {
  const broker = findBroker(options.peer);
  if (broker === undefined) throw new Error(`${options.peer} is not installed here`);
  await using running = await broker.start(interruption.signal);

  // What the broker needs for its first clients at all is not the price of a connection.
  for (const connection of await openConnections(running, connectsAtATime, "first")) connection.close();
  const before = await settledMemory(running);
  await openConnections(running, options.connections, "idle");
  const after = await settledMemory(running);

  const kilobytes = (after - before) / 1024 / options.connections;
  console.log(
    `${broker.name}: ${kilobytes.toFixed(1)} KB for each of ${options.connections.toLocaleString("en-US")} idle ` +
      `connections (${megabytes(before)} before, ${megabytes(after)} after; limit ${options.limit} KB)`,
  );
  return kilobytes;
}

async function openConnections({ hostname, port }: RunningBroker, count: number, prefix: string) {
  const connections: Connection[] = [];
  while (connections.length < count) {
    interruption.signal.throwIfAborted();
    const next = Array.from({ length: Math.min(connectsAtATime, count - connections.length) }, (_, index) => {
      const clientId = `${prefix}${connections.length + index}`;
      return Connection.open({ hostname, port, clientId, level: options.level });
    });
    connections.push(...await Promise.all(next));
  }
  return connections;
}

/** The resident memory of the broker, in bytes, when it does not change any more. */
async function settledMemory({ pid }: RunningBroker): Promise<number> {
  const deadline = performance.now() + settleDeadlineSeconds * 1000;
  let settled = residentBytes(pid);
  let since = performance.now();
  while (performance.now() - since < settledSeconds * 1000) {
    if (performance.now() > deadline) {
      throw new Error(`the broker's memory does not settle within ${settleDeadlineSeconds} seconds`);
    }
    interruption.signal.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = residentBytes(pid);
    if (Math.abs(now - settled) > settled * 0.01) {
      settled = now;
      since = performance.now();
    }
  }
  return residentBytes(pid);
}

function residentBytes(pid: number | undefined): number {
  const stats = pid === undefined ? undefined : readProcessStats(pid);
  if (stats === undefined) {
    throw new Error("the broker's memory cannot be read: its process is unknown, or there is no /proc");
  }
  return stats.residentBytes;
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
