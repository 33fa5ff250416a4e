import assert from "node:assert/strict";
import { Broker, type BrokerOptions, encode } from "../../mod.ts";
import { withDeadline } from "../interop/programs.ts";
import { receive } from "../broker/receive.ts";
import { duplexPair } from "../support/duplex_pair.ts";
import { connectPacket, type Duplex, publishPacket, RawClient } from "../support/raw_client.ts";

/** A broker that serves clients in memory, and watches for wills on the topic `will`. */
class MemoryBroker extends Broker {
  #willCame = Promise.withResolvers<void>();

  static async start(options?: BrokerOptions): Promise<MemoryBroker> {
    const broker = new MemoryBroker(options);
    await broker.subscribe("will", () => broker.#willCame.resolve());
    return broker;
  }

  /** Resolves when a will has been published. */
  will(): Promise<void> {
    return withDeadline(this.#willCame.promise, () => "the will");
  }
}

/** A byte stream and what is written into it, one write at a time; a write waits until it has been read. */
function byteStream(): { readable: ReadableStream<Uint8Array>; writable: WritableStream<Uint8Array> } {
  let controller!: ReadableByteStreamController;
  let wanted = Promise.withResolvers<void>();
  let gone: unknown;
  const readable = new ReadableStream<Uint8Array<ArrayBuffer>>({
    type: "bytes",
    start: (started) => void (controller = started as ReadableByteStreamController),
    pull: () => wanted.resolve(),
    cancel: (reason) => {
      gone = reason ?? new Error("nobody reads any more");
      wanted.resolve();
    },
  });
  const writable = new WritableStream<Uint8Array>({
    async write(chunk) {
      await wanted.promise;
      if (gone !== undefined) throw gone;
      wanted = Promise.withResolvers();
      controller.enqueue(chunk.slice());
    },
    close: () => {
      controller.close();
      controller.byobRequest?.respond(0);
    },
    abort: (reason) => controller.error(reason),
  });
  return { readable, writable };
}

function bytePair(): [Duplex, Duplex] {
  const there = byteStream();
  const back = byteStream();
  return [
    { readable: back.readable, writable: there.writable },
    { readable: there.readable, writable: back.writable },
  ];
}

for (const [kind, pair] of [["byte streams", bytePair], ["streams of chunks", duplexPair]] as const) {
  Deno.test(`${kind}: messages of every size and QoS go in and out`, async () => {
    await using broker = await MemoryBroker.start();
    const [here, there] = pair();
    const served = broker.serve(there);
    const client = new RawClient(here);
    await client.connect();
    await client.subscribe("t", { qos: 2 });
    for (const size of [0, 1, 1000, 65_536, 65_537, 3_000_000]) {
      const payload = new Uint8Array(size).map((_, index) => index ^ (index >> 8));
      await client.send(publishPacket({ topic: "t", payload }));
      assert.deepEqual((await client.expect("publish")).payload, payload);
    }
    await broker.publish("t", "once", { qos: 2 });
    assert.equal((await receive(client)).text, "once");
    await client.disconnect();
    await served;
  });

  Deno.test(`${kind}: packets may come byte by byte`, async () => {
    await using broker = await MemoryBroker.start();
    const [here, there] = pair();
    broker.serve(there);
    await using client = new RawClient(here);
    for (const byte of encode(connectPacket(), 5)) await client.sendBytes(new Uint8Array([byte]));
    await client.expect("connack");
  });

  Deno.test(`${kind}: the end of what the peer writes is the end of the connection`, async () => {
    await using broker = await MemoryBroker.start();
    const [here, there] = pair();
    const served = broker.serve(there);
    const writer = here.writable.getWriter();
    await writer.write(encode(connectPacket({ clientId: "a", will: { topic: "will" } }), 5));
    const closed = writer.close();
    await using client = new RawClient({ readable: here.readable, writable: new WritableStream() });
    await client.expect("connack");
    await client.expectClosed();
    await Promise.all([closed, served, broker.will()]);
    assert.equal(broker.stats().connections, 0);
  });

  Deno.test(`${kind}: a peer that breaks off what it writes has its will published`, async () => {
    await using broker = await MemoryBroker.start();
    const [here, there] = pair();
    const served = broker.serve(there);
    const writer = here.writable.getWriter();
    await writer.write(encode(connectPacket({ clientId: "a", will: { topic: "will" } }), 5));
    await using client = new RawClient({ readable: here.readable, writable: new WritableStream() });
    await client.expect("connack");
    await writer.abort(new Error("the cable is cut"));
    await Promise.all([served, broker.will()]);
  });

  Deno.test(`${kind}: a peer that reads no more has its will published when there is something to read`, async () => {
    await using broker = await MemoryBroker.start();
    const [here, there] = pair();
    const served = broker.serve(there);
    const writer = here.writable.getWriter();
    await writer.write(encode(connectPacket({ clientId: "a", will: { topic: "will" } }), 5));
    const reader = here.readable.getReader();
    await reader.read();
    await reader.cancel(new Error("enough"));
    // The answer cannot be written, nor the write be read then.
    const written = writer.write(encode({ type: "pingreq" }, 5)).catch(() => {});
    await Promise.all([served, broker.will(), written]);
  });

  Deno.test(`${kind}: the broker's end is the peer's`, async () => {
    const broker = await MemoryBroker.start();
    const [here, there] = pair();
    const served = broker.serve(there);
    await using client = new RawClient(here);
    await client.connect();
    const closed = broker.close();
    assert.equal((await client.expect("disconnect")).reasonCode, 0x8b);
    await client.expectClosed();
    await client.close();
    await Promise.all([closed, served]);
  });

  Deno.test(`${kind}: a broker that is closed serves nobody`, async () => {
    const broker = await MemoryBroker.start();
    await broker.close();
    const [here, there] = pair();
    await using client = new RawClient(here);
    await broker.serve(there);
    await client.expectClosed();
    assert.equal(broker.stats().connectionsRefused, 1);
  });
}

for (const end of [true, false]) {
  const what = end ? "and has ended its side" : "and does not end its side";
  Deno.test(`a peer that never takes what is written, ${what}, cannot keep the broker from closing`, async () => {
    const broker = await MemoryBroker.start();
    const connect = encode(connectPacket({ clientId: "a" }), 5);
    const readable = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(connect);
        if (end) controller.close();
      },
    });
    const { promise, resolve: asked } = Promise.withResolvers<void>();
    const writable = new WritableStream<Uint8Array>({
      write: () => {
        asked();
        return new Promise(() => {});
      },
    });
    const served = broker.serve({ readable, writable });
    await promise;
    // In memory everything has happened that can happen when the event loop turns: the broker has seen the end.
    await new Promise((resolve) => setTimeout(resolve));
    await withDeadline(Promise.all([broker.close(), served]), () => "the broker to close");
  });
}

const boom = new Error("boom");

/** Streams of a peer that fail; each has sent a CONNECT with a will. */
const failures: readonly (readonly [what: string, (connect: Uint8Array) => Duplex])[] = [
  ["its source fails at once", () => ({
    readable: new ReadableStream({ start: (controller) => controller.error(boom) }),
    writable: new WritableStream(),
  })],
  ["its source fails later", (connect) => ({
    readable: source(connect, (controller) => controller.error(boom)),
    writable: new WritableStream(),
  })],
  ["its source throws", (connect) => ({
    readable: source(connect, () => {
      throw boom;
    }),
    writable: new WritableStream(),
  })],
  ["its source fails, and cannot be cancelled", () => ({
    readable: new ReadableStream({ cancel: () => Promise.reject(boom), start: (controller) => controller.error(boom) }),
    writable: new WritableStream({ close: () => Promise.reject(boom), abort: () => Promise.reject(boom) }),
  })],
  ["its sink refuses what is written", (connect) => ({
    readable: source(connect, () => new Promise(() => {}), () => Promise.reject(boom)),
    writable: new WritableStream({ write: () => Promise.reject(boom) }),
  })],
  ["its sink has failed before", (connect) => ({
    readable: source(connect, () => new Promise(() => {})),
    writable: new WritableStream({ start: (controller) => controller.error(boom) }),
  })],
  ["its sink cannot be closed", (connect) => ({
    readable: source(connect, (controller) => controller.close()),
    writable: new WritableStream({ close: () => Promise.reject(boom) }),
  })],
];

function source(
  first: Uint8Array,
  then: (controller: ReadableStreamDefaultController<Uint8Array>) => void | Promise<void>,
  cancel?: () => Promise<void>,
): ReadableStream<Uint8Array> {
  let isFirst = true;
  return new ReadableStream({
    pull(controller) {
      if (!isFirst) return then(controller);
      isFirst = false;
      controller.enqueue(first);
    },
    cancel,
  }, { highWaterMark: 0 });
}

for (const [what, duplex] of failures) {
  Deno.test(`a peer is given up quietly when ${what}`, async () => {
    await using broker = await MemoryBroker.start();
    await withDeadline(
      broker.serve(duplex(encode(connectPacket({ clientId: "a" }), 5))),
      () => "the end of the connection",
    );
    assert.deepEqual([broker.stats().connections, broker.stats().clients], [0, 0]);
  });
}

Deno.test("chunks without bytes are nothing", async () => {
  await using broker = await MemoryBroker.start();
  const [here, there] = duplexPair();
  broker.serve(there);
  await using client = new RawClient(here);
  await client.sendBytes(new Uint8Array());
  await client.connect();
  await client.sendBytes(new Uint8Array());
  await client.expectNothing();
});

Deno.test("what the broker writes is the peer's to keep", async () => {
  await using broker = await MemoryBroker.start();
  const [here, there] = duplexPair();
  broker.serve(there);
  const writer = here.writable.getWriter();
  const reader = here.readable.getReader();
  await writer.write(encode(connectPacket({ keepAlive: 0, clientId: "a" }), 4));
  const { value: first } = await reader.read();
  const copy = first!.slice();
  for (let count = 0; count < 10; count++) {
    await writer.write(encode({ type: "pingreq" }, 4));
    await reader.read();
  }
  assert.deepEqual(first, copy);
  await writer.close();
  await reader.cancel();
});

Deno.test("hooks get what the program knows of the peer, and its address counts", async () => {
  await using broker = await MemoryBroker.start({ limits: { connectionsPerAddress: 1 } });
  const seen: unknown[] = [];
  await broker.use({
    id: "notes",
    onConnect: ({ remoteAddress, certificateName }) => void seen.push([remoteAddress, certificateName]),
  });
  const peer = { remoteAddress: "192.0.2.7", certificateName: "sensor-1" };
  const [here, there] = duplexPair();
  broker.serve(there, peer);
  await using client = new RawClient(here);
  await client.connect();
  const [hereToo, thereToo] = duplexPair();
  await using second = new RawClient(hereToo);
  await broker.serve(thereToo, peer);
  await second.expectClosed();
  assert.deepEqual(seen, [["192.0.2.7", "sensor-1"]]);
});

Deno.test("a connection of the runtime is served as any other duplex", async () => {
  await using broker = await MemoryBroker.start();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = listener.accept();
  await using client = new RawClient(await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }));
  const served = broker.serve(await accepted);
  await client.connect();
  await client.disconnect();
  await served;
});
