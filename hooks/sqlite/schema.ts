import type { DatabaseSync } from "node:sqlite";

/** What each schema version adds to the one before; `PRAGMA user_version` counts them. */
export const migrations: readonly string[] = [
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
  `
  CREATE TABLE last_batch (number INTEGER NOT NULL);
  INSERT INTO last_batch VALUES (0);
  `,
];

/** "HkMQ": by this a database is known to be ours. */
export const APPLICATION_ID = 0x486b4d51;

/**
 * The schema version of a database, 0 if it is empty. Looks before anything is written: a file that is not ours stays as
 * it is.
 *
 * @throws {Error} If it is no database of ours, or was written by a newer version.
 */
export function schemaVersion(database: DatabaseSync): number {
  const pragma = (name: string) => database.prepare(`PRAGMA ${name}`).get()![name] as number;
  const isEmpty = pragma("schema_version") === 0;
  if (!isEmpty && pragma("application_id") !== APPLICATION_ID) throw new Error("file is not a HookMQ database");
  const version = pragma("user_version");
  if (version > migrations.length) {
    throw new Error(`it has schema version ${version}; this version of HookMQ knows up to ${migrations.length}`);
  }
  return version;
}
