import type { Logger } from "../../mod.ts";

/** A logger that keeps what it is told, with the properties filled in, e.g. `"error: init of hook x failed"`. */
export class RecordingLogger implements Logger {
  readonly entries: string[] = [];
  readonly #withDebug: boolean;

  /** One that leaves out what helps only while looking for a fault, unless it is asked for. */
  constructor({ debug = false } = {}) {
    this.#withDebug = debug;
  }

  debug(message: string, properties?: Record<string, unknown>): void {
    if (this.#withDebug) this.#add("debug", message, properties);
  }

  info(message: string, properties?: Record<string, unknown>): void {
    this.#add("info", message, properties);
  }

  warn(message: string, properties?: Record<string, unknown>): void {
    this.#add("warn", message, properties);
  }

  error(message: string, properties?: Record<string, unknown>): void {
    this.#add("error", message, properties);
  }

  #add(level: string, message: string, properties: Record<string, unknown> = {}): void {
    const text = message.replaceAll(/{(\w+)}/g, (_placeholder, name) => String(properties[name]));
    this.entries.push(`${level}: ${text}`);
  }
}
