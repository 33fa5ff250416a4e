import assert from "node:assert/strict";
import type { Request, Response } from "../../hooks/sqlite/operations.ts";
import { DatabaseFile } from "./sqlite_broker.ts";
import { WatchedWorkers } from "./watched_workers.ts";

const apply: Request = { type: "apply", number: 1, operations: [], bytes: new Uint8Array() };
const probe: Request = { type: "probe", size: 0 };
const close: Request = { type: "close" };

/** What a watched worker with a database answers to requests that come at once, and to that it closes it then. */
async function answersTo(path: string, requests: Request[]): Promise<string[]> {
  const worker = new Worker(new URL("../../hooks/sqlite/worker.ts", import.meta.url), { type: "module" });
  const answers: string[] = [];
  const all = Promise.withResolvers<void>();
  worker.onmessage = ({ data }: MessageEvent<Response>) => {
    answers.push(data.type === "failed" ? data.message : data.type);
    if (answers.length === requests.length + 2) all.resolve();
  };
  for (const request of [{ type: "open", path, maximumSize: undefined }, ...requests, close]) {
    worker.postMessage(request);
  }
  await all.promise;
  worker.terminate();
  return answers;
}

const order = [probe, apply, apply, probe, apply, apply, probe];
const answers = ["open", "done", "first", "done", "done", "second", "third", "done", "done"];

for (const isHeld of [false, true]) {
  Deno.test(`a watched worker's answers have the order of the requests${isHeld ? ", also if they are held" : ""}`, async () => {
    using workers = new WatchedWorkers();
    await using file = new DatabaseFile();
    workers.fates.push({ error: "first" }, "written", { error: "second" }, { error: "third" });
    if (isHeld) workers.hold();
    const answered = answersTo(file.path, order);
    assert.equal(workers.batches.length, 4);
    workers.release();
    assert.deepEqual(await answered, answers);
  });
}
