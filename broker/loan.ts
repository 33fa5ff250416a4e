import type { BufferPool } from "./buffer_pool.ts";

/** A buffer that several have a use for, and that goes back to the pool when the last of them has done with it. */
export class Loan {
  readonly #buffer: Uint8Array<ArrayBuffer>;
  readonly #pool: BufferPool;
  #users = 1;

  /** A loan with one user. */
  constructor(buffer: Uint8Array<ArrayBuffer>, pool: BufferPool) {
    this.#buffer = buffer;
    this.#pool = pool;
  }

  /** One more uses it. */
  share(): this {
    this.#users += 1;
    return this;
  }

  /** One of them has done with it. Who never says so only keeps it from the pool. */
  release(): void {
    this.#users -= 1;
    if (this.#users === 0) this.#pool.give(this.#buffer);
  }
}

/** Whoever has bytes that will be overwritten. */
export interface Lender {
  /** Has the bytes stay as they are until the loan is released. `undefined` if that cannot be: they have to be copied. */
  lend(): Loan | undefined;
}
