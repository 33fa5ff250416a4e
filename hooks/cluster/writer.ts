import { ReasonCode, ReasonCodeError } from "../../codec/mod.ts";
import type { Logger } from "../../broker/logger.ts";
import { type RedisCommand, toArguments } from "./command.ts";
import { explain, isUnknownScript, type Link } from "./link.ts";

/** So many changes make a batch at most, and so many bytes, that no other client of Redis waits long for one. */
const BATCH_CHANGES = 1000;
const BATCH_BYTES = 4 * 1024 * 1024;

/**
 * What is added in one go may be more: it goes in several transactions then, of so many changes, so that nobody takes Redis
 * for lost meanwhile.
 */
const TRANSACTION_CHANGES = 5000;

/** How long to wait before a batch is tried again, in milliseconds. */
const PAUSE_AFTER_FAILURE = 500;

/** Something that is to be changed in Redis. */
export interface Change {
  /**
   * The commands that do it. Asked for when the batch is sent, and again when its answer was lost with the connection: it
   * may have been applied then. The number of the batch, which is larger than those before, stays the same. If it throws,
   * nothing is changed, and the batch fails.
   */
  commands(batchNumber: number): readonly RedisCommand[];
  /** Gets the replies to the commands. Texts are strings. */
  settled?(replies: readonly unknown[]): void;
  /**
   * Whether it may only be made when the others of its batch have been, or together with them. A Redis Cluster cannot do
   * a batch as a whole.
   */
  readonly isLast?: boolean;
}

/** What a {@linkcode Writer} is given. */
export interface WriterOptions {
  /** So many changes may wait. Default 100,000. */
  readonly maximumEntries?: number;
  /** So many bytes may wait. Default 128 MiB. */
  readonly maximumBytes?: number;
  readonly logger: Logger;
}

class Batch {
  readonly changes = new Set<Change>();
  entries = 0;
  bytes = 0;
  number = 0;
  isFull = false;
  readonly applied = Promise.withResolvers<void>();

  constructor() {
    // Not everybody who has added something waits for it.
    this.applied.promise.catch(() => {});
  }
}

/**
 * Collects changes while the batch before is on its way to Redis, and makes them together (group commit): one transaction
 * on a single server, and commands without waiting for one another on a Redis Cluster.
 *
 * A batch that could not be sent, or whose answer was lost, is sent again when Redis is back, under the same number.
 * Meanwhile changes wait. When too many do, they are refused, but for those that are lasting.
 */
export class Writer {
  /** How much waits, or is on its way. */
  readonly pending = { entries: 0, bytes: 0 };
  /** Why the last batch could not be applied; `undefined` while all is well. */
  failure: string | undefined = undefined;

  readonly #link: Link;
  readonly #logger: Logger;
  readonly #maximumEntries: number;
  readonly #maximumBytes: number;
  #current = new Batch();
  /** Full ones, the oldest first. */
  readonly #full: Batch[] = [];
  /**
   * One for all that is refused: an error keeps in memory what is on the stack when it is made, which would be the message,
   * until its publisher is told.
   */
  readonly #refusal = new ReasonCodeError(ReasonCode.QuotaExceeded, "too much waits for Redis");
  #lastNumber = 0;
  #writing: Promise<void> | undefined;
  #endPause: (() => void) | undefined;
  #isClosed = false;

  constructor(link: Link, options: WriterOptions) {
    this.#link = link;
    this.#logger = options.logger;
    this.#maximumEntries = options.maximumEntries ?? 100_000;
    this.#maximumBytes = options.maximumBytes ?? 128 * 1024 * 1024;
    link.onReady(() => {
      this.#endPause?.();
      this.#write();
    });
  }

  /** Whether changes that are not lasting are refused at the moment. */
  get refuses(): boolean {
    return this.pending.entries >= this.#maximumEntries || this.pending.bytes >= this.#maximumBytes;
  }

  /** What to refuse them with. */
  refusal(): ReasonCodeError {
    return this.#refusal;
  }

  /**
   * Adds a change of so many bytes. One that is in the current batch already has grown by them. Settles when it is made.
   *
   * @throws {ReasonCodeError} As a rejection: 0x97 if too much waits.
   */
  add(change: Change, bytes: number): Promise<void> {
    return this.refuses ? Promise.reject(this.refusal()) : this.addLasting(change, bytes);
  }

  /** Adds a change that is never refused: one that makes room, or that nobody will ask for again. */
  addLasting(change: Change, bytes: number): Promise<void> {
    const batch = this.#current;
    batch.changes.add(change);
    batch.entries += 1;
    batch.bytes += bytes;
    this.pending.entries += 1;
    this.pending.bytes += bytes;
    if (!batch.isFull && (batch.entries >= BATCH_CHANGES || batch.bytes >= BATCH_BYTES)) {
      batch.isFull = true;
      // What belongs together is added in one go, and goes into one batch.
      queueMicrotask(() => this.#close(batch));
    }
    this.#write();
    return batch.applied.promise;
  }

  /** Whether a change is in the current batch, so that it may still grow. */
  holds(change: Change): boolean {
    return this.#current.changes.has(change);
  }

  /** Settles when all is made that has been added. */
  async written(): Promise<void> {
    const batch = this.#current.changes.size > 0 ? this.#current : this.#full.at(-1);
    if (batch !== undefined) await batch.applied.promise.catch(() => {});
    else await this.#writing;
  }

  /** Gives what waits up. With Redis there, `written` comes before. */
  close(): void {
    this.#isClosed = true;
    this.#endPause?.();
    for (const batch of [...this.#full, this.#current]) batch.applied.reject(new Error("the broker is closed"));
  }

  /** A full batch takes nothing more. */
  #close(batch: Batch): void {
    if (batch !== this.#current) return;
    this.#full.push(batch);
    this.#current = new Batch();
  }

  /** Has the current batch sent behind everything that is done in this turn of the event loop. */
  #write(): void {
    this.#writing ??= Promise.resolve().then(() => this.#writeAll());
  }

  async #writeAll(): Promise<void> {
    while (this.#link.isConnected && !this.#isClosed) {
      const batch = this.#full.shift() ?? this.#current;
      if (batch.changes.size === 0) break;
      if (batch === this.#current) this.#current = new Batch();
      batch.number = ++this.#lastNumber;
      await this.#apply(batch);
    }
    this.#writing = undefined;
  }

  /** Sends a batch until it is answered. */
  async #apply(batch: Batch): Promise<void> {
    const { applied } = batch;
    for (;;) {
      if (this.#isClosed) return applied.reject(new Error("the broker is closed"));
      if (!this.#link.isConnected) {
        await this.#pause(Infinity);
        continue;
      }
      let outcomes: Outcome[];
      try {
        outcomes = await this.#send(batch);
      } catch (error) {
        const { previousErrors } = error as TransactionError;
        await this.#recover(previousErrors?.[0] ?? error as Error);
        continue;
      }
      this.failure = undefined;
      this.pending.entries -= batch.entries;
      this.pending.bytes -= batch.bytes;
      const errors = settle(outcomes);
      if (errors.length === 0) return applied.resolve();
      // Told as refused, so that none of it is taken for stored.
      for (const error of errors) this.#logger.error("a change in Redis has failed: {error}", { error });
      return applied.reject(errors[0]);
    }
  }

  async #send(batch: Batch): Promise<Outcome[]> {
    const changes = [...batch.changes];
    const first = changes.filter(({ isLast }) => !isLast);
    const last = changes.filter(({ isLast }) => isLast);
    const requests = (changes: readonly Change[]): Request[] =>
      changes.map((change) => requestFor(change, batch.number));
    if (this.#link.isCluster) {
      return [...await this.#sendEach(requests(first)), ...await this.#sendEach(requests(last))];
    }
    const outcomes: Outcome[] = [];
    const ordered = [...first, ...last];
    for (let from = 0; from < ordered.length; from += TRANSACTION_CHANGES) {
      outcomes.push(...await this.#sendTransaction(requests(ordered.slice(from, from + TRANSACTION_CHANGES))));
    }
    return outcomes;
  }

  async #sendTransaction(requests: readonly Request[]): Promise<Outcome[]> {
    const transaction = this.#link.redis.multi();
    for (const { calls } of requests) for (const call of calls) transaction.call(...call);
    const replies = (await transaction.exec())!.map(([error, reply]) => error ?? reply);
    let position = 0;
    return requests.map(({ change, calls, error }) => {
      const own = replies.slice(position, position += calls.length);
      for (const reply of own) throwIfPassing(reply);
      return { change, replies: own, error };
    });
  }

  async #sendEach(requests: readonly Request[]): Promise<Outcome[]> {
    const outcomes = await Promise.all(requests.map(async ({ change, calls, error }) => {
      const replies = calls.map((call) =>
        (this.#link.redis.call(...call) as Promise<unknown>).catch((error: Error) => error)
      );
      return { change, replies: await Promise.all(replies), error };
    }));
    for (const { replies } of outcomes) replies.forEach(throwIfPassing);
    return outcomes;
  }

  async #recover(error: Error): Promise<void> {
    if (isUnknownScript(error)) {
      await this.#link.loadScripts().catch(() => {});
      return;
    }
    if (this.failure === undefined && this.#link.isConnected) {
      this.#logger.warn("Redis at {address} takes no changes: {reason}", {
        address: this.#link.address,
        reason: explain(error),
      });
    }
    this.failure = `Redis at ${this.#link.address} takes no changes: ${explain(error)}`;
    await this.#pause(PAUSE_AFTER_FAILURE);
  }

  /** Waits so long, in milliseconds, or until Redis is there again. */
  async #pause(duration: number): Promise<void> {
    if (this.#isClosed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = duration < Infinity ? setTimeout(resolve, duration) : undefined;
    this.#endPause = resolve;
    await promise;
    clearTimeout(timer);
    this.#endPause = undefined;
  }
}

/** A transaction that was not carried out, since commands in it were refused. */
type TransactionError = Error & { previousErrors?: Error[] };

/** A command as ioredis takes it: with its values as one array, since a function cannot have any number of arguments. */
type Call = [name: string, values: ReturnType<typeof toArguments>];

interface Request {
  readonly change: Change;
  readonly calls: readonly Call[];
  /** Why there are no commands: the next time it would be the same. */
  readonly error: Error | undefined;
}

interface Outcome {
  readonly change: Change;
  /** Errors among them are final. */
  readonly replies: readonly unknown[];
  /** Why nothing was sent. */
  readonly error: Error | undefined;
}

function requestFor(change: Change, batchNumber: number): Request {
  try {
    const calls = change.commands(batchNumber).map(([name, ...values]): Call => [name, toArguments(values)]);
    return { change, calls, error: undefined };
  } catch (error) {
    return { change, calls: [], error: error as Error };
  }
}

/** Gives the changes their replies. Returns what has gone wrong with them. */
function settle(outcomes: readonly Outcome[]): Error[] {
  const errors: Error[] = [];
  for (const { change, replies, error } of outcomes) {
    const failed = error === undefined ? replies.filter((reply) => reply instanceof Error) : [error];
    errors.push(...failed);
    if (failed.length > 0) continue;
    try {
      change.settled?.(replies);
    } catch (error) {
      errors.push(error as Error);
    }
  }
  return errors;
}

/** What Redis answers to a command that is wrong in itself; anything else may be different the next time. */
const finalError = /^(ERR|WRONGTYPE|NOPERM|CROSSSLOT|NOTBUSY|user_script)/;

function throwIfPassing(reply: unknown): void {
  if (reply instanceof Error && !finalError.test(reply.message)) throw reply;
}
