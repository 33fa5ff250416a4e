const hostname = "127.0.0.1";

/** Where to cut what goes to the server first, and what to wait for before the second part follows. */
export interface Cut {
  at: number;
  meanwhile: () => Promise<unknown>;
}

/** A load balancer: it puts a header in front of what each client sends, in one write with the client's first bytes. */
export class TestProxy implements AsyncDisposable {
  readonly port: number;
  readonly #listener: Deno.TcpListener;
  readonly #conns = new Set<Deno.TcpConn>();
  readonly #relays: Promise<void>[] = [];

  /** A proxy for the server on this port of 127.0.0.1. */
  constructor(target: number, header: Uint8Array, cut?: Cut) {
    this.#listener = Deno.listen({ hostname, port: 0 });
    this.port = this.#listener.addr.port;
    this.#relays.push(this.#accept(target, header, cut));
  }

  async #accept(target: number, header: Uint8Array, cut: Cut | undefined): Promise<void> {
    for await (const client of this.#listener) this.#relays.push(this.#relay(client, target, header, cut));
  }

  async #relay(client: Deno.TcpConn, target: number, header: Uint8Array, cut: Cut | undefined): Promise<void> {
    const server = await Deno.connect({ hostname, port: target }).catch(() => undefined);
    if (server === undefined) return client.close();
    for (const conn of [client, server]) {
      conn.setNoDelay(true);
      this.#conns.add(conn);
    }
    const beginning = async (chunk: Uint8Array) => {
      const bytes = new Uint8Array([...header, ...chunk]);
      if (cut === undefined) return void await write(server, bytes);
      await write(server, bytes.subarray(0, cut.at));
      await cut.meanwhile();
      await write(server, bytes.subarray(cut.at));
    };
    await Promise.all([copy(client, server, beginning), copy(server, client)]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) closeQuietly(conn);
    await Promise.all(this.#relays);
  }
}

/** Copies until either end is gone, then closes both. */
async function copy(
  from: Deno.TcpConn,
  to: Deno.TcpConn,
  writeFirst = (chunk: Uint8Array) => write(to, chunk),
): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  let isFirst = true;
  try {
    for (let length; (length = await from.read(buffer)) !== null;) {
      const chunk = buffer.subarray(0, length);
      await (isFirst ? writeFirst(chunk) : write(to, chunk));
      isFirst = false;
    }
  } catch {
    // One of the two has gone; so must the other.
  }
  closeQuietly(from);
  closeQuietly(to);
}

async function write(conn: Deno.TcpConn, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await conn.write(bytes.subarray(written));
}

function closeQuietly(conn: Deno.TcpConn): void {
  try {
    conn.close();
  } catch {
    // The other direction has closed it.
  }
}
