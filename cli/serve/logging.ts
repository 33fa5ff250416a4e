import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  getTextFormatter,
  type Logger,
  type Sink,
} from "@logtape/logtape";
import { closeSync, openSync, writeFileSync } from "node:fs";
import type { Config } from "../config.ts";

/**
 * Sends log records where a configuration says, from its level up. It may be called again: then it takes the place of what
 * was before, and a file is opened anew.
 *
 * @throws {Error} If the file cannot be written; then everything stays as it was.
 */
export function configureLogging({ level, format, file }: Config["log"]): Logger {
  const line = format === "json"
    ? getJsonLinesFormatter()
    : getTextFormatter({ timestamp: "rfc3339", level: "full", category: "." });
  configureSync({
    reset: true,
    sinks: { log: file === undefined ? (record) => console.error(line(record).trimEnd()) : fileSink(file, line) },
    loggers: [
      { category: ["hookmq"], lowestLevel: level, sinks: ["log"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["log"] },
    ],
  });
  return getLogger(["hookmq"]);
}

function fileSink(path: string, line: (record: Parameters<Sink>[0]) => string): Sink & Disposable {
  const file = openForAppending(path);
  const sink: Sink = (record) => writeFileSync(file, line(record));
  return Object.assign(sink, { [Symbol.dispose]: () => closeSync(file) });
}

function openForAppending(path: string): number {
  try {
    return openSync(path, "a");
  } catch (error) {
    throw new Error(`cannot write the log to ${path}: ${(error as Error).message}`);
  }
}

/** Logs the errors that nothing has caught: such a fault shall not end the connections of every client. */
export function logUncaughtErrors(logger: Logger): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    logger.error("unexpected error: {error}", { error: event.reason });
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    logger.error("unexpected error: {error}", { error: event.error });
  });
}
