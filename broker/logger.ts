import { getLogger } from "@logtape/logtape";

/**
 * Where the broker writes what an operator should know. LogTape's loggers fit as they are; the console needs a wrapper,
 * since a message names its properties in braces, e.g. `"{clientId} connected"`.
 *
 * @example
 * ```ts
 * import { Broker, type Logger } from "@hookmq/broker";
 *
 * function filled(message: string, properties: Record<string, unknown> = {}): string {
 *   return message.replaceAll(/\{(\w+)\}/g, (_braces, name) => String(properties[name]));
 * }
 * const logger: Logger = {
 *   debug: () => {},
 *   info: (message, properties) => console.info(filled(message, properties)),
 *   warn: (message, properties) => console.warn(filled(message, properties)),
 *   error: (message, properties) => console.error(filled(message, properties)),
 * };
 * await using broker = new Broker({ logger });
 * ```
 */
export interface Logger {
  /** Something that helps only while looking for a fault. */
  debug(message: string, properties?: Record<string, unknown>): void;
  /** Something that is as it should be. */
  info(message: string, properties?: Record<string, unknown>): void;
  /** Something that somebody should look at. */
  warn(message: string, properties?: Record<string, unknown>): void;
  /** Something that went wrong in the broker itself or in a hook. */
  error(message: string, properties?: Record<string, unknown>): void;
}

/** LogTape's logger of the category `["hookmq"]`: silent until the application configures LogTape. */
export function defaultLogger(): Logger {
  return getLogger(["hookmq"]);
}
