/**
 * The load on persistent sessions, a process of its own: `deno run -A bench/durable/load.ts '<DurableRequest as JSON>'`
 * writes a {@linkcode DurableResult} as JSON. Whatever goes wrong ends it with one line on standard error.
 */

import { startClosedLoop } from "../../cli/bench/closed_loop.ts";
import { Connection } from "../../cli/bench/connection.ts";
import { Group } from "../../cli/bench/groups.ts";
import { type PublishTemplate, publishTemplate } from "../../cli/bench/packets.ts";
import { readProcessStats } from "../../cli/bench/process_stats.ts";
import { Publisher } from "../../cli/bench/publisher.ts";
import { Subscriber } from "../../cli/bench/subscriber.ts";
import { runLoadProcess } from "../load_process.ts";
import type { DurableRequest, DurableResult, Throughput } from "./request.ts";

/** How long all that is under way may take to arrive. */
const drainSeconds = 60;

const request: DurableRequest = JSON.parse(Deno.args[0]);
const { level, qos, window } = request;

/** One publisher and its subscriber, each pair on a topic of its own. */
class Pair {
  readonly template: PublishTemplate;
  publisher!: Publisher;
  subscriber!: Subscriber;
  readonly #number: number;
  #subscribing!: Connection;

  constructor(number: number) {
    this.#number = number;
    const { payloadSize } = request;
    this.template = publishTemplate({ topic: topicOf(number), payloadSize, qos, level });
  }

  async openPublisher(): Promise<void> {
    const connection = await this.#open("p");
    const limit = Math.min(window, connection.receiveMaximum);
    this.publisher = new Publisher(connection, this.template, qos, { window: limit, batch: Math.ceil(limit / 4) });
  }

  /** A publisher that sends message by message. */
  async openSteadyPublisher(): Promise<void> {
    this.publisher = new Publisher(await this.#open("t"), this.template, qos, { window: 65_535, batch: 1 });
  }

  async subscribe(): Promise<void> {
    await this.openSubscriber();
    await this.#subscribing.subscribe(topicOf(this.#number), qos);
  }

  async openSubscriber(): Promise<void> {
    this.#subscribing = await this.#open("s");
    this.subscriber = new Subscriber(this.#subscribing, this.template, qos);
  }

  closeSubscriber(): void {
    this.#subscribing.close();
  }

  #open(role: string): Promise<Connection> {
    const { hostname, port } = request;
    return Connection.open({
      hostname,
      port,
      level,
      clientId: `durable${qos}${role}${this.#number}`,
      persistent: true,
    });
  }
}

function topicOf(number: number): string {
  return `durable${qos}/${String(number).padStart(3, "0")}`;
}

async function run(): Promise<DurableResult> {
  const pairs = Array.from({ length: request.pairs }, (_, number) => new Pair(number));
  for (const pair of pairs) await pair.subscribe();
  for (const pair of pairs) await pair.openPublisher();
  const online = await measureOnline(pairs);
  for (const pair of pairs) pair.closeSubscriber();
  // What the broker sends before it has noticed would come a second time, and marked so.
  await delay(0.5);
  const offline = await measureOffline(pairs);
  const backlog = await measureBacklog(pairs);
  const latency = await measureLatency(pairs);
  return { online, offline, backlog, latency };
}

async function measureOnline(pairs: Pair[]): Promise<Throughput> {
  const publishing = new AbortController();
  const groups = pairs.map(({ publisher, subscriber }) => {
    const group = new Group();
    group.publishers.push(publisher);
    group.subscribers.push(subscriber);
    startClosedLoop(group, publishing.signal);
    return group;
  });
  const delivered = () => groups.reduce((sum, group) => sum + group.delivered, 0);
  await delay(1);
  const started = begin();
  const before = delivered();
  await delay(request.seconds);
  const throughput = started.end(delivered() - before);
  publishing.abort();
  await until(() => groups.every((group) => group.idle), "everything has arrived");
  await delay(0.5);
  return throughput;
}

/** The publishers' acknowledgements are being received already. */
async function measureOffline(pairs: Pair[]): Promise<Throughput> {
  const started = begin();
  const left = new Map(pairs.map((pair) => [pair.publisher, request.queued]));
  const finished = () => {
    for (const [publisher, count] of left) {
      let remaining = count;
      for (; publisher.ready && remaining > 0; remaining -= publisher.batch) publisher.publish();
      left.set(publisher, remaining);
    }
    return pairs.every(({ publisher }) => left.get(publisher)! <= 0 && publisher.idle);
  };
  await until(finished, "everything is acknowledged");
  return started.end(published(pairs));
}

async function measureBacklog(pairs: Pair[]): Promise<Throughput> {
  const started = begin();
  for (const pair of pairs) {
    await pair.openSubscriber();
    pair.subscriber.receive(() => {});
  }
  const awaited = published(pairs);
  const delivered = () => pairs.reduce((sum, { subscriber }) => sum + subscriber.delivered, 0);
  await until(() => delivered() >= awaited, "what was queued has arrived");
  const duplicates = pairs.reduce((sum, { subscriber }) => sum + subscriber.duplicates, 0);
  if (duplicates > 0) throw new Error(`${duplicates} messages came twice or out of order`);
  return started.end(awaited);
}

/** How many messages were published while the subscribers were away: whole batches. */
function published(pairs: Pair[]): number {
  return pairs.reduce((sum, { publisher: { batch } }) => sum + Math.ceil(request.queued / batch) * batch, 0);
}

async function measureLatency(pairs: Pair[]): Promise<DurableResult["latency"]> {
  const latencies: number[] = [];
  const senders: { publisher: Publisher; sentAt: number[] }[] = [];
  for (const pair of pairs) {
    await pair.openSteadyPublisher();
    const { publisher } = pair;
    const sentAt: number[] = [];
    senders.push({ publisher, sentAt });
    publisher.receive(() => {
      while (sentAt.length > publisher.inFlight) latencies.push(performance.now() - sentAt.shift()!);
    });
  }
  const start = performance.now();
  let count = 0;
  const timer = setInterval(() => {
    const due = Math.floor((performance.now() - start) / 1000 * request.rate);
    for (; count < due; count++) {
      const { publisher, sentAt } = senders[count % senders.length];
      sentAt.push(performance.now());
      publisher.publish();
    }
  }, 1);
  await delay(1);
  latencies.length = 0;
  await delay(request.seconds);
  clearInterval(timer);
  const sorted = Float64Array.from(latencies).sort();
  const at = (fraction: number) => sorted[Math.floor((sorted.length - 1) * fraction)];
  return { p50Milliseconds: at(0.5), p99Milliseconds: at(0.99) };
}

function begin() {
  const startedAt = performance.now();
  const cpuSeconds = () => request.brokerPid && readProcessStats(request.brokerPid)?.cpuSeconds;
  const cpuBefore = cpuSeconds();
  return {
    end(messages: number): Throughput {
      const elapsed = (performance.now() - startedAt) / 1000;
      const cpuAfter = cpuSeconds();
      const brokerCpuPercent = cpuBefore === undefined || cpuAfter === undefined
        ? undefined
        : (cpuAfter - cpuBefore) / elapsed * 100;
      return { messagesPerSecond: messages / elapsed, brokerCpuPercent };
    },
  };
}

async function until(check: () => boolean, awaited: string): Promise<void> {
  const deadline = performance.now() + drainSeconds * 1000;
  while (!check()) {
    if (performance.now() > deadline) throw new Error(`after ${drainSeconds} seconds it is not so that ${awaited}`);
    await delay(0.001);
  }
}

function delay(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

await runLoadProcess(async () => console.log(JSON.stringify(await run())));
