import { ReasonCode, ReasonCodeError } from "../../codec/mod.ts";
import type { Logger } from "../../broker/logger.ts";
import type { LoadedChunk, Operation, Request, Response, Slice } from "./operations.ts";

/** How long nothing more is accepted after a batch could not be written, in milliseconds. */
const PAUSE_AFTER_FAILURE = 1000;

/** Changes that wait to be written together, and whoever waits for that. */
class Batch {
  readonly operations: (Operation | undefined)[] = [];
  readonly written = Promise.withResolvers<void>();
  bytes = new Uint8Array(4096);
  length = 0;

  constructor() {
    // Not every change has somebody who waits for it.
    this.written.promise.catch(() => {});
  }

  /** Adds a change and says where it stands. */
  add(operation: Operation): number {
    return this.operations.push(operation) - 1;
  }

  /** Adds bytes that a change refers to. */
  slice(data: Uint8Array): Slice {
    const offset = this.length;
    this.length += data.length;
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, 2 * this.bytes.length));
      larger.set(this.bytes.subarray(0, offset));
      this.bytes = larger;
    }
    this.bytes.set(data, offset);
    return [offset, data.length];
  }
}

/**
 * Collects changes while the one before is written, and has them written as one transaction (group commit).
 *
 * A batch that cannot be written, since the disk is full, say, is refused to everybody who waits for it; what only removes
 * something is kept and tried again, so that what memory has forgotten does not come back from the disk.
 */
export class Writer {
  /** The batch that changes go into now. */
  current = new Batch();
  /** Why the last batch could not be written; `undefined` while all is well. */
  failure: string | undefined = undefined;

  readonly #path: string;
  readonly #maximumSize: number | undefined;
  readonly #logger: Logger;
  /** Called with the operations that were refused. */
  readonly #onRefused: (operations: readonly (Operation | undefined)[]) => void;
  #worker: Worker;
  #answers: { resolve: (response: Response) => void; reject: (error: Error) => void }[] = [];
  #writing: Promise<void> | undefined;
  #refusingUntil = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(
    path: string,
    maximumSize: number | undefined,
    logger: Logger,
    onRefused: (operations: readonly (Operation | undefined)[]) => void,
  ) {
    this.#path = path;
    this.#maximumSize = maximumSize;
    this.#logger = logger;
    this.#onRefused = onRefused;
    this.#worker = this.#startWorker();
  }

  /** @throws {Error} If the database cannot be used; the message names the file and says what to do. */
  static async open(
    path: string,
    maximumSize: number | undefined,
    logger: Logger,
    onRefused: (operations: readonly (Operation | undefined)[]) => void,
  ): Promise<Writer> {
    const writer = new Writer(path, maximumSize, logger, onRefused);
    const response = await writer.#ask({ type: "open", path, maximumSize });
    if (response.type === "failed") {
      writer.#worker.terminate();
      throw new Error(`${path}: ${explanation(response.message)}`);
    }
    return writer;
  }

  /** Whether changes that somebody waits for are refused at the moment. */
  get refuses(): boolean {
    return this.failure !== undefined && performance.now() < this.#refusingUntil;
  }

  /** What to refuse them with. */
  refusal(): ReasonCodeError {
    return new ReasonCodeError(ReasonCode.QuotaExceeded, "the message store cannot take it now");
  }

  /** Reads back what is stored, a part at a time. @throws {Error} If it cannot be read. */
  async *load(): AsyncGenerator<LoadedChunk> {
    for (;;) {
      const response = await this.#ask({ type: "load" });
      if (response.type === "failed") throw new Error(`${this.#path}: ${explanation(response.message)}`);
      if (response.type === "chunk") {
        yield response.chunk;
        if (response.chunk.last) return;
      }
    }
  }

  /** Settles when everything that has been added to the current batch is on disk. */
  written(): Promise<void> {
    const { promise } = this.current.written;
    this.#writing ??= Promise.resolve().then(() => this.#writeAll());
    return promise;
  }

  /** Writes what is left and closes the database. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    if (this.current.operations.length > 0) await this.written().catch(() => {});
    await this.#writing;
    this.#closed = true;
    await this.#ask({ type: "close" });
    this.#worker.terminate();
  }

  async #writeAll(): Promise<void> {
    while (this.current.operations.length > 0) {
      const batch = this.current;
      this.current = new Batch();
      const operations = batch.operations.filter((operation) => operation !== undefined);
      const failure = operations.length === 0 ? undefined : await this.#apply(operations, batch);
      if (failure === undefined) {
        if (this.failure !== undefined) this.#logger.info("{path} can be written again", { path: this.#path });
        this.failure = undefined;
        batch.written.resolve();
      } else {
        this.#refuse(batch, failure);
        break;
      }
    }
    this.#writing = undefined;
  }

  /** Writes a batch; the worker is started again if it dies over it. Returns why it could not be written. */
  async #apply(operations: Operation[], { bytes, length }: Batch): Promise<string | undefined> {
    for (let attempt = 1;; attempt++) {
      try {
        const response = await this.#ask({ type: "apply", operations, bytes: bytes.slice(0, length) });
        return response.type === "failed" ? response.message : undefined;
      } catch (error) {
        this.#logger.error("the writer of {path} died: {error}", { path: this.#path, error });
        if (attempt === 3) return "its writer dies";
        // Whether the batch was written is not known. Written twice it is the same.
        this.#worker = this.#startWorker();
        const opened = await this.#ask({ type: "open", path: this.#path, maximumSize: this.#maximumSize })
          .catch((error: Error) => ({ type: "failed" as const, message: error.message }));
        if (opened.type === "failed") return opened.message;
      }
    }
  }

  #refuse(batch: Batch, failure: string): void {
    this.#logger.error("{path} cannot be written: {failure}", { path: this.#path, failure });
    this.failure = failure;
    this.#refusingUntil = performance.now() + PAUSE_AFTER_FAILURE;
    const added = this.current;
    this.current = new Batch();
    this.current.operations.push(
      ...batch.operations.filter((operation) => operation !== undefined && isKept(operation)),
    );
    this.current.operations.push(
      ...added.operations.filter((operation) => operation !== undefined && isKept(operation)),
    );
    for (const refused of [batch, added]) {
      this.#onRefused(refused.operations);
      refused.written.reject(this.refusal());
    }
    if (this.#closed) return;
    this.#retry = setTimeout(() => {
      if (this.current.operations.length > 0) void this.written();
    }, PAUSE_AFTER_FAILURE);
    Deno.unrefTimer(this.#retry);
  }

  #startWorker(): Worker {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "hookmq-sqlite" });
    worker.onmessage = ({ data }: MessageEvent<Response>) => this.#answers.shift()?.resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      const answers = this.#answers;
      this.#answers = [];
      for (const { reject } of answers) reject(new Error(event.message));
    };
    return worker;
  }

  #ask(request: Request): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.#answers.push({ resolve, reject });
      this.#worker.postMessage(request, request.type === "apply" ? [request.bytes.buffer] : []);
    });
  }
}

/** Whether a change is made later if it cannot be made now: nobody has been promised anything else. */
function isKept([name]: Operation): boolean {
  return name === "updateOutgoing" || (name.startsWith("remove") && name !== "removeRetained");
}

/** What an operator can do about an error of SQLite, told by its text: not every error has a code in this runtime. */
function explanation(message: string): string {
  switch (message) {
    case "database is locked":
      return "another process is using it (another broker? give each its own with --data)";
    case "file is not a database":
    case "database disk image is malformed":
      return `not a HookMQ database, or damaged (${message}): restore a backup, or move it away to start afresh`;
    default:
      return message;
  }
}
