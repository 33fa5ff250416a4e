import assert from "node:assert/strict";
import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { Frame, FrameBuilder, type FrameOrigin } from "../../hooks/cluster/frames.ts";
import { Framer } from "../../codec/mod.ts";
import { encode, type Forwarded, type Qos } from "../../mod.ts";

const origin: FrameOrigin = { nodeId: "a", incarnation: "life", number: 7, sentAt: 1_700_000_000_000 };

/** A message whose payload is this text. */
function message(payload: string, publisherId?: string, qos: Qos = 0) {
  const packetId = qos > 0 ? 1 : undefined;
  const bytes = new TextEncoder().encode(payload);
  const publish = encode({ type: "publish", topic: "t", payload: bytes, qos, retain: false, dup: false, packetId }, 5);
  return { publish, publisherId };
}

/** What is in a frame, as its receiver sees it. */
function contentsOf(bytes: Uint8Array): [publish: Uint8Array, forwarded: Forwarded][] {
  const contents: [Uint8Array, Forwarded][] = [];
  for (const [packets, forwarded] of runsOf(bytes)) {
    const framer = new Framer();
    framer.push(packets);
    while (framer.next()) contents.push([framer.packet(), forwarded]);
  }
  return contents;
}

/** The same, as far as it comes together. */
function runsOf(bytes: Uint8Array): [packets: Uint8Array, forwarded: Forwarded][] {
  const runs: [Uint8Array, Forwarded][] = [];
  new Frame(decode(bytes)).forEachRun((packets, forwarded) => runs.push([packets, forwarded]));
  return runs;
}

function forwarded(changes: Partial<Forwarded>): Forwarded {
  return { publisherId: undefined, sentAt: origin.sentAt, toAll: false, groups: [], sessions: [], ...changes };
}

Deno.test("what goes into a frame comes out of it, in the same order", () => {
  const builder = new FrameBuilder();
  const messages = [message("1", "p"), message("2", "p", 1), message("3"), message("4", "q", 2)];
  for (const each of messages) builder.addForAll(each);
  const frame = builder.finish(origin);
  assert.deepEqual(
    contentsOf(frame),
    messages.map(({ publish, publisherId }) => [publish, forwarded({ publisherId, toAll: true })]),
  );
});

Deno.test("a frame says who has sent it and when, and which one it is", () => {
  const builder = new FrameBuilder();
  builder.addForAll(message("1"));
  const { nodeId, incarnation, number, sentAt } = new Frame(decode(builder.finish(origin)));
  assert.deepEqual({ nodeId, incarnation, number, sentAt }, origin);
});

Deno.test("a message in a frame says for whom it is", () => {
  const builder = new FrameBuilder();
  const session = { clientId: "s", retain: true, identifiers: [1, 2] };
  builder.addForGroup(message("1"), "$share/g/t");
  builder.addForSession(message("2"), session);
  builder.addForAll(message("3"));
  builder.addForGroup(message("4"), "$share/g/t");
  assert.deepEqual(contentsOf(builder.finish(origin)).map(([, forwarded]) => forwarded), [
    forwarded({ groups: ["$share/g/t"] }),
    forwarded({ sessions: [session] }),
    forwarded({ toAll: true }),
    forwarded({ groups: ["$share/g/t"] }),
  ]);
});

Deno.test("a message for many sessions is in a frame once", () => {
  const builder = new FrameBuilder();
  const terms = { retain: false, identifiers: undefined };
  const sessions = ["a", "b", "c"].map((clientId) => ({ clientId, ...terms }));
  for (const session of sessions) builder.addForSession(message("1", "p"), session);
  assert.equal(builder.count, 1);
  assert.deepEqual(contentsOf(builder.finish(origin)), [[
    message("1").publish,
    forwarded({ publisherId: "p", sessions }),
  ]]);
});

Deno.test("two messages that are the same stay two for the same session", () => {
  const builder = new FrameBuilder();
  const session = { clientId: "a", retain: false, identifiers: undefined };
  builder.addForSession(message("1"), session);
  builder.addForSession(message("1"), session);
  assert.equal(builder.count, 2);
});

Deno.test("a message from another client, or with another payload, is another one", () => {
  const builder = new FrameBuilder();
  const terms = { retain: false, identifiers: undefined };
  builder.addForSession(message("1", "p"), { clientId: "a", ...terms });
  builder.addForSession(message("1", "q"), { clientId: "b", ...terms });
  builder.addForSession(message("2", "q"), { clientId: "c", ...terms });
  builder.addForSession(message("a longer one", "q"), { clientId: "d", ...terms });
  assert.equal(builder.count, 4);
});

Deno.test("a builder is empty when its frame is finished", () => {
  const builder = new FrameBuilder();
  builder.addForGroup(message("1", "p"), "$share/g/t");
  builder.addForSession(message("2", "p"), { clientId: "a", retain: false, identifiers: undefined });
  builder.finish(origin);
  assert.deepEqual([builder.count, builder.size], [0, 0]);
  builder.addForAll(message("3", "q"));
  assert.deepEqual(contentsOf(builder.finish(origin)), [
    [message("3").publish, forwarded({ publisherId: "q", toAll: true })],
  ]);
});

Deno.test("a frame holds any number of messages of any size, from any number of publishers", () => {
  const messages = fc.array(fc.record({ size: fc.nat(5000), publisher: fc.nat(300), kind: fc.nat(2) }), {
    maxLength: 400,
  });
  fc.assert(
    fc.property(messages, (messages) => {
      const builder = new FrameBuilder();
      const expected = messages.map(({ size, publisher, kind }, index): [Uint8Array, Forwarded] => {
        const each = message(`${index} ${"x".repeat(size)}`, `p${publisher}`);
        const session = { clientId: `s${publisher}`, retain: true, identifiers: undefined };
        if (kind === 0) builder.addForAll(each);
        else if (kind === 1) builder.addForGroup(each, `$share/g${publisher}/t`);
        else builder.addForSession(each, session);
        const terms = [{ toAll: true }, { groups: [`$share/g${publisher}/t`] }, { sessions: [session] }][kind];
        return [each.publish, forwarded({ publisherId: each.publisherId, ...terms })];
      });
      assert.deepEqual(contentsOf(builder.finish(origin)), expected);
    }),
    { numRuns: 30 },
  );
});

Deno.test("messages of one publisher on the same terms come together", () => {
  const builder = new FrameBuilder();
  const sent: [string, string | undefined][] = [["1", "p"], ["2", "p"], ["3", "q"], ["4", "q"], ["5", "p"], [
    "6",
    undefined,
  ]];
  for (const each of sent) builder.addForAll(message(...each));
  builder.addForGroup(message("7"), "$share/g/t");
  builder.addForGroup(message("8"), "$share/g/t");
  assert.deepEqual(
    runsOf(builder.finish(origin)).map(([packets, { publisherId, toAll }]) => [packets.length, publisherId, toAll]),
    [[14, "p", true], [14, "q", true], [7, "p", true], [7, undefined, true], [14, undefined, false]],
  );
});

Deno.test("there is as much room around a frame as was asked for", () => {
  const builder = new FrameBuilder({ before: 30, after: 3 });
  for (let round = 0; round < 3; round++) {
    builder.addForAll(message("x".repeat(4030 * round)));
    const frame = builder.finish(origin);
    assert.equal(frame.byteOffset, 30);
    assert.ok(frame.buffer.byteLength >= 30 + frame.length + 3);
    assert.equal(contentsOf(frame).length, 1);
  }
});

Deno.test("a frame whose memory is not given back stays as it is", () => {
  const builder = new FrameBuilder();
  const finish = (payload: string) => {
    builder.addForAll(message(payload));
    return builder.finish(origin);
  };
  const [first, second] = [finish("1"), finish("2")];
  builder.reuse(first);
  const third = finish("3");
  assert.equal(third.buffer, first.buffer);
  assert.deepEqual([second, third].map((frame) => contentsOf(frame)[0][0]), [
    message("2").publish,
    message("3").publish,
  ]);
});

for (const value of [null, 1, "frame", [], ["frame", 2], ["frame", 2, new Uint8Array(), "a", "life", 1, 2, [], []]]) {
  Deno.test(`${JSON.stringify(value)} is no frame`, () => {
    assert.throws(() => new Frame(value), { message: "malformed frame" });
  });
}

/** What a frame with two messages consists of; the second one is from another publisher. */
function twoMessages(): unknown[] {
  const builder = new FrameBuilder();
  builder.addForAll(message("1"));
  builder.addForAll(message("2", "p"));
  return decode(builder.finish(origin)) as unknown[];
}

Deno.test("what another version of the broker sends is not taken for a frame", () => {
  const fields = twoMessages();
  fields[1] = 3;
  assert.throws(() => new Frame(fields), { message: "a frame of another version of the broker" });
  const first = ["frame", "a", "life", 1, 2, [null], [[true, [], []]], new Uint8Array(4), message("1").publish];
  assert.throws(() => new Frame(first), { message: "a frame of another version of the broker" });
});

Deno.test("of a frame that is cut off the whole runs are delivered", () => {
  const fields = twoMessages();
  fields[2] = (fields[2] as Uint8Array).subarray(0, -1);
  const delivered: Uint8Array[] = [];
  assert.throws(() => new Frame(fields).forEachRun((packets) => delivered.push(packets)), {
    message: "malformed frame: a message is cut off",
  });
  assert.deepEqual(delivered, [message("1").publish]);
});

Deno.test("a frame whose last run is incomplete is malformed", () => {
  const fields = twoMessages();
  fields[9] = (fields[9] as Uint8Array).subarray(0, -1);
  assert.throws(() => new Frame(fields), { message: "malformed frame" });
});

Deno.test("a message that says that it is for nobody is malformed", () => {
  const fields = twoMessages();
  fields[8] = [];
  assert.throws(() => new Frame(fields).forEachRun(() => {}), {
    message: "malformed frame: a message is for nobody",
  });
});

Deno.test("a message whose packet is how the last one ends is not taken for it", () => {
  const packet = (topic: string, payload: Uint8Array) =>
    encode({ type: "publish", topic, payload, qos: 0, retain: false, dup: false }, 5);
  const second = packet("b", new TextEncoder().encode("for b"));
  const first = packet("a", second);
  const builder = new FrameBuilder();
  for (const [clientId, publish] of [["a", first], ["b", second]] as const) {
    builder.addForSession({ publish, publisherId: "p" }, { clientId, retain: false, identifiers: undefined });
  }
  const runs: [number, string[]][] = [];
  const frame = new Frame(decode(builder.finish({ nodeId: "n", incarnation: "life", number: 1, sentAt: 0 })));
  frame.forEachRun((packets, { sessions }) => runs.push([packets.length, sessions.map(({ clientId }) => clientId)]));
  assert.deepEqual(runs, [[first.length, ["a"]], [second.length, ["b"]]]);
});
