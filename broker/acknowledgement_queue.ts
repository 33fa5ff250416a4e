import type { AcknowledgementType } from "../codec/acknowledgement.ts";
import type { ReasonCode } from "../codec/reason_code.ts";
import { Fifo } from "./fifo.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";

interface Slot {
  readonly type: AcknowledgementType;
  readonly packetId: number;
  /** Missing until it is known. */
  outcome: ReasonCode | Error | undefined;
}

/**
 * The acknowledgements that a client is owed. Each leaves when its outcome is known, that is, when every hook that stores
 * the message has stored it, and in the order in which the packets came, whichever outcome is known first.
 */
export class AcknowledgementQueue {
  readonly #slots = new Fifo<Slot>();
  readonly #send: (type: AcknowledgementType, packetId: number, outcome: ReasonCode | Error) => void;
  #waiting: { length: number; resolve: () => void } | undefined;

  /** `send` is given each acknowledgement in turn; an error is what kept a message from being stored. */
  constructor(send: (type: AcknowledgementType, packetId: number, outcome: ReasonCode | Error) => void) {
    this.#send = send;
  }

  /** How many are owed. */
  get length(): number {
    return this.#slots.length;
  }

  /** Adds an acknowledgement; it is sent at once if nothing is before it and its outcome is there. */
  add(type: AcknowledgementType, packetId: number, outcome: MaybePromise<ReasonCode>): void {
    const known = !isPromise(outcome);
    if (known && this.#slots.length === 0) return this.#send(type, packetId, outcome);
    const slot: Slot = { type, packetId, outcome: known ? outcome : undefined };
    this.#slots.push(slot);
    if (known) return;
    outcome.then(
      (reasonCode) => this.#settle(slot, reasonCode),
      (error) => this.#settle(slot, error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** Resolves when fewer than `length` are owed. */
  shorterThan(length: number): MaybePromise<void> {
    if (this.#slots.length < length) return;
    return new Promise((resolve) => this.#waiting = { length, resolve });
  }

  #settle(slot: Slot, outcome: ReasonCode | Error): void {
    slot.outcome = outcome;
    for (let first = this.#slots.peek(); first?.outcome !== undefined; first = this.#slots.peek()) {
      this.#slots.shift();
      this.#send(first.type, first.packetId, first.outcome);
    }
    if (this.#waiting !== undefined && this.#slots.length < this.#waiting.length) {
      this.#waiting.resolve();
      this.#waiting = undefined;
    }
  }
}
