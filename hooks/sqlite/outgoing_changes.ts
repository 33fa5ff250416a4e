import type { StoredOutgoing } from "../../broker/hooks.ts";
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
  /** Where a message's change stands in the batch that is being collected, by the message's number. */
  #positions = new Map<number, number>();
  #batch: unknown;

  constructor(writer: Writer, messages: MessageTable) {
    this.#writer = writer;
    this.#messages = messages;
  }

  /** Settles when it is stored; rejects if it is refused. What is stored already is changed, however long that takes. */
  store(clientId: string, outgoing: StoredOutgoing): Promise<void> {
    const { id, packetId, replaces } = outgoing;
    if (replaces !== undefined && this.#messages.holds(replaces)) return this.#move(replaces, clientId, outgoing);
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
    return this.#writer.lasting();
  }

  #collected(id: number): Operation | undefined {
    const { current } = this.#writer;
    if (this.#batch !== current) {
      this.#batch = current;
      this.#positions = new Map();
    }
    const position = this.#positions.get(id);
    return position === undefined ? undefined : current.operations[position];
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
