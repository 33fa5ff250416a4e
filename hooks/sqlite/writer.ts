import { ReasonCode, ReasonCodeError } from "../../codec/mod.ts";
import type { Logger } from "../../broker/logger.ts";
import { Batch } from "./batch.ts";
import { explanation } from "./explanation.ts";
import type { LoadedChunk, Request, Response } from "./operations.ts";

/** How long to wait before the next attempt when nothing can be written, in milliseconds. */
const PAUSE_AFTER_FAILURE = 1000;

/** How often a batch is tried whose writer dies over it. */
const MOST_ATTEMPTS = 3;

/** For how many bytes there must be room before messages are accepted again, at most. */
const LARGEST_PROBE = 1024 * 1024;

/** What a {@linkcode Writer} is given. */
export interface WriterOptions {
  readonly path: string;
  /** In bytes. */
  readonly maximumSize: number | undefined;
  readonly logger: Logger;
  /** Called with batches that were refused, one after the other, before what is lasting in them is taken over. */
  readonly onRefused: (batches: readonly Batch[]) => void;
}

/**
 * Collects changes while the batch before is written, and has them written as one transaction (group commit).
 *
 * When a batch cannot be written, since the disk is full, say, its changes are refused but for the lasting ones (see
 * `isLasting`), which are tried again until they are written: by them space is given back. From then on, until there is
 * room again, `refuses` is true.
 */
export class Writer {
  /** The batch that changes go into now. */
  current: Batch = new Batch();
  /** Why the last batch could not be written; `undefined` while all is well. */
  failure: string | undefined = undefined;

  readonly #options: WriterOptions;
  #worker: Worker | undefined;
  /** The number of the last batch that there was. */
  #lastBatch = 0;
  /** The number of the last batch that was in the database when the worker opened it. */
  #lastWritten = 0;
  #answers: { resolve: (response: Response) => void; reject: (error: Error) => void }[] = [];
  #writing: Promise<void> | undefined;
  #recovering: Promise<void> | undefined;
  /** Ends the pause before the next attempt. */
  #endPause: (() => void) | undefined;
  #closing = false;
  #closed = false;

  private constructor(options: WriterOptions) {
    this.#options = options;
  }

  /** @throws {Error} If the database cannot be used; the message names the file and says what to do. */
  static async open(options: WriterOptions): Promise<Writer> {
    const writer = new Writer(options);
    try {
      await writer.#start();
      writer.#lastBatch = writer.#lastWritten;
    } catch (error) {
      throw new Error(`${options.path}: ${explanation((error as Error).message)}`);
    }
    return writer;
  }

  /** Whether changes that are not lasting are refused at the moment. */
  get refuses(): boolean {
    return this.failure !== undefined;
  }

  /** The answer to a change that is refused. */
  refused(): Promise<void> {
    const refused = Promise.reject(refusal());
    // Not everybody who is refused something waits for it.
    refused.catch(() => {});
    return refused;
  }

  /** Reads back what is stored, a part at a time. @throws {Error} If it cannot be read; with SQLite's own words. */
  async *load(): AsyncGenerator<LoadedChunk> {
    const worker = this.#worker!;
    const request = () => this.#send(worker, { type: "load", now: Date.now() });
    for (let response = await request(); response.type === "chunk";) {
      const { chunk } = response;
      if (chunk.last) return yield chunk;
      // The next part is read while this one is restored.
      const next = request();
      next.catch(() => {});
      yield chunk;
      response = await next;
      if (response.type === "failed") throw new Error(response.message);
    }
  }

  /** Settles when everything that has been added to the current batch is on disk; rejects if it is refused. */
  written(): Promise<void> {
    this.#write();
    return this.current.written;
  }

  /** Settles when the lasting changes that have been added to the current batch are on disk. Never rejects. */
  lasting(): Promise<void> {
    this.#write();
    return this.current.lasting;
  }

  /** Writes what is left and closes the database. What comes after that is never written, nor refused. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#endPause?.();
    await this.#recovering;
    this.#write();
    await this.#writing;
    this.#closed = true;
    await this.#ask({ type: "close" }).catch(() => {});
    this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Has the current batch written behind everything that is done in this turn of the event loop. */
  #write(): void {
    // While nothing can be written, an attempt is made now and then, not for every change. After the end nothing is.
    if (this.#endPause !== undefined || this.#closed) return;
    this.#writing ??= Promise.resolve().then(() => this.#writeAll());
  }

  async #writeAll(): Promise<void> {
    while (this.current.operations.length > 0) {
      const batch = this.current;
      this.current = new Batch();
      const failure = await this.#apply(batch);
      if (failure === undefined) batch.succeed();
      else if (!this.#refuse(batch, failure)) break;
    }
    this.#writing = undefined;
  }

  /** Writes a batch. Returns why it could not be written. */
  async #apply(batch: Batch): Promise<string | undefined> {
    const operations = batch.operations.filter((operation) => operation !== undefined);
    if (operations.length === 0) return undefined;
    const number = ++this.#lastBatch;
    for (let attempt = 1;; attempt++) {
      try {
        const response = await this.#ask({ type: "apply", number, operations, bytes: batch.bytes.slice() });
        return response.type === "failed" ? response.message : undefined;
      } catch (error) {
        // It may have been written before the worker died. Nobody is told anything until that is known.
        if (await this.#findLastWritten(batch) === number) return undefined;
        if (attempt === MOST_ATTEMPTS) return (error as Error).message;
      }
    }
  }

  /** The number of the last batch that was written, as soon as a new worker can look; `undefined` when closing. */
  async #findLastWritten(doubted: Batch): Promise<number | undefined> {
    while (!this.#closing) {
      try {
        await this.#revive();
        return this.#lastWritten;
      } catch (error) {
        this.#beginRefusing((error as Error).message, doubted);
        await this.#pause();
      }
    }
    return undefined;
  }

  /** Returns whether what remains of it is to be tried at once. */
  #refuse(batch: Batch, failure: string): boolean {
    const isFirst = this.failure === undefined;
    this.#beginRefusing(failure, batch);
    const added = this.current;
    this.current = new Batch();
    this.#options.onRefused([batch, added]);
    for (const refused of [batch, added]) refused.fail(refusal(), this.current);
    return isFirst;
  }

  /** From now on messages are refused, until there is room for as many bytes as the batch has. */
  #beginRefusing(failure: string, batch: Batch): void {
    const { path, logger } = this.#options;
    if (this.failure === undefined) {
      logger.error("{path} cannot be written, messages are refused: {failure}", { path, failure });
    }
    this.failure = failure;
    this.#recovering ??= this.#recover(Math.min(batch.bytes.length, LARGEST_PROBE));
  }

  /** Tries again now and then what is left to be written, until that goes well and so many bytes have room. */
  async #recover(size: number): Promise<void> {
    const { path, logger } = this.#options;
    for (;;) {
      await this.#writing;
      if (this.#closing) break;
      if (this.current.operations.length === 0 && await this.#hasRoom(size)) {
        logger.info("{path} can be written again", { path });
        this.failure = undefined;
        break;
      }
      await this.#pause();
      this.#write();
    }
    this.#recovering = undefined;
  }

  async #hasRoom(size: number): Promise<boolean> {
    const response = await this.#ask({ type: "probe", size })
      .catch((error: Error): Response => ({ type: "failed", message: error.message }));
    if (response.type === "failed") this.failure = response.message;
    return response.type === "done";
  }

  async #pause(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, PAUSE_AFTER_FAILURE);
    Deno.unrefTimer(timer);
    this.#endPause = resolve;
    await promise;
    clearTimeout(timer);
    this.#endPause = undefined;
  }

  /** Starts the worker and has it open the database. @throws {Error} If that fails; with SQLite's own words. */
  async #start(): Promise<void> {
    const { path, maximumSize } = this.#options;
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "hookmq-sqlite" });
    worker.onmessage = ({ data }: MessageEvent<Response>) => this.#answers.shift()?.resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      this.#giveUp(worker, new Error(event.message));
    };
    this.#worker = worker;
    const response = await this.#send(worker, { type: "open", path, maximumSize });
    if (response.type === "open") {
      this.#lastWritten = response.lastBatch;
    } else if (response.type === "failed") {
      this.#giveUp(worker, new Error(response.message));
      throw new Error(response.message);
    }
  }

  /** The worker has died, or is of no use. */
  #giveUp(worker: Worker, error: Error): void {
    if (this.#worker !== worker) return;
    worker.terminate();
    this.#worker = undefined;
    const answers = this.#answers;
    this.#answers = [];
    for (const { reject } of answers) reject(error);
  }

  /** Starts a new worker if it has died. @throws {Error} If that fails. */
  async #revive(): Promise<void> {
    if (this.#worker !== undefined) return;
    this.#options.logger.error("the writer of {path} has died and is started again", { path: this.#options.path });
    await this.#start();
  }

  /** Asks the worker, a new one if it has died. @throws {Error} If it dies meanwhile. */
  async #ask(request: Request): Promise<Response> {
    await this.#revive();
    return await this.#send(this.#worker!, request);
  }

  #send(worker: Worker, request: Request): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.#answers.push({ resolve, reject });
      worker.postMessage(request, request.type === "apply" ? [request.bytes.buffer] : []);
    });
  }
}

function refusal(): ReasonCodeError {
  return new ReasonCodeError(ReasonCode.QuotaExceeded, "the message store cannot take it now");
}
