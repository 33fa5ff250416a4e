import { hostAndPort } from "../host_and_port.ts";
import type { LoadRequest, LoadResult } from "./load.ts";

/** From here on, of one core, the load generator has no time left. */
const busyPercent = 90;

/** One line on what will be done. */
export function describeLoad(request: LoadRequest): string {
  const { groups, publishers, subscribers, qos, payloadSize, window, rate } = request;
  return [
    `${hostAndPort(request.hostname, request.port)}: ${counted(groups * publishers, "publisher")} to ` +
    counted(groups * subscribers, "subscriber"),
    counted(groups, "topic"),
    `QoS ${qos}`,
    `${thousands(payloadSize)} bytes`,
    request.level === 5 ? "MQTT 5.0" : "MQTT 3.1.1",
    rate === undefined ? `window ${thousands(window)}` : `${thousands(rate)} msg/s`,
  ].join(", ");
}

/** A table of what came of it. */
export function summary(result: LoadResult): string {
  const { sentPerSecond, deliveredPerSecond, latency, lost, duplicates } = result;
  const rows = [
    ["sent", `${thousands(sentPerSecond)} msg/s`],
    ["delivered", `${thousands(deliveredPerSecond)} msg/s`],
    [
      "latency",
      latency && `p50 ${milliseconds(latency.p50Milliseconds)}, p99 ${milliseconds(latency.p99Milliseconds)}`,
    ],
    ["lost", thousands(lost)],
    ["duplicates", thousands(duplicates)],
    ["generator", generator(result)],
    ["broker", broker(result)],
  ];
  return rows.filter(([, value]) => value !== undefined).map(([name, value]) => `  ${name!.padEnd(12)}${value}`)
    .join("\n");
}

/** A number as people read it, e.g. `1,234,567`. */
export function thousands(value: number): string {
  return Math.round(value).toLocaleString("en-US");
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
