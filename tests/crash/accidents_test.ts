import assert from "node:assert/strict";
import { Accidents } from "./accidents.ts";
import { type CrashResult, crashRun } from "./crash_run.ts";

const ROUNDS = 16;

// One run is looked at in many ways. It can be repeated, as far as processes can, with the seed that it prints.
const seed = Number(Deno.env.get("CRASH_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
let run: Promise<CrashResult> | undefined;

function test(name: string, check: (result: CrashResult) => void): void {
  Deno.test(name, async () => check(await (run ??= crashRun(new Accidents(), seed, ROUNDS))));
}

test("a broker whose disk fills up, fails and takes its writer along recovers by itself", ({ violations, summary }) => {
  console.log(`CRASH_SEED=${seed}: ${summary}`);
  assert.deepEqual(violations, []);
});

test("every message that was acknowledged arrives, whatever happens to the store", ({ lost }) => {
  assert.deepEqual(lost.slice(0, 20), [], `${lost.length} are lost`);
});

test("no QoS 2 message arrives twice, whatever happens to the store", ({ repeated }) => {
  assert.deepEqual(repeated.slice(0, 20), [], `${repeated.length} came again`);
});

test("messages keep their order for each publisher, topic and QoS, whatever happens to the store", ({ unordered }) => {
  assert.deepEqual(unordered.slice(0, 20), [], `${unordered.length} were overtaken`);
});

test("nothing arrives that nobody has sent, whatever happens to the store", ({ unknown }) => {
  assert.deepEqual(unknown.slice(0, 20), []);
});

test("retained messages are the last ones that were acknowledged, or later ones, whatever happens", ({ retained }) => {
  assert.deepEqual(retained, []);
});

test("no will is published twice, or after a goodbye, whatever happens to the store", ({ wills }) => {
  assert.deepEqual(wills, []);
});

test("when the store is well again it holds no message that everybody has acknowledged", ({ remains }) => {
  assert.deepEqual(remains, { sessions: 0, messages: 0, outgoing: 0, received: 0 });
});
