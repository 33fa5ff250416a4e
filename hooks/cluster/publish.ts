import { Buffer } from "node:buffer";
import { Command } from "ioredis";
import type { RedisCommand } from "./command.ts";
import type { Margins } from "./frames.ts";
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
  const published = link.isCluster ? link.run(publishScript, [channel], [data]) : link.call("PUBLISH", channel, data);
  published.catch(() => {});
}

/** The longest number of bytes, as text. */
const LONGEST_NUMBER = 10;

/** How much room data needs around it that is published with {@linkcode publishInPlace}. */
export function marginsFor(channel: string): Margins {
  return { before: head(channel, 0).length + LONGEST_NUMBER, after: TAIL.length };
}

/**
 * Publishes on a channel what lies in memory of its own, with the margins that `marginsFor` says. Resolves when the
 * memory is needed no more; rejects if the data may be lost.
 */
export async function publishInPlace(link: Link, channel: string, data: Uint8Array<ArrayBuffer>): Promise<void> {
  if (link.isCluster) {
    // A server that has just become a master does not know the script.
    await link.run(publishScript, [channel], [data]);
  } else {
    await link.redis.sendCommand(new PublishInPlace(channel, data));
  }
}

/** The library would copy large data into memory anew, which takes longer than to send it. */
class PublishInPlace extends Command {
  readonly #encoded: Buffer;

  constructor(channel: string, data: Uint8Array<ArrayBuffer>) {
    super("publish", [channel]);
    const before = head(channel, data.length);
    const start = data.byteOffset - before.length;
    const encoded = Buffer.from(data.buffer, start, before.length + data.length + TAIL.length);
    encoded.set(before);
    encoded.set(TAIL, before.length + data.length);
    this.#encoded = encoded;
  }

  override toWritable(): Buffer {
    return this.#encoded;
  }
}

/** PUBLISH as a server reads it, up to the data. */
function head(channel: string, length: number): Uint8Array {
  const { byteLength } = Buffer.from(channel);
  return Buffer.from(`*3\r\n$7\r\nPUBLISH\r\n$${byteLength}\r\n${channel}\r\n$${length}\r\n`);
}

/** What is behind the data. */
const TAIL = Buffer.from("\r\n");
