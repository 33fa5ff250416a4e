import type { StoredOutgoing } from "../../broker/hooks.ts";
import type { Batch } from "./batch.ts";
import type { MessageTable } from "./message_table.ts";
import type { MoveOperation, Operation, OutgoingOperation } from "./operations.ts";
import { outgoingFlags, toFrame, toJson } from "./rows.ts";
import type { Writer } from "./writer.ts";

/**
 * Collects what becomes of messages on their way. Of several changes of one message in a batch only the outcome is written:
 * an online client has often acknowledged a message before it is.
 */
export class OutgoingChanges {
  readonly #writer: Writer;
  readonly #messages: MessageTable;
  /** The batch that is being collected, and where a message's change stands in it, by the message's number. */
  #batch: Batch | undefined;
  #positions = new Map<number, number>();
  /** The same for the one before, until it is known what has become of it. */
  #batchUnderWay: Batch | undefined;
  #positionsUnderWay = new Map<number, number>();

  constructor(writer: Writer, messages: MessageTable) {
    this.#writer = writer;
    this.#messages = messages;
  }

  /** Settles when it is stored; rejects if it is refused. What is stored already is changed, however long that takes. */
  store(clientId: string, outgoing: StoredOutgoing): Promise<void> {
    const { id, packetId, message, replaces } = outgoing;
    const isSame = replaces !== undefined && this.#messages.messageOf(replaces) === message;
    if (isSame) return this.#move(replaces, clientId, outgoing);
    const collected = this.#collected(id);
    if (!this.#messages.holds(id) || collected?.[0] === "outgoing") return this.#add(clientId, outgoing, collected);
    this.#collect(
      id,
      collected?.[0] === "moveOutgoing"
        ? moveOperation(collected[1], clientId, outgoing)
        : ["updateOutgoing", id, outgoingFlags(outgoing), packetId],
    );
    return this.#writer.lasting();
  }

  /** The changes of these batches were not made. Takes out of them what is to be made later but has lost its object. */
  refused(batches: readonly Batch[]): void {
    const refused = new Set<number>();
    for (const { operations } of batches) {
      for (const [position, operation] of operations.entries()) {
        if (operation?.[0] === "outgoing") {
          refused.add(operation[1]);
        } else if (operation?.[0] === "moveOutgoing" && refused.has(operation[1])) {
          refused.add(operation[2]);
          operations[position] = undefined;
        }
      }
    }
    for (const id of refused) this.#messages.refused(id);
  }

  /** Settles when nothing is stored of it. Never rejects. */
  remove(id: number): Promise<void> | undefined {
    if (!this.#messages.holds(id)) return;
    const { current } = this.#writer;
    const collected = this.#takeBack(id);
    if (collected?.[0] !== "outgoing") {
      current.add(["removeOutgoing", collected?.[0] === "moveOutgoing" ? collected[1] : id]);
    }
    this.#messages.release(id, current);
    return this.#writer.lasting();
  }

  #add(clientId: string, outgoing: StoredOutgoing, collected: Operation | undefined): Promise<void> {
    const { id, message } = outgoing;
    if (collected === undefined && this.#writer.refuses) return this.#writer.refused();
    const { current } = this.#writer;
    const messageId = this.#messages.take(
      id,
      message,
      current,
      (messageId) => current.add(["message", messageId, message.receivedAt, current.slice(toFrame(message.packet))]),
    );
    this.#collect(id, outgoingOperation(clientId, messageId, outgoing));
    return this.#writer.written();
  }

  /** What is on its way to one session becomes another's, in one change. */
  #move(from: number, clientId: string, outgoing: StoredOutgoing): Promise<void> {
    const collected = this.#takeBack(from);
    this.#messages.move(from, outgoing.id);
    if (collected?.[0] === "outgoing") {
      this.#collect(outgoing.id, outgoingOperation(clientId, collected[3], outgoing));
      return this.#writer.written();
    }
    const stored = collected?.[0] === "moveOutgoing" ? collected[1] : from;
    this.#collect(outgoing.id, moveOperation(stored, clientId, outgoing));
    const lasting = this.#writer.lasting();
    const position = this.#positionsUnderWay.get(stored);
    const isUnderWay = position !== undefined && this.#batchUnderWay?.operations[position]?.[0] === "outgoing";
    // If it is refused, there is nothing to be moved.
    return isUnderWay ? this.#batchUnderWay!.written.then(() => lasting) : lasting;
  }

  #collected(id: number): Operation | undefined {
    const { current } = this.#writer;
    if (this.#batch !== current) this.#turnTo(current);
    const position = this.#positions.get(id);
    return position === undefined ? undefined : current.operations[position];
  }

  #turnTo(batch: Batch): void {
    const before = this.#batch;
    this.#batchUnderWay = before;
    this.#positionsUnderWay = this.#positions;
    this.#batch = batch;
    this.#positions = new Map();
    const forget = () => {
      if (this.#batchUnderWay === before) this.#batchUnderWay = undefined;
    };
    before?.written.then(forget, forget);
  }

  /** Adds the change of a message, in place of one that has just been asked for with `#collected`. */
  #collect(id: number, operation: Operation): void {
    const { current } = this.#writer;
    const position = this.#positions.get(id);
    if (position === undefined) this.#positions.set(id, current.add(operation));
    else current.operations[position] = operation;
  }

  /** Takes the change of a message out of the batch again, and returns it. */
  #takeBack(id: number): Operation | undefined {
    const collected = this.#collected(id);
    if (collected !== undefined) this.#writer.current.operations[this.#positions.get(id)!] = undefined;
    this.#positions.delete(id);
    return collected;
  }
}

function outgoingOperation(clientId: string, messageId: number, outgoing: StoredOutgoing): OutgoingOperation {
  const { id, packetId, identifiers, shareFilter } = outgoing;
  const flags = outgoingFlags(outgoing);
  return ["outgoing", id, clientId, messageId, flags, packetId, toJson(identifiers), shareFilter ?? null];
}

function moveOperation(from: number, clientId: string, outgoing: StoredOutgoing): MoveOperation {
  const { id, packetId, identifiers } = outgoing;
  return ["moveOutgoing", from, id, clientId, outgoingFlags(outgoing), packetId, toJson(identifiers)];
}
