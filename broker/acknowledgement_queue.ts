import type { AcknowledgementType } from "../codec/acknowledgement.ts";
import type { ReasonCode } from "../codec/reason_code.ts";
import { Fifo } from "./fifo.ts";
import { isPromise, type MaybePromise } from "./maybe_promise.ts";

/** Who sends the acknowledgements whose turn has come. */
export interface Acknowledger {
  /** Whether the only way to say that a message could not be stored is to end the connection. */
  readonly refusesByDisconnecting: boolean;
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
  readonly #receiveMaximum: number;
  #onRoom: (() => void) | undefined = undefined;
  /** How many QoS 1 and 2 messages of this connection are not acknowledged completely: what the client has used of its send quota. */
  unfinished = 0;

  constructor(acknowledger: Acknowledger, receiveMaximum: number) {
    this.#acknowledger = acknowledger;
    this.#receiveMaximum = receiveMaximum;
  }

  /**
   * Adds an acknowledgement; it is sent at once if nothing is before it and its outcome is there. Resolves when no more
   * than the receive maximum are owed: a client that respects it is heard while its messages are stored
   * [MQTT-4.9.0-3], any other one is read more slowly.
   */
  add(type: AcknowledgementType, packetId: number, outcome: MaybePromise<ReasonCode>): MaybePromise<void> {
    const known = !isPromise(outcome);
    if (known && this.#owed === 0) return this.#send(type, packetId, outcome);
    const slot: Slot = { type, packetId, outcome: known ? outcome : undefined };
    (this.#slots ??= new Fifo()).push(slot);
    if (!known) {
      outcome.then(
        (reasonCode) => this.#settle(slot, reasonCode),
        (error) => this.#settle(slot, error instanceof Error ? error : new Error(String(error))),
      );
    }
    if (this.#owed > this.#receiveMaximum) return new Promise((resolve) => this.#onRoom = resolve);
  }

  get #owed(): number {
    return this.#slots?.length ?? 0;
  }

  #settle(slot: Slot, outcome: ReasonCode | Error): void {
    if (outcome instanceof Error && this.#acknowledger.refusesByDisconnecting) {
      // At once: what the client sends behind the message, which it sends again, must not go before it.
      this.#send(slot.type, slot.packetId, outcome);
      return this.#onRoom?.();
    }
    slot.outcome = outcome;
    const slots = this.#slots!;
    for (let first = slots.peek(); first?.outcome !== undefined; first = slots.peek()) {
      slots.shift();
      this.#send(first.type, first.packetId, first.outcome);
    }
    if (this.#owed <= this.#receiveMaximum) this.#onRoom?.();
  }

  #send(type: AcknowledgementType, packetId: number, outcome: ReasonCode | Error): void {
    const finishes = type === "puback" || type === "pubcomp" || (type === "pubrec" && outcome instanceof Error);
    // A PUBREL that comes again after a reconnect finishes what this connection has not begun (MQTT 5.0 section 4.9).
    if (finishes && this.unfinished > 0) this.unfinished -= 1;
    this.#acknowledger.sendOwed(type, packetId, outcome);
  }
}
