import type { Client } from "./client.ts";
import type { Limits } from "./limits.ts";

/** The connections that are open, those of connected clients and others, and how many each address has. */
export class Connections {
  readonly #limits: Limits;
  readonly #clients = new Set<Client>();
  readonly #countByAddress = new Map<string, number>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#clients.size;
  }

  /** Whether the limits leave room for one more from this address. */
  mayOpen(remoteAddress: string | undefined): boolean {
    const { connections, connectionsPerAddress } = this.#limits;
    return this.#clients.size < connections && this.#count(remoteAddress) < connectionsPerAddress;
  }

  add(client: Client): void {
    const { remoteAddress } = client.peer;
    this.#clients.add(client);
    if (remoteAddress !== undefined) this.#countByAddress.set(remoteAddress, this.#count(remoteAddress) + 1);
  }

  release(client: Client): void {
    const { remoteAddress } = client.peer;
    this.#clients.delete(client);
    if (remoteAddress === undefined) return;
    const count = this.#count(remoteAddress) - 1;
    if (count === 0) this.#countByAddress.delete(remoteAddress);
    else this.#countByAddress.set(remoteAddress, count);
  }

  [Symbol.iterator](): Iterator<Client> {
    return this.#clients.values();
  }

  #count(remoteAddress: string | undefined): number {
    return remoteAddress === undefined ? 0 : this.#countByAddress.get(remoteAddress) ?? 0;
  }
}
