import { Failure } from "./failure.ts";

/** What the URL of a Redis looks like, for help and errors. */
export const redisUrlForms = "redis://127.0.0.1:6379, rediss://user:password@host:port/db (TLS) or " +
  "redis://host1,host2,host3 (Redis Cluster)";

/**
 * Reads the value of `--cluster`: the addresses in the URL of a Redis server, or of several that make up a Redis Cluster,
 * with commas in between. What the URL says besides hosts and ports holds for each of them.
 *
 * @throws {Failure} If it is none. The message does not show its password, as commander's own would.
 */
export function readRedisUrl(url: string): string[] {
  const match = url.match(/^(rediss?:\/\/(?:[^@/]*@)?)([^@/?#]+)(?:\/(\d*))?$/);
  if (match === null) throw wrong(`the URL must look like ${redisUrlForms}`);
  const [, start, hosts, database = ""] = match;
  const names = hosts.split(",");
  for (const name of names) assertHost(name);
  if (names.length > 1 && Number(database) > 0) throw wrong("a Redis Cluster has no numbered databases");
  const end = names.length > 1 || database === "" ? "" : `/${database}`;
  return names.map((name) => start + name + end);
}

function assertHost(text: string): void {
  const [, port = "6379"] = text.match(/^(?:\[[\da-fA-F:.]+\]|[^[\]:]+)(?::(\d+))?$/) ?? [undefined, "0"];
  if (Number(port) < 1 || Number(port) > 65_535) throw wrong(`"${text}" is no host, and no host:port`);
}

function wrong(message: string): Failure {
  return new Failure(`--cluster: ${message}`, 2);
}
