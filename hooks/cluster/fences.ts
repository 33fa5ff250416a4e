import { encode } from "@msgpack/msgpack";
import { isPromise, type MaybePromise } from "../../broker/maybe_promise.ts";
import type { Channel } from "./channel.ts";
import type { RedisCommand } from "./command.ts";
import type { Link } from "./link.ts";
import type { NodeKeys } from "./node_keys.ts";
import { publishCommand } from "./publish.ts";
import type { Change, Writer } from "./writer.ts";

/** So long a node is waited for, in milliseconds. After that it is not, also for later fences, until it has answered one. */
const DEADLINE = 1000;

type FenceEvent = [type: typeof FENCE, nodeId: string, incarnation: string, number: number];
const FENCE = "fence";

/** `incarnation` and `number` are those of the fence. */
type Confirmation = [type: typeof CONFIRMED, nodeId: string, incarnation: string, number: number];
const CONFIRMED = "confirmed";

/** What {@linkcode Fences} are given. */
export interface FencesOptions {
  readonly link: Link;
  readonly writer: Writer;
  readonly keys: NodeKeys;
  readonly nodeId: string;
  readonly incarnation: string;
  /** The nodes that are to answer: all others that are alive. */
  readonly others: () => Iterable<string>;
  /** Settles when all is known here that a node has announced; at once if it is. */
  readonly hasHeard: (nodeId: string, incarnation: string) => MaybePromise<void>;
}

/**
 * Finds out when the other nodes know what has been written here. An event, the fence, goes behind all others; who gets it
 * has got those before it, and confirms that behind all that it has written itself until then. So what another node has
 * published without having heard of a route is known here, too, when the route is known.
 */
export class Fences {
  readonly #options: FencesOptions;
  /** Those that have been written, or are about to be, and have not been confirmed by all, in their order. */
  readonly #open = new Set<Fence>();
  /** The nodes that have not answered in time, and not since. */
  readonly #silent = new Set<string>();
  #last: Fence | undefined;
  #confirmations: Confirmations | undefined;
  #lastNumber = 0;

  /**
   * @param events The channel of all nodes.
   * @param channel Our own.
   */
  constructor(options: FencesOptions, events: Channel, channel: Channel) {
    this.#options = options;
    events.on(FENCE, (fields) => this.#confirm(fields as FenceEvent));
    channel.on(CONFIRMED, (fields) => this.#confirmed(fields as Confirmation));
    options.link.onDisconnected(() => {
      // It is us who could not hear.
      this.#silent.clear();
      for (const fence of this.#open) fence.isInterrupted = true;
    });
  }

  /** Settles when the other nodes know all that was given to the writer before, or will not answer. */
  known(): Promise<void> | undefined {
    const { link, writer } = this.#options;
    if (!link.isConnected) return;
    if (this.#last === undefined || !writer.holds(this.#last)) {
      const fence = this.#last = new Fence(++this.#lastNumber, this.#options, this.#silent, () => {
        this.#open.delete(fence);
      });
      this.#open.add(fence);
      writer.addLasting(fence, 0);
    }
    return this.#last.passed;
  }

  /** Nothing is waited for any more. */
  stop(): void {
    for (const fence of this.#open) fence.pass();
  }

  #confirm(fence: FenceEvent): void {
    const { nodeId: ownId, hasHeard } = this.#options;
    const [, nodeId, incarnation] = fence;
    if (nodeId === ownId) return;
    const heard = hasHeard(nodeId, incarnation);
    if (!isPromise(heard)) return this.#writeConfirmation(fence);
    // The other node will wait no longer than it does.
    heard.then(() => this.#writeConfirmation(fence), () => {});
  }

  #writeConfirmation([, nodeId, incarnation, number]: FenceEvent): void {
    const { writer, nodeId: ownId } = this.#options;
    if (this.#confirmations === undefined || !writer.holds(this.#confirmations)) {
      this.#confirmations = new Confirmations(this.#options);
    }
    this.#confirmations.byNode.set(nodeId, [CONFIRMED, ownId, incarnation, number]);
    writer.addLasting(this.#confirmations, 0);
  }

  #confirmed([, nodeId, incarnation, number]: Confirmation): void {
    if (incarnation !== this.#options.incarnation) return;
    this.#silent.delete(nodeId);
    for (const fence of this.#open) if (fence.number <= number) fence.confirmedBy(nodeId);
  }
}

class Fence implements Change {
  readonly isLast = true;
  readonly number: number;
  /** Settles when all have confirmed it, or the time is up. */
  readonly passed: Promise<void>;
  /** Ends the waiting. */
  readonly pass: () => void;
  /** Whether Redis was lost while it was waited for, so that who has not answered may have done so. */
  isInterrupted = false;
  readonly #options: FencesOptions;
  readonly #silent: Set<string>;
  #unconfirmed: Set<string> | undefined;

  /** @param silent The nodes that are not waited for; those that do not answer in time are added to it. */
  constructor(number: number, options: FencesOptions, silent: Set<string>, onPassed: () => void) {
    this.number = number;
    this.#options = options;
    this.#silent = silent;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(() => this.#giveUp(), DEADLINE);
    Deno.unrefTimer(timer);
    this.passed = promise;
    this.pass = () => {
      clearTimeout(timer);
      onPassed();
      resolve();
    };
  }

  commands(): RedisCommand[] {
    const { link, keys, nodeId, incarnation, others } = this.#options;
    const asked = new Set(others());
    this.#unconfirmed ??= asked.difference(this.#silent);
    const event: FenceEvent = [FENCE, nodeId, incarnation, this.number];
    return asked.size === 0 ? [] : [publishCommand(link, keys.events, encode(event))];
  }

  settled(): void {
    if (this.#unconfirmed!.size === 0) this.pass();
  }

  confirmedBy(nodeId: string): void {
    this.#unconfirmed?.delete(nodeId);
    if (this.#unconfirmed?.size === 0) this.pass();
  }

  #giveUp(): void {
    this.pass();
    if (this.isInterrupted) return;
    for (const nodeId of this.#unconfirmed ?? []) this.#silent.add(nodeId);
  }
}

class Confirmations implements Change {
  readonly isLast = true;
  /** The last one for each node says all that those before it did. */
  readonly byNode = new Map<string, Confirmation>();
  readonly #options: FencesOptions;

  constructor(options: FencesOptions) {
    this.#options = options;
  }

  commands(): RedisCommand[] {
    const { link, keys } = this.#options;
    return [...this.byNode].map(([nodeId, confirmation]) =>
      publishCommand(link, keys.fanout(nodeId), encode(confirmation))
    );
  }
}
