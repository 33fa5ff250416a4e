import { createHash } from "node:crypto";
import { Cluster, Redis, type RedisOptions } from "ioredis";
import type { Logger } from "../../broker/logger.ts";
import { parseAddress } from "./address.ts";
import { type RedisValue, toArguments } from "./command.ts";
import { disconnect } from "./disconnect.ts";
import { Subscriber } from "./subscriber.ts";

/** A server that does not answer for so long is not there, in milliseconds. Blocking reads must wait less. */
const ANSWER_TIMEOUT = 3000;

/** How long to wait before what has to be done after a reconnection is tried again, in milliseconds. */
const PAUSE_AFTER_FAILURE = 1000;

/** Where Redis is. */
export interface LinkOptions {
  /** Connections are made as this one was; it itself is not used. */
  client?: Redis | Cluster;
  /** The address of a single server, e.g. `"redis://127.0.0.1:6379"`. */
  addr?: string;
  /** Addresses of servers of a Redis Cluster; one that answers is enough to find the others. */
  addrs?: string[];
  /** The user name, unless it is in the address. */
  username?: string;
  /** The password, unless it is in the address. */
  password?: string;
  /** The number of the database; a Redis Cluster has only 0. */
  db?: number;
  /** TLS options, as `node:tls` takes them; `true` for the defaults. */
  tls?: boolean | RedisOptions["tls"];
  logger: Logger;
}

/** A Lua script, which the servers know by its hash. */
export interface Script {
  readonly lua: string;
  readonly sha: string;
}

/** Every script there is: a server that has lost them, or is new, is given all of them. */
const scripts: Script[] = [];

/** Makes a script that can be run with {@linkcode Link.run}, and in a change as `["EVALSHA", script.sha, …]`. */
export function defineScript(lua: string): Script {
  const script = { lua, sha: createHash("sha1").update(lua).digest("hex") };
  scripts.push(script);
  return script;
}

/**
 * The connections to Redis, be it a single server or a Redis Cluster, and whether they are there.
 *
 * After each reconnection what `onConnected` was given is done, one after the other, before `isConnected` is true again.
 */
export class Link {
  readonly isCluster: boolean;
  /** For commands. Nothing is queued in it: what it cannot send at once fails. */
  readonly redis: Redis | Cluster;
  /** For blocking reads, which wait 2 seconds at most. */
  readonly blocking: Redis | Cluster;
  /** Where the servers are, for messages to operators. */
  readonly address: string;

  readonly #subscriber: Subscriber;
  readonly #logger: Logger;
  readonly #connected: (() => Promise<void>)[] = [];
  readonly #ready: (() => void)[] = [];
  readonly #disconnected: (() => void)[] = [];
  /** Those who wait no longer than Redis is there. */
  readonly #waiting = new Set<(error: Error) => void>();
  #isConnected = false;
  /** Whether `connect` has settled well. */
  #isOpen = false;
  #isClosed = false;
  #lastError: string | undefined;
  /** Counts connections; what belongs to an earlier one is given up. */
  #round = 0;
  #endPause: (() => void) | undefined;
  readonly #reconnecting = new Set<ReturnType<typeof setTimeout>>();

  constructor(options: LinkOptions) {
    const { client, addrs, logger } = options;
    this.#logger = logger;
    this.isCluster = client === undefined ? addrs !== undefined : client.isCluster;
    const open = () => this.isCluster ? openCluster(options) : openSingle(options);
    this.redis = open();
    this.blocking = open();
    this.address = describe(this.redis);
    this.#subscriber = new Subscriber({
      open: () => this.#openSubscriber(),
      logger,
      onReady: () => this.#update(),
      onLost: () => this.#lose(),
    });
    for (const redis of [this.redis, this.blocking]) {
      for (const event of ["error", "node error"]) redis.on(event, (error: Error) => this.#note(error));
      this.#keepConnected(redis);
    }
    this.redis.on("ready", () => this.#update());
    this.redis.on("close", () => this.#lose());
  }

  /** Whether Redis is there, and all has been done that has to be done after a connection. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Why Redis is not there; `undefined` while it is. */
  get failure(): string | undefined {
    return this.#isConnected ? undefined : `Redis at ${this.address}: ${this.#lastError ?? "not connected"}`;
  }

  /** @throws {Error} If it cannot be reached, or what has to be done after a connection fails; one line says what to do. */
  async connect(): Promise<void> {
    try {
      await Promise.all([this.redis.connect(), this.blocking.connect()]);
      await this.#subscriber.connect();
      await this.loadScripts();
    } catch (error) {
      await this.close();
      const reason = this.#lastError ?? explain(error as Error);
      // What keeps the servers of a Redis Cluster from being found is not told.
      const isVague = reason === CONNECTION_LOST;
      throw new Error(`cannot use Redis at ${this.address}: ${isVague ? "nobody answers (is it running?)" : reason}`);
    }
    try {
      for (const callback of this.#connected) await callback();
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#isOpen = true;
    if (this.#isThere) this.#succeed();
  }

  /** Has `onMessage` called with every message on a channel, also after a reconnection. */
  subscribe(channel: string, onMessage: (data: Uint8Array) => void): Promise<void> {
    return this.#subscriber.subscribe(channel, onMessage);
  }

  /**
   * Has something done after every connection, behind what was given before, when commands can be sent and the channels are
   * subscribed. If it fails it is logged, and all is done once more a second later; at the first connection `connect` rejects.
   */
  onConnected(callback: () => Promise<void>): void {
    this.#connected.push(callback);
  }

  /** Has something done when `isConnected` has become true. */
  onReady(callback: () => void): void {
    this.#ready.push(callback);
  }

  /** Has something done when `isConnected` has become false. */
  onDisconnected(callback: () => void): void {
    this.#disconnected.push(callback);
  }

  /** Whether Redis is there, and answers within so many milliseconds. */
  async answers(patience: number): Promise<boolean> {
    if (!this.#isConnected) return false;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), patience);
    this.call("PING").then(() => resolve(true), () => resolve(false));
    const isThere = await promise;
    clearTimeout(timer);
    return isThere;
  }

  /** Settles as `work` does, or rejects when Redis is lost before it has. */
  async whileConnected(work: Promise<void>): Promise<void> {
    const { promise: lost, reject } = Promise.withResolvers<never>();
    this.#waiting.add(reject);
    if (!this.#isConnected) reject(new Error(CONNECTION_LOST));
    try {
      await Promise.race([work, lost]);
    } finally {
      this.#waiting.delete(reject);
    }
  }

  /** Sends a command. Texts in the reply are bytes. */
  call(name: string, ...values: RedisValue[]): Promise<unknown> {
    return this.redis.callBuffer(name, ...toArguments(values)) as Promise<unknown>;
  }

  /** Runs a script. Texts in the reply are bytes. */
  async run(script: Script, keys: readonly string[], values: readonly RedisValue[]): Promise<unknown> {
    try {
      return await this.call("EVALSHA", script.sha, keys.length, ...keys, ...values);
    } catch (error) {
      if (!isUnknownScript(error as Error)) throw error;
      await this.loadScripts();
      return await this.call("EVALSHA", script.sha, keys.length, ...keys, ...values);
    }
  }

  /** Gives every server all scripts. */
  async loadScripts(): Promise<void> {
    const servers = this.redis instanceof Cluster ? this.redis.nodes("master") : [this.redis];
    await Promise.all(servers.flatMap((server) => scripts.map(({ lua }) => server.script("LOAD", lua))));
  }

  /** Ends all connections. What waits for a reply fails. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isOpen = false;
    this.#isConnected = false;
    this.#endPause?.();
    for (const timer of this.#reconnecting) clearTimeout(timer);
    await Promise.all([this.#subscriber.close(), disconnect(this.redis), disconnect(this.blocking)]);
  }

  /** Connects again when a connection has ended, once `connect` has succeeded. */
  #keepConnected(redis: Redis | Cluster): void {
    let attempt = 0;
    redis.on("ready", () => attempt = 0);
    redis.on("end", () => {
      if (!this.#isOpen) return;
      const timer = setTimeout(() => {
        this.#reconnecting.delete(timer);
        // If it fails, it has ended again.
        redis.connect().catch(() => {});
      }, retryDelay(++attempt));
      this.#reconnecting.add(timer);
    });
  }

  /** Keeps what an operator should know: that a connection was closed is less than why it cannot be had. */
  #note(error: Error): void {
    const reason = explain(error);
    if (reason !== CONNECTION_LOST || this.#lastError === undefined) this.#lastError = reason;
  }

  get #isThere(): boolean {
    return this.redis.status === "ready" && this.#subscriber.isReady;
  }

  /** A connection may have come back. */
  #update(): void {
    if (!this.#isOpen || this.#isClosed || !this.#isThere) return;
    this.#synchronise(++this.#round);
  }

  async #synchronise(round: number): Promise<void> {
    for (;;) {
      try {
        for (const callback of this.#connected) {
          await callback();
          if (round !== this.#round) return;
        }
        return this.#succeed();
      } catch (error) {
        if (round !== this.#round || this.#isClosed) return;
        this.#lastError = explain(error as Error);
        this.#logger.warn("Redis at {address} is there, but cannot be used yet: {reason}", {
          address: this.address,
          reason: this.#lastError,
        });
      }
      await this.#pause();
      if (round !== this.#round || this.#isClosed) return;
    }
  }

  #succeed(): void {
    this.#isConnected = true;
    this.#lastError = undefined;
    for (const callback of this.#ready) callback();
  }

  #lose(): void {
    this.#round += 1;
    this.#endPause?.();
    if (!this.#isConnected || this.#isClosed) return;
    this.#isConnected = false;
    this.#logger.warn("Redis at {address} is lost: {reason}", {
      address: this.address,
      reason: this.#lastError ?? "the connection was closed",
    });
    for (const reject of this.#waiting) reject(new Error(CONNECTION_LOST));
    for (const callback of this.#disconnected) callback();
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PAUSE_AFTER_FAILURE);
    this.#endPause = resolve;
    await promise;
    clearTimeout(timer);
    this.#endPause = undefined;
  }

  #openSubscriber(): Redis {
    if (this.redis instanceof Redis) return this.redis.duplicate({ retryStrategy: never });
    const servers = this.redis.nodes("master");
    const server = servers[Math.floor(Math.random() * servers.length)] ?? this.#anyServer();
    return server.duplicate({ ...connectionOptions, retryStrategy: never });
  }

  /** Some server of a Redis Cluster of which none is known at the moment. */
  #anyServer(): Redis {
    const [server] = (this.blocking as Cluster).nodes();
    if (server === undefined) throw new Error("no server of the Redis Cluster answers");
    return server;
  }
}

/** Whether an error says that a server does not know a script. */
export function isUnknownScript({ message }: Error): boolean {
  return message.startsWith("NOSCRIPT");
}

/** A server that does not end a connection with us for so long is not waited for, in milliseconds. */
const GOODBYE_TIMEOUT = 200;

const connectionOptions = {
  lazyConnect: true,
  keyPrefix: "",
  connectTimeout: ANSWER_TIMEOUT,
  socketTimeout: ANSWER_TIMEOUT,
  disconnectTimeout: GOODBYE_TIMEOUT,
  // What was on its way when a connection was lost is sent again by whoever knows whether it still should be.
  enableOfflineQueue: false,
  autoResendUnfulfilledCommands: false,
  maxRetriesPerRequest: 0,
  // A client that is given may have it: then commands go later than they are made, and `call` is not understood.
  enableAutoPipelining: false,
} satisfies RedisOptions;

/** The library's own way of connecting again cannot be ended at once. */
function never(): null {
  return null;
}

function retryDelay(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 5), 1000);
}

function credentials({ username, password, db, tls }: LinkOptions): RedisOptions {
  const options: RedisOptions = {};
  if (username !== undefined) options.username = username;
  if (password !== undefined) options.password = password;
  if (db !== undefined) options.db = db;
  if (tls !== undefined && tls !== false) options.tls = tls === true ? {} : tls;
  return options;
}

function openSingle(options: LinkOptions): Redis {
  const own = { ...connectionOptions, retryStrategy: never };
  if (options.client instanceof Redis) return options.client.duplicate(own);
  return new Redis({ ...parseAddress(options.addr ?? "127.0.0.1:6379"), ...credentials(options), ...own });
}

function openCluster(options: LinkOptions): Cluster {
  const { enableOfflineQueue, lazyConnect, ...redisOptions } = connectionOptions;
  const own = { enableOfflineQueue, lazyConnect, keyPrefix: "", clusterRetryStrategy: never };
  if (options.client instanceof Cluster) return options.client.duplicate([], { ...own, redisOptions });
  const servers = options.addrs!.map(parseAddress);
  const { host: _host, port: _port, ...common } = servers[0];
  return new Cluster(servers.map(({ host, port }) => ({ host, port })), {
    ...own,
    redisOptions: { ...redisOptions, ...common, ...credentials(options) },
  });
}

function describe(redis: Redis | Cluster): string {
  if (redis instanceof Redis) return redis.options.path ?? `${redis.options.host}:${redis.options.port}`;
  const servers =
    (redis as unknown as { startupNodes: (string | number | { host?: string; port?: number })[] }).startupNodes;
  return servers.map((server) => typeof server === "object" ? `${server.host}:${server.port}` : server).join(", ");
}

const CONNECTION_LOST = "the connection was lost";

/** An error in an operator's words. */
export function explain(error: Error & { code?: string; lastNodeError?: Error }): string {
  if (error.lastNodeError !== undefined && error.lastNodeError !== null) return explain(error.lastNodeError);
  const { message } = error;
  if (error.code === "ECONNREFUSED" || /ECONNREFUSED/.test(message)) return "connection refused (is it running?)";
  if (error.code === "ENOTFOUND") return "there is no such host";
  if (/ETIMEDOUT|Socket timeout/.test(message)) return "it does not answer";
  if (/max retries per request|Connection is closed/.test(message)) return CONNECTION_LOST;
  if (/^NOAUTH/.test(message)) return "it wants a password";
  if (/^WRONGPASS|invalid password/.test(message)) return "the user name or password is wrong";
  if (/cluster support disabled/.test(message)) {
    return "it is a single server, not a Redis Cluster (use addr, not addrs)";
  }
  return message;
}
