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
    globalThis.Worker = class extends Worker {
      constructor(url: string | URL, options?: WorkerOptions) {
        super(url, options);
        watcher.started += 1;
      }

      override postMessage(request: Request, transfer?: Transferable[] | StructuredSerializeOptions): void {
        watcher.#pass(this, request, () => super.postMessage(request, transfer as Transferable[]));
      }
    };
  }

  /** Keeps all batches back from now on. */
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

  #pass(worker: Worker, request: Request, pass: () => void): void {
    if (request.type === "probe" && !this.hasRoom) return answer(worker, { type: "failed", message: "disk is full" });
    if (request.type === "open" && !this.canOpen) return answer(worker, { type: "failed", message: "disk I/O error" });
    if (request.type !== "apply") return pass();
    this.batches.push(request.operations);
    if (this.#held !== undefined) this.#held.push(() => this.#meetFate(worker, pass));
    else this.#meetFate(worker, pass);
  }

  #meetFate(worker: Worker, pass: () => void): void {
    const fate = this.fates.shift() ?? "written";
    switch (fate) {
      case "written":
        return pass();
      case "dies before":
        return die(worker);
      case "dies":
        pass();
        return void setTimeout(() => die(worker), 1);
      case "dies after": {
        worker.onmessage = () => die(worker);
        return pass();
      }
      default:
        return answer(worker, { type: "failed", message: fate.error });
    }
  }
}

function answer(worker: Worker, response: Response): void {
  queueMicrotask(() => worker.onmessage?.(new MessageEvent("message", { data: response })));
}

function die(worker: Worker): void {
  worker.terminate();
  queueMicrotask(() => worker.onerror?.(new ErrorEvent("error", { message: "it was killed", cancelable: true })));
}
