import type { AcknowledgementType } from "../codec/acknowledgement.ts";
import type { ReasonCode } from "../codec/reason_code.ts";
import { Fifo } from "./fifo.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";

/** Who sends the acknowledgements whose turn has come. */
export interface Acknowledger {
  /** An error is what kept the message from being stored. */
  sendOwed(type: AcknowledgementType, packetId: number, outcome: ReasonCode | Error): void;
}

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
  /** Missing until an acknowledgement has to wait, which for most clients never happens. */
  #slots: Fifo<Slot> | undefined = undefined;
  readonly #acknowledger: Acknowledger;
  #waiting: { length: number; resolve: () => void } | undefined = undefined;

  constructor(acknowledger: Acknowledger) {
    this.#acknowledger = acknowledger;
  }

  /** How many are owed. */
  get length(): number {
    return this.#slots?.length ?? 0;
  }

  /** Adds an acknowledgement; it is sent at once if nothing is before it and its outcome is there. */
  add(type: AcknowledgementType, packetId: number, outcome: MaybePromise<ReasonCode>): void {
    const known = !isPromise(outcome);
    if (known && this.length === 0) return this.#acknowledger.sendOwed(type, packetId, outcome);
    const slot: Slot = { type, packetId, outcome: known ? outcome : undefined };
    (this.#slots ??= new Fifo()).push(slot);
    if (known) return;
    outcome.then(
      (reasonCode) => this.#settle(slot, reasonCode),
      (error) => this.#settle(slot, error instanceof Error ? error : new Error(String(error))),
    );
  }

  /** Resolves when fewer than `length` are owed. */
  shorterThan(length: number): MaybePromise<void> {
    if (this.length < length) return;
    return new Promise((resolve) => this.#waiting = { length, resolve });
  }

  #settle(slot: Slot, outcome: ReasonCode | Error): void {
    slot.outcome = outcome;
    const slots = this.#slots!;
    for (let first = slots.peek(); first?.outcome !== undefined; first = slots.peek()) {
      slots.shift();
      this.#acknowledger.sendOwed(first.type, first.packetId, first.outcome);
    }
    if (this.#waiting !== undefined && slots.length < this.#waiting.length) {
      this.#waiting.resolve();
      this.#waiting = undefined;
    }
  }
}
