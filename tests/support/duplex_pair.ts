import type { Duplex } from "./raw_client.ts";

/** How much either end takes before the other has read it, in bytes. */
const BUFFER = 65_536;

/** The two ends of a connection in memory: what is written at one end is read at the other. */
export function duplexPair(): [Duplex, Duplex] {
  const there = buffer();
  const back = buffer();
  return [
    { readable: back.readable, writable: there.writable },
    { readable: there.readable, writable: back.writable },
  ];
}

function buffer(): TransformStream<Uint8Array, Uint8Array> {
  return new TransformStream({}, undefined, { highWaterMark: BUFFER, size: (chunk) => chunk.length });
}
