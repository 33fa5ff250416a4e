import type { Logger } from "../../mod.ts";

/** A logger that keeps what it is told, with the properties filled in, e.g. `"error: init of hook x failed"`. */
export class RecordingLogger implements Logger {
  readonly entries: string[] = [];

  debug(): void {}

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
