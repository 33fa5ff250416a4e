import { decode } from "@msgpack/msgpack";
import type { Logger } from "../../broker/logger.ts";

/** Takes what comes on a channel: the whole array, its type included. */
export type ChannelHandler = (fields: unknown[]) => void;

/** What comes on one of Redis's channels: msgpack arrays, whose first element says what kind of thing each one is. */
export class Channel {
  readonly #name: string;
  readonly #logger: Logger;
  readonly #handlers = new Map<string, ChannelHandler>();

  constructor(name: string, logger: Logger) {
    this.#name = name;
    this.#logger = logger;
  }

  /** Says who takes what is of one kind. */
  on(type: string, handler: ChannelHandler): void {
    this.#handlers.set(type, handler);
  }

  /** Hands over what has come. What a newer version may send and nobody here knows is left aside. */
  receive(data: Uint8Array): void {
    try {
      // As an array of its own kind, parts of which are made much faster than parts of a Buffer.
      const fields = decode(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
      if (!Array.isArray(fields)) throw new Error("it is no msgpack array");
      this.#handlers.get(fields[0])?.(fields);
    } catch (error) {
      this.#logger.error("something on the channel {channel} is of no use: {error}", { channel: this.#name, error });
    }
  }
}
