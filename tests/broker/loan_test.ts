import assert from "node:assert/strict";
import { BufferPool } from "../../broker/buffer_pool.ts";
import { Loan } from "../../broker/loan.ts";

Deno.test("a loan gives its buffer back when the last user has done with it, and not before", () => {
  const pool = new BufferPool();
  const buffer = pool.take(4096);
  const loan = new Loan(buffer, pool);
  loan.share();
  loan.share();
  loan.release();
  loan.release();
  assert.notEqual(pool.take(4096), buffer);
  loan.release();
  assert.equal(pool.take(4096), buffer);
});
