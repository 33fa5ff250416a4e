import assert from "node:assert/strict";
import { type CrashResult, crashRun } from "./crash_run.ts";
import { Killing } from "./killing.ts";

const ROUNDS = 24;

// One run is looked at in many ways. It can be repeated, as far as processes can, with the seed that it prints.
const seed = Number(Deno.env.get("CRASH_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
let run: Promise<CrashResult> | undefined;

function test(name: string, check: (result: CrashResult) => void): void {
  Deno.test(name, async () => check(await (run ??= crashRun(new Killing(), seed, ROUNDS))));
}

test("a broker that is killed again and again at full speed starts again each time", ({ violations, summary }) => {
  console.log(`CRASH_SEED=${seed}: ${summary}`);
  assert.deepEqual(violations, []);
});

test("every message that was acknowledged arrives, whenever the broker is killed", ({ lost }) => {
  assert.deepEqual(lost.slice(0, 20), [], `${lost.length} are lost`);
});

test("no QoS 2 message arrives twice, whenever the broker is killed", ({ repeated }) => {
  assert.deepEqual(repeated.slice(0, 20), [], `${repeated.length} came again`);
});

test("messages keep their order for each publisher, topic and QoS, whenever the broker is killed", ({ unordered }) => {
  assert.deepEqual(unordered.slice(0, 20), [], `${unordered.length} were overtaken`);
});

test("nothing arrives that nobody has sent", ({ unknown }) => {
  assert.deepEqual(unknown.slice(0, 20), []);
});

test("retained messages are the last ones that were acknowledged, or later ones", ({ retained }) => {
  assert.deepEqual(retained, []);
});

test("a will is published once if its connection ended without a goodbye, by a crash or otherwise", ({ wills }) => {
  assert.deepEqual(wills, []);
});

test("the database holds no message that everybody has acknowledged, and no session that has ended", ({ remains }) => {
  assert.deepEqual(remains, { sessions: 0, messages: 0, outgoing: 0, received: 0 });
});
