import { DatabaseSync, type StatementSync } from "node:sqlite";
import { ByteCollector, pieceOf } from "./byte_collector.ts";
import type { LoadedChunk, LoadedMessage, LoadedSession, Operation, Slice } from "./operations.ts";
import { APPLICATION_ID, migrations, schemaVersion } from "./schema.ts";

const statements = {
  lastBatch: "UPDATE last_batch SET number = ?",
  session: "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)",
  removeSession: "DELETE FROM sessions WHERE client_id = ?",
  removeSessionSubscriptions: "DELETE FROM subscriptions WHERE client_id = ?",
  removeSessionReceived: "DELETE FROM received WHERE client_id = ?",
  subscription: "INSERT OR REPLACE INTO subscriptions VALUES (?, ?, ?, ?)",
  removeSubscription: "DELETE FROM subscriptions WHERE client_id = ? AND topic_filter = ?",
  message: "INSERT OR REPLACE INTO messages VALUES (?, ?, ?)",
  removeMessage: "DELETE FROM messages WHERE id = ?",
  outgoing: "INSERT OR REPLACE INTO outgoing VALUES (?, ?, ?, ?, ?, ?, ?)",
  updateOutgoing: "UPDATE outgoing SET flags = ?, packet_id = ? WHERE id = ?",
  moveOutgoing: "UPDATE outgoing SET id = ?, client_id = ?, flags = ?, packet_id = ?, identifiers = ? WHERE id = ?",
  removeOutgoing: "DELETE FROM outgoing WHERE id = ?",
  received: "INSERT OR REPLACE INTO received VALUES (?, ?)",
  removeReceived: "DELETE FROM received WHERE client_id = ? AND packet_id = ?",
  retained: "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)",
  removeExpiredRetained: "DELETE FROM retained WHERE expires_at <= ?",
  removeRetained: "DELETE FROM retained WHERE topic = ?",
} as const;

/** How many messages, or messages on their way, a chunk holds at most, roughly. */
const CHUNK = 2000;

/** How many bytes of messages a chunk holds, roughly. */
const CHUNK_BYTES = 4 * 1024 * 1024;

/** The embedded database: durable when `apply` returns, and never half of a batch. */
export class Database {
  readonly #database: DatabaseSync;
  readonly #statements: Record<keyof typeof statements, StatementSync>;

  /** @throws {Error} If the file is in use, is no database of ours, or was written by a newer version. */
  constructor(path: string, maximumSize = Infinity) {
    // A process that has just died may still be holding it for a moment.
    this.#database = new DatabaseSync(path, { timeout: 1000 });
    try {
      this.#database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = FULL;");
      this.#migrate(schemaVersion(this.#database));
      if (maximumSize < Infinity) this.#database.exec(`PRAGMA max_page_count = ${Math.ceil(maximumSize / 4096)}`);
      this.#statements = Object.fromEntries(
        Object.entries(statements).map(([name, sql]) => [name, this.#database.prepare(sql)]),
      ) as Record<keyof typeof statements, StatementSync>;
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** The number of the last batch that was applied. Whoever has not heard of the outcome learns it from that. */
  lastBatch(): number {
    return this.#database.prepare("SELECT number FROM last_batch").get()!.number as number;
  }

  /** Makes all of these changes, or none. Durable on return. @throws {Error} If they could not be made. */
  apply(number: number, operations: readonly Operation[], bytes: Uint8Array): void {
    this.#transaction(() => {
      this.#statements.lastBatch.run(number);
      for (const operation of operations) this.#apply(operation, bytes);
    });
  }

  /** @throws {Error} If there is no room for so many bytes. */
  probe(size: number): void {
    this.#transaction(() => {
      this.#statements.message.run(-1, 0, new Uint8Array(size));
      this.#statements.removeMessage.run(-1);
    });
  }

  /** Everything that is stored `now`, in milliseconds since 1970; a part at a time: nothing is in memory twice. */
  *load(now: number): Generator<LoadedChunk> {
    const empty = { messages: [], retained: [], sessions: [], last: false };
    this.#removeRemains(now);
    const messages = this.#iterate<MessageRow>("SELECT id, received_at AS receivedAt, frame FROM messages");
    for (const { bytes, rows } of chunks(messages)) yield { ...empty, bytes, messages: rows };
    const retained = this.#iterate<MessageRow>("SELECT rowid AS id, received_at AS receivedAt, frame FROM retained");
    for (const { bytes, rows } of chunks(retained)) yield { ...empty, bytes, retained: rows };
    for (const { bytes, sessions } of this.#loadSessions()) yield { ...empty, bytes, sessions };
    yield { ...empty, bytes: new Uint8Array(), last: true };
  }

  close(): void {
    this.#database.close();
  }

  #migrate(version: number): void {
    this.#database.exec("PRAGMA journal_mode = WAL;");
    this.#transaction(() => {
      for (const migration of migrations.slice(version)) this.#database.exec(migration);
      this.#database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${migrations.length};`);
    });
  }

  #transaction(change: () => void): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      change();
      this.#database.exec("COMMIT");
    } catch (error) {
      // Some errors, a full disk among them, have ended the transaction already.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #apply(operation: Operation, bytes: Uint8Array): void {
    const slice = (piece: Slice) => pieceOf(bytes, piece);
    switch (operation[0]) {
      case "session":
      case "updateSession": {
        const [, clientId, protocolLevel, username, expiryInterval, disconnectedAt, will, willDelay] = operation;
        const willFrame = will === null ? null : slice(will);
        this.#statements.session.run(
          ...[clientId, protocolLevel, username, expiryInterval, disconnectedAt, willFrame, willDelay],
        );
        return;
      }
      case "removeSession":
        this.#statements.removeSession.run(operation[1]);
        this.#statements.removeSessionSubscriptions.run(operation[1]);
        this.#statements.removeSessionReceived.run(operation[1]);
        return;
      case "message":
        this.#statements.message.run(operation[1], operation[2], slice(operation[3]));
        return;
      case "retained":
        if (operation[3] !== null) this.#statements.removeExpiredRetained.run(operation[2]);
        this.#statements.retained.run(operation[1], operation[2], operation[3], slice(operation[4]));
        return;
      case "updateOutgoing":
        this.#statements.updateOutgoing.run(operation[2], operation[3], operation[1]);
        return;
      case "moveOutgoing": {
        const [, from, ...values] = operation;
        this.#statements.moveOutgoing.run(...values, from);
        return;
      }
      default: {
        const [name, ...values] = operation;
        this.#statements[name].run(...values);
      }
    }
  }

  /** Removes what belongs to nobody: sessions that ended with the process leave messages, whose removal was still to come. */
  #removeRemains(now: number): void {
    for (const table of ["subscriptions", "received", "outgoing"]) {
      this.#database.exec(`DELETE FROM ${table} WHERE client_id NOT IN (SELECT client_id FROM sessions)`);
    }
    this.#database.exec("DELETE FROM outgoing WHERE message_id NOT IN (SELECT id FROM messages)");
    this.#database.exec("DELETE FROM messages WHERE id NOT IN (SELECT message_id FROM outgoing)");
    this.#statements.removeExpiredRetained.run(now);
  }

  *#loadSessions(): Generator<Pick<LoadedChunk, "bytes" | "sessions">> {
    const subscriptions = new GroupedRows(this.#iterate<LoadedSession["subscriptions"][number] & OfClient>(
      "SELECT client_id AS clientId, topic_filter AS topicFilter, options, identifiers FROM subscriptions ORDER BY clientId",
    ));
    const received = new GroupedRows(this.#iterate<{ packetId: number } & OfClient>(
      "SELECT client_id AS clientId, packet_id AS packetId FROM received ORDER BY clientId",
    ));
    const outgoing = new GroupedRows(this.#iterate<LoadedSession["outgoing"][number] & OfClient>(
      `SELECT client_id AS clientId, id, message_id AS messageId, flags, packet_id AS packetId, identifiers,
         share_filter AS shareFilter FROM outgoing ORDER BY clientId, id`,
    ));
    const rows = this.#iterate<SessionRow>(
      `SELECT client_id AS clientId, protocol_level AS protocolLevel, username, expiry_interval AS expiryInterval,
         disconnected_at AS disconnectedAt, will, will_delay AS willDelay FROM sessions ORDER BY clientId`,
    );
    let sessions: LoadedSession[] = [];
    let wills = new ByteCollector();
    let size = 0;
    for (const session of rows) {
      const { clientId, will } = session;
      const onTheirWay = outgoing.take(clientId);
      sessions.push({
        ...session,
        will: will && wills.add(will),
        subscriptions: subscriptions.take(clientId),
        outgoing: onTheirWay,
        received: received.take(clientId).map(({ packetId }) => packetId),
      });
      size += 1 + onTheirWay.length;
      if (size >= CHUNK) {
        yield { bytes: wills.bytes, sessions };
        sessions = [];
        wills = new ByteCollector();
        size = 0;
      }
    }
    yield { bytes: wills.bytes, sessions };
  }

  #iterate<Row>(sql: string): IterableIterator<Row> {
    return this.#database.prepare(sql).iterate() as IterableIterator<unknown> as IterableIterator<Row>;
  }
}

type MessageRow = Omit<LoadedMessage, "frame"> & { frame: Uint8Array };

type SessionRow = Omit<LoadedSession, "subscriptions" | "outgoing" | "received" | "will"> & { will: Uint8Array | null };

interface OfClient {
  clientId: string;
}

function* chunks(messages: Iterable<MessageRow>): Generator<{ bytes: Uint8Array<ArrayBuffer>; rows: LoadedMessage[] }> {
  let rows: LoadedMessage[] = [];
  let frames = new ByteCollector();
  for (const { frame, ...row } of messages) {
    rows.push({ ...row, frame: frames.add(frame) });
    // Large messages make fewer of them a chunk.
    if (rows.length === CHUNK || frames.bytes.length >= CHUNK_BYTES) {
      yield { bytes: frames.bytes, rows };
      rows = [];
      frames = new ByteCollector();
    }
  }
  if (rows.length > 0) yield { bytes: frames.bytes, rows };
}

/** Rows that come ordered by client id, handed out client by client in the same order. */
class GroupedRows<Row extends OfClient> {
  readonly #rows: Iterator<Row>;
  #next: Row | undefined;

  constructor(rows: Iterator<Row>) {
    this.#rows = rows;
    this.#advance();
  }

  take(clientId: string): Row[] {
    const taken: Row[] = [];
    // Rows of clients that have no session belong to nobody: they are passed over.
    while (this.#next !== undefined && compareBytes(this.#next.clientId, clientId) <= 0) {
      if (this.#next.clientId === clientId) taken.push(this.#next);
      this.#advance();
    }
    return taken;
  }

  #advance(): void {
    const { value, done } = this.#rows.next();
    this.#next = done ? undefined : value;
  }
}

const encoder = new TextEncoder();

/** SQLite's order of texts: by their UTF-8 bytes. */
function compareBytes(first: string, second: string): number {
  if (first === second) return 0;
  const [one, other] = [encoder.encode(first), encoder.encode(second)];
  for (let index = 0; index < Math.min(one.length, other.length); index++) {
    if (one[index] !== other[index]) return one[index] - other[index];
  }
  return one.length - other.length;
}
