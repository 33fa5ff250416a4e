import { DatabaseSync } from "node:sqlite";
import { explanation } from "./explanation.ts";
import { fromFrame, fromJson } from "./rows.ts";
import { schemaVersion } from "./schema.ts";

/** What a database holds. */
export interface DatabaseSummary {
  schemaVersion: number;
  sessions: number;
  /** Messages that are on their way to sessions. One that is on its way to many counts once. */
  messages: number;
  retained: number;
  /** Bytes of the file. */
  size: number;
}

/**
 * Looks through the whole database of a broker that is not running. Nothing is changed, but that what the broker wrote
 * last is moved from the log beside the file into it, as a start would do.
 *
 * @throws {Error} If something is wrong with it: the message names the file and says what to do.
 */
export function inspectDatabase(path: string): DatabaseSummary {
  try {
    // SQLite would make the file.
    if (Deno.statSync(path).size === 0) throw new Error("it is empty: a broker would start afresh with it");
    using database = new DatabaseSync(path, { timeout: 1000 });
    // Nobody else is to begin to use it meanwhile.
    database.exec("PRAGMA locking_mode = EXCLUSIVE");
    const version = schemaVersion(database);
    checkStructure(database);
    checkFrames(database);
    checkIdentifiers(database);
    const number = (sql: string) => Number(Object.values(database.prepare(sql).get()!)[0]);
    return {
      schemaVersion: version,
      sessions: number("SELECT count(*) FROM sessions"),
      messages: number("SELECT count(*) FROM messages"),
      retained: number("SELECT count(*) FROM retained"),
      size: number("PRAGMA page_count") * number("PRAGMA page_size"),
    };
  } catch (error) {
    throw new Error(`${path}: ${whatToDo(error as Error)}`);
  }
}

function checkStructure(database: DatabaseSync): void {
  const [{ integrity_check: verdict }] = database.prepare("PRAGMA integrity_check(1)").all();
  if (verdict !== "ok") throw new Error(`malformed: ${String(verdict).replace("*** in database main ***\n", "")}`);
}

/** The structure can be sound where the messages are not. */
function checkFrames(database: DatabaseSync): void {
  const frames = database.prepare(
    `SELECT 'message' AS kind, id AS name, frame FROM messages
     UNION ALL SELECT 'retained message', rowid, frame FROM retained
     UNION ALL SELECT 'will of', client_id, will FROM sessions WHERE will IS NOT NULL`,
  );
  for (const { kind, name, frame } of frames.iterate()) {
    fromFrame(frame as Uint8Array, kind as string, name as string | number);
  }
}

function checkIdentifiers(database: DatabaseSync): void {
  const lists = database.prepare(
    `SELECT client_id AS clientId, identifiers FROM subscriptions WHERE identifiers IS NOT NULL
     UNION ALL SELECT client_id, identifiers FROM outgoing WHERE identifiers IS NOT NULL`,
  );
  for (const { clientId, identifiers } of lists.iterate()) fromJson(identifiers as string, clientId as string);
}

function whatToDo(error: Error): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error.message === "database is locked") return "another process is using it: stop the broker before you check it";
  return explanation(error.message);
}
