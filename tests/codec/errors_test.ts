import assert from "node:assert/strict";
import { decode, PacketError, ReasonCode, ReasonCodeError } from "../../codec/mod.ts";
import { connectBytes, packetBytes, properties, text } from "./packet_bytes.ts";

Deno.test("a ReasonCodeError carries what the client is told", () => {
  const cause = new Error("inner");
  const error = new ReasonCodeError(ReasonCode.UseAnotherServer, "full", { serverReference: "b:1883", cause });
  assert.deepEqual(
    [error.name, error.message, error.reasonCode, error.serverReference, error.cause],
    ["ReasonCodeError", "full", 0x9c, "b:1883", cause],
  );
});

Deno.test("a PacketError is a ReasonCodeError", () => {
  const error = new PacketError(ReasonCode.MalformedPacket, "nonsense");
  assert(error instanceof ReasonCodeError);
  assert.deepEqual([error.name, error.reasonCode, error.serverReference], ["PacketError", 0x81, undefined]);
});

const long = text("\u0001#".repeat(32_767));
const longText: [where: string, packet: Uint8Array][] = [
  ["the topic name", packetBytes(0x30, long, properties())],
  ["the topic filter of a SUBSCRIBE", packetBytes(0x82, [0, 1], properties(), long, 0)],
  ["the topic filter of an UNSUBSCRIBE", packetBytes(0xa2, [0, 1], properties(), long)],
  ["the response topic", packetBytes(0x30, text("t"), properties(0x08, long))],
  ["the will topic", connectBytes({ flags: 0x06, rest: [properties(), long, 0, 0] })],
  ["the protocol name", connectBytes({ name: long })],
];

for (const [where, packet] of longText) {
  Deno.test(`a PacketError quotes only the beginning of ${where}, so that its message fits into a reason string`, () => {
    assert.throws(() => decode(packet, 5), (error) => {
      assert(error instanceof PacketError);
      assert.match(error.message, /…" /);
      assert(error.message.length < 500, `${error.message.length} characters`);
      return true;
    });
  });
}

Deno.test("a PacketError quotes well-formed text, even where the quotation ends inside a pair of surrogates", () => {
  for (const offset of ["", "a"]) {
    const packet = packetBytes(0x30, text(`#${offset}${"\u{1f600}".repeat(200)}`), properties());
    assert.throws(() => decode(packet, 5), (error) => error instanceof PacketError && error.message.isWellFormed());
  }
});
