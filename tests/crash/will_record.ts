/** Whether a will must have been published, may have been, or must not. */
type Verdict = "must" | "may" | "must not";

/** What clients know of their wills, one for each connection. */
export class WillRecord {
  readonly #verdicts = new Map<string, Verdict>();
  readonly #counts = new Map<string, number>();
  readonly #mayBeLost: boolean;

  /** `mayBeLost` says that no will has to be published. */
  constructor(mayBeLost: boolean) {
    this.#mayBeLost = mayBeLost;
  }

  /** Says what is known of a will by now. */
  set(text: string, verdict: Verdict): void {
    this.#verdicts.set(text, verdict);
  }

  receive(text: string): void {
    this.#counts.set(text, (this.#counts.get(text) ?? 0) + 1);
  }

  /** How many wills came. */
  get received(): number {
    return this.#counts.size;
  }

  /** What is wrong with the wills that came. */
  check(): string[] {
    const wrong: string[] = [];
    for (const [text, count] of this.#counts) {
      if (count > 1) wrong.push(`the will "${text}" was published ${count} times`);
      if ((this.#verdicts.get(text) ?? "must not") === "must not") wrong.push(`the will "${text}" was published`);
    }
    for (const [text, verdict] of this.#verdicts) {
      if (verdict === "must" && !this.#mayBeLost && !this.#counts.has(text)) {
        wrong.push(`the will "${text}" was not published`);
      }
    }
    return wrong;
  }
}
