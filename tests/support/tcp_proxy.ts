/**
 * Stands between two programs and does to their connections what networks do. Whoever connects to its port is connected
 * with the port behind it.
 */
export class TcpProxy implements AsyncDisposable {
  readonly #listener: Deno.TcpListener;
  readonly #target: number;
  readonly #accepting: Promise<void>;
  readonly #pumps = new Set<Promise<void>>();
  readonly #connections = new Set<Deno.TcpConn>();
  #isCut = false;
  /** Settled while bytes pass. */
  #passing = Promise.withResolvers<void>();

  /** A proxy in front of this port of 127.0.0.1. */
  constructor(target: number) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.#passing.resolve();
    this.#accepting = this.#accept();
  }

  get port(): number {
    return this.#listener.addr.port;
  }

  /** Resets every connection, and each new one at once. */
  cut(): void {
    this.#isCut = true;
    for (const connection of this.#connections) close(connection);
  }

  /** Keeps every connection, and new ones, but lets nothing through, as if each packet were lost. */
  drop(): void {
    this.#passing = Promise.withResolvers();
  }

  /** Lets everything through again, also what has waited. */
  heal(): void {
    this.#isCut = false;
    this.#passing.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cut();
    this.#passing.resolve();
    await this.#accepting;
    await Promise.all(this.#pumps);
  }

  async #accept(): Promise<void> {
    try {
      for await (const near of this.#listener) {
        if (this.#isCut) close(near);
        else await this.#connect(near);
      }
    } catch {
      // The listener has been closed.
    }
  }

  async #connect(near: Deno.TcpConn): Promise<void> {
    try {
      const far = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
      this.#start(near, far);
      this.#start(far, near);
    } catch {
      // Nobody listens there.
      close(near);
    }
  }

  #start(from: Deno.TcpConn, to: Deno.TcpConn): void {
    from.setNoDelay(true);
    this.#connections.add(from);
    const pump = this.#pump(from, to).finally(() => {
      this.#connections.delete(from);
      this.#pumps.delete(pump);
    });
    this.#pumps.add(pump);
  }

  /** Carries bytes until one side has closed, and then closes both. */
  async #pump(from: Deno.TcpConn, to: Deno.TcpConn): Promise<void> {
    const buffer = new Uint8Array(65_536);
    try {
      for (;;) {
        const length = await from.read(buffer);
        await this.#passing.promise;
        if (length === null) break;
        for (let written = 0; written < length;) written += await to.write(buffer.subarray(written, length));
      }
    } catch {
      // One of them is gone.
    } finally {
      close(from);
      close(to);
    }
  }
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
