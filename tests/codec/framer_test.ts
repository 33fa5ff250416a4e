import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeFrame, encode, Framer, type Packet, PacketError } from "../../codec/mod.ts";
import { allocations } from "./allocations.ts";
import { arbitraryPacket } from "./arbitrary_packets.ts";
import { levels, packetBytes, variableByteInteger } from "./packet_bytes.ts";

/** The framer sets aside this much for the first piece of a packet, and twice what has arrived afterwards. */
const FIRST_ALLOCATION = 4096;

function concatenate(parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** Cuts `bytes` at these positions, which may be any numbers. */
function cut(bytes: Uint8Array, positions: number[]): Uint8Array[] {
  const ends = [...positions.map((position) => position % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return ends.map((end, index) => bytes.slice(ends[index - 1] ?? 0, end));
}

/** What a framer hands out, as copies. */
function frames(framer: Framer, chunks: Uint8Array[]): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (const chunk of chunks) {
    framer.push(chunk);
    while (framer.next()) packets.push(framer.packet().slice());
  }
  return packets;
}

function assertRefused(framer: Framer, chunk: Uint8Array, reasonCode: number, message: RegExp): void {
  framer.push(chunk);
  assert.throws(() => framer.next(), (error) => {
    assert(error instanceof PacketError);
    assert.match(error.message, message);
    assert.equal(error.reasonCode, reasonCode);
    return true;
  });
}

Deno.test("packets come out as they went in, however the stream is cut", () => {
  const stream = fc.array(arbitraryPacket(5).map((packet) => encode(packet, 5)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(stream, fc.array(fc.nat(), { maxLength: 12 }), (packets, positions) => {
      const framer = new Framer();
      assert.deepEqual(frames(framer, cut(concatenate(packets), positions)), packets);
      assert.equal(framer.incomplete, false);
    }),
    { numRuns: 500 },
  );
});

Deno.test("packets come out as they went in when every chunk is one byte", () => {
  const stream = fc.array(arbitraryPacket(5).map((packet) => encode(packet, 5)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(stream, (packets) => {
      const chunks = [...concatenate(packets)].map((byte) => new Uint8Array([byte]));
      assert.deepEqual(frames(new Framer(), chunks), packets);
    }),
    { numRuns: 200 },
  );
});

for (const level of levels) {
  Deno.test(`at level ${level}, decodeFrame gives the packets that were encoded, however the stream is cut`, () => {
    const packets = fc.array(arbitraryPacket(level), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(packets, fc.array(fc.nat(), { maxLength: 8 }), (packets, positions) => {
        const framer = new Framer();
        const decoded: Packet[] = [];
        for (const chunk of cut(concatenate(packets.map((packet) => encode(packet, level))), positions)) {
          framer.push(chunk);
          // A clone, as the packet may hold views into the framer's buffer.
          while (framer.next()) decoded.push(structuredClone(decodeFrame(framer, level)));
        }
        assert.deepEqual(decoded, packets);
      }),
      { numRuns: 300 },
    );
  });
}

Deno.test("a packet that lies within one chunk is handed out where it is, without a copy", () => {
  const publish = packetBytes(0x30, [0, 1, 0x61, 0], new Uint8Array(100));
  const chunk = concatenate([publish, publish]);
  const framer = new Framer();
  framer.push(chunk);
  const sizes = allocations(() => {
    assert(framer.next());
    assert.deepEqual([framer.bytes === chunk, framer.start, framer.bodyStart, framer.end], [true, 0, 2, 106]);
    assert(framer.next());
    assert.deepEqual([framer.bytes === chunk, framer.start, framer.bodyStart, framer.end], [true, 106, 108, 212]);
  });
  assert.deepEqual(sizes, []);
});

Deno.test("a payload within one chunk is a view into that chunk", () => {
  const chunk = packetBytes(0x30, [0, 1, 0x61, 0], [1, 2, 3]);
  const framer = new Framer();
  framer.push(chunk);
  assert(framer.next());
  const packet = decodeFrame(framer, 5);
  assert(packet.type === "publish");
  assert.equal(packet.payload.buffer, chunk.buffer);
});

Deno.test("after packets that were spread over chunks, one within a chunk is still not copied", () => {
  const ping = packetBytes(0xc0);
  const framer = new Framer();
  framer.push(ping.slice(0, 1));
  assert.equal(framer.next(), false);
  const chunk = concatenate([ping.slice(1), ping]);
  framer.push(chunk);
  assert(framer.next());
  assert(framer.next());
  assert.equal(framer.bytes, chunk);
});

Deno.test("a header that promises 268,435,455 bytes sets aside no more than the first allocation", () => {
  const framer = new Framer();
  const sizes = allocations(() => {
    framer.push(new Uint8Array([0x30, ...variableByteInteger(268_435_455), 0, 1, 0x61]));
    assert.equal(framer.next(), false);
    for (let count = 0; count < 100; count++) {
      framer.push(new Uint8Array([count]));
      assert.equal(framer.next(), false);
    }
  });
  assert.deepEqual(sizes, [FIRST_ALLOCATION]);
});

Deno.test("the buffer of a spread packet is never larger than twice what has arrived, or the first allocation", () => {
  const size = fc.integer({ min: 0, max: 60_000 });
  fc.assert(
    fc.property(size, fc.array(fc.nat(), { minLength: 1, maxLength: 8 }), (size, positions) => {
      const packet = packetBytes(0x30, new Uint8Array(size));
      const framer = new Framer();
      let arrived = 0;
      let framed: Uint8Array | undefined;
      for (const chunk of cut(packet, positions)) {
        arrived += chunk.length;
        const sizes = allocations(() => {
          framer.push(chunk);
          if (framer.next()) framed = framer.packet();
        });
        assert(Math.max(0, ...sizes) <= Math.max(FIRST_ALLOCATION, 2 * arrived));
      }
      assert.deepEqual(framed, packet);
    }),
    { numRuns: 100 },
  );
});

Deno.test("the buffer of a spread packet is given back when the packet was large", () => {
  const framer = new Framer();
  const packet = packetBytes(0x30, new Uint8Array(50_000));
  framer.push(packet.slice(0, 20_000));
  assert.equal(framer.next(), false);
  framer.push(packet.slice(20_000));
  assert(framer.next());
  const large = framer.bytes.buffer;
  assert(large.byteLength >= packet.length);
  framer.push(new Uint8Array([0xc0]));
  assert.equal(framer.next(), false);
  framer.push(new Uint8Array([0x00]));
  assert(framer.next());
  assert.notEqual(framer.bytes.buffer, large);
});

Deno.test("a stream that ends inside a packet is incomplete, one that ends behind a packet is not", () => {
  const framer = new Framer();
  assert.equal(framer.incomplete, false);
  framer.push(new Uint8Array([0xc0]));
  assert.equal(framer.next(), false);
  assert.equal(framer.incomplete, true);
  framer.push(new Uint8Array([0x00]));
  assert.equal(framer.incomplete, true);
  assert.equal(framer.next(), true);
  assert.equal(framer.incomplete, false);
});

Deno.test("an empty chunk changes nothing", () => {
  const empty = new Uint8Array(0);
  const packet = packetBytes(0x30, [0, 1, 0x61, 0]);
  assert.deepEqual(frames(new Framer(), [empty, packet.slice(0, 3), empty, packet.slice(3), empty]), [packet]);
});

Deno.test("a remaining length of four bytes may be 268,435,455", () => {
  const framer = new Framer();
  framer.push(new Uint8Array([0x30, 0xff, 0xff, 0xff, 0x7f]));
  assert.equal(framer.next(), false);
});

Deno.test("[5.0 MQTT-1.5.5-1] a remaining length that is not encoded in the fewest bytes is malformed", () => {
  assertRefused(new Framer(), new Uint8Array([0xc0, 0x80, 0x00]), 0x81, /fewest bytes/);
  assertRefused(new Framer(), new Uint8Array([0x30, 0x84, 0x00, 0, 1, 0x61, 0]), 0x81, /fewest bytes/);
  assertRefused(new Framer(), new Uint8Array([0xc0, 0x80, 0x80, 0x80, 0x00]), 0x81, /fewest bytes/);
});

Deno.test("a remaining length of five bytes is malformed as soon as its fourth is there", () => {
  assertRefused(new Framer(), new Uint8Array([0x30, 0x80, 0x80, 0x80, 0x80, 0x01]), 0x81, /more than four bytes/);
  assertRefused(new Framer(), new Uint8Array([0x30, 0xff, 0xff, 0xff, 0xff]), 0x81, /more than four bytes/);
});

Deno.test("a malformed remaining length is found when it arrives byte by byte, too", () => {
  const framer = new Framer();
  for (const byte of [0x30, 0xff, 0xff, 0xff]) {
    framer.push(new Uint8Array([byte]));
    assert.equal(framer.next(), false);
  }
  assertRefused(framer, new Uint8Array([0xff]), 0x81, /more than four bytes/);
});

Deno.test("a packet of just the maximum packet size is accepted", () => {
  const framer = new Framer(10);
  const packet = packetBytes(0x30, new Uint8Array(8));
  assert.deepEqual(frames(framer, [packet]), [packet]);
});

Deno.test("the maximum packet size holds for each packet of a chunk, not for the chunk", () => {
  const packet = packetBytes(0x30, new Uint8Array(8));
  assert.deepEqual(frames(new Framer(10), [concatenate([packet, packet, packet])]), [packet, packet, packet]);
  const framer = new Framer(10);
  framer.push(concatenate([packet, packetBytes(0x30, new Uint8Array(9))]));
  assert(framer.next());
  assert.throws(() => framer.next(), { reasonCode: 0x95, message: "packet of 11 bytes; at most 10 are accepted" });
});

Deno.test("a packet that is larger than the maximum packet size is refused by its header alone, with 0x95", () => {
  assertRefused(new Framer(10), new Uint8Array([0x30, 9]), 0x95, /packet of 11 bytes; at most 10 are accepted/);
});

Deno.test("the maximum packet size holds for a header that arrives byte by byte, too", () => {
  const framer = new Framer(10);
  framer.push(new Uint8Array([0x30]));
  assert.equal(framer.next(), false);
  assertRefused(framer, new Uint8Array([9]), 0x95, /packet of 11 bytes/);
});

Deno.test("the maximum packet size can change between packets", () => {
  const framer = new Framer(10);
  const packet = packetBytes(0x30, new Uint8Array(8));
  assert.deepEqual(frames(framer, [packet]), [packet]);
  framer.maximumPacketSize = 9;
  assertRefused(framer, packet, 0x95, /packet of 10 bytes; at most 9 are accepted/);
});
