import type {
  HookContext,
  RestoredSession,
  StoredMessage,
  StoredOutgoing,
  StoredSubscription,
} from "../../broker/hooks.ts";
import { decode, encode, type ProtocolLevel, type PublishPacket, type Qos, type Will } from "../../codec/mod.ts";
import { pieceOf } from "./byte_collector.ts";
import type { MessageTable } from "./message_table.ts";
import type { LoadedChunk, LoadedSession } from "./operations.ts";

/** A message as it is stored: an MQTT 5 PUBLISH. Its packet identifier means nothing. */
export function toFrame(packet: PublishPacket): Uint8Array {
  return encode({ ...packet, packetId: 1 }, 5);
}

/** A will as it is stored; its delay is a column of its own. */
export function willToFrame({ topic, payload, qos, retain, properties }: Will): Uint8Array {
  const { willDelayInterval: _delay, ...rest } = properties ?? {};
  return toFrame({ type: "publish", topic, payload, qos, retain, dup: false, properties: rest });
}

/** The options of a subscription in one number: QoS, no local, retain as published. */
export function subscriptionOptions({ qos, noLocal, retainAsPublished }: StoredSubscription): number {
  return qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0);
}

/** QoS, retain flag and release of a message on its way, in one number. */
export function outgoingFlags({ qos, retain, released }: StoredOutgoing): number {
  return qos | (retain ? 4 : 0) | (released ? 8 : 0);
}

/** Subscription identifiers as they are stored. */
export function toJson(identifiers: readonly number[] | undefined): string | null {
  return identifiers === undefined ? null : JSON.stringify(identifiers);
}

/** Gives the broker back what a part of the database holds. Messages are remembered for the sessions that follow. */
export class Restorer {
  readonly #context: HookContext;
  readonly #table: MessageTable;
  readonly #messages = new Map<number, StoredMessage>();

  constructor(context: HookContext, table: MessageTable) {
    this.#context = context;
    this.#table = table;
  }

  restore({ bytes, messages, retained, sessions }: LoadedChunk): void {
    for (const { id, receivedAt, frame } of messages) {
      this.#messages.set(id, { packet: fromFrame(pieceOf(bytes, frame), "message", id), receivedAt });
    }
    for (const { id, receivedAt, frame } of retained) {
      this.#context.restoreRetained(fromFrame(pieceOf(bytes, frame), "retained message", id), receivedAt);
    }
    for (const session of sessions) this.#context.restoreSession(this.#toSession(session, bytes));
  }

  #toSession(loaded: LoadedSession, bytes: Uint8Array): RestoredSession {
    const { clientId, will, willDelay } = loaded;
    return {
      clientId,
      protocolLevel: loaded.protocolLevel as ProtocolLevel,
      username: loaded.username ?? undefined,
      expiryInterval: loaded.expiryInterval,
      disconnectedAt: loaded.disconnectedAt ?? undefined,
      will: will === null ? undefined : toWill(pieceOf(bytes, will), clientId, willDelay),
      subscriptions: loaded.subscriptions.map(({ topicFilter, options, identifiers }) => ({
        topicFilter,
        qos: (options & 3) as Qos,
        noLocal: (options & 4) !== 0,
        retainAsPublished: (options & 8) !== 0,
        identifiers: fromJson(identifiers, clientId),
      })),
      outgoing: loaded.outgoing.map(({ id, messageId, flags, packetId, identifiers, shareFilter }) => {
        const message = this.#messages.get(messageId)!;
        this.#table.restore(id, messageId, message);
        return {
          id,
          message,
          qos: (flags & 3) as Qos,
          retain: (flags & 4) !== 0,
          released: (flags & 8) !== 0,
          packetId,
          identifiers: fromJson(identifiers, clientId),
          shareFilter: shareFilter ?? undefined,
        };
      }),
      received: loaded.received,
    };
  }
}

/**
 * The message that a frame holds; its payload lies in the frame.
 *
 * @throws {Error} If it holds none. The message says whose frame it is: `kind` and `name`.
 */
export function fromFrame(frame: Uint8Array, kind: string, name: string | number): PublishPacket {
  try {
    const { packetId: _meaningless, ...packet } = decode(frame, 5) as PublishPacket;
    return packet;
  } catch (error) {
    throw new Error(`malformed ${kind} ${JSON.stringify(name)}: ${(error as Error).message}`);
  }
}

function toWill(frame: Uint8Array, clientId: string, willDelayInterval: number): Will {
  const { topic, payload, qos, retain, properties } = fromFrame(frame, "will of", clientId);
  return { topic, payload: payload.slice(), qos, retain, properties: { ...properties, willDelayInterval } };
}

/**
 * Subscription identifiers as they were before they were stored.
 *
 * @throws {Error} If they are not. The message says which client's they are.
 */
export function fromJson(stored: string | null, clientId: string): readonly number[] | undefined {
  if (stored === null) return undefined;
  try {
    const identifiers: unknown = JSON.parse(stored);
    if (Array.isArray(identifiers) && identifiers.every(isIdentifier)) return identifiers;
    throw new Error(`${stored} is no list of them`);
  } catch (error) {
    throw new Error(`malformed subscription identifiers of ${JSON.stringify(clientId)}: ${(error as Error).message}`);
  }
}

function isIdentifier(value: unknown): value is number {
  return Number.isInteger(value) && value as number > 0 && value as number < 2 ** 28;
}
