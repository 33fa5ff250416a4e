import type { Socket } from "node:net";
import type { Limits } from "../limits.ts";

/** The sockets of one listener that have not become connections yet: as many as there may be connections. */
export class Newcomers {
  readonly #limits: Limits;
  readonly #addresses = new Map<Socket, string | undefined>();
  readonly #countByAddress = new Map<string, number>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  /**
   * Adds a socket, or says where one that is there connects from. Returns false if it must not stay: the slow ones of one
   * address must not keep those of others out.
   */
  admit(socket: Socket, remoteAddress: string | undefined): boolean {
    this.delete(socket);
    const { connections, connectionsPerAddress } = this.#limits;
    const count = this.#count(remoteAddress);
    if (this.#addresses.size >= connections || count >= connectionsPerAddress) return false;
    this.#addresses.set(socket, remoteAddress);
    if (remoteAddress !== undefined) this.#countByAddress.set(remoteAddress, count + 1);
    return true;
  }

  delete(socket: Socket): void {
    const remoteAddress = this.#addresses.get(socket);
    if (!this.#addresses.delete(socket) || remoteAddress === undefined) return;
    const count = this.#count(remoteAddress) - 1;
    if (count === 0) this.#countByAddress.delete(remoteAddress);
    else this.#countByAddress.set(remoteAddress, count);
  }

  destroyAll(): void {
    for (const socket of this.#addresses.keys()) socket.destroy();
  }

  #count(remoteAddress: string | undefined): number {
    return remoteAddress === undefined ? 0 : this.#countByAddress.get(remoteAddress) ?? 0;
  }
}
