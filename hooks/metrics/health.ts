import type { HookHealth } from "../../broker/hooks.ts";

/**
 * How a part of the broker is.
 *
 * @example
 * ```ts
 * import { type HealthReport, metricsHook } from "@hookmq/broker/hooks";
 *
 * const away: HealthReport = { ok: false, reason: "the archive does not answer", ready: true };
 * metricsHook().setHealth("archive", away);
 * ```
 */
export type HealthReport =
  | {
    /** It works as it should. */
    readonly ok: true;
  }
  | {
    /** It does not work as it should. */
    readonly ok: false;
    /** What is wrong, for whoever reads the page, e.g. `"Redis does not answer"`. */
    readonly reason: string;
    /** Whether the broker should get clients nevertheless: with `false` it is not ready. Default true. */
    readonly ready?: boolean;
  };

/** What the health pages say. */
export interface HealthSummary {
  /** `"degraded"` as soon as one part does not work as it should. */
  readonly status: "ok" | "degraded";
  /** Whether the broker should get clients. */
  readonly ready: boolean;
  /** What is wrong, by the name of the part. */
  readonly reasons: Readonly<Record<string, string>>;
}

/** How each part of a broker is: what the hooks say when they are asked, and what has been reported of others. */
export class Health {
  readonly #askHooks: () => Readonly<Record<string, HookHealth>>;
  readonly #reports = new Map<string, HealthReport>();

  constructor(askHooks: () => Readonly<Record<string, HookHealth>>) {
    this.#askHooks = askHooks;
  }

  /** What is reported of a hook holds, whatever the hook itself says. */
  report(part: string, report: HealthReport): void {
    this.#reports.set(part, report);
  }

  /** All parts that something is known of, by name. */
  get parts(): Map<string, HookHealth> {
    return new Map<string, HookHealth>([...Object.entries(this.#askHooks()), ...this.#reports]);
  }

  get summary(): HealthSummary {
    const failing = [...this.parts].filter(([, { ok }]) => !ok);
    return {
      status: failing.length === 0 ? "ok" : "degraded",
      ready: failing.every(([, { ready }]) => ready !== false),
      reasons: Object.fromEntries(failing.map(([part, { reason = "it does not say why" }]) => [part, reason])),
    };
  }
}
