import { resolve } from "node:path";
import { isTrue, lastOf, type Statement } from "./conf_file.ts";
import type { Draft, Say } from "./draft.ts";

type LoggerDraft = NonNullable<Draft["hooks"]>["logger"];

/** What mosquitto logs unless told otherwise. */
const usualTypes = ["error", "warning", "notice", "information"];

/** What mosquitto's log options are in ours; `undefined` where nothing is to be said. */
export function loggingOf(statements: readonly Statement[], say: Say): { log?: Draft["log"]; logger?: LoggerDraft } {
  const told = statements.filter(({ name }) => name === "log_type");
  const types = new Set(told.length === 0 ? usualTypes : told.flatMap(({ value }) => value.split(/\s+/)));
  const level = levelOf(types);
  const file = fileOf(statements.filter(({ name }) => name === "log_dest"), say);
  const clients: ("connection" | "subscribe")[] = [];
  if (isTrue(lastOf(statements, "connection_messages"), true)) clients.push("connection");
  if (["subscribe", "unsubscribe", "all"].some((type) => types.has(type))) clients.push("subscribe");
  const isHeard = level === "debug" || level === "info";
  return {
    ...(level !== "info" || file !== undefined) && {
      log: { ...level !== "info" && { level }, ...file !== undefined && { file } },
    },
    ...isHeard && clients.length > 0 && { logger: { level: clients } },
  };
}

function levelOf(types: ReadonlySet<string>): "debug" | "info" | "warning" | "error" {
  if (types.has("debug") || types.has("all")) return "debug";
  if (["information", "notice", "subscribe", "unsubscribe"].some((type) => types.has(type))) return "info";
  return types.has("warning") ? "warning" : "error";
}

function fileOf(destinations: readonly Statement[], say: Say): string | undefined {
  const file = destinations.findLast(({ value }) => value.startsWith("file "));
  for (const destination of destinations) {
    if (destination === file) continue;
    if (destination.value !== "stderr") {
      say(destination, "has no counterpart: the log goes to a file or standard error");
    } else if (file !== undefined) say(destination, "is left out: the log goes to one place, which is the file");
  }
  return file && resolve(file.value.replace(/^file\s+/, ""));
}
