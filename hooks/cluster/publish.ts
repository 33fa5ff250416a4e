import type { RedisCommand } from "./command.ts";
import { defineScript, type Link } from "./link.ts";

/** KEYS: channel. ARGV: what is published there. */
const publishScript = defineScript(`return redis.call('PUBLISH', KEYS[1], ARGV[1])`);

/**
 * Publishes on a channel. In a Redis Cluster any server takes that, and what goes by several of them may overtake itself; a
 * script with the channel as its key goes by the same one always.
 */
export function publishCommand({ isCluster }: Link, channel: string, data: Uint8Array): RedisCommand {
  return isCluster ? ["EVALSHA", publishScript.sha, 1, channel, data] : ["PUBLISH", channel, data];
}

/** Publishes at once; what cannot be published is lost. */
export function publishNow(link: Link, channel: string, data: Uint8Array): void {
  const [name, ...values] = publishCommand(link, channel, data);
  link.call(name, ...values).catch(() => {});
}
