import { DatabaseSync } from "node:sqlite";
import type { BrokerOptions } from "../../mod.ts";
import { type SqliteHook, sqliteHook, type SqliteOptions } from "../../hooks/mod.ts";
import { startBroker, type TestBroker } from "../support/start_broker.ts";

/** How a broker came to its end before it is started again. */
export const ends = ["shutdown", "crash"] as const;

/** A database in a directory of its own, which is removed at the end of the `await using` block, with its brokers. */
export class DatabaseFile implements AsyncDisposable {
  readonly #directory = Deno.makeTempDirSync({ prefix: "hookmq-test-" });
  readonly #brokers: TestBroker[] = [];
  #number = 0;
  /** The hook of the broker that was started last. */
  hook!: SqliteHook;

  get path(): string {
    return `${this.#directory}/${this.#number}.db`;
  }

  /** A broker that keeps its sessions in the file. */
  async start(options: Omit<SqliteOptions, "path"> = {}, brokerOptions: BrokerOptions = {}): Promise<TestBroker> {
    const broker = await startBroker(brokerOptions);
    this.#brokers.push(broker);
    this.hook = sqliteHook({ path: this.path, ...options });
    await broker.use(this.hook);
    return broker;
  }

  /**
   * Another broker on what the last one has stored. That is closed first; or, as if it had crashed, the new one gets what
   * is on the disk by now, and the old one is left to itself.
   */
  async restart(end: typeof ends[number], options: Omit<SqliteOptions, "path"> = {}): Promise<TestBroker> {
    if (end === "shutdown") await this.stop();
    else await this.abandon();
    return await this.start(options);
  }

  /** Goes on with a copy of the file, as the last broker would have left it if it had crashed now. */
  async abandon(): Promise<void> {
    const before = this.path;
    this.#number += 1;
    for (const suffix of ["", "-wal"]) await Deno.copyFile(before + suffix, this.path + suffix);
  }

  /** Closes the last broker in order, and then its clients. */
  async stop(): Promise<void> {
    const broker = this.#brokers.at(-1)!;
    const closed = broker.close();
    await broker[Symbol.asyncDispose]();
    await closed;
  }

  /** How many rows each table has that is not empty; no broker may be using the file. */
  rows(): Record<string, number> {
    using database = new DatabaseSync(this.path);
    const count = (table: string) => Number(database.prepare(`SELECT count(*) AS count FROM ${table}`).get()!.count);
    const tables = ["sessions", "subscriptions", "messages", "outgoing", "received", "retained"];
    return Object.fromEntries(tables.map((table) => [table, count(table)]).filter(([, rows]) => rows !== 0));
  }

  /** What SQLite finds wrong with the file. */
  problems(): string[] {
    using database = new DatabaseSync(this.path);
    const found = database.prepare("PRAGMA integrity_check").all().map(({ integrity_check }) =>
      String(integrity_check)
    );
    return found.filter((line) => line !== "ok");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const broker of this.#brokers) await broker[Symbol.asyncDispose]();
    await Deno.remove(this.#directory, { recursive: true });
  }
}
