/**
 * A broker whose store meets with accidents, a process of its own:
 * `deno run -A tests/crash/accident_prone_broker.ts DATABASE BYTES` listens for MQTT and, over HTTP, for an
 * {@linkcode Accident}, which it answers with its {@linkcode Health}. It prints both addresses. SIGTERM ends it in order.
 */

import { Broker, type Logger } from "../../mod.ts";
import { type SqliteHook, sqliteHook } from "../../hooks/mod.ts";
import { type Fate, WatchedWorkers } from "../hooks/watched_workers.ts";

/** What is to happen to the store from now on. */
export interface Accident {
  /** What becomes of the next batches. */
  fates: Fate[];
  /** Whether there is room on the disk again after an error. */
  hasRoom: boolean;
  /** Whether the database can be opened after its writer has died. */
  canOpen: boolean;
  /** Whether the batches are kept back for now. */
  isHeld: boolean;
}

/** What the store says of itself. */
export type Health = ReturnType<SqliteHook["health"]>;

const [path, maximumSize] = Deno.args;
const say = (level: string) => (message: string, properties: Record<string, unknown> = {}) =>
  console.error(`[${level}] ${message.replaceAll(/\{(\w+)\}/g, (_braces, name) => String(properties[name]))}`);
const logger: Logger = { debug() {}, info() {}, warn: say("warning"), error: say("error") };

const workers = new WatchedWorkers();
// What a full queue drops would count as lost.
const broker = new Broker({ logger, limits: { queueMessages: 1e6, queueBytes: 1e9 } });
const store = sqliteHook({ path, maximumSize: Number(maximumSize) });
await broker.use(store);
const { address: { port } } = await broker.listen({ transport: "tcp", port: 0 });

const control = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
  const { fates, hasRoom, canOpen, isHeld }: Accident = await request.json();
  workers.fates.splice(0, Infinity, ...fates);
  workers.hasRoom = hasRoom;
  workers.canOpen = canOpen;
  // What was written is of no interest here.
  workers.batches.length = 0;
  if (isHeld) workers.hold();
  else workers.release();
  return Response.json(store.health());
});

Deno.addSignalListener("SIGTERM", async () => {
  await broker.close();
  Deno.exit(0);
});
console.log(`http://127.0.0.1:${control.addr.port} mqtt://127.0.0.1:${port}`);
