/**
 * The load between two brokers, a process of its own: `deno run -A bench/cluster/load.ts '<ForwardRequest as JSON>'` writes
 * {@linkcode ForwardReport}s. Whatever goes wrong ends it with one line on standard error.
 */

import { startClosedLoop } from "../../cli/bench/closed_loop.ts";
import { Connection } from "../../cli/bench/connection.ts";
import { Group } from "../../cli/bench/groups.ts";
import { publishTemplate } from "../../cli/bench/packets.ts";
import { Publisher } from "../../cli/bench/publisher.ts";
import { Subscriber } from "../../cli/bench/subscriber.ts";
import { runLoadProcess } from "../load_process.ts";
import type { ForwardReport, ForwardRequest } from "./request.ts";

/** How long all that is under way may take to arrive. */
const drainSeconds = 30;

const request: ForwardRequest = JSON.parse(Deno.args[0]);

async function run(): Promise<void> {
  const { warmUp, seconds } = request;
  const groups: Group[] = [];
  for (let number = 0; number < request.pairs; number++) groups.push(await openPair(number));
  const publishing = new AbortController();
  for (const group of groups) startClosedLoop(group, publishing.signal);
  const delivered = () => groups.reduce((sum, group) => sum + group.delivered, 0);
  await delay(warmUp);
  report({ event: "measuring" });
  const startedAt = performance.now();
  const before = delivered();
  await delay(seconds);
  const messages = delivered() - before;
  report({ event: "measured", messages, seconds: (performance.now() - startedAt) / 1000 });
  publishing.abort();
  const deadline = performance.now() + drainSeconds * 1000;
  while (!groups.every((group) => group.idle)) {
    const outstanding = groups.reduce((sum, group) => sum + group.outstanding, 0);
    if (performance.now() > deadline) throw new Error(`${outstanding} messages never came`);
    await delay(0.01);
  }
  const duplicates = groups.reduce((sum, group) => sum + group.duplicates, 0);
  if (duplicates > 0) throw new Error(`${duplicates} messages came twice or out of order`);
}

async function openPair(number: number): Promise<Group> {
  const { hostname, publishPort, subscribePort, level, qos, isDurable, payloadSize } = request;
  const topic = `cluster/${String(number).padStart(3, "0")}`;
  const template = publishTemplate({ topic, payloadSize, qos, level });
  const clientId = `cluster${Deno.pid}n${number}`;
  const subscribing = await Connection.open({
    hostname,
    port: subscribePort,
    level,
    clientId: `${clientId}s`,
    persistent: isDurable,
  });
  await subscribing.subscribe(topic, qos);
  const publishingConnection = await Connection.open({ hostname, port: publishPort, level, clientId: `${clientId}p` });
  const window = Math.min(request.window, publishingConnection.receiveMaximum);
  const group = new Group();
  group.subscribers.push(new Subscriber(subscribing, template, qos));
  group.publishers.push(new Publisher(publishingConnection, template, qos, { window, batch: Math.ceil(window / 4) }));
  return group;
}

function report(event: ForwardReport): void {
  console.log(JSON.stringify(event));
}

function delay(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

await runLoadProcess(run);
