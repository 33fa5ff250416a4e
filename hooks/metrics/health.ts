/** How a part of the broker is. */
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

/** What has been reported of each part. */
export class Health {
  readonly #reports = new Map<string, HealthReport>();

  report(name: string, report: HealthReport): void {
    this.#reports.set(name, report);
  }

  get summary(): HealthSummary {
    const failing = [...this.#reports].flatMap(([name, report]) => report.ok ? [] : [{ name, ...report }]);
    return {
      status: failing.length === 0 ? "ok" : "degraded",
      ready: failing.every(({ ready }) => ready !== false),
      reasons: Object.fromEntries(failing.map(({ name, reason }) => [name, reason])),
    };
  }

  *[Symbol.iterator](): Generator<[name: string, report: HealthReport]> {
    yield* this.#reports;
  }
}
