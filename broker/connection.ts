import type { Framer } from "../codec/framer.ts";
import type { BufferPool } from "./buffer_pool.ts";
import type { EventLoop } from "./event_loop.ts";
import type { Framers } from "./framers.ts";
import type { Lender, Loan } from "./loan.ts";
import type { Limits } from "./limits.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";
import { Outbound, type OutboundEvents } from "./outbound.ts";
import type { Timer, TimerWheel } from "./timer_wheel.ts";
import type { Transport } from "./transport.ts";

/** How long a peer that is being disconnected has to take its last packet and close, in milliseconds. */
const LINGER = 2000;

/** How long reading pauses at a time when the peer does not read, in milliseconds. */
const PAUSE = 100;

/** What a connection reports to whoever speaks the protocol on it. */
export interface ConnectionEvents extends OutboundEvents {
  /** A packet has arrived, in the framer's current position. Reading goes on when the promise, if any, has settled. */
  onPacket(framer: Framer): MaybePromise<void>;
  /** The bytes are no packets, or `onPacket` has failed. */
  onError(error: Error): void;
  /** These bytes have been read, and not looked at yet. */
  onRead(chunk: Uint8Array): void;
  /** The connection is over. `error` says why, unless the peer closed it or `end` did. Called exactly once. */
  onClosed(error?: Error): void;
}

/** What the connections of one broker share. */
export interface ConnectionContext {
  readonly limits: Limits;
  readonly pool: BufferPool;
  readonly framers: Framers;
  readonly timers: TimerWheel;
  readonly eventLoop: EventLoop;
  /** Calls `flush` of the connection before the event loop turns. */
  flushSoon(connection: Connection): void;
}

/** Bytes in, bytes out: reads, cuts into packets, collects what is to be written. It knows no topics. */
export class Connection implements Lender {
  readonly outbound: Outbound;
  /** When the last complete packet arrived, on the wheel's clock. */
  lastPacketAt: number;
  /** Whether reading waits for a packet that is being handled. */
  busy = false;
  /** Whether a flush has been asked for already. */
  flushRequested = false;

  readonly #transport: Transport;
  readonly #context: ConnectionContext;
  readonly #events: ConnectionEvents;
  #state: "open" | "ending" | "closed" = "open";
  #lingerTimer: Timer | undefined;
  /** Missing between packets, which is where an idle connection is. */
  #framer: Framer | undefined;
  // Bound once: nothing has to be made for each read.
  readonly #onRead = this.#take.bind(this);
  readonly #onFailure = this.close.bind(this);

  constructor(transport: Transport, context: ConnectionContext, events: ConnectionEvents) {
    this.#transport = transport;
    this.#context = context;
    this.#events = events;
    this.lastPacketAt = context.timers.now;
    this.outbound = new Outbound(transport, context.pool, events);
  }

  get open(): boolean {
    return this.#state === "open";
  }

  /**
   * Reads until the connection is over. In callbacks and not in an async function: what such a function keeps while it
   * waits would be most of what an idle connection takes here.
   */
  run(): void {
    const turn = this.#context.eventLoop.overdue();
    if (turn === undefined) this.#read();
    else void turn.then(() => this.#read());
  }

  /** Whether what has been read so far ends inside a packet. */
  get isInsidePacket(): boolean {
    return this.#framer?.incomplete ?? false;
  }

  /** Has what was read last stay as it is until the loan is released. */
  lend(): Loan | undefined {
    return this.#transport.lend?.();
  }

  /** Adds bytes to what goes out before the event loop turns. */
  send(bytes: Uint8Array): void {
    if (this.#state !== "open") return;
    this.outbound.write(bytes);
    this.requestFlush();
  }

  /** Has what was put into `outbound` written before the event loop turns. */
  requestFlush(): void {
    if (this.flushRequested) return;
    this.flushRequested = true;
    this.#context.flushSoon(this);
  }

  /** Writes what is there, then closes: the peer has a moment to read it. */
  async end(): Promise<void> {
    if (this.#state !== "open") return;
    this.#state = "ending";
    this.#lingerTimer = this.#context.timers.schedule(LINGER, () => this.close());
    await this.outbound.flushed();
    // A peer that has gone meanwhile is what is wanted.
    await this.#transport.closeWrite().catch(() => this.close());
  }

  /** Closes after the peer's goodbye: at once if it need not be told, as it waits for nothing any more. */
  leave(): void {
    if (this.outbound.pending === 0 && this.#transport.closesOrderly) this.close();
    else void this.end();
  }

  /** Closes at once. What is not written is lost. */
  close(error?: Error): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#context.timers.cancel(this.#lingerTimer);
    this.#transport.close();
    this.#events.onClosed(error);
  }

  /** Whether more waits to be written than messages alone would be allowed to: the answers to a peer that only asks. */
  get #overfull(): boolean {
    return this.outbound.pending > 2 * this.#context.limits.outboundBytes;
  }

  /** Waits for a peer that does not read: it is not read either, until its keep alive has passed. */
  async #pause(): Promise<void> {
    while (this.#state === "open" && this.#overfull) {
      await new Promise<void>((resolve) => this.#context.timers.schedule(PAUSE, resolve));
    }
  }

  #read(): void {
    this.#transport.read().then(this.#onRead, this.#onFailure);
  }

  #take(length: number | null): void {
    if (length === null) return this.#finish();
    // What a peer sends while it is being disconnected is read, so that it sees the last packet and not a reset.
    if (this.#state !== "open") return this.#readOn();
    try {
      const chunk = this.#transport.received(length);
      this.#events.onRead(chunk);
      this.#framer ??= this.#context.framers.take();
      this.#framer.push(chunk);
      const pending = this.#handOn(this.#framer);
      if (pending === undefined) this.#readOn();
      else pending.then(() => this.#readOn(), this.#onFailure);
    } catch (error) {
      this.close(error as Error);
    }
  }

  #readOn(): void {
    if (this.#state === "open" && this.#overfull) void this.#pause().then(() => this.#readOn());
    else if (this.#state !== "closed") this.run();
  }

  /** The peer sends nothing more: it still gets what there is for it. */
  #finish(): void {
    if (this.#state === "open") void this.outbound.flushed().then(() => this.close());
    else this.close();
  }

  /** Hands on every packet that is complete by now. Returns a promise only if one of them has to be waited for. */
  #handOn(framer: Framer): Promise<void> | undefined {
    try {
      while (this.#state === "open" && framer.next()) {
        this.lastPacketAt = this.#context.timers.now;
        const pending = this.#events.onPacket(framer);
        if (isPromise(pending)) return this.#handOnAfter(pending, framer);
      }
      if (this.#state === "open" && !framer.incomplete) this.#putBack(framer);
    } catch (error) {
      this.#events.onError(error as Error);
    }
    return undefined;
  }

  async #handOnAfter(pending: Promise<void>, framer: Framer): Promise<void> {
    this.busy = true;
    try {
      await pending;
    } catch (error) {
      this.#events.onError(error as Error);
    }
    this.busy = false;
    await this.#handOn(framer);
  }

  /** Nothing has come of the next packet: another connection may use the framer. */
  #putBack(framer: Framer): void {
    this.#framer = undefined;
    this.#context.framers.give(framer);
  }
}
