import { decode as decodeMsgpack, encode as encodeMsgpack } from "@msgpack/msgpack";
import type { QueuedMessage, StoredMessage } from "../../broker/hooks.ts";
import { toBytes } from "./command.ts";
import { decode, encode, type PublishPacket, type Qos } from "../../codec/mod.ts";

/** A message in a session's queue. */
export type QueueEntry = Omit<QueuedMessage, "publisherId" | "isPublished" | "passedOnBy">;

/** An entry as it is stored: one msgpack array, whose last element is the message as an MQTT 5 PUBLISH. */
type EncodedEntry = [
  qos: Qos,
  retain: boolean,
  isAdmitted: boolean,
  receivedAt: number,
  identifiers: readonly number[] | null,
  shareFilter: string | null,
  publish: Uint8Array,
];

const ARRAY_OF_7 = 0x97;
const BIN_32 = 0xc6;

/** The messages of one batch as PUBLISH packets: what it puts into many queues is encoded once. */
export class EncodedMessages {
  #batchNumber = 0;
  readonly #publishes = new Map<StoredMessage, Uint8Array>();

  of(message: StoredMessage, batchNumber: number): Uint8Array {
    if (batchNumber !== this.#batchNumber) this.#publishes.clear();
    this.#batchNumber = batchNumber;
    let publish = this.#publishes.get(message);
    if (publish === undefined) this.#publishes.set(message, publish = encodePublish(message));
    return publish;
  }
}

/** @param publish The entry's message, from {@linkcode EncodedMessages}. */
export function encodeEntry(entry: QueueEntry, publish: Uint8Array): Uint8Array {
  const { message, qos, retain, isAdmitted, identifiers, shareFilter } = entry;
  const head = encodeMsgpack([qos, retain, isAdmitted, message.receivedAt, identifiers ?? null, shareFilter ?? null]);
  const bytes = new Uint8Array(head.length + 5 + publish.length);
  bytes.set(head);
  bytes[0] = ARRAY_OF_7;
  bytes[head.length] = BIN_32;
  new DataView(bytes.buffer).setUint32(head.length + 1, publish.length);
  bytes.set(publish, head.length + 5);
  return bytes;
}

export function decodeEntry(bytes: Uint8Array): QueueEntry {
  const fields = decodeMsgpack(toBytes(bytes)) as EncodedEntry;
  const [qos, retain, isAdmitted, receivedAt, identifiers, shareFilter, publish] = fields;
  const { packetId: _packetId, ...packet } = decode(publish, 5) as PublishPacket;
  return {
    message: { packet, receivedAt },
    qos,
    retain,
    isAdmitted,
    identifiers: identifiers ?? undefined,
    shareFilter: shareFilter ?? undefined,
  };
}

function encodePublish({ packet }: StoredMessage): Uint8Array {
  // Every receiver chooses a packet identifier of its own; here stands any.
  return encode(packet.qos > 0 ? { ...packet, packetId: 1 } : packet, 5);
}
