import type { Hook, HookContext, StoredOutgoing, StoredSession, StoredSubscription } from "../../broker/hooks.ts";
import type { PublishPacket } from "../../mod.ts";
import { eventually } from "./eventually.ts";

/** What each method of a storing hook is called with. */
export interface Arguments {
  storeSession: [session: StoredSession];
  removeSession: [clientId: string];
  storeSubscriptions: [clientId: string, subscriptions: StoredSubscription[]];
  removeSubscriptions: [clientId: string, topicFilters: string[]];
  storeOutgoing: [clientId: string, outgoing: StoredOutgoing];
  removeOutgoing: [clientId: string, outgoing: StoredOutgoing];
  storeReceived: [clientId: string, packetId: number];
  removeReceived: [clientId: string, packetId: number];
  storeRetained: [topic: string, packet: PublishPacket];
}

/** A call of a method, which has not settled until the test says so. */
export interface Call<M extends keyof Arguments = keyof Arguments> {
  readonly method: M;
  /** As they were when the call was made. */
  readonly args: Arguments[M];
  /** Calls with the same number were made in one go: what they store is stored together or not at all. */
  readonly go: number;
  succeed(): void;
  fail(error: Error): void;
}

/** A hook that keeps the calls it gets, instead of storing anything, for a test to settle by hand. */
export class RecordingStorage implements Hook {
  readonly id = "recording-storage";
  /** Whether calls succeed at once, from now on. */
  succeeds = false;
  #context!: HookContext;
  readonly #calls: Call[] = [];
  #taken = 0;
  #go = 0;
  #isGoing = false;
  readonly #restore: (context: HookContext) => void;

  /** `restore` gives the broker back what was stored before. */
  constructor(restore: (context: HookContext) => void = () => {}) {
    this.#restore = restore;
  }

  get context(): HookContext {
    return this.#context;
  }

  init(context: HookContext): void {
    this.#context = context;
    this.#restore(context);
  }

  storeSession = (...args: Arguments["storeSession"]) => this.#record("storeSession", args);
  removeSession = (...args: Arguments["removeSession"]) => this.#record("removeSession", args);
  storeSubscriptions = (...args: Arguments["storeSubscriptions"]) => this.#record("storeSubscriptions", args);
  removeSubscriptions = (...args: Arguments["removeSubscriptions"]) => this.#record("removeSubscriptions", args);
  storeOutgoing = (...args: Arguments["storeOutgoing"]) => this.#record("storeOutgoing", args);
  removeOutgoing = (...args: Arguments["removeOutgoing"]) => this.#record("removeOutgoing", args);
  storeReceived = (...args: Arguments["storeReceived"]) => this.#record("storeReceived", args);
  removeReceived = (...args: Arguments["removeReceived"]) => this.#record("removeReceived", args);
  storeRetained = (...args: Arguments["storeRetained"]) => this.#record("storeRetained", args);

  /** The next calls, which must be of these methods, in this order. */
  async expectAll<M extends keyof Arguments>(...methods: M[]): Promise<Call<M>[]> {
    const calls: Call<M>[] = [];
    for (const method of methods) calls.push(await this.expect(method));
    return calls;
  }

  /** The next call, which must be of this method; waits for it. */
  async expect<M extends keyof Arguments>(method: M): Promise<Call<M>> {
    const index = this.#taken++;
    await eventually(() => this.#calls.length > index, `a call of ${method}`);
    const call = this.#calls[index];
    if (call.method !== method) throw new Error(`awaited ${method}: got ${call.method} (${Deno.inspect(call.args)})`);
    return call as unknown as Call<M>;
  }

  /** Calls that nothing has been expected of, e.g. `"removeOutgoing a"`; from now on they count as expected. */
  rest(): string[] {
    return this.pending().map(({ method, args: [subject] }) => {
      return `${method} ${typeof subject === "string" ? subject : (subject as StoredSession).clientId}`;
    });
  }

  /** Calls that nothing has been expected of; from now on they count as expected. */
  pending(): Call[] {
    const pending = this.#calls.slice(this.#taken);
    this.#taken = this.#calls.length;
    return pending;
  }

  /** Lets calls succeed, those that are pending and those that are to come. */
  succeed(): void {
    this.succeeds = true;
    for (const { succeed } of this.#calls) succeed();
  }

  #record<M extends keyof Arguments>(method: M, args: Arguments[M]): Promise<void> | undefined {
    if (!this.#isGoing) {
      this.#go += 1;
      this.#isGoing = true;
      queueMicrotask(() => this.#isGoing = false);
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const copies = args.map((arg) => arg instanceof Object && !Array.isArray(arg) ? { ...arg } : arg) as Arguments[M];
    this.#calls.push({ method, args: copies, go: this.#go, succeed: resolve, fail: reject });
    return this.succeeds ? undefined : promise;
  }
}
