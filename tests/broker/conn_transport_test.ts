import assert from "node:assert/strict";
import { BufferPool } from "../../broker/buffer_pool.ts";
import { ConnTransport } from "../../broker/transports/conn_transport.ts";

/** How large the buffers are into which a connection is read that is sent so many bytes each time. */
async function bufferSizes(sent: number[]): Promise<number[]> {
  const sizes: number[] = [];
  const conn = {
    read(buffer: Uint8Array): Promise<number> {
      sizes.push(buffer.length);
      return Promise.resolve(Math.min(sent[sizes.length - 1], buffer.length));
    },
  };
  const transport = new ConnTransport(conn as unknown as Deno.Conn, new BufferPool());
  for (let count = 0; count < sent.length; count++) transport.received((await transport.read())!);
  return sizes;
}

const KIB = 1024;
const times = (count: number, size: number) => new Array<number>(count).fill(size);

Deno.test("the read buffer grows while it is filled, up to 128 KiB", async () => {
  const expected = [512, 4 * KIB, 32 * KIB, 128 * KIB, 128 * KIB, 128 * KIB];
  assert.deepEqual(await bufferSizes(times(6, 1_000_000)), expected);
});

Deno.test("the read buffer of a connection that has gone quiet becomes small", async () => {
  const sizes = await bufferSizes([...times(4, 1_000_000), ...times(50, 2)]);
  assert.deepEqual([sizes[4], sizes.at(-1)], [128 * KIB, 64]);
});

Deno.test("after its CONNECT a connection is taken for quiet, and stays so while little comes", async () => {
  assert.deepEqual(await bufferSizes([300, ...times(20, 40)]), [512, ...times(20, 64)]);
});

Deno.test("packets that do not fit into the small read buffer enlarge it once, and not each time", async () => {
  assert.deepEqual(await bufferSizes([300, ...times(20, 100)]), [512, 64, ...times(19, 512)]);
});

Deno.test("what was read before the connection got here comes first, whatever its size", async () => {
  for (const size of [1, 64, 512, 513, 8000]) {
    const early = new Uint8Array(size).map((_byte, index) => index);
    const read = (buffer: Uint8Array) => Promise.resolve(buffer.fill(7, 0, 2) && 2);
    const transport = new ConnTransport({ read } as unknown as Deno.Conn, new BufferPool(), early);
    assert.deepEqual(transport.received((await transport.read())!), early);
    assert.deepEqual([...transport.received((await transport.read())!)], [7, 7]);
  }
});

Deno.test("what was read stays as it is until its loan is released, and the buffer is used again then", async () => {
  const buffers: Uint8Array[] = [];
  const conn = {
    read(buffer: Uint8Array): Promise<number> {
      buffers.push(buffer);
      return Promise.resolve(buffer.fill(buffers.length).length);
    },
  };
  const transport = new ConnTransport(conn as unknown as Deno.Conn, new BufferPool());
  for (let count = 0; count < 5; count++) transport.received((await transport.read())!);
  const lent = transport.received((await transport.read())!);
  const loan = transport.lend();
  for (let count = 0; count < 3; count++) await transport.read();
  assert(lent.every((byte) => byte === 6));
  loan.release();
  transport.lend();
  await transport.read();
  assert.equal(buffers.at(-1)!.buffer, lent.buffer);
});

Deno.test("the read buffer of a connection with a few acknowledgements at a time stays as it is", async () => {
  const sizes = await bufferSizes([40, ...times(3, 512), ...times(40, 40)]);
  assert.deepEqual(sizes.slice(-2), [512, 512]);
});
