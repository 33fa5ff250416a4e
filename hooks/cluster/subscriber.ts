import type { Redis } from "ioredis";
import { disconnect } from "./disconnect.ts";
import type { Logger } from "../../broker/logger.ts";

/** How often a silent connection is asked whether it is still there, in milliseconds. */
const PING_INTERVAL = 1000;

/** How long to wait before the next attempt to connect, in milliseconds. */
const PAUSE = 200;

/** What a {@linkcode Subscriber} is given. */
export interface SubscriberOptions {
  /** Makes a connection, to whichever server can be had, that does not reconnect by itself. */
  readonly open: () => Redis;
  readonly logger: Logger;
  /** Called when every channel is subscribed, and again after each loss. */
  readonly onReady: () => void;
  /** Called when the connection is lost: messages may be missed from now on. */
  readonly onLost: () => void;
}

/**
 * The connection by which messages on channels come in. On a Redis Cluster a message reaches every server, so that one
 * connection, to any of them, is enough; when it is lost, another server may be asked next.
 */
export class Subscriber {
  readonly #options: SubscriberOptions;
  readonly #handlers = new Map<string, (data: Uint8Array) => void>();
  #redis: Redis | undefined;
  #isReady = false;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SubscriberOptions) {
    this.#options = options;
  }

  /** Whether messages on all channels come in. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** Connects, and from then on keeps connected. @throws {Error} If the first attempt fails. */
  async connect(): Promise<void> {
    const redis = this.#redis = this.#options.open();
    redis.on("error", () => {});
    redis.on("messageBuffer", (channel: Uint8Array, data: Uint8Array) => this.#receive(channel, data));
    redis.once("end", () => this.#lose(redis));
    await redis.connect();
    if (this.#handlers.size > 0) await redis.subscribe(...this.#handlers.keys());
    if (this.#redis !== redis) return;
    this.#isReady = true;
    this.#timer = setTimeout(() => this.#ping(redis), PING_INTERVAL);
    this.#options.onReady();
  }

  /** Has `handler` called with every message on a channel. Settles when it is subscribed, if there is a connection. */
  async subscribe(channel: string, handler: (data: Uint8Array) => void): Promise<void> {
    this.#handlers.set(channel, handler);
    if (this.#isReady) await this.#redis!.subscribe(channel);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#isReady = false;
    clearTimeout(this.#timer);
    const redis = this.#redis;
    this.#redis = undefined;
    if (redis !== undefined) await disconnect(redis);
  }

  #receive(channel: Uint8Array, data: Uint8Array): void {
    const name = new TextDecoder().decode(channel);
    try {
      this.#handlers.get(name)?.(data);
    } catch (error) {
      this.#options.logger.error("a message on {channel} cannot be used: {error}", { channel: name, error });
    }
  }

  #lose(redis: Redis): void {
    if (this.#redis !== redis) return;
    const wasReady = this.#isReady;
    this.#redis = undefined;
    this.#isReady = false;
    clearTimeout(this.#timer);
    if (wasReady) this.#options.onLost();
    this.#timer = setTimeout(() => this.connect().catch(() => {}), PAUSE);
  }

  /** Nothing may come for long; that the connection is dead shows only when something is sent. */
  async #ping(redis: Redis): Promise<void> {
    try {
      await redis.ping();
    } catch {
      return await disconnect(redis);
    }
    if (!this.#closed && this.#redis === redis) this.#timer = setTimeout(() => this.#ping(redis), PING_INTERVAL);
  }
}
