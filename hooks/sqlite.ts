import type { Hook, StoredSession } from "../broker/hooks.ts";
import { MessageTable } from "./sqlite/message_table.ts";
import type { Batch } from "./sqlite/batch.ts";
import { explanation } from "./sqlite/explanation.ts";
import type { Operation, SessionOperation } from "./sqlite/operations.ts";
import { OutgoingChanges } from "./sqlite/outgoing_changes.ts";
import { Restorer, subscriptionOptions, toFrame, toJson, willToFrame } from "./sqlite/rows.ts";
import { Writer } from "./sqlite/writer.ts";

/**
 * Options of {@linkcode sqliteHook}.
 *
 * @example
 * ```ts
 * import { sqliteHook, type SqliteOptions } from "@hookmq/broker/hooks";
 *
 * const options: SqliteOptions = { path: "./hookmq.db", maximumSize: 10 * 1024 ** 3 };
 * sqliteHook(options);
 * ```
 */
export interface SqliteOptions {
  /** The database's file, e.g. `"./hookmq.db"`; it is made if it is not there. Its log lies next to it, with `-wal` behind the name. */
  path: string;
  /** How large the file may become, in bytes; past it messages are refused as on a full disk. Default: no limit. */
  maximumSize?: number;
}

/**
 * What {@linkcode sqliteHook} returns: a hook that keeps sessions and retained messages in a file.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { type SqliteHook, sqliteHook } from "@hookmq/broker/hooks";
 *
 * const sqlite: SqliteHook = sqliteHook({ path: "./hookmq.db" });
 * await using broker = new Broker();
 * await broker.use(sqlite);
 * const { ok, reason } = sqlite.health();
 * console.log(ok ? "all is stored" : reason); // all is stored
 * ```
 */
export interface SqliteHook extends Hook {
  /** Whether the file can be written at the moment, and why not. */
  health(): { ok: boolean; reason?: string };
}

/**
 * Keeps sessions that outlive their connection, their messages, and retained messages in an SQLite database, so that they
 * survive the process: what has been acknowledged is on disk. QoS 0 messages and sessions that end with their connection
 * never wait for the disk.
 *
 * @example
 * ```ts
 * import { Broker } from "@hookmq/broker";
 * import { sqliteHook } from "@hookmq/broker/hooks";
 *
 * const path = await Deno.makeTempFile({ suffix: ".db" });
 * await using broker = new Broker();
 * await broker.use(sqliteHook({ path }));
 * ```
 *
 * `broker.use` rejects if the database is used by another process, is damaged, or was written by a newer version.
 */
export function sqliteHook({ path, maximumSize }: SqliteOptions): SqliteHook {
  let writer: Writer;
  const messages = new MessageTable();
  let outgoingChanges: OutgoingChanges;
  /** The sessions that are in the database. */
  const sessions = new Set<string>();

  /** Adds changes, unless nothing can be written at the moment. */
  const add = (...operations: Operation[]): Promise<void> => {
    if (writer.refuses) return writer.refused();
    for (const operation of operations) writer.current.add(operation);
    return writer.written();
  };
  /** Adds lasting changes. */
  const addLasting = (...operations: Operation[]): Promise<void> => {
    for (const operation of operations) writer.current.add(operation);
    return writer.lasting();
  };
  return {
    id: "sqlite",
    async init(context) {
      const onRefused = (batches: readonly Batch[]) => {
        outgoingChanges.refused(batches);
        for (const operation of batches.flatMap(({ operations }) => operations)) {
          if (operation?.[0] === "session" || operation?.[0] === "removeSession") sessions.delete(operation[1]);
          // It is made later, and with it the session is there.
          if (operation?.[0] === "updateSession") sessions.add(operation[1]);
        }
      };
      writer = await Writer.open({ path, maximumSize, logger: context.logger, onRefused });
      outgoingChanges = new OutgoingChanges(writer, messages);
      const restorer = new Restorer(context, messages);
      try {
        for await (const chunk of writer.load()) {
          for (const { clientId } of chunk.sessions) sessions.add(clientId);
          restorer.restore(chunk);
        }
      } catch (error) {
        await writer.close();
        throw new Error(`${path}: ${explanation((error as Error).message)}`);
      }
    },
    stop: () => writer.close(),
    health: () => writer.failure === undefined ? { ok: true } : { ok: false, reason: `${path}: ${writer.failure}` },

    storeSession(session: StoredSession) {
      const { clientId } = session;
      if (sessions.has(clientId)) return addLasting(sessionOperation("updateSession", session, writer.current));
      if (writer.refuses) return writer.refused();
      sessions.add(clientId);
      return add(sessionOperation("session", session, writer.current));
    },
    removeSession(clientId) {
      // Of one that was refused there is nothing, and clients that try again and again must not fill the memory.
      if (!sessions.delete(clientId)) return;
      return addLasting(["removeSession", clientId]);
    },

    storeSubscriptions: (clientId, subscriptions) =>
      add(...subscriptions.map((subscription): Operation => [
        "subscription",
        clientId,
        subscription.topicFilter,
        subscriptionOptions(subscription),
        toJson(subscription.identifiers),
      ])),
    removeSubscriptions: (clientId, topicFilters) =>
      addLasting(...topicFilters.map((topicFilter): Operation => ["removeSubscription", clientId, topicFilter])),

    storeOutgoing: (clientId, outgoing) => outgoingChanges.store(clientId, outgoing),
    removeOutgoing: (_clientId, { id }) => outgoingChanges.remove(id),

    storeReceived: (clientId, packetId) => add(["received", clientId, packetId]),
    removeReceived: (clientId, packetId) => addLasting(["removeReceived", clientId, packetId]),

    storeRetained(topic, packet) {
      // They describe this process, and are made anew by the next one.
      if (topic.startsWith("$SYS/")) return;
      if (packet.payload.length === 0) return add(["removeRetained", topic]);
      if (writer.refuses) return writer.refused();
      const lifetime = packet.properties?.messageExpiryInterval;
      const now = Date.now();
      const expiresAt = lifetime === undefined ? null : now + lifetime * 1000;
      return add(["retained", topic, now, expiresAt, writer.current.slice(toFrame(packet))]);
    },
  };
}

function sessionOperation(name: "session" | "updateSession", session: StoredSession, batch: Batch): SessionOperation {
  const { clientId, protocolLevel, username, expiryInterval, disconnectedAt, will } = session;
  const frame = will === undefined ? null : batch.slice(willToFrame(will));
  const delay = will?.properties?.willDelayInterval ?? 0;
  return [name, clientId, protocolLevel, username ?? null, expiryInterval, disconnectedAt ?? null, frame, delay];
}
