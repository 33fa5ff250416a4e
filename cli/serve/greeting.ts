import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { NetworkAddress } from "../../broker/listener.ts";
import { hostAndPort } from "../../broker/listeners/host_and_port.ts";
import type { Config } from "../config.ts";
import { nodeIdOf } from "../config/hooks.ts";
import type { Running } from "./reload.ts";

/** Where a broker listens, and two lines to copy that show it at work, if our own clients can reach it. */
export function greeting({ broker: { listeners }, config, hooks: { auth, metrics } }: Running): string {
  const metricsUrl = metrics?.address &&
    `http://${hostAndPort(metrics.address.hostname, metrics.address.port)}/metrics`;
  const [first, ...others] = [...listeners.map(({ url }) => url), ...(metricsUrl ? [metricsUrl] : [])];
  const tcp = listeners.map(({ address }) => address).find(({ transport }) => transport === "tcp");
  return [
    `HookMQ listens on ${first} (MQTT 3.1, 3.1.1 and 5.0). Sessions and retained messages are in ${storeOf(config)}.`,
    ...others.map((url) => `${" ".repeat("HookMQ listens on".length)} ${url}`),
    ...(tcp === undefined ? [] : tryIt(tcp as NetworkAddress, auth !== undefined)),
  ].join("\n");
}

/** Where sessions and retained messages are. */
function storeOf({ hooks: { cluster, redis, sqlite } }: Config): string {
  if (cluster !== undefined) return `Redis at ${placesOf(cluster)}; this is node ${nodeIdOf(cluster)}`;
  if (redis !== undefined) return `Redis at ${placesOf(redis)}`;
  return sqlite?.path ?? "memory";
}

/** Hosts and ports, without the password that an address may hold. */
function placesOf({ addr = "127.0.0.1:6379", addrs = [addr] }: { addr?: string; addrs?: string[] }): string {
  return addrs.map((address) => address.replace(/^rediss?:\/\//, "").replace(/^.*@/, "").replace(/\/.*$/, "")).join(
    ", ",
  );
}

function tryIt({ hostname, port }: NetworkAddress, asksForPassword: boolean): string[] {
  const toBroker = [
    ...(["127.0.0.1", "0.0.0.0"].includes(hostname) ? [] : ["-h", hostname]),
    ...(port === 1883 ? [] : ["-p", port]),
    ...(asksForPassword ? ["-u", "NAME", "-P", "PASSWORD"] : []),
  ];
  const client = (...words: unknown[]) => [programName(), ...words, ...toBroker].join(" ");
  return [
    `Try it:  ${client("sub", "-v", "-t", "'demo/#'")}`,
    `         ${client("pub", "-t", "demo/hello", "-m", "world")}`,
  ];
}

/** How this program was started, to be copied into a shell. */
function programName(): string {
  if (Deno.build.standalone) return "hookmq";
  const module = new URL(Deno.mainModule);
  return `deno run -A ${module.protocol === "file:" ? relative(Deno.cwd(), fileURLToPath(module)) : module}`;
}
