import assert from "node:assert/strict";
import { encode } from "../../mod.ts";
import { Framers } from "../../broker/framers.ts";
import { publishPacket } from "../support/raw_client.ts";
import { startBroker } from "../support/start_broker.ts";
import { eventually } from "./eventually.ts";
import { receive } from "./receive.ts";

Deno.test("a framer that is given back is used again, and accepts no larger packets than any", () => {
  const framers = new Framers(10);
  const framer = framers.take();
  assert.notEqual(framers.take(), framer);
  framers.give(framer);
  assert.equal(framers.take(), framer);
  for (const each of [framer, framers.take()]) {
    each.push(new Uint8Array([0x30, 9]));
    assert.throws(() => each.next(), /at most 10 are accepted/);
  }
});

Deno.test("framers are not kept for ever, however many were in use at a time", () => {
  const framers = new Framers(10);
  const before = new Set(Array.from({ length: 1000 }, () => framers.take()));
  for (const framer of before) framers.give(framer);
  const after = Array.from({ length: 1000 }, () => framers.take());
  assert(after.filter((framer) => before.has(framer)).length < 100);
});

Deno.test("packets that come in pieces, by turns from several clients, are put together for each of them", async () => {
  await using broker = await startBroker();
  const subscriber = await broker.connect();
  await subscriber.subscribe("pieces/#");
  const clients = await Promise.all(Array.from({ length: 5 }, () => broker.connect()));
  const texts = clients.map((_client, index) => String(index).repeat(300));
  const packets = texts.map((text, index) => encode(publishPacket({ topic: `pieces/${index}`, payload: text }), 5));
  const step = 50;
  for (let start = 0; start < packets[0].length; start += step) {
    for (const [index, client] of clients.entries()) {
      const { bytesReceived } = broker.stats();
      const piece = packets[index].subarray(start, start + step);
      await client.sendBytes(piece);
      // The piece has been read before the next client's is sent.
      await eventually(() => broker.stats().bytesReceived === bytesReceived + piece.length, "the piece");
    }
  }
  const received = [];
  for (let count = 0; count < texts.length; count++) received.push((await receive(subscriber)).text);
  assert.deepEqual(received, texts);
});
