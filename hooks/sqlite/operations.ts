/** A piece of the bytes that go with a batch: where it begins, and how long it is. */
export type Slice = readonly [offset: number, length: number];

/** Stores a session; by the latter name if it has been stored before. */
export type SessionOperation = readonly [
  "session" | "updateSession",
  clientId: string,
  protocolLevel: number,
  username: string | null,
  expiryInterval: number,
  disconnectedAt: number | null,
  will: Slice | null,
  willDelay: number,
];

/** Stores that a message is on its way to a session. */
export type OutgoingOperation = readonly [
  "outgoing",
  id: number,
  clientId: string,
  messageId: number,
  flags: number,
  packetId: number,
  identifiers: string | null,
  shareFilter: string | null,
];

/** Gives a message on its way to another session, under another number. */
export type MoveOperation = readonly [
  "moveOutgoing",
  from: number,
  id: number,
  clientId: string,
  flags: number,
  packetId: number,
  identifiers: string | null,
];

/** One change of what is stored. Numbers and texts only, so that a batch of thousands is cheap to hand to the worker. */
export type Operation =
  | SessionOperation
  | readonly ["removeSession", clientId: string]
  | readonly ["subscription", clientId: string, topicFilter: string, options: number, identifiers: string | null]
  | readonly ["removeSubscription", clientId: string, topicFilter: string]
  | readonly ["message", id: number, receivedAt: number, frame: Slice]
  | readonly ["removeMessage", id: number]
  | OutgoingOperation
  | readonly ["updateOutgoing", id: number, flags: number, packetId: number]
  | MoveOperation
  | readonly ["removeOutgoing", id: number]
  | readonly ["received", clientId: string, packetId: number]
  | readonly ["removeReceived", clientId: string, packetId: number]
  | readonly ["retained", topic: string, receivedAt: number, expiresAt: number | null, frame: Slice]
  | readonly ["removeRetained", topic: string];

/**
 * Whether a change is made later if it cannot be made now, since what is in memory has changed already. The others are
 * refused: whoever wanted them is told so, and has to come again.
 */
export function isLasting([name]: Operation): boolean {
  switch (name) {
    case "updateSession":
    case "removeSession":
    case "removeSubscription":
    case "updateOutgoing":
    case "moveOutgoing":
    case "removeOutgoing":
    case "removeMessage":
    case "removeReceived":
      return true;
    default:
      return false;
  }
}

/** What the hook asks its worker. */
export type Request =
  | { readonly type: "open"; readonly path: string; readonly maximumSize: number | undefined }
  | { readonly type: "load"; readonly now: number }
  | {
    readonly type: "apply";
    /** One more than that of the batch before. */
    readonly number: number;
    readonly operations: readonly Operation[];
    readonly bytes: Uint8Array<ArrayBuffer>;
  }
  /** Is there room for so many bytes? */
  | { readonly type: "probe"; readonly size: number }
  | { readonly type: "close" };

/** What the worker answers; every request has one answer, in their order. */
export type Response =
  /** `lastBatch` is the number of the last batch that was written. */
  | { readonly type: "open"; readonly lastBatch: number }
  | { readonly type: "done" }
  | { readonly type: "chunk"; readonly chunk: LoadedChunk }
  | { readonly type: "failed"; readonly message: string };

/** A part of what is stored, as it is read back at the start; messages come before the sessions that they are for. */
export interface LoadedChunk {
  /** What the slices are slices of. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly messages: readonly LoadedMessage[];
  readonly retained: readonly LoadedMessage[];
  readonly sessions: readonly LoadedSession[];
  /** Whether nothing follows. */
  readonly last: boolean;
}

/** A message as it is read back. */
export interface LoadedMessage {
  readonly id: number;
  readonly receivedAt: number;
  readonly frame: Slice;
}

/** A session as it is read back. */
export interface LoadedSession {
  readonly clientId: string;
  readonly protocolLevel: number;
  readonly username: string | null;
  readonly expiryInterval: number;
  readonly disconnectedAt: number | null;
  readonly will: Slice | null;
  readonly willDelay: number;
  readonly subscriptions: readonly { topicFilter: string; options: number; identifiers: string | null }[];
  readonly outgoing: readonly {
    id: number;
    messageId: number;
    flags: number;
    packetId: number;
    identifiers: string | null;
    shareFilter: string | null;
  }[];
  readonly received: readonly number[];
}
