import type { Operation, Request, Response } from "../../hooks/sqlite/operations.ts";

/** What becomes of a batch on its way to the database. */
export type Fate =
  /** It is written. */
  | "written"
  /** It is answered with this error of SQLite, and not written. */
  | { error: string }
  /** The worker dies before it is written, or after that and before it could say so. */
  | "dies before"
  | "dies after"
  /** It dies about now: before, while or after the batch is written. */
  | "dies";

/**
 * Stands between the SQLite hook and its workers, as long as its `using` block lasts: sees what is written, holds it back,
 * and plays accidents.
 */
export class WatchedWorkers implements Disposable {
  /** The changes of each batch that has been sent to a worker. */
  readonly batches: (readonly Operation[])[] = [];
  /** What becomes of the next batches; when it is empty they are written. */
  readonly fates: Fate[] = [];
  /** What becomes of all further requests for room. */
  hasRoom = true;
  /** Whether the database can be opened. */
  canOpen = true;
  /** How many workers have been started. */
  started = 0;
  #held: (() => void)[] | undefined;
  readonly #original = globalThis.Worker;

  constructor() {
    // deno-lint-ignore no-this-alias
    const watcher = this;
    globalThis.Worker = class extends WatchedWorker {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        watcher.started += 1;
      }

      override postMessage(request: Request, transfer?: Transferable[] | StructuredSerializeOptions): void {
        watcher.#pass(this, request, (onAnswer) => this.pass(request, transfer as Transferable[], onAnswer));
      }
    };
  }

  /** Keeps all batches back from now on, and what is asked behind them. */
  hold(): void {
    this.#held ??= [];
  }

  /** Lets those through that were kept back, and all others. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const pass of held) pass();
  }

  [Symbol.dispose](): void {
    this.release();
    globalThis.Worker = this.#original;
  }

  #pass(worker: WatchedWorker, request: Request, pass: Pass): void {
    if (request.type === "apply") this.batches.push(request.operations);
    const ask = () => this.#ask(worker, request, pass);
    if (this.#held !== undefined && (request.type === "apply" || this.#held.length > 0)) this.#held.push(ask);
    else ask();
  }

  #ask(worker: WatchedWorker, { type }: Request, pass: Pass): void {
    if (type === "apply") return this.#meetFate(worker, pass);
    if (type === "probe" && !this.hasRoom) return worker.answer({ type: "failed", message: "disk is full" });
    if (type === "open" && !this.canOpen) return worker.answer({ type: "failed", message: "disk I/O error" });
    return pass();
  }

  #meetFate(worker: WatchedWorker, pass: Pass): void {
    const fate = this.fates.shift() ?? "written";
    switch (fate) {
      case "written":
        return pass();
      case "dies before":
        return worker.die();
      case "dies":
        pass();
        return void setTimeout(() => worker.die(), 1);
      case "dies after":
        return pass((answer) => {
          answer.stopImmediatePropagation();
          worker.die();
        });
      default:
        return worker.answer({ type: "failed", message: fate.error });
    }
  }
}

/** Lets a request through; `onAnswer` sees the answer before the hook does. */
type Pass = (onAnswer?: (answer: Event) => void) => void;

/** A worker in whose place others can answer. As with its own, the answers come in the order of the requests. */
class WatchedWorker extends Worker {
  /** Who waits for the worker's own answers. */
  readonly #awaited: ((answer: Event) => void)[] = [];
  /** Settles when all requests so far are answered. */
  #answered = Promise.resolve();

  constructor(url: string | URL, options?: WorkerOptions) {
    super(url, options);
    this.addEventListener("message", (answer) => this.#awaited.shift()?.(answer));
  }

  pass(request: Request, transfer: Transferable[] = [], onAnswer?: (answer: Event) => void): void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#answered = promise;
    this.#awaited.push((answer) => {
      onAnswer?.(answer);
      resolve();
    });
    super.postMessage(request, transfer);
  }

  answer(response: Response): void {
    this.#answered = this.#answered.then(() => {
      this.onmessage?.(new MessageEvent("message", { data: response }));
    });
  }

  die(): void {
    this.terminate();
    queueMicrotask(() => this.onerror?.(new ErrorEvent("error", { message: "it was killed", cancelable: true })));
  }
}
