import assert from "node:assert/strict";
import { Batch } from "../../hooks/sqlite/batch.ts";
import { MessageTable } from "../../hooks/sqlite/message_table.ts";
import type { Operation } from "../../hooks/sqlite/operations.ts";

const refusal = new Error("refused");
const bytes = (text: string) => new TextEncoder().encode(text);
const message = () => ({ packet: { ...publish }, receivedAt: 0 });
const publish = { type: "publish", topic: "t", payload: bytes("x"), qos: 1, retain: false, dup: false } as const;

Deno.test("what is lasting in a batch that fails moves to the next one, in its order; the rest is refused", async () => {
  const [batch, successor] = [new Batch(), new Batch()];
  const lasting: Operation[] = [
    ["removeSession", "a"],
    ["removeSubscription", "a", "t"],
    ["updateOutgoing", 1, 0, 7],
    ["removeOutgoing", 2],
    ["removeMessage", 3],
    ["removeReceived", "a", 4],
  ];
  const others: Operation[] = [
    ["session", "b", 5, null, 60, null, null, 0],
    ["subscription", "a", "t", 0, null],
    ["message", 1, 0, batch.slice(bytes("x"))],
    ["outgoing", 1, "a", 1, 0, 0, null, null],
    ["received", "a", 5],
    ["retained", "t", 0, null, batch.slice(bytes("x"))],
    ["removeRetained", "u"],
  ];
  for (const operation of [...others, ...lasting]) batch.add(operation);
  batch.operations.push(undefined);
  batch.fail(refusal, successor);
  await assert.rejects(batch.written, refusal);
  assert.deepEqual(successor.operations, lasting);
});

Deno.test("of each session only the last state moves to the next batch, with its will", () => {
  const [batch, successor] = [new Batch(), new Batch()];
  successor.slice(bytes("what is there already"));
  for (const [clientId, will] of [["a", "first"], ["b", "other"], ["a", "last"]]) {
    batch.add(["updateSession", clientId, 5, null, 60, null, batch.slice(bytes(will)), 0]);
  }
  batch.fail(refusal, successor);
  const moved = successor.operations.map((operation) => {
    const [, clientId, , , , , will] = operation as Extract<
      Operation,
      readonly ["session" | "updateSession", ...unknown[]]
    >;
    const [offset, length] = will!;
    return [clientId, new TextDecoder().decode(successor.bytes.subarray(offset, offset + length))];
  });
  assert.deepEqual(moved, [["b", "other"], ["a", "last"]]);
});

Deno.test("lasting changes have been made when the batch has been written that they have moved to", async () => {
  const batches = [new Batch(), new Batch(), new Batch()];
  let isDone = false;
  const done = batches[0].lasting.then(() => isDone = true);
  batches[0].fail(refusal, batches[1]);
  batches[1].fail(refusal, batches[2]);
  await Promise.allSettled([batches[0].written, batches[1].written]);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(isDone, false);
  batches[2].succeed();
  await done;
});

Deno.test("bytes of any number are kept one behind the other", () => {
  const batch = new Batch();
  const slices = [0, 1, 4095, 4096, 100_000].map((size) => batch.slice(new Uint8Array(size).fill(size)));
  for (const [offset, length] of slices) {
    const slice = batch.bytes.subarray(offset, offset + length);
    assert.ok(slice.length === length && slice.every((byte) => byte === (length & 0xff)));
  }
});

Deno.test("a message is added once, however many sessions it is on its way to, and removed with the last of them", () => {
  const [table, batch, later] = [new MessageTable(), new Batch(), new Batch()];
  const [one, other] = [message(), message()];
  const added: number[] = [];
  const add = (id: number) => added.push(id);
  const ids = [table.take(1, one, batch, add), table.take(2, one, batch, add), table.take(3, other, batch, add)];
  assert.deepEqual([ids, added], [[1, 1, 2], [1, 2]]);
  table.release(1, later);
  assert.deepEqual(later.operations, []);
  table.release(2, later);
  assert.deepEqual(later.operations, [["removeMessage", 1]]);
  table.release(3, later);
  assert.equal(table.size, 0);
});

Deno.test("a message that is gone before its batch is written is taken out of that", () => {
  const [table, batch] = [new MessageTable(), new Batch()];
  table.take(1, message(), batch, (id) => batch.add(["message", id, 0, [0, 0]]));
  table.release(1, batch);
  assert.deepEqual([batch.operations, table.size], [[undefined], 0]);
});

Deno.test("a message whose batch is refused is forgotten, and added again the next time", () => {
  const [table, batch, later] = [new MessageTable(), new Batch(), new Batch()];
  const one = message();
  table.take(1, one, batch, (id) => batch.add(["message", id, 0, [0, 0]]));
  table.refused(1);
  assert.deepEqual([table.size, table.holds(1)], [0, false]);
  assert.equal(table.take(2, one, later, (id) => later.add(["message", id, 0, [0, 0]])), 2);
  assert.equal(later.operations.length, 1);
});
