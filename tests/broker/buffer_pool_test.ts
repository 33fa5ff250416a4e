import assert from "node:assert/strict";
import { BufferPool } from "../../broker/buffer_pool.ts";

const KIB = 1024;

Deno.test("a buffer is at least as large as asked for, and a power of two from 512 bytes to 4 MiB", () => {
  const pool = new BufferPool();
  const sizes = [
    ...[[1, 512], [512, 512], [513, KIB], [4 * KIB, 4 * KIB], [4 * KIB + 1, 8 * KIB], [100_000, 128 * KIB]],
    [4096 * KIB, 4096 * KIB],
  ];
  for (const [asked, given] of sizes) assert.equal(pool.take(asked).length, given);
});

Deno.test("a buffer above 4 MiB is exactly as large as asked for, and is not kept", () => {
  const pool = new BufferPool(64 * 1024 * KIB);
  const buffer = pool.take(4096 * KIB + 1);
  assert.equal(buffer.length, 4096 * KIB + 1);
  pool.give(buffer);
  assert.notEqual(pool.take(4096 * KIB + 1), buffer);
});

Deno.test("a buffer that is given back is the next one of its size", () => {
  const pool = new BufferPool();
  const small = pool.take(5000);
  const large = pool.take(50_000);
  pool.give(small);
  pool.give(large);
  assert.equal(pool.take(50_000), large);
  assert.equal(pool.take(8 * KIB), small);
  assert.notEqual(pool.take(8 * KIB), small);
});

Deno.test("a buffer that is not of the pool's sizes is not kept", () => {
  const pool = new BufferPool();
  for (const size of [64, 5000, 12 * KIB]) {
    const buffer = new Uint8Array(size);
    pool.give(buffer);
    const taken = pool.take(size);
    assert.notEqual(taken, buffer);
    assert(taken.length >= size);
  }
});

Deno.test("a pool keeps no more bytes than its capacity, and room that is made is used again", () => {
  const pool = new BufferPool(8 * KIB);
  const buffers = [1, 2, 3].map(() => pool.take(4 * KIB));
  for (const buffer of buffers) pool.give(buffer);
  const taken = [1, 2, 3].map(() => pool.take(4 * KIB));
  assert.equal(taken.filter((buffer) => buffers.includes(buffer)).length, 2);
  pool.give(buffers[2]);
  assert.equal(pool.take(4 * KIB), buffers[2]);
});

Deno.test("buffers for quiet connections are small, overlap with no other, and share their memory with few", () => {
  const pool = new BufferPool();
  const buffers = Array.from({ length: 40 }, () => pool.takeQuiet());
  for (const [index, buffer] of buffers.entries()) buffer.fill(index);
  for (const [index, buffer] of buffers.entries()) assert.deepEqual([...buffer], new Array(64).fill(index));
  const allocations = new Set(buffers.map(({ buffer }) => buffer));
  assert(allocations.size < 10, `${allocations.size} allocations`);
  for (const { byteLength } of allocations) assert(byteLength <= KIB);
});
