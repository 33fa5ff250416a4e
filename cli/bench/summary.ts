import { hostAndPort } from "../../broker/listeners/host_and_port.ts";
import type { LoadRequest, LoadResult } from "./load.ts";
import type { ScenarioName } from "./scenario.ts";

/** From here on, of one core, the load generator has no time left. */
export const busyPercent = 90;

/** One line on what will be done. */
export function describeLoad(request: LoadRequest, scenario: ScenarioName): string {
  const broker = hostAndPort(request.hostname, request.port);
  const { groups, publishers, subscribers } = request;
  const version = request.level === 5 ? "MQTT 5.0" : "MQTT 3.1.1";
  if (scenario === "connect") {
    return `${broker}: ${counted(publishers, "client")} that connect again and again, ${version}`;
  }
  return [
    `${broker}: ${counted(groups * publishers, "publisher")} to ${counted(groups * subscribers, "subscriber")}`,
    topicCount(request),
    `QoS ${request.qos}`,
    `${thousands(request.payloadSize)} bytes`,
    request.withProperties ? `${version} with properties` : version,
    request.rate === undefined ? `window ${thousands(request.window)}` : `${thousands(request.rate)} msg/s`,
    ...request.storm === undefined ? [] : [`${thousands(request.storm)} subscribes/s beside it`],
  ].join(", ");
}

function topicCount({ routing, groups, publishers, subscribers, topicsPerSubscriber }: LoadRequest): string {
  if (routing === "wildcards") return `wildcards for ${counted(publishers, "topic")}`;
  if (routing === "shared") return "one shared subscription";
  return counted(routing === "spread" ? subscribers * topicsPerSubscriber : groups, "topic");
}

/** A table of what came of it. */
export function summary(result: LoadResult, scenario: ScenarioName): string {
  const rows = [
    ...(scenario === "connect" ? connectionRows(result) : messageRows(result)),
    ["generator", generator(result)],
    ["broker", broker(result)],
  ];
  return rows.filter(([, value]) => value !== undefined).map(([name, value]) => `  ${name!.padEnd(12)}${value}`)
    .join("\n");
}

function connectionRows(result: LoadResult): (string | undefined)[][] {
  return [["connected", `${thousands(result.deliveredPerSecond)} a second`], ["latency", latency(result)]];
}

function messageRows(result: LoadResult): (string | undefined)[][] {
  const { sentPerSecond, deliveredPerSecond, subscribesPerSecond, lost, duplicates } = result;
  return [
    ["sent", `${thousands(sentPerSecond)} msg/s`],
    ["delivered", `${thousands(deliveredPerSecond)} msg/s`],
    ["latency", latency(result)],
    ["subscribed", subscribesPerSecond === undefined ? undefined : `${thousands(subscribesPerSecond)} a second`],
    ["lost", thousands(lost)],
    ["duplicates", thousands(duplicates)],
  ];
}

/** A number as people read it, e.g. `1,234,567`. */
export function thousands(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function latency({ latency }: LoadResult): string | undefined {
  return latency && `p50 ${milliseconds(latency.p50Milliseconds)}, p99 ${milliseconds(latency.p99Milliseconds)}`;
}

function generator({ generatorCpuPercent }: LoadResult): string | undefined {
  if (generatorCpuPercent === undefined) return undefined;
  const busy = generatorCpuPercent >= busyPercent ? " (busy: the broker may be able to do more)" : "";
  return `${generatorCpuPercent.toFixed(0)} % of a core${busy}`;
}

function broker({ brokerCpuPercent, brokerResidentMegabytes }: LoadResult): string | undefined {
  if (brokerCpuPercent === undefined || brokerResidentMegabytes === undefined) return undefined;
  return `${brokerCpuPercent.toFixed(0)} % of a core, ${brokerResidentMegabytes.toFixed(0)} MB`;
}

function counted(count: number, noun: string): string {
  return `${thousands(count)} ${noun}${count === 1 ? "" : "s"}`;
}

function milliseconds(value: number): string {
  return `${value.toFixed(2)} ms`;
}
