import assert from "node:assert/strict";
import { TcpProxy } from "./tcp_proxy.ts";

/** A server that sends back what it gets. */
function echo(): AsyncDisposable & { port: number } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      connections.push(connection.readable.pipeTo(connection.writable).catch(() => {}));
    }
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      await Promise.all(connections);
    },
  };
}

async function read(connection: Deno.Conn): Promise<string | null> {
  const buffer = new Uint8Array(100);
  const length = await connection.read(buffer).catch(() => null);
  return length === null ? null : new TextDecoder().decode(buffer.subarray(0, length));
}

const hello = new TextEncoder().encode("hello");

Deno.test("a proxy carries bytes in both directions", async () => {
  await using server = echo();
  await using proxy = new TcpProxy(server.port);
  using connection = await Deno.connect({ port: proxy.port });
  await connection.write(hello);
  assert.equal(await read(connection), "hello");
});

Deno.test("a proxy that drops lets bytes through when it heals, and not before", async () => {
  await using server = echo();
  await using proxy = new TcpProxy(server.port);
  using connection = await Deno.connect({ port: proxy.port });
  await connection.write(hello);
  await read(connection);
  proxy.drop();
  await connection.write(hello);
  let isHealed = false;
  const answered = read(connection).then((text) => assert.deepEqual([text, isHealed], ["hello", true]));
  // Another proxy has time for as much.
  await using other = new TcpProxy(server.port);
  using fast = await Deno.connect({ port: other.port });
  await fast.write(hello);
  assert.equal(await read(fast), "hello");
  isHealed = true;
  proxy.heal();
  await answered;
});

Deno.test("a proxy that is cut ends old connections and new ones, until it heals", async () => {
  await using server = echo();
  await using proxy = new TcpProxy(server.port);
  using before = await Deno.connect({ port: proxy.port });
  await before.write(hello);
  await read(before);
  proxy.cut();
  assert.equal(await read(before), null);
  using during = await Deno.connect({ port: proxy.port });
  assert.equal(await read(during), null);
  proxy.heal();
  using after = await Deno.connect({ port: proxy.port });
  await after.write(hello);
  assert.equal(await read(after), "hello");
});

Deno.test("a proxy closes a connection if nobody listens behind it", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await using proxy = new TcpProxy(port);
  using connection = await Deno.connect({ port: proxy.port });
  assert.equal(await read(connection), null);
});
