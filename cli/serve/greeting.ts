import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { NetworkAddress } from "../../broker/listener.ts";
import { hostAndPort } from "../host_and_port.ts";
import type { Running } from "./reload.ts";

/** Where a broker listens, and two lines to copy that show it at work, if our own clients can reach it. */
export function greeting({ broker: { listeners }, config, hooks: { auth, metrics } }: Running): string {
  const metricsUrl = metrics?.address &&
    `http://${hostAndPort(metrics.address.hostname, metrics.address.port)}/metrics`;
  const [first, ...others] = [...listeners.map(({ url }) => url), ...(metricsUrl ? [metricsUrl] : [])];
  const tcp = listeners.map(({ address }) => address).find(({ transport }) => transport === "tcp");
  const store = config.hooks.sqlite?.path ?? "memory";
  return [
    `HookMQ listens on ${first} (MQTT 3.1, 3.1.1 and 5.0). Sessions and retained messages are in ${store}.`,
    ...others.map((url) => `${" ".repeat("HookMQ listens on".length)} ${url}`),
    ...(tcp === undefined ? [] : tryIt(tcp as NetworkAddress, auth !== undefined)),
  ].join("\n");
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
