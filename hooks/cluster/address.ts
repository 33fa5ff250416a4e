import type { RedisOptions } from "ioredis";

/** Where a Redis server listens when nothing is said about it. */
const DEFAULT_PORT = 6379;

/**
 * The options that an address stands for: `"host"`, `"host:port"`, `"redis://user:password@host:port/database"`, or the same
 * with `rediss` for TLS.
 *
 * @throws {RangeError} If it is none of these.
 */
export function parseAddress(address: string): RedisOptions {
  const url = URL.parse(/^rediss?:\/\//.test(address) ? address : `redis://${address}`);
  const db = url?.pathname.replace(/^\//, "") ?? "";
  if (url === null || url.hostname === "" || !/^\d*$/.test(db) || url.search !== "" || url.hash !== "") {
    throw new RangeError(`"${address}" is not the address of a Redis server; it should be like redis://127.0.0.1:6379`);
  }
  const options: RedisOptions = {
    // An IPv6 address stands in brackets in a URL, and nowhere else.
    host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? DEFAULT_PORT : Number(url.port),
  };
  if (url.username !== "") options.username = decodeURIComponent(url.username);
  if (url.password !== "") options.password = decodeURIComponent(url.password);
  if (db !== "") options.db = Number(db);
  if (url.protocol === "rediss:") options.tls = {};
  return options;
}
