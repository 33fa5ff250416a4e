import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { LoadedChunk, LoadedSession, Operation, Slice } from "./operations.ts";

/** What each schema version adds to the one before; `PRAGMA user_version` counts them. */
const migrations: readonly string[] = [
  `
  CREATE TABLE sessions (
    client_id TEXT PRIMARY KEY,
    protocol_level INTEGER NOT NULL,
    username TEXT,
    expiry_interval INTEGER NOT NULL,
    disconnected_at INTEGER,
    will BLOB,
    will_delay INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE TABLE subscriptions (
    client_id TEXT NOT NULL,
    topic_filter TEXT NOT NULL,
    options INTEGER NOT NULL,
    identifiers TEXT,
    PRIMARY KEY (client_id, topic_filter)
  ) WITHOUT ROWID;
  CREATE TABLE messages (id INTEGER PRIMARY KEY, received_at INTEGER NOT NULL, frame BLOB NOT NULL);
  CREATE TABLE outgoing (
    id INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL,
    message_id INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    identifiers TEXT,
    share_filter TEXT
  );
  CREATE TABLE received (
    client_id TEXT NOT NULL,
    packet_id INTEGER NOT NULL,
    PRIMARY KEY (client_id, packet_id)
  ) WITHOUT ROWID;
  CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    received_at INTEGER NOT NULL,
    expires_at INTEGER,
    frame BLOB NOT NULL
  );
  CREATE INDEX retained_expiry ON retained (expires_at) WHERE expires_at IS NOT NULL;
  `,
];

const statements = {
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
  removeOutgoing: "DELETE FROM outgoing WHERE id = ?",
  received: "INSERT OR REPLACE INTO received VALUES (?, ?)",
  removeReceived: "DELETE FROM received WHERE client_id = ? AND packet_id = ?",
  retained: "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)",
  removeExpiredRetained: "DELETE FROM retained WHERE expires_at <= ?",
  removeRetained: "DELETE FROM retained WHERE topic = ?",
} as const;

/** "HkMQ": by this a database is known to be ours. */
const APPLICATION_ID = 0x486b4d51;

/** How many messages, or messages on their way, a chunk holds at most, roughly. */
const CHUNK = 2000;

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
      this.#migrate(this.#schemaVersion());
      if (maximumSize < Infinity) this.#database.exec(`PRAGMA max_page_count = ${Math.ceil(maximumSize / 4096)}`);
      this.#statements = Object.fromEntries(
        Object.entries(statements).map(([name, sql]) => [name, this.#database.prepare(sql)]),
      ) as Record<keyof typeof statements, StatementSync>;
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** Makes all of these changes, or none. Durable on return. @throws {Error} If they could not be made. */
  apply(operations: readonly Operation[], bytes: Uint8Array): void {
    this.#transaction(() => {
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
    const part = { messages: [], retained: [], sessions: [], last: false };
    this.#removeRemains(now);
    const messages = this.#iterate<LoadedChunk["messages"][number]>(
      "SELECT id, received_at AS receivedAt, frame FROM messages",
    );
    for (const chunk of chunks(messages)) yield { ...part, messages: chunk };
    const retained = this.#iterate<LoadedChunk["retained"][number]>(
      "SELECT received_at AS receivedAt, frame FROM retained",
    );
    for (const chunk of chunks(retained)) yield { ...part, retained: chunk };
    for (const sessions of this.#loadSessions()) yield { ...part, sessions };
    yield { ...part, last: true };
  }

  /** @throws {Error} If the database is damaged: the message says where. */
  check(): void {
    const [{ integrity_check: verdict }] = this.#database.prepare("PRAGMA integrity_check(1)").all();
    if (verdict !== "ok") throw new Error(String(verdict));
  }

  close(): void {
    this.#database.close();
  }

  /** 0 if the database is empty. Looks before anything is written: a file that is not ours stays as it is. */
  #schemaVersion(): number {
    const pragma = (name: string) => this.#database.prepare(`PRAGMA ${name}`).get()![name] as number;
    const isEmpty = pragma("schema_version") === 0;
    if (!isEmpty && pragma("application_id") !== APPLICATION_ID) throw new Error("file is not a HookMQ database");
    const version = pragma("user_version");
    if (version > migrations.length) {
      throw new Error(`it has schema version ${version}; this version of HookMQ knows up to ${migrations.length}`);
    }
    return version;
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
    const slice = ([offset, length]: Slice) => bytes.subarray(offset, offset + length);
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

  *#loadSessions(): Generator<LoadedSession[]> {
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
    const sessions = this.#iterate<Omit<LoadedSession, "subscriptions" | "outgoing" | "received">>(
      `SELECT client_id AS clientId, protocol_level AS protocolLevel, username, expiry_interval AS expiryInterval,
         disconnected_at AS disconnectedAt, will, will_delay AS willDelay FROM sessions ORDER BY clientId`,
    );
    let chunk: LoadedSession[] = [];
    let size = 0;
    for (const session of sessions) {
      const { clientId } = session;
      const onTheirWay = outgoing.take(clientId);
      chunk.push({
        ...session,
        subscriptions: subscriptions.take(clientId),
        outgoing: onTheirWay,
        received: received.take(clientId).map(({ packetId }) => packetId),
      });
      size += 1 + onTheirWay.length;
      if (size >= CHUNK) {
        yield chunk;
        chunk = [];
        size = 0;
      }
    }
    yield chunk;
  }

  #iterate<Row>(sql: string): IterableIterator<Row> {
    return this.#database.prepare(sql).iterate() as IterableIterator<unknown> as IterableIterator<Row>;
  }
}

interface OfClient {
  clientId: string;
}

function* chunks<Row>(rows: Iterable<Row>): Generator<Row[]> {
  let chunk: Row[] = [];
  for (const row of rows) {
    chunk.push(row);
    if (chunk.length === CHUNK) {
      yield chunk;
      chunk = [];
    }
  }
  if (chunk.length > 0) yield chunk;
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
