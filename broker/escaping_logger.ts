import { escapeForLog } from "./escape_for_log.ts";
import type { Logger } from "./logger.ts";

/**
 * Escapes the texts among the properties of every record on their way to a logger: client identifiers, topics, reasons and
 * much else that is logged has been chosen by clients. Errors stay as they are, since whoever writes them wants their
 * stack.
 */
export function escapingLogger(logger: Logger): Logger {
  const escaping = (severity: keyof Logger): Logger["info"] => (message, properties) =>
    logger[severity](message, properties && escapeTexts(properties));
  return { debug: escaping("debug"), info: escaping("info"), warn: escaping("warn"), error: escaping("error") };
}

function escapeTexts(properties: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(properties).map(([name, value]) => [name, typeof value === "string" ? escapeForLog(value) : value]),
  );
}
