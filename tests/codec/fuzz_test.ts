import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, decodeFrame, encode, Framer, PacketError, type ProtocolLevel } from "../../codec/mod.ts";
import { allocations } from "./allocations.ts";
import { arbitraryPacket } from "./arbitrary_packets.ts";
import { levels, packetBytes, variableByteInteger } from "./packet_bytes.ts";

type Mutation = (bytes: number[]) => void;

/** One change to a packet, wherever it hits. */
const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(fc.nat(), fc.nat({ max: 7 })).map(([at, bit]): Mutation => (bytes) => {
    if (bytes.length > 0) bytes[at % bytes.length] ^= 1 << bit;
  }),
  fc.tuple(fc.nat(), fc.nat({ max: 255 })).map(([at, value]): Mutation => (bytes) => {
    if (bytes.length > 0) bytes[at % bytes.length] = value;
  }),
  fc.nat().map((at): Mutation => (bytes) => bytes.splice(at % (bytes.length + 1))),
  fc.tuple(fc.nat(), fc.nat({ max: 8 })).map(([at, count]): Mutation => (bytes) =>
    bytes.splice(at % (bytes.length + 1), count)
  ),
  fc.tuple(fc.nat(), fc.array(fc.nat({ max: 255 }), { maxLength: 8 })).map(([at, inserted]): Mutation => (bytes) =>
    bytes.splice(at % (bytes.length + 1), 0, ...inserted)
  ),
  fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: 268_435_455 })).map((length): Mutation => (bytes) => {
    bytes.splice(1, remainingLengthSize(bytes), ...variableByteInteger(length));
  }),
);

/** How many bytes the remaining length takes. */
function remainingLengthSize(bytes: number[]): number {
  const last = bytes.findIndex((byte, index) => index > 0 && byte < 0x80);
  return last === -1 ? 0 : last;
}

/** As if every mutation had been made by somebody who corrects the remaining length afterwards. */
function withFittingLength(bytes: number[]): Uint8Array {
  return packetBytes(bytes[0] ?? 0, bytes.slice(1 + remainingLengthSize(bytes)));
}

function mutatedPacket(level: ProtocolLevel): fc.Arbitrary<Uint8Array> {
  return fc.tuple(arbitraryPacket(level), fc.array(mutation, { minLength: 1, maxLength: 3 }), fc.boolean()).map(
    ([packet, mutations, fitting]) => {
      const bytes = [...encode(packet, level)];
      for (const mutate of mutations) mutate(bytes);
      return fitting ? withFittingLength(bytes) : new Uint8Array(bytes);
    },
  );
}

/** Any bytes at all, or any bytes in a packet of some type. */
const garbage = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  fc.tuple(fc.nat({ max: 255 }), fc.uint8Array({ maxLength: 60 })).map(([first, body]) => packetBytes(first, body)),
);

/**
 * Decodes the bytes: fails the test for anything but a packet or a PacketError, and for memory that the bytes do not
 * account for. What decodes must also encode, to the same packet.
 */
function assertHarmless(bytes: Uint8Array, level: ProtocolLevel): void {
  const sizes = allocations(() => {
    try {
      decode(bytes, level);
    } catch (error) {
      assert(error instanceof PacketError, `${error}`);
    }
  });
  assert(Math.max(0, ...sizes) <= Math.max(4096, bytes.length));
}

/** Reads the bytes as a stream, cut into chunks of this size. */
function assertHarmlessStream(bytes: Uint8Array, chunkSize: number, level: ProtocolLevel): void {
  const framer = new Framer();
  try {
    for (let start = 0; start < bytes.length; start += chunkSize) {
      framer.push(bytes.subarray(start, start + chunkSize));
      while (framer.next()) decodeFrame(framer, level);
    }
  } catch (error) {
    assert(error instanceof PacketError, `${error}`);
  }
}

for (const level of levels) {
  Deno.test(`at level ${level}, any bytes decode to a packet or a PacketError`, () => {
    fc.assert(fc.property(garbage, (bytes) => assertHarmless(bytes, level)), { numRuns: 3000 });
  });

  Deno.test(`at level ${level}, a mutated packet decodes to a packet or a PacketError`, () => {
    fc.assert(fc.property(mutatedPacket(level), (bytes) => assertHarmless(bytes, level)), { numRuns: 3000 });
  });

  Deno.test(`at level ${level}, whatever decodes can be encoded again, to the same packet`, () => {
    fc.assert(
      fc.property(fc.oneof(mutatedPacket(level), garbage), (bytes) => {
        let packet;
        try {
          packet = decode(bytes, level);
        } catch {
          fc.pre(false);
        }
        assert.deepEqual(decode(encode(packet, level), level), packet);
      }),
      { numRuns: 500, maxSkipsPerRun: 1000 },
    );
  });

  Deno.test(`at level ${level}, a stream of mutated packets throws nothing but a PacketError`, () => {
    const packets = fc.array(mutatedPacket(level), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(packets, fc.integer({ min: 1, max: 64 }), (packets, chunkSize) => {
        assertHarmlessStream(new Uint8Array(packets.flatMap((packet) => [...packet])), chunkSize, level);
      }),
      { numRuns: 1000 },
    );
  });
}
