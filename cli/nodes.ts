import { type Command, Option } from "commander";
import type { NodeInfo } from "../hooks/cluster/registry.ts";
import type { Logger } from "../broker/logger.ts";
import { readRedisUrl, redisUrlForms } from "./redis_url.ts";

interface NodesOptions {
  /** The addresses in the URL. */
  cluster: string[];
  keyPrefix: string;
  json?: true;
}

/** What has to be said is in the error that the command ends with. */
const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Adds the command `nodes`, which lists the brokers of a cluster. */
export function addNodesCommand(program: Command): void {
  program.command("nodes")
    .description("List the brokers of a cluster, with their load.")
    .addOption(
      new Option("--cluster <url>", `the Redis in which they meet: ${redisUrlForms}`)
        .argParser(readRedisUrl)
        .makeOptionMandatory(),
    )
    .option("--key-prefix <prefix>", "what the names of their keys in Redis begin with", "mqtt:")
    .option("--json", "print a JSON array")
    .helpOption("--help", "show this help")
    .addHelpText(
      "after",
      `
Of each broker it shows how many clients are connected, how many sessions it looks after, those of its clients included, how
many messages a second its clients publish, and how long it has been up. A broker that has said nothing for its time to live
(hooks.cluster.nodeTtl) is left out.

Examples:
  hookmq nodes --cluster redis://127.0.0.1
  hookmq nodes --cluster redis://127.0.0.1 --json`,
    )
    .action(nodes);
}

async function nodes({ cluster, keyPrefix, json }: NodesOptions): Promise<void> {
  // Only now, since the other commands are done in less time than this takes to load.
  const { Link } = await import("../hooks/cluster/link.ts");
  const { readNodes } = await import("../hooks/cluster/registry.ts");
  const servers = cluster.length === 1 ? { addr: cluster[0] } : { addrs: cluster };
  const link = new Link({ ...servers, logger: silent });
  await link.connect();
  const found = await readNodes(link, keyPrefix).finally(() => link.close());
  console.log(json ? JSON.stringify(found) : found.length === 0 ? "there are no nodes" : table(found, Date.now()));
}

/** A line for each node. */
function table(nodes: NodeInfo[], now: number): string {
  const rows = nodes.map(({ nodeId, clients, sessions, messagesPerSecond, startedAt }) => [
    nodeId,
    ...[clients, sessions, Math.round(messagesPerSecond)].map((number) => number.toLocaleString("en")),
    duration(now - startedAt),
  ]);
  const all = [["node", "clients", "sessions", "msg/s", "up"], ...rows];
  const widths = all[0].map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all.map((row) =>
    row.map((text, column) => column === 0 ? text.padEnd(widths[column]) : text.padStart(widths[column])).join("  ")
  ).join("\n");
}

/** A time in its largest unit, e.g. `"3h"`. */
function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  for (const [unit, length] of [["d", 86_400], ["h", 3600], ["m", 60]] as const) {
    if (seconds >= length) return `${Math.floor(seconds / length)}${unit}`;
  }
  return `${seconds}s`;
}
